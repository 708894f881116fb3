package mqtt

import (
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/retain"
)

// replay sends the retained messages of new subscriptions, a page at a time and only while there is room: those of QoS 0
// straight to the outbox, the others through the session's queue, like every delivery that must be acknowledged. Its
// goroutine exists only while there is something to send.
type replay struct {
	wake signal // there may be room

	mu      sync.Mutex
	pending map[string]uint8 // guarded by mu; filters of the session's, with the QoS that was granted
	running bool             // guarded by mu
}

const (
	replayPage    = 128
	replayBacklog = 1024 // messages waiting in the session's queue from which the replay waits
)

// startReplay sends the retained messages that new subscriptions match. [MQTT-3.3.1-6], [MQTT-3.8.4-3]
func (c *connection) startReplay(subs []hub.Subscription) {
	if len(subs) == 0 {
		return
	}
	r := &c.replay
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending == nil {
		r.pending = make(map[string]uint8, len(subs))
	}
	for _, s := range subs {
		r.pending[s.Filter] = s.QoS
	}
	if !r.running {
		r.running = true
		c.tasks.Go(c.runReplay) // ends when nothing is pending or the connection ends
	}
}

// drop takes back what has not begun.
func (r *replay) drop(filters []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range filters {
		delete(r.pending, f)
	}
}

// next takes one of the subscriptions; false ends the goroutine.
func (r *replay) next() (filter string, qos uint8, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for filter, qos = range r.pending {
		delete(r.pending, filter)
		return filter, qos, true
	}
	r.running, r.pending = false, nil
	return "", 0, false
}

func (c *connection) runReplay() {
	for {
		filter, qos, ok := c.replay.next()
		if !ok {
			return
		}
		for at, more := (retain.Cursor{}), true; more; {
			if !c.awaitReplay() {
				return
			}
			var page []*message.Message
			page, at, more = c.session.Retained(filter, at, replayPage)
			c.sendRetained(page, qos)
		}
	}
}

// awaitReplay waits until there is room for a page; false says that the connection ends.
func (c *connection) awaitReplay() bool {
	if !c.out.Full() && c.session.Backlog() <= replayBacklog {
		return !c.stopped()
	}
	wake, stopping := c.replay.wake.channel(), c.stop.channel()
	for c.out.Full() || c.session.Backlog() > replayBacklog {
		select {
		case <-wake:
		case <-stopping:
			return false
		}
	}
	return !c.stopped()
}

// sendRetained sends a page of retained messages with the RETAIN flag. [MQTT-3.3.1-8]
func (c *connection) sendRetained(page []*message.Message, qos uint8) {
	now := time.Now().UnixMilli()
	acknowledged := page[:0]
	c.outgoing.mu.Lock()
	c.out.Append(func(dst []byte) []byte {
		for _, m := range page {
			switch {
			case m.Expiry != 0 && m.Expiry <= now: // [MQTT5-3.3.2-5]
			case min(m.QoS, qos) > 0:
				acknowledged = append(acknowledged, m)
			default:
				dst = c.appendRetained(dst, m)
			}
		}
		return dst
	})
	c.outgoing.mu.Unlock()
	c.session.Replay(acknowledged, qos)
}

// appendRetained writes a retained message of QoS 0; outgoing is locked.
func (c *connection) appendRetained(dst []byte, m *message.Message) []byte {
	return c.appendMessage(dst, packet.PublishFlags{Retain: true}, 0, m, false)
}
