package hub

import (
	"sync"
	"sync/atomic"
	"time"
)

// lease is a queue's x-expires: the queue goes when nobody has used it for that long. A consumer uses it as long as there
// is one; a declaration and basic.get use it at that moment.
type lease struct {
	used atomic.Int64 // nanoseconds since 1970

	mu    sync.Mutex
	after time.Duration // guarded by mu; zero: the queue stays
	timer *time.Timer   // guarded by mu; nil unless after is set
}

func (l *lease) use() { l.used.Store(time.Now().UnixNano()) }

// set begins a lease of a queue, or changes how long it is; zero ends it.
func (l *lease) set(q *Queue, after time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if after == l.after {
		return
	}
	l.after = after
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if after > 0 {
		l.use()
		l.timer = time.AfterFunc(after, func() { l.look(q) })
	}
}

// look ends the lease if its time has come, or looks again when it may have.
func (l *lease) look(q *Queue) {
	l.mu.Lock()
	if l.timer == nil {
		l.mu.Unlock()
		return
	}
	if q.live.consumers.Load() > 0 {
		l.use()
	}
	if left := l.after - time.Since(time.Unix(0, l.used.Load())); left > 0 {
		l.timer.Reset(left)
		l.mu.Unlock()
		return
	}
	l.timer.Reset(l.after) // for the case that somebody uses the queue just now
	l.mu.Unlock()
	q.host.removeUnused(q)
}
