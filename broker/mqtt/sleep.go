package mqtt

import (
	"log/slog"
	"sync"

	"github.com/turnstone-mq/turnstone/broker/idle"
)

// A connection whose peer says nothing sleeps: its goroutine ends, with the stack that handling packets took, and another
// one begins when there is something to read, or when the connection is to end. Only a connection that can wait for
// readiness alone sleeps, that is, plain TCP and Unix sockets.
//
// Who holds the reader's fields is who saw asleep turn false. A goroutine that puts the connection to sleep gives them up
// with the store, and touches nothing of the connection afterwards unless it takes them back.

// busy is in how many waits of a second a connection sleeps: one that waits more often keeps its goroutine and is spared
// the way through another poller.
const busy = 16

// bedroom is where the connections of an endpoint sleep. It is made for the first one.
type bedroom struct {
	once  sync.Once
	watch *idle.Watch // nil when there cannot be one
	ended sync.WaitGroup
}

func (b *bedroom) open(e *Endpoint) *idle.Watch {
	b.once.Do(func() {
		w, err := idle.NewWatch()
		if err != nil {
			e.logger.Warn("mqtt: idle connections keep a goroutine each", "error", err)
			return
		}
		b.watch = w
		b.ended.Go(w.Run) // ends with close
	})
	return b.watch
}

// close ends the watch; who sleeps is woken by what ends its connection.
func (b *bedroom) close() {
	b.once.Do(func() {}) // nobody opens it from now on
	if b.watch != nil {
		b.watch.Close() //nolint:errcheck // nothing depends on it
		b.ended.Wait()
	}
}

// sleep gives the connection up until Wake; false says that the caller has it still, and must wait itself.
func (c *connection) sleep() bool {
	w := c.endpoint.bedroom.open(c.endpoint)
	if w == nil {
		return false
	}
	raw := c.in.raw
	c.slept = true
	c.asleep.Store(true)
	failed := false
	err := raw.Control(func(fd uintptr) { failed = w.Await(fd, c) != nil })
	// Stop looks at asleep after it set stop: one of the two sees the other.
	if err != nil || failed || c.end.Begun() {
		return !c.asleep.CompareAndSwap(true, false)
	}
	return true
}

// Wake continues a connection that sleeps; for one that does not it is void.
func (c *connection) Wake() {
	if c.asleep.CompareAndSwap(true, false) {
		go c.resume() // ends when the connection sleeps again or has ended, which Shutdown waits for
	}
}

func (c *connection) resume() {
	c.heard.Store(0)
	c.finishUnlessAsleep(c.run())
}

// forget takes the connection out of the bedroom before its descriptor is closed.
func (c *connection) forget() {
	if !c.slept {
		return
	}
	if err := c.in.raw.Control(c.endpoint.bedroom.watch.Forget); err != nil {
		c.log(slog.LevelDebug, "connection was closed before", err)
	}
}
