package endpoint

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Ending is the end of a connection that somebody asked for. It begins once, for the first reason that is given. Its methods
// are safe for concurrent use; the zero value is a connection that goes on.
type Ending struct {
	mu    sync.Mutex
	begun atomic.Bool   // changed with mu held
	cause error         // written before begun is
	done  chan struct{} // guarded by mu; nil when nobody asked
}

// Begin gives the reason; false says that there was one.
func (e *Ending) Begin(cause error) (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.begun.Load() {
		return false
	}
	e.cause = cause
	e.begun.Store(true)
	if e.done != nil {
		close(e.done)
	}
	return true
}

// Begun says whether it has begun.
func (e *Ending) Begun() bool { return e.begun.Load() }

// Cause is the reason; nil before it has begun.
func (e *Ending) Cause() error {
	if !e.begun.Load() {
		return nil
	}
	return e.cause
}

// Done is closed when it has begun. It is made when somebody wants to wait for it.
func (e *Ending) Done() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done == nil {
		e.done = make(chan struct{})
		if e.begun.Load() {
			close(e.done)
		}
	}
	return e.done
}

// Interrupt wakes the reader of a connection from a read; what is to be written still can be.
func Interrupt(conn net.Conn) {
	if err := conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		conn.Close() //nolint:errcheck // it is closed already, or cannot be woken otherwise
	}
}
