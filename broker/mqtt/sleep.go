package mqtt

import "log/slog"

// A connection whose peer says nothing sleeps: its goroutine ends, with the stack that handling packets took, and another
// one begins when there is something to read, or when the connection is to end. Only a connection that can wait for
// readiness alone sleeps, that is, plain TCP and Unix sockets.

// busy is in how many waits of a second a connection sleeps: one that waits more often keeps its goroutine and is spared
// the way through another poller.
const busy = 16

func (e *Endpoint) sleepless(err error) {
	e.logger.Warn("mqtt: idle connections keep a goroutine each", "error", err)
}

// sleep gives the connection up until Wake; false says that the caller has it still, and must wait itself.
func (c *connection) sleep() bool {
	return c.bed.Sleep(c.endpoint.bedroom, c.in.raw, c, c.end.Begun)
}

// Wake continues a connection that sleeps; for one that does not it is void.
func (c *connection) Wake() {
	if c.bed.Rise() {
		go c.resume() // ends when the connection sleeps again or has ended, which Shutdown waits for
	}
}

func (c *connection) resume() {
	c.heard.Store(0)
	c.finishUnlessAsleep(c.run())
}

// forget takes the connection out of the bedroom before its descriptor is closed.
func (c *connection) forget() {
	if err := c.bed.Forget(c.endpoint.bedroom, c.in.raw); err != nil {
		c.log(slog.LevelDebug, "connection was closed before", err)
	}
}
