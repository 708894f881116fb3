package retain

import "container/heap"

// expiry finds the message that expires first. An entry is stale when the message of its topic expires at another time, or
// is gone; stale entries are passed over, and swept when they are the majority, so that a topic that is set again and again
// with a far expiry costs no memory.
type expiry struct {
	entries expiries
	stale   int // at least as many as are
}

// minSweep is from how many entries on a sweep is worth its walk.
const minSweep = 64

func (x *expiry) add(topic string, at int64) {
	if at != 0 {
		heap.Push(&x.entries, expiring{topic: topic, at: at})
	}
}

// discard notes that a message that expires at a time is no longer in topics.
func (x *expiry) discard(at int64, topics *ordered) {
	if at == 0 {
		return
	}
	x.stale++
	if len(x.entries) < minSweep || x.stale <= len(x.entries)/2 {
		return
	}
	living := x.entries[:0]
	for _, e := range x.entries {
		if e.lives(topics) {
			living = append(living, e)
		}
	}
	clear(x.entries[len(living):])
	x.entries, x.stale = living, 0
	heap.Init(&x.entries)
}

// next takes out the topic of the first message that has expired at now.
func (x *expiry) next(now int64, topics *ordered) (string, bool) {
	for len(x.entries) > 0 && x.entries[0].at <= now {
		e := heap.Pop(&x.entries).(expiring)
		if e.lives(topics) {
			return e.topic, true
		}
		x.stale = max(x.stale-1, 0)
	}
	return "", false
}

// expiring is an entry: a topic and when its message expires.
type expiring struct {
	topic string
	at    int64
}

func (e *expiring) lives(topics *ordered) bool {
	it := topics.get(e.topic)
	return it != nil && it.record.message(e.topic).Expiry == e.at
}

// expiries is a heap.Interface, earliest first.
type expiries []expiring

func (h expiries) Len() int           { return len(h) }
func (h expiries) Less(i, j int) bool { return h[i].at < h[j].at }
func (h expiries) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiries) Push(e any)        { *h = append(*h, e.(expiring)) }

func (h *expiries) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = expiring{}
	*h = (*h)[:last]
	return e
}
