package idle

import (
	"sync"
	"sync/atomic"
	"syscall"
)

// Bedroom is where the connections of an endpoint sleep. It gets its Watch with the first one.
type Bedroom struct {
	failed func(error)
	once   sync.Once
	watch  *Watch // nil when there cannot be one
	ended  sync.WaitGroup
}

// NewBedroom makes one that must be closed. Failed is told why nobody can sleep.
func NewBedroom(failed func(error)) *Bedroom { return &Bedroom{failed: failed} }

func (b *Bedroom) open() *Watch {
	b.once.Do(func() {
		w, err := NewWatch()
		if err != nil {
			b.failed(err)
			return
		}
		b.watch = w
		b.ended.Go(w.Run) // ends with Close
	})
	return b.watch
}

// Close ends the watch; who sleeps is woken by what ends its connection.
func (b *Bedroom) Close() {
	b.once.Do(func() {}) // nobody opens it from now on
	if b.watch != nil {
		b.watch.Close() //nolint:errcheck // nothing depends on it
		b.ended.Wait()
	}
}

// Bed is that of one connection. Who holds the reader's fields of a connection is who saw asleep turn false: a goroutine that
// puts it to sleep gives them up with the store, and touches nothing of the connection afterwards unless it takes them back.
type Bed struct {
	slept  bool // once at least; the reader's
	asleep atomic.Bool
}

// Sleep gives the connection up until somebody sees Rise answer true; false says that the caller has it still, and must wait
// itself. Restless says that the connection is to do something else than to wait for its peer. Who makes that so calls s.Wake
// afterwards: one of the two sees the other.
func (b *Bed) Sleep(in *Bedroom, raw syscall.RawConn, s Sleeper, restless func() bool) bool {
	w := in.open()
	if w == nil {
		return false
	}
	b.slept = true
	b.asleep.Store(true)
	failed := false
	err := raw.Control(func(fd uintptr) { failed = w.Await(fd, s) != nil })
	if err != nil || failed || restless() {
		return !b.Rise()
	}
	return true
}

// Rise says whether the connection slept; it does not any more.
func (b *Bed) Rise() bool { return b.asleep.CompareAndSwap(true, false) }

// Forget takes the connection out of the bedroom before its descriptor is closed. The error is that it was closed before.
func (b *Bed) Forget(in *Bedroom, raw syscall.RawConn) error {
	if !b.slept {
		return nil
	}
	return raw.Control(in.watch.Forget)
}
