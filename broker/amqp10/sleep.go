package amqp10

import (
	"errors"
	"log/slog"
	"os"
)

// A connection whose peer says nothing sleeps, as those of MQTT do: its goroutine ends, and another one begins when there is
// something to read, when a delivery or a transaction is overdue, or when the connection is to end. See package idle.

// busy is in how many waits of a second a connection sleeps: one that waits more often keeps its goroutine and is spared
// the way through another poller.
const busy = 16

// waits are those of the reader for its peer.
type waits struct {
	second uint32 // of the endpoint, in which the last one ended
	count  int    // in it
	few    bool   // the peer says so little that the connection sleeps while it waits
}

func (w *waits) note(now uint32) {
	if now != w.second || w.count == 0 {
		w.few = w.count <= busy || now > w.second+1
		w.second, w.count = now, 0
	}
	if w.count++; w.count > busy {
		w.few = false
	}
}

// read waits for bytes, awake or asleep.
func (c *connection) read() (asleep bool, err error) {
	c.reading.Store(true)
	ready := false
	if c.state == open && c.waits.few {
		if raw := c.in.Raw(); raw != nil {
			if ready, err = c.in.FillNow(); !ready && err == nil {
				c.rest()
				if c.bed.Sleep(c.endpoint.bedroom, raw, c, c.wanted) {
					return true, nil
				}
			}
		}
	}
	if !ready && err == nil {
		err = c.in.Fill()
	}
	c.reading.Store(false)
	c.waits.note(c.endpoint.seconds.Load())
	return false, err
}

// rest lets go of what the connection does not need while its peer says nothing.
func (c *connection) rest() {
	for _, s := range c.sessions.all() {
		s.rest()
	}
	c.touched, c.flushed = nil, nil
}

// wanted says that the reader is to do something other than to wait for its peer.
func (c *connection) wanted() bool { return c.end.Begun() || c.overdue.Load() || c.errands.waiting() }

// Wake continues a connection that sleeps; for one that does not it is void.
func (c *connection) Wake() {
	if c.bed.Rise() {
		go c.serve() // ends when the connection sleeps again or has ended, which Shutdown waits for
	}
}

// forget takes the connection out of the bedroom before its descriptor is closed.
func (c *connection) forget() {
	if err := c.bed.Forget(c.endpoint.bedroom, c.in.Socket()); err != nil {
		c.log(slog.LevelDebug, "connection was closed before", "error", err)
	}
}

// woken says that a read ended because of interrupt.
func woken(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
