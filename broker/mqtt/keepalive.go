package mqtt

import (
	"sync"
	"sync/atomic"
)

// wheel watches the keep alive of all connections with one timer. A connection sits in the slot of the second in which
// it would be overdue had it been silent from then on; when that second comes, it is overdue, or moves to another slot.
// A packet costs the wheel nothing.
type wheel struct {
	now atomic.Int64 // seconds since the wheel began, from 1

	mu    sync.Mutex
	slots [wheelSlots]map[*connection]struct{} // guarded by mu
	at    map[*connection]int                  // guarded by mu; the slot of each connection
}

// wheelSlots is how many seconds the wheel reaches; what is due later comes by once in a turn.
const wheelSlots = 512

func newWheel() *wheel {
	w := &wheel{at: make(map[*connection]int)}
	w.now.Store(1)
	return w
}

// silenceOf is how many seconds a client with this keep alive may be silent: one and a half times, and not less than one
// more. [MQTT-3.1.2-24]
func silenceOf(keepAlive uint16) int64 {
	if keepAlive == 0 {
		return 0
	}
	return int64(keepAlive) + max((int64(keepAlive)+1)/2, 1)
}

func (w *wheel) add(c *connection) {
	if c.silence == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.placeLocked(c, w.now.Load()+c.silence)
}

func (w *wheel) placeLocked(c *connection, due int64) {
	slot := int(min(due, w.now.Load()+wheelSlots-1) % wheelSlots)
	if w.slots[slot] == nil {
		w.slots[slot] = make(map[*connection]struct{})
	}
	w.slots[slot][c] = struct{}{}
	w.at[c] = slot
}

func (w *wheel) remove(c *connection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slot, ok := w.at[c]; ok {
		delete(w.slots[slot], c)
		delete(w.at, c)
	}
}

// advance moves the wheel by a second and answers the connections that were silent for too long.
func (w *wheel) advance() (overdue []*connection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now.Add(1)
	slot := int(now % wheelSlots)
	due := w.slots[slot]
	w.slots[slot] = nil
	for c := range due {
		heard := c.heard.Load()
		switch {
		case heard == 0: // the reader is busy with what came; when that is done, heard says when it was
			w.placeLocked(c, now+1)
		case now-heard > c.silence:
			delete(w.at, c)
			overdue = append(overdue, c)
		default:
			w.placeLocked(c, heard+c.silence+1)
		}
	}
	return overdue
}

// tick runs the wheel, and ends the connections of users who may no longer connect, or of all when the broker has moved.
func (e *Endpoint) tick() {
	defer e.bedroom.Close()
	e.connections.EverySecond(e.hub.Authority().Generation, func(_ uint32, changed bool) {
		for _, c := range e.wheel.advance() {
			c.Stop(errKeepAlive)
		}
		e.endMoved()
		if changed {
			e.endRevoked()
		}
	})
}

func (e *Endpoint) endRevoked() {
	e.connections.Each(func(c *connection) {
		if c.Live() && c.access.Revoked() {
			c.Stop(errRevoked)
		}
	})
}
