package amqp10

import (
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

var heartbeat = frame.AppendHeartbeat(nil)

// beats is what the endpoint's tick knows of one connection; only tick touches it.
type beats struct {
	written uint64 // bytes that had been written at the last tick
	silent  int64  // milliseconds without a byte from the peer
	idle    int64  // milliseconds without a byte to the peer
}

// beatMillis lie between two looks at the connections.
const beatMillis = 1000

// tick looks at all connections once a second: it sends and expects signs of life, ends connections of users who may no
// longer connect, and looks for deliveries that nobody settles.
func (e *Endpoint) tick() {
	t := time.NewTicker(beatMillis * time.Millisecond)
	defer t.Stop()
	defer e.bedroom.Close()
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
		e.expire(e.now())
		e.beat(g != generation)
		generation = g
	}
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
	b := &c.beats
	if c.heard.Swap(false) || !c.reading.Load() {
		b.silent = 0
	} else if b.silent += beatMillis; c.patience > 0 && b.silent > c.patience {
		c.endpoint.stats.TimedOut.Add(1)
		c.Stop(errSilent)
		return
	}
	if w := c.out.Written(); w != b.written {
		b.written, b.idle = w, 0
	} else if b.idle += beatMillis; c.idle > 0 && b.idle >= max(c.idle/2, beatMillis) {
		b.idle = 0
		c.out.Write(heartbeat)
	}
}
