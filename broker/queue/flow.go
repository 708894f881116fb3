package queue

import "sync/atomic"

// Flow is what consumers of any queues have in common: how many deliveries they may hold together, and whether they get
// any at all. It is the global prefetch and the channel.flow of an AMQP 0-9-1 channel.
//
// Queues take from it as they deliver. Whoever settles gives back, and resumes all the consumers when that made room:
// Give says so. The zero value bounds nothing.
type Flow struct {
	stopped atomic.Bool
	limit   atomic.Int64 // zero is no limit
	held    atomic.Int64
}

// SetLimit changes how many deliveries may be held together; zero is no limit.
func (f *Flow) SetLimit(n int) { f.limit.Store(int64(n)) }

// Stop ends deliveries to the consumers from their queues' next step on, until Start.
func (f *Flow) Stop() { f.stopped.Store(true) }

// Start lets deliveries go on, once the consumers are resumed.
func (f *Flow) Start() { f.stopped.Store(false) }

// Give gives back n deliveries that were settled, and says whether consumers may have been waiting for them.
func (f *Flow) Give(n int) (resume bool) {
	held := f.held.Add(int64(-n)) + int64(n)
	limit := f.limit.Load()
	return limit > 0 && held >= limit
}

// open says whether a consumer may be picked.
func (f *Flow) open(noAck bool) bool {
	if f == nil {
		return true
	}
	if f.stopped.Load() {
		return false
	}
	limit := f.limit.Load()
	return noAck || limit == 0 || f.held.Load() < limit
}

// take takes room for one delivery. Queues of other owners take too, so that open promises nothing.
func (f *Flow) take() bool {
	if f == nil {
		return true
	}
	for {
		held, limit := f.held.Load(), f.limit.Load()
		if limit > 0 && held >= limit {
			return false
		}
		if f.held.CompareAndSwap(held, held+1) {
			return true
		}
	}
}
