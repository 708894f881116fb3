package amqp091

import (
	"math/bits"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/hub"
)

// unacked is the deliveries of one channel that were not acknowledged, by delivery tag.
//
// Tags of a channel rise by one with each delivery of any of its consumers; the hub counts by consumer. A run is
// deliveries next to one another in both, so that what arrived as a batch takes one entry and is acknowledged as one
// range. Acknowledging out of order costs a run a bitmap, not a split.
//
// Outline: runs[head:] in the order of tags; a run whose tags are all settled is dropped when it comes to the head, and
// those in between when they are more than half.
type unacked struct {
	last uint64 // the tag given last
	live int    // tags that are not settled
	runs []run
	head int
	dead int // runs behind head without a live tag
	// returned is how many deliveries to consumers (not of basic.get) were settled since somebody set it to zero.
	returned int
}

// maxRun is how many tags a run has at most: those of its bitmap.
const maxRun = 1024

type run struct {
	consumer *consumer
	first    uint64 // tag of the channel
	hubFirst uint64 // tag of the hub's consumer
	count    uint32
	from     uint32               // those before are settled
	live     uint32               // those from on that are not
	since    uint32               // second of the endpoint in which the first was delivered; the others follow within timeoutGrain
	settled  *[maxRun / 64]uint64 // nil while everything from on is live
}

// add gives the next tag to a delivery that needs an acknowledgement.
func (u *unacked) add(c *consumer, hubTag uint64, now uint32) uint64 {
	u.last++
	u.live++
	c.unsettled++
	if n := len(u.runs); n > u.head {
		r := &u.runs[n-1]
		if r.consumer == c && r.count < maxRun && now-r.since < timeoutGrain && r.live > 0 && r.first+uint64(r.count) == u.last && r.hubFirst+uint64(r.count) == hubTag {
			r.count++
			r.live++
			return u.last
		}
	}
	u.runs = append(u.runs, run{consumer: c, first: u.last, hubFirst: hubTag, count: 1, live: 1, since: now})
	return u.last
}

// skip gives the next tag to a delivery that needs no acknowledgement.
func (u *unacked) skip() uint64 {
	u.last++
	return u.last
}

// settled is what became of deliveries of one consumer: Range is in the hub's tags and may contain ones that were
// settled before, which the hub passes over.
type settledRange struct {
	consumer *consumer
	hub.Range
}

// take settles a tag, or with multiple it and all before it, and appends what that is to dst. Tag zero with multiple is
// everything. It answers false, and settles nothing, if the tag is not live.
func (u *unacked) take(tag uint64, multiple bool, dst []settledRange) ([]settledRange, bool) {
	if tag == 0 && multiple {
		return u.takeUpTo(u.last, dst), true
	}
	r := u.find(tag)
	if r == nil {
		return dst, false
	}
	if multiple {
		return u.takeUpTo(tag, dst), true
	}
	dst = append(dst, r.one(tag))
	u.settle(r, 1)
	u.trim()
	return dst, true
}

// find is the run of a tag that is live; nil if it is not.
func (u *unacked) find(tag uint64) *run {
	i, found := slices.BinarySearchFunc(u.runs[u.head:], tag, func(r run, tag uint64) int {
		switch {
		case r.first > tag:
			return 1
		case r.first+uint64(r.count) <= tag:
			return -1
		}
		return 0
	})
	if !found || !u.runs[u.head+i].has(tag) {
		return nil
	}
	return &u.runs[u.head+i]
}

// knows says whether a tag is live.
func (u *unacked) knows(tag uint64) bool { return u.find(tag) != nil }

func (u *unacked) takeUpTo(tag uint64, dst []settledRange) []settledRange {
	for i := u.head; i < len(u.runs) && u.runs[i].first <= tag; i++ {
		r := &u.runs[i]
		if r.live == 0 {
			continue
		}
		s, n := r.upTo(tag)
		if n > 0 {
			dst = append(dst, s)
			u.settle(r, n)
		}
	}
	u.trim()
	return dst
}

func (u *unacked) settle(r *run, n uint32) {
	u.live -= int(n)
	r.consumer.unsettled -= int(n)
	if r.consumer.tag != "" {
		u.returned += int(n)
	}
	if r.live == 0 {
		r.settled = nil
		u.dead++
	}
}

// trim drops runs that have no live tag.
func (u *unacked) trim() {
	for u.head < len(u.runs) && u.runs[u.head].live == 0 {
		u.runs[u.head] = run{}
		u.head++
		u.dead--
	}
	if waiting := len(u.runs) - u.head; u.head > 32 && u.head > waiting || u.dead > 32 && u.dead > waiting/2 {
		kept := slices.DeleteFunc(u.runs[u.head:], func(r run) bool { return r.live == 0 })
		n := copy(u.runs, kept)
		clear(u.runs[n:])
		u.runs, u.head, u.dead = u.runs[:n], 0, 0
	}
	if u.head == len(u.runs) {
		u.runs, u.head = u.runs[:0], 0
	}
}

func (r *run) has(tag uint64) bool {
	i := uint32(tag - r.first)
	return r.live > 0 && i >= r.from && (r.settled == nil || r.settled[i/64]&(1<<(i%64)) == 0)
}

// one settles a tag that is live.
func (r *run) one(tag uint64) settledRange {
	i := uint32(tag - r.first)
	r.live--
	switch {
	case i == r.from:
		r.from++
	default:
		if r.settled == nil {
			r.settled = new([maxRun / 64]uint64)
		}
		r.settled[i/64] |= 1 << (i % 64)
	}
	at := r.hubFirst + uint64(i)
	return settledRange{consumer: r.consumer, Range: hub.Range{From: at, To: at}}
}

// upTo settles what is live up to a tag, and says how much that was.
func (r *run) upTo(tag uint64) (s settledRange, n uint32) {
	end := uint32(min(uint64(r.count), tag-r.first+1))
	if end <= r.from {
		return s, 0
	}
	s = settledRange{consumer: r.consumer, Range: hub.Range{From: r.hubFirst + uint64(r.from), To: r.hubFirst + uint64(end) - 1}}
	n = end - r.from
	if r.settled != nil {
		n -= r.settledWithin(r.from, end)
	}
	r.from = end
	r.live -= n
	return s, n
}

// settledWithin counts the marks of the bitmap from from to end, which is not included.
func (r *run) settledWithin(from, end uint32) uint32 {
	n := 0
	for w := from / 64; w <= (end-1)/64; w++ {
		mask := ^uint64(0)
		if w == from/64 {
			mask &= ^uint64(0) << (from % 64)
		}
		if w == (end-1)/64 {
			mask &= ^uint64(0) >> (63 - (end-1)%64)
		}
		n += bits.OnesCount64(r.settled[w] & mask)
	}
	return uint32(n)
}
