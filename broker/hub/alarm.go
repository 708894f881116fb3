package hub

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/journal"
)

// gate is what publishers wait at while it is shut.
type gate struct {
	shut atomic.Bool

	mu     sync.Mutex
	opened chan struct{} // guarded by mu; closed when the gate opens, nil when nobody waits
}

// set shuts or opens the gate.
func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut.Store(shut)
	if !shut && g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
}

// wait returns when the gate is open, when the hub stops, or when the connection ends.
func (g *gate) wait(stop, ended <-chan struct{}) {
	for g.shut.Load() {
		g.mu.Lock()
		if !g.shut.Load() {
			g.mu.Unlock()
			return
		}
		if g.opened == nil {
			g.opened = make(chan struct{})
		}
		opened := g.opened
		g.mu.Unlock()
		select {
		case <-opened:
		case <-stop:
			return
		case <-ended:
			return
		}
	}
}

// refused shuts the disk's gate as soon as the journal refuses something; watchAlarms opens it.
func (h *Hub) refused(err error) {
	if errors.Is(err, journal.ErrFull) && !h.disk.shut.Load() {
		h.disk.set(true)
		h.logger.Warn("the disk is full: publishers wait until there is room", "error", err)
	}
}

// watchAlarms looks whether the broker is short of something; it is called once a second. The disk's gate is shut while
// the journal takes only what it must: publishers of messages that are stored wait, those who settle go on and make room.
func (h *Hub) watchAlarms() {
	full := h.journal.Admit()
	if shut := full != nil; shut != h.disk.shut.Load() {
		h.disk.set(shut)
		if shut {
			h.logger.Warn("the disk is full: publishers wait until there is room", "error", full)
		} else {
			h.logger.Info("the disk has room again: publishers go on")
		}
	}
	used, limit := h.memory.used.Load(), h.memory.limit()
	switch {
	case used > limit:
		h.memory.low.Store(true)
	case used < limit-limit/10: // not at once, or those who wait would be told every second
		h.memory.low.Store(false)
	}
}

// Alarm names what the broker is short of, so that publishers wait; it is empty while there is enough of everything.
func (h *Hub) Alarm() string {
	var low []string
	if h.memory.low.Load() {
		low = append(low, "memory")
	}
	if h.disk.shut.Load() {
		low = append(low, "disk")
	}
	if len(low) == 0 {
		return ""
	}
	return "low on " + strings.Join(low, " & ")
}

// Low says of memory and disk whether the broker is short of them.
func (h *Hub) Low() (memory, disk bool) { return h.memory.low.Load(), h.disk.shut.Load() }
