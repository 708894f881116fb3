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
	pending []hub.Subscription // guarded by mu
	running bool               // guarded by mu
	ended   sync.WaitGroup     // of the goroutine
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
	r.pending = append(r.pending, subs...)
	if !r.running {
		r.running = true
		r.ended.Go(c.runReplay) // ends when nothing is pending or the connection ends
	}
}

func (r *replay) wait() { r.ended.Wait() }

// next takes the next subscription; false ends the goroutine.
func (r *replay) next() (s hub.Subscription, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) == 0 {
		r.running = false
		r.pending = nil
		return s, false
	}
	s, r.pending = r.pending[0], r.pending[1:]
	return s, true
}

func (c *connection) runReplay() {
	for {
		s, ok := c.replay.next()
		if !ok {
			return
		}
		for at, more := (retain.Cursor{}), true; more; {
			if !c.awaitReplay() {
				return
			}
			var page []*message.Message
			page, at, more = c.session.Retained(s.Filter, at, replayPage)
			c.sendRetained(page, s.QoS)
		}
	}
}

// awaitReplay waits until there is room for a page; false says that the connection ends.
func (c *connection) awaitReplay() bool {
	for c.out.Full() || c.session.Backlog() > replayBacklog {
		select {
		case <-c.replay.wake:
		case <-c.stopping:
			return false
		}
	}
	return !c.stopped()
}

// sendRetained sends a page of retained messages with the RETAIN flag. [MQTT-3.3.1-8]
func (c *connection) sendRetained(page []*message.Message, qos uint8) {
	now := time.Now().UnixMilli()
	acknowledged := page[:0]
	c.out.Append(func(dst []byte) []byte {
		for _, m := range page {
			switch {
			case m.Expiry != 0 && m.Expiry <= now || !translatable(m):
			case min(m.QoS, qos) > 0:
				acknowledged = append(acknowledged, m)
			default:
				dst = packet.AppendPublish(dst, c.version, packet.PublishFlags{Retain: true}, m.Topic(), 0, nil, m.Payload)
			}
		}
		return dst
	})
	c.session.Replay(acknowledged, qos)
}
