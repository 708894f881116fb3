package amqp091

import "github.com/turnstone-mq/turnstone/broker/amqp091/frame"

var heartbeatFrame = frame.AppendHeartbeat(nil)

// tick looks at all connections once a second: it sends and expects heartbeats, ends connections of users who may no
// longer connect, tells publishers that wait why they do, and looks for deliveries that nobody acknowledges.
func (e *Endpoint) tick() {
	e.connections.EverySecond(e.hub.Authority().Generation, func(second uint32, changed bool) {
		e.seconds.Store(second)
		e.beat(changed, e.hub.Alarm())
	})
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
	if c.pulse.Silence(c.heard.Swap(false) || !c.reading.Load()) > 2*c.heartbeat {
		c.endpoint.stats.TimedOut.Add(1)
		c.Stop(errHeartbeat)
		return
	}
	if c.pulse.Due(c.out.Written(), max(c.heartbeat/2, 1)) {
		c.out.Write(heartbeatFrame)
	}
}
