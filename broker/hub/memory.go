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
	low     atomic.Bool // publishers have been waiting lately

	mu      sync.Mutex
	changed chan struct{} // guarded by mu; closed and replaced when there is room for those who wait
}

func newMemory(limit func() int64) *memory {
	return &memory{limit: limit, changed: make(chan struct{})}
}

// add takes note of bytes that came (or, negative, went).
func (m *memory) add(n int64) {
	if n == 0 {
		return
	}
	if used := m.used.Add(n); n > 0 || m.waiting.Load() == 0 || used > m.limit() {
		return
	}
	m.mu.Lock()
	close(m.changed)
	m.changed = make(chan struct{})
	m.mu.Unlock()
}

// wait returns when there is room, when the hub stops, or when the connection ends.
func (m *memory) wait(stop, ended <-chan struct{}) {
	if m.used.Load() <= m.limit() {
		return
	}
	m.waiting.Add(1)
	defer m.waiting.Add(-1)
	for {
		m.mu.Lock()
		changed := m.changed
		m.mu.Unlock()
		if m.used.Load() <= m.limit() {
			return
		}
		select {
		case <-changed:
		case <-stop:
			return
		case <-ended:
			return
		}
	}
}

// MemoryBytes is how much of transient messages the broker holds.
func (h *Hub) MemoryBytes() int64 { return h.memory.used.Load() }
