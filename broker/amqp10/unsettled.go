package amqp10

import (
	"math/bits"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/hub"
)

// unsettled is the deliveries of one session that the peer got and did not settle, by delivery-id.
//
// Ids of a session rise by one with each delivery of any of its links, settled ones included; the hub counts by consumer. A
// run is deliveries next to one another in both, so that what left as a batch takes one entry and is settled as one range.
// Settling out of order costs a run a bitmap, not a split. Ids are kept with 64 bits, so that runs are in order whatever
// the 32 bits on the wire do.
type unsettled struct {
	next uint64 // the id that is given next
	live int    // deliveries that are not settled
	runs []run  // by first
	dead int    // runs without a live delivery
}

// maxRun is how many deliveries a run has at most: those of its bitmap.
const maxRun = 1024

type run struct {
	link     *outgoing
	first    uint64
	hubFirst uint64 // tag of the hub's consumer
	count    uint32
	from     uint32               // those before are settled
	live     uint32               // those from on that are not
	since    uint32               // second of the endpoint in which the first was delivered; the others follow within timeoutGrain
	settled  *[maxRun / 64]uint64 // nil while everything from on is live
}

// taken is deliveries of one link that were settled: Range is in the hub's tags and may contain ones that were settled
// before, which the hub passes over.
type taken struct {
	link *outgoing
	hub.Range
}

// skip gives the next id to a delivery that is settled already.
func (u *unsettled) skip() uint32 {
	u.next++
	return uint32(u.next - 1)
}

// add gives the next id to a delivery.
func (u *unsettled) add(l *outgoing, hubTag uint64, now uint32) uint32 {
	id := u.next
	u.next++
	u.live++
	if n := len(u.runs); n > 0 {
		r := &u.runs[n-1]
		if r.link == l && r.count < maxRun && now-r.since < timeoutGrain && r.live > 0 && r.first+uint64(r.count) == id && r.hubFirst+uint64(r.count) == hubTag {
			r.count++
			r.live++
			return uint32(id)
		}
	}
	u.runs = append(u.runs, run{link: l, first: id, hubFirst: hubTag, count: 1, live: 1, since: now})
	return uint32(id)
}

// wide is an id of the wire with all its bits; those that were not given yet are behind next. 2 §2.8.10
func (u *unsettled) wide(id uint32) uint64 {
	return u.next + uint64(int64(int32(id-uint32(u.next))))
}

// take settles the deliveries of a range that are not settled, and appends what that is to dst.
func (u *unsettled) take(first, last uint32, dst []taken) []taken {
	from, to := u.wide(first), u.wide(last)
	if from > to || len(u.runs) == 0 {
		return dst
	}
	dead := u.dead
	for i := u.search(from); i < len(u.runs) && u.runs[i].first <= to; i++ {
		r := &u.runs[i]
		t, n := r.take(from, to)
		if n == 0 {
			continue
		}
		u.live -= int(n)
		if r.live == 0 {
			u.dead++
		}
		dst = append(dst, t)
	}
	if u.dead > dead {
		u.trim()
	}
	return dst
}

// search is where the run is that has an id, or the first one behind it.
func (u *unsettled) search(id uint64) int {
	at, _ := slices.BinarySearchFunc(u.runs, id, func(r run, id uint64) int {
		if r.first+uint64(r.count) <= id {
			return -1
		}
		return 1
	})
	return at
}

// each calls fn for the deliveries of a range that are not settled, with their tags of the hub.
func (u *unsettled) each(first, last uint32, fn func(l *outgoing, id, tag uint64)) {
	from, to := u.wide(first), u.wide(last)
	if from > to {
		return
	}
	for i := u.search(from); i < len(u.runs) && u.runs[i].first <= to; i++ {
		r := &u.runs[i]
		if r.live == 0 {
			continue
		}
		end := min(to+1, r.first+uint64(r.count))
		for id := max(from, r.first+uint64(r.from)); id < end; id++ {
			if at := uint32(id - r.first); r.settled == nil || r.marks(at, at+1) == 0 {
				fn(r.link, id, r.hubFirst+uint64(at))
			}
		}
	}
}

// trim drops runs without a live delivery, at the front as they come and elsewhere when they are more than half.
func (u *unsettled) trim() {
	for len(u.runs) > 0 && u.runs[0].live == 0 {
		u.runs[0] = run{}
		u.runs = u.runs[1:]
		u.dead--
	}
	switch {
	case len(u.runs) == 0:
		u.runs = nil
	case u.dead > 32 && u.dead > len(u.runs)/2:
		u.runs = slices.DeleteFunc(u.runs, func(r run) bool { return r.live == 0 })
		u.dead = 0
	}
}

// drop forgets the deliveries of a link.
func (u *unsettled) drop(l *outgoing) {
	u.runs = slices.DeleteFunc(u.runs, func(r run) bool {
		if r.link == l {
			u.live -= int(r.live)
		}
		return r.link == l || r.live == 0
	})
	u.dead = 0
}

// take settles what is live of a run from from to to, and says how much that was.
func (r *run) take(from, to uint64) (t taken, n uint32) {
	begin := r.from
	if from > r.first {
		begin = max(begin, uint32(min(from-r.first, uint64(r.count))))
	}
	end := uint32(min(uint64(r.count), to-r.first+1))
	if end <= begin || r.live == 0 {
		return t, 0
	}
	n = end - begin
	if r.settled != nil {
		n -= r.marks(begin, end)
	}
	if n == 0 {
		return t, 0
	}
	if begin == r.from {
		r.from = end
	} else {
		r.mark(begin, end)
	}
	if r.live -= n; r.live == 0 {
		r.settled = nil
	}
	return taken{link: r.link, Range: hub.Range{From: r.hubFirst + uint64(begin), To: r.hubFirst + uint64(end) - 1}}, n
}

// words calls fn for each word of the bitmap with the bits from from to end, which is not included.
func words(from, end uint32, fn func(word int, mask uint64)) {
	for w := from / 64; w <= (end-1)/64; w++ {
		mask := ^uint64(0)
		if w == from/64 {
			mask &= ^uint64(0) << (from % 64)
		}
		if w == (end-1)/64 {
			mask &= ^uint64(0) >> (63 - (end-1)%64)
		}
		fn(int(w), mask)
	}
}

func (r *run) mark(from, end uint32) {
	if r.settled == nil {
		r.settled = new([maxRun / 64]uint64)
	}
	words(from, end, func(w int, mask uint64) { r.settled[w] |= mask })
}

func (r *run) marks(from, end uint32) (n uint32) {
	words(from, end, func(w int, mask uint64) { n += uint32(bits.OnesCount64(r.settled[w] & mask)) })
	return n
}
