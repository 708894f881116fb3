package cluster

import (
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/journal"
)

// SegmentUse is what a group has in a segment.
type SegmentUse struct {
	First, Last uint64 // entries that lie there, or did
	Replayed    bool   // entries are not in the group's checkpoint yet
	Live        int64  // bytes that the machine needs
}

// Segment answers what the group has in a segment; false when that is nothing. It knows of the writes that were passed to
// Written: ask about segments that were sealed before the newest of those.
func (g *Group) Segment(n uint64) (SegmentUse, bool) {
	x := g.log.shares[n]
	if x == nil {
		return SegmentUse{}, false
	}
	return SegmentUse{First: x.first, Last: x.last, Replayed: x.newest >= g.log.first, Live: x.live}, true
}

// Oldest is the oldest segment that recovery needs of the group, beside what lives in others; zero when it needs none.
func (g *Group) Oldest() uint64 {
	if g.applied < g.log.first {
		return 0
	}
	return g.log.places.get(g.log.first).segment()
}

// LiveBytes is what the machine needs in all segments.
func (g *Group) LiveBytes() (n int64) {
	for _, x := range g.log.shares {
		n += x.live
	}
	return n
}

// Forget says that a segment in which nothing is needed is about to be released.
func (g *Group) Forget(n uint64) {
	x := g.log.shares[n]
	if x == nil {
		return
	}
	if x.live != 0 || x.newest >= g.log.first {
		panic(fmt.Sprintf("group %d needs segment %d", g.id, n))
	}
	for i := x.first; i <= x.last; i++ {
		if g.log.places.get(i).segment() == n {
			g.log.places.set(i, gone)
		}
	}
	delete(g.log.shares, n)
}

// Move is an entry of which only pieces are alive, on its way to another segment.
type Move struct {
	Index  uint64
	Pieces []uint32 // where they begin in the whole entry, rising
	from   place
	to     place
}

// Lies says whether an entry lies in a segment.
func (g *Group) Lies(index, segment uint64) bool {
	p := g.log.places.get(index)
	return p != gone && p.segment() == segment
}

// NewMove prepares the move of an entry; it is for Store.Relocate.
func (g *Group) NewMove(index uint64, pieces []uint32) Move {
	return Move{Index: index, Pieces: pieces, from: g.log.places.get(index)}
}

// Relocate copies what is alive of entries to the end of the log and calls done when that is durable, by the journal's
// goroutine, or when it failed. It is not called by the group's owner, who passes the moves to Moved afterwards. There
// may be about a mebibyte of them, or one larger entry. Measure answers how long the piece is that begins some data.
func (s *Store) Relocate(group uint32, moves []Move, measure func([]byte) (int, error), done func(error)) {
	records := make([]journal.Record, len(moves))
	for i := range moves {
		m := &moves[i]
		r, err := s.journal.Read(m.from.position(), nil)
		if err == nil {
			records[i], err = relocation(group, m.Index, r.Term, Body{r.Data, m.from.moved()}, m.Pieces, measure)
		}
		if err != nil {
			done(err)
			return
		}
	}
	s.journal.Append(records, func(at []journal.Position, err error) {
		for i := range at {
			moves[i].to = newPlace(at[i], true)
		}
		done(err)
	})
}

// Moved says where entries are now. Live answers how many bytes of an entry the machine still needs.
func (g *Group) Moved(moves []Move, live func(index uint64) int64) {
	for i := range moves {
		m := &moves[i]
		if g.log.places.get(m.Index) != m.from {
			continue
		}
		g.log.places.set(m.Index, m.to)
		g.log.shares.add(m.Index, m.to)
		n := live(m.Index)
		g.log.shares[m.from.segment()].live -= n
		g.log.shares[m.to.segment()].live += n
	}
}

// Release gives segments back that no group needs any more.
func (s *Store) Release(segments ...uint64) error { return s.journal.Release(segments...) }
