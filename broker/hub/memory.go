package hub

import (
	"sync"
	"sync/atomic"
)

// memory bounds what only memory holds: transient messages that wait for their consumers, or are with them. While there
// is too much, publishers wait at the end of Flush, and so their peers' sockets fill; consumers go on.
type memory struct {
	used    atomic.Int64
	limit   func() int64
	waiting atomic.Int32

	mu      sync.Mutex
	changed sync.Cond
	closed  bool // guarded by mu
}

func newMemory(limit func() int64) *memory {
	m := &memory{limit: limit}
	m.changed.L = &m.mu
	return m
}

// add takes note of bytes that came (or, negative, went).
func (m *memory) add(n int64) {
	if n == 0 {
		return
	}
	if used := m.used.Add(n); n < 0 && m.waiting.Load() > 0 && used <= m.limit() {
		m.wake()
	}
}

func (m *memory) wake() {
	m.mu.Lock()
	//lint:ignore SA2001 who has seen the old value under the lock is waiting by now
	m.mu.Unlock()
	m.changed.Broadcast()
}

// wait returns when there is room, when the hub stops, or when the publisher was cancelled.
func (m *memory) wait(cancelled *atomic.Bool) {
	if m.used.Load() <= m.limit() {
		return
	}
	m.waiting.Add(1)
	defer m.waiting.Add(-1)
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.used.Load() > m.limit() && !m.closed && !cancelled.Load() {
		m.changed.Wait()
	}
}

func (m *memory) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.changed.Broadcast()
}

// MemoryBytes is how much of transient messages the broker holds.
func (h *Hub) MemoryBytes() int64 { return h.memory.used.Load() }
