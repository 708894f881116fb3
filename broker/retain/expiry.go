package retain

import (
	"container/heap"

	"github.com/turnstone-mq/turnstone/broker/message"
)

// expiry finds the message that expires first. An entry whose message is no longer that of its topic is stale; stale
// entries are passed over, and swept when they are the majority, so that a topic that is set again and again with a far
// expiry costs no memory.
type expiry struct {
	entries expiries
	stale   int
}

// minSweep is from how many entries on a sweep is worth its walk.
const minSweep = 64

func (x *expiry) add(topic string, m *message.Message) {
	if m.Expiry != 0 {
		heap.Push(&x.entries, Expired{Topic: topic, Message: m})
	}
}

// discard notes that m is no longer in topics.
func (x *expiry) discard(m *message.Message, topics *ordered) {
	if m.Expiry == 0 {
		return
	}
	x.stale++
	if len(x.entries) < minSweep || x.stale <= len(x.entries)/2 {
		return
	}
	living := x.entries[:0]
	for _, e := range x.entries {
		if topics.get(e.Topic) == e.Message {
			living = append(living, e)
		}
	}
	clear(x.entries[len(living):])
	x.entries, x.stale = living, 0
	heap.Init(&x.entries)
}

// next takes out the first message that has expired at now.
func (x *expiry) next(now int64, topics *ordered) (Expired, bool) {
	for len(x.entries) > 0 && x.entries[0].Message.Expiry <= now {
		e := heap.Pop(&x.entries).(Expired)
		if topics.get(e.Topic) == e.Message {
			return e, true
		}
		x.stale--
	}
	return Expired{}, false
}

// expiries is a heap.Interface, earliest first.
type expiries []Expired

func (h expiries) Len() int           { return len(h) }
func (h expiries) Less(i, j int) bool { return h[i].Message.Expiry < h[j].Message.Expiry }
func (h expiries) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiries) Push(e any)        { *h = append(*h, e.(Expired)) }

func (h *expiries) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = Expired{}
	*h = (*h)[:last]
	return e
}
