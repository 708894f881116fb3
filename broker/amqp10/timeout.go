package amqp10

import (
	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// A link that holds a delivery for longer than its queue allows is detached, so that somebody else gets it. The time is the
// queue's x-consumer-timeout, or else limits.consumerTimeoutMillis.

// timeoutGrain is how many seconds lie between two looks for deliveries whose time is up, and up to how many a delivery
// may be later than the one whose time stands for it.
const timeoutGrain = 5

// timeout is how long the link may hold a delivery, in milliseconds; zero is for ever.
func (l *outgoing) timeout() int64 {
	if ms, ok := l.hub.Queue().ConsumerTimeout(); ok {
		return ms
	}
	return l.session.conn.config.Limits.ConsumerTimeoutMillis
}

// overdue finds a link that holds a delivery whose time is up at a second of the endpoint, and answers what its time was.
func (s *session) overdue(now uint32) (l *outgoing, ms int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.unsettled.runs {
		r := &s.unsettled.runs[i]
		held := int64(now-r.since) * 1000
		if held < timeoutGrain*1000 {
			return nil, 0 // those behind it are younger
		}
		if r.live == 0 || r.link.gone {
			continue
		}
		if ms := r.link.timeout(); ms > 0 && held >= ms {
			return r.link, ms
		}
	}
	return nil, 0
}

// isOverdue says whether a session holds a delivery whose time is up, or a transaction is open for too long or has acquired too much.
// Any goroutine may call it.
func (c *connection) isOverdue(now uint32) bool {
	c.sessionsMu.Lock()
	defer c.sessionsMu.Unlock()
	for _, s := range c.sessions.all() {
		if l, _ := s.overdue(now); l != nil || s.greedy() {
			return true
		}
	}
	return c.declared.overdue(now, c.config.Limits.ConsumerTimeoutMillis)
}

// endOverdue rolls back the transactions and detaches the links whose time is up; the reader calls it when it was woken for that.
func (c *connection) endOverdue() {
	now := c.endpoint.seconds.Load()
	c.declared.expire(now, c.config.Limits.ConsumerTimeoutMillis)
	for _, s := range c.sessions.all() {
		s.curb()
		for l, ms := s.overdue(now); l != nil; l, ms = s.overdue(now) {
			l.fail(linkError(frame.DetachForced, "a delivery was not settled within %d ms, the consumer timeout of its queue", ms))
		}
	}
}
