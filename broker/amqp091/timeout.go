package amqp091

import (
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
)

// A consumer that holds a delivery for longer than its queue allows loses its channel, so that somebody else gets it. The
// time is the queue's x-consumer-timeout, or else limits.consumerTimeoutMillis. An extension of RabbitMQ.

// timeoutGrain is how many seconds lie between two looks for deliveries whose time is up, and up to how many a delivery
// may be later than the one whose time stands for it.
const timeoutGrain = 5

// timeout is how long the consumer may hold a delivery, in milliseconds; zero is for ever.
func (s *consumer) timeout() int64 {
	if ms, ok := s.hub.Queue().ConsumerTimeout(); ok {
		return ms
	}
	return s.channel.conn.config.Limits.ConsumerTimeoutMillis
}

// overdue finds a delivery whose time is up at a second of the endpoint, and answers what its time was.
func (ch *channel) overdue(now uint32) (ms int64, found bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for i := ch.unacked.head; i < len(ch.unacked.runs); i++ {
		r := &ch.unacked.runs[i]
		held := int64(now-r.since) * 1000
		if held < timeoutGrain*1000 {
			return 0, false // those behind it are younger
		}
		if r.live == 0 {
			continue
		}
		if ms := r.consumer.timeout(); ms > 0 && held >= ms {
			return ms, true
		}
	}
	return 0, false
}

// isOverdue says whether a channel holds a delivery whose time is up. Any goroutine may call it.
func (c *connection) isOverdue(now uint32) bool {
	c.channelsMu.Lock()
	defer c.channelsMu.Unlock()
	for _, ch := range c.channels {
		if _, found := ch.overdue(now); found {
			return true
		}
	}
	return false
}

// endOverdue closes the channels that hold a delivery whose time is up; the reader calls it when it was woken for that.
func (c *connection) endOverdue() error {
	c.overdue.Store(false)
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if c.end.Begun() {
		c.interrupt() // stop may have come before the deadline was taken off
	}
	now := c.endpoint.seconds.Load()
	for _, ch := range c.channels {
		if ms, found := ch.overdue(now); found && !ch.ending {
			c.endpoint.stats.ChannelErrors.Add(1)
			ch.fail(errorf(frame.PreconditionFailed, "delivery acknowledgement on channel %d timed out. Timeout value used: %d ms. "+
				"This timeout value can be configured, see consumers doc guide to learn more", ch.number, ms))
		}
	}
	return nil
}
