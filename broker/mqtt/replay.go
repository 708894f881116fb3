package mqtt

import (
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/endpoint"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/retain"
)

// replay sends the retained messages of new subscriptions, a page at a time and only while there is room: those of QoS 0
// straight to the outbox, the others through the session's queue, like every delivery that must be acknowledged. Its
// goroutine exists only while there is more than the first page, which the reader sends: a message that is retained after
// the subscription is delivered to it as it is published, and should not come twice.
type replay struct {
	wake endpoint.Signal // there may be room

	mu      sync.Mutex
	pending map[string]replaying // guarded by mu; by filter, as the session has it
	running bool                 // guarded by mu
}

// replaying is how far the replay of one subscription is.
type replaying struct {
	qos uint8 // that was granted
	at  retain.Cursor
}

const (
	replayPage    = 128
	replayBacklog = 1024 // messages waiting in the session's queue from which the replay waits
)

// startReplay sends the retained messages that new subscriptions match. Only the reader calls it. [MQTT-3.3.1-6],
// [MQTT-3.8.4-3]
func (c *connection) startReplay(subs []hub.Subscription) {
	r := &c.replay
	for _, s := range subs {
		p, more := replaying{qos: s.QoS}, true
		if c.roomToReplay() && !r.busy() {
			more = c.replayPage(s.Filter, &p)
		}
		if more {
			c.replayLater(s.Filter, p)
		}
	}
}

// busy says that earlier subscriptions are being replayed still.
func (r *replay) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running
}

// replayLater leaves what is to come to the goroutine.
func (c *connection) replayLater(filter string, p replaying) {
	r := &c.replay
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending == nil {
		r.pending = make(map[string]replaying)
	}
	r.pending[filter] = p
	if !r.running {
		r.running = true
		c.tasks.Go(c.runReplay) // ends when nothing is pending or the connection ends
	}
}

// replayPage sends the next page, and says whether there is another.
func (c *connection) replayPage(filter string, p *replaying) (more bool) {
	var page []*message.Message
	page, p.at, more = c.session.Retained(filter, p.at, replayPage)
	c.sendRetained(page, p.qos)
	return more
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
func (r *replay) next() (filter string, p replaying, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for filter, p = range r.pending {
		delete(r.pending, filter)
		return filter, p, true
	}
	r.running, r.pending = false, nil
	return "", replaying{}, false
}

func (c *connection) runReplay() {
	for {
		filter, p, ok := c.replay.next()
		if !ok {
			return
		}
		for more := true; more; {
			if !c.awaitReplay() {
				return
			}
			more = c.replayPage(filter, &p)
		}
	}
}

func (c *connection) roomToReplay() bool {
	return !c.out.Full() && c.session.Backlog() <= replayBacklog
}

// awaitReplay waits until there is room for a page; false says that the connection ends.
func (c *connection) awaitReplay() bool {
	wake, stopping := c.replay.wake.Channel(), c.end.Done()
	for !c.roomToReplay() {
		select {
		case <-wake:
		case <-stopping:
			return false
		}
	}
	return !c.end.Begun()
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
