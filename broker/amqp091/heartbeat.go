package amqp091

import (
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
)

var heartbeatFrame = frame.AppendHeartbeat(nil)

// beats is what the endpoint's tick knows of one connection; only tick touches it.
type beats struct {
	written uint64 // bytes that had been written at the last tick
	silent  int64  // seconds without a byte from the peer
	idle    int64  // seconds without a byte to the peer
}

// tick looks at all connections once a second: it sends and expects heartbeats, ends connections of users who may no
// longer connect, tells publishers that wait why they do, and looks for deliveries that nobody acknowledges.
func (e *Endpoint) tick() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	authority := e.hub.Authority()
	generation := authority.Generation()
	for seconds := uint32(1); ; seconds++ {
		select {
		case <-e.connections.Stopping():
			return
		case <-t.C:
		}
		g := authority.Generation()
		e.seconds.Store(seconds)
		e.beat(g != generation, e.hub.Alarm())
		generation = g
	}
}

func (e *Endpoint) beat(recheck bool, alarm string) {
	now := e.seconds.Load()
	e.connections.Each(func(c *connection) {
		if !c.Live() {
			return
		}
		if recheck && c.access.Revoked() {
			c.Stop(errRevoked)
		}
		if c.heartbeat > 0 {
			c.beat()
		}
		c.alarm(alarm)
		if now%timeoutGrain == 0 && c.isOverdue(now) {
			c.overdue.Store(true)
			c.interrupt()
		}
	})
}

// alarm tells a client that publishes that it is not read from, and why, and when that is over. An extension of
// RabbitMQ: connection.blocked, connection.unblocked.
func (c *connection) alarm(reason string) {
	switch {
	case reason != "" && !c.blocked && c.blockable && c.sends.Load():
		c.blocked = true
		c.send(0, &frame.ConnectionBlocked{Reason: reason})
	case reason == "" && c.blocked:
		c.blocked = false
		c.send(0, &frame.ConnectionUnblocked{})
	}
}

// beat is one second in the life of a connection with heartbeats. A peer is gone after twice the interval without a
// byte; time in which the broker itself did not read does not count. §4.2.7
func (c *connection) beat() {
	b := &c.beats
	if c.heard.Swap(false) || !c.reading.Load() {
		b.silent = 0
	} else if b.silent++; b.silent > 2*c.heartbeat {
		c.endpoint.stats.TimedOut.Add(1)
		c.Stop(errHeartbeat)
		return
	}
	if w := c.out.Written(); w != b.written {
		b.written, b.idle = w, 0
	} else if b.idle++; b.idle >= max(c.heartbeat/2, 1) {
		b.idle = 0
		c.out.Write(heartbeatFrame)
	}
}
