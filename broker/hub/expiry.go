package hub

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/turnstone-mq/turnstone/broker/session"
)

// expires is for how many seconds the session outlives its connection.
func (s *mqttSession) expires() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry
}

// setExpiry changes it, durably if it must outlive a crash.
func (s *mqttSession) setExpiry(ctx context.Context, seconds uint32) error {
	s.mu.Lock()
	same := s.expiry == seconds
	s.expiry = seconds
	s.mu.Unlock()
	if same || !s.durable {
		return nil
	}
	return s.record(ctx, nil, nil)
}

// SetExpiry changes for how long the session outlives its connection, as DISCONNECT may. A session that was to end with
// its connection still does. [MQTT 5 §3.14.2.2.2]
func (s *Session) SetExpiry(ctx context.Context, seconds uint32) error {
	return s.state.setExpiry(ctx, seconds)
}

// awaitEnd lets the session end when its time without a connection is over. After a restart, the time begins anew.
// [MQTT5-3.1.2-23], [MQTT5-4.1.0-2]
func (s *mqttSession) awaitEnd() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil || s.closed || s.expiry == session.Never {
		return
	}
	s.stopEndLocked()
	s.ending = time.AfterFunc(time.Duration(s.expiry)*time.Second, s.expire)
}

// stopEndLocked takes back what awaitEnd began; mu is held.
func (s *mqttSession) stopEndLocked() {
	if s.ending != nil {
		s.ending.Stop()
		s.ending = nil
	}
}

// expire ends the session unless a connection came. It is called by its timer.
func (s *mqttSession) expire() {
	v := s.host
	v.opening.Lock(s.clientID) // nobody attaches meanwhile
	defer v.opening.Unlock(s.clientID)
	s.mu.Lock()
	due := s.current == nil && !s.closed && s.ending != nil
	s.mu.Unlock()
	if !due {
		return
	}
	if err := s.end(context.Background()); err != nil {
		v.hub.logger.Warn("expired session was not ended", "vhost", v.name, "client", s.clientID, "error", err)
		return
	}
	v.hub.stats.Expired.add(1)
	v.hub.logger.Debug("session expired", "vhost", v.name, "client", s.clientID)
}

// completeAll voids what is left of the session's receipts.
func (s *mqttSession) completeAll() {
	s.receipts.complete(s.queue.id, s.receipts.all(), func(error) {}) // a session without a record has none at the next start
}

// endWaits ends what sessions and senders wait for, as the hub closes: their time begins anew with the next start.
func (v *VirtualHost) endWaits() {
	v.mu.RLock()
	sessions, senders := slices.Collect(maps.Values(v.sessions)), slices.Collect(maps.Values(v.senders))
	v.mu.RUnlock()
	for _, s := range senders {
		s.stopEnd()
	}
	for _, s := range sessions {
		s.mu.Lock()
		s.stopEndLocked()
		s.mu.Unlock()
	}
}
