package rate

import (
	"sync/atomic"
	"time"
)

const (
	// burst is how much may be sent at once: what so long a time allows, and one thing in any case.
	burst = time.Second
	// longest bounds what is owed, and so how long a sender waits.
	longest = time.Hour
)

// bucket counts one kind of thing. It is one number, so that many senders can share it without a lock: the time at which
// all that was sent is paid for. While that lies ahead, the sender is over its rate; when it lies a burst back, the
// bucket is full.
type bucket struct{ paid atomic.Int64 }

// cost is how many nanoseconds n things take.
func cost(perSecond float64, n int) int64 {
	return int64(min(float64(n)/perSecond*float64(time.Second), float64(longest)))
}

// full is the earliest that paid counts for.
func full(now int64, perSecond float64) int64 {
	return now - max(int64(burst), cost(perSecond, 1))
}

// spend takes n things into account and answers how long it is until they are paid for.
func (b *bucket) spend(now int64, perSecond float64, n int) time.Duration {
	for {
		was := b.paid.Load()
		paid := min(max(was, full(now, perSecond))+cost(perSecond, n), now+int64(longest))
		if b.paid.CompareAndSwap(was, paid) {
			return time.Duration(max(paid-now, 0))
		}
	}
}

// take is spend for what can be paid for at once; anything else it refuses, unless the bucket is full: what is larger than
// a burst would never pass otherwise.
func (b *bucket) take(now int64, perSecond float64, n int) bool {
	for {
		was, full := b.paid.Load(), full(now, perSecond)
		paid := max(was, full) + cost(perSecond, n)
		if paid > now && was > full {
			return false
		}
		if b.paid.CompareAndSwap(was, min(paid, now+int64(longest))) {
			return true
		}
	}
}

// giveBack undoes a take.
func (b *bucket) giveBack(perSecond float64, n int) {
	if perSecond > 0 {
		b.paid.Add(-cost(perSecond, n))
	}
}

// forgive makes everything paid for.
func (b *bucket) forgive(now int64) {
	for was := b.paid.Load(); was > now && !b.paid.CompareAndSwap(was, now); was = b.paid.Load() {
	}
}
