package hub

import "sync"

// inbox is what waits for one shard. Operations that carry messages wait their turn when too many bytes are in it; the
// others never wait, so that a shard and the log never wait for one another.
type inbox struct {
	mu     sync.Mutex
	filled sync.Cond // an operation came, or the box was closed
	room   sync.Cond // bytes went
	ops    []op
	bytes  int64
	limit  func() int64
	closed bool
}

// op is one thing for a shard to do.
type op interface {
	// run does it; it is called by the shard's goroutine.
	run(s *shard, now int64)
	// size is what it counts against the inbox's limit; zero never waits.
	size() int64
	// abandon is called instead of run when the shard has ended.
	abandon()
}

func newInbox(limit func() int64) *inbox {
	b := &inbox{limit: limit}
	b.filled.L, b.room.L = &b.mu, &b.mu
	return b
}

// put adds an operation, or abandons it and answers false when the box is closed.
func (b *inbox) put(o op) bool {
	n := o.size()
	b.mu.Lock()
	for n > 0 && b.bytes > 0 && b.bytes+n > b.limit() && !b.closed {
		b.room.Wait()
	}
	if b.closed {
		b.mu.Unlock()
		o.abandon()
		return false
	}
	b.ops = append(b.ops, o)
	b.bytes += n
	b.mu.Unlock()
	b.filled.Signal()
	return true
}

// putAlways adds an operation that the shard itself waits for, also when the box is closed.
func (b *inbox) putAlways(o op) {
	b.mu.Lock()
	b.ops = append(b.ops, o)
	b.mu.Unlock()
	b.filled.Signal()
}

// take answers everything that waits, or waits for something; false when the box is closed and empty and nothing is
// expected by putAlways. It reuses last.
func (b *inbox) take(last []op, expecting bool) ([]op, bool) {
	clear(last)
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.ops) == 0 {
		if b.closed && !expecting {
			return nil, false
		}
		b.filled.Wait()
	}
	ops := b.ops
	b.ops, b.bytes = last[:0], 0
	b.room.Broadcast()
	return ops, true
}

// close refuses further operations; those that wait are still taken.
func (b *inbox) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.filled.Broadcast()
	b.room.Broadcast()
}
