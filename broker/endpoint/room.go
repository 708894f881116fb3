package endpoint

import (
	"sync"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/outbox"
)

// Signal wakes one waiter; one that comes while nobody waits is kept, from the first call of Channel on.
type Signal struct{ made atomic.Pointer[chan struct{}] }

// Channel gives the waiter what to wait for. It must be called before what is waited for is looked at, by one goroutine.
func (s *Signal) Channel() <-chan struct{} {
	if s.made.Load() == nil {
		c := make(chan struct{}, 1)
		s.made.Store(&c)
	}
	return *s.made.Load()
}

// Raise wakes the waiter.
func (s *Signal) Raise() {
	c := s.made.Load()
	if c == nil {
		return
	}
	select {
	case *c <- struct{}{}:
	default:
	}
}

// Room is the room in a connection's outbox: who needs it holds back while there is none. The zero value is of a connection
// nobody held back on.
type Room struct {
	freed Signal

	mu   sync.Mutex
	held []Resumer // guarded by mu
}

// Resumer is a consumer that holds back.
type Resumer interface{ Resume() }

// Freed is to be called by the outbox's writer when there is room again.
func (r *Room) Freed() {
	r.freed.Raise()
	r.mu.Lock()
	held := r.held
	r.held = nil
	r.mu.Unlock()
	for _, c := range held {
		c.Resume()
	}
}

// For says whether the outbox takes more; if not, the consumer is resumed when it does.
func (r *Room) For(c Resumer, out *outbox.Outbox) bool {
	if !out.Full() {
		return true
	}
	// Freed takes the lock too: it either comes before Full, which then sees the room, or finds the consumer.
	r.mu.Lock()
	defer r.mu.Unlock()
	if !out.Full() {
		return true
	}
	r.held = append(r.held, c)
	return false
}

// Await blocks the reader while the outbox is full, or until the connection is to end: a peer that does not read its answers
// is not listened to. True says that asked, which may be nil, came first.
func (r *Room) Await(out *outbox.Outbox, end *Ending, asked <-chan struct{}) bool {
	if !out.Full() {
		return false
	}
	freed, done := r.freed.Channel(), end.Done()
	for out.Full() {
		select {
		case <-freed:
		case <-asked:
			return true
		case <-done:
			return false
		}
	}
	return false
}
