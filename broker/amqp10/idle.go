package amqp10

import "github.com/turnstone-mq/turnstone/broker/amqp10/frame"

var heartbeat = frame.AppendHeartbeat(nil)

// tick looks at all connections once a second: it sends and expects signs of life, ends connections of users who may no
// longer connect, and looks for deliveries that nobody settles.
func (e *Endpoint) tick() {
	defer e.bedroom.Close()
	e.connections.EverySecond(e.hub.Authority().Generation, func(second uint32, changed bool) {
		e.seconds.Store(second)
		e.expire(e.now())
		e.beat(changed)
	})
}

func (e *Endpoint) beat(recheck bool) {
	now := e.seconds.Load()
	e.connections.Each(func(c *connection) {
		if !c.Live() {
			return
		}
		if recheck && c.access.Revoked() {
			c.Stop(errRevoked)
		}
		c.beat()
		if now%timeoutGrain == 0 && c.isOverdue(now) {
			c.overdue.Store(true)
			c.interrupt()
			c.Wake()
		}
	})
}

// beat is one second in the life of a connection. Time in which the broker itself did not read does not count against the
// peer, which gets an empty frame when half of its patience is over. 2 §2.4.5
func (c *connection) beat() {
	const second = 1000 // c.patience and c.idle are milliseconds
	silence := c.pulse.Silence(c.heard.Swap(false) || !c.reading.Load())
	if c.patience > 0 && silence*second > c.patience {
		c.endpoint.stats.TimedOut.Add(1)
		c.Stop(errSilent)
		return
	}
	if c.idle > 0 && c.pulse.Due(c.out.Written(), max((c.idle/2+second-1)/second, 1)) {
		c.out.Write(heartbeat)
	}
}
