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

// Segment answers what the group has in a segment; false when that is nothing.
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
	Pieces []Piece // alive, rising
	from   place
	to     place
	term   uint64
}

// Lies says whether an entry lies in a segment.
func (g *Group) Lies(index, segment uint64) bool { return g.log.places.get(index).segment() == segment }

// NewMove prepares the move of an entry; it is for Store.Relocate.
func (g *Group) NewMove(index uint64, pieces []Piece) Move {
	term, err := g.log.Term(index)
	if err != nil {
		term = 0 // it is compacted; a relocation is found by its index alone
	}
	return Move{Index: index, Pieces: pieces, from: g.log.places.get(index), term: term}
}

// Relocate copies what is alive of entries to the end of the log and calls done when that is durable, by the journal's
// goroutine, or when it failed. It is not called by the group's owner, who passes the moves to Moved afterwards. There
// may be a mebibyte of them, or one larger entry.
func (s *Store) Relocate(group uint32, moves []Move, done func(error)) {
	records := make([]journal.Record, len(moves))
	for i := range moves {
		m := &moves[i]
		r, err := s.journal.Read(m.from.position(), nil)
		if err == nil {
			records[i], err = m.record(group, r.Data)
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

func (m *Move) record(group uint32, data []byte) (journal.Record, error) {
	if !m.from.moved() {
		return relocation(group, m.Index, m.term, data, m.Pieces)
	}
	// What was moved before has its pieces elsewhere than the whole entry had them.
	var whole []byte
	for _, p := range m.Pieces {
		piece, err := findMoved(data, p.At)
		if err != nil {
			return journal.Record{}, err
		}
		if n := int(p.At+p.Length) - len(whole); n > 0 {
			whole = append(whole, make([]byte, n)...)
		}
		if copy(whole[p.At:p.At+p.Length], piece) < int(p.Length) {
			return journal.Record{}, fmt.Errorf("group %d: entry %d: the piece at %d is cut short: %w", group, m.Index, p.At, ErrDamaged)
		}
	}
	return relocation(group, m.Index, m.term, whole, m.Pieces)
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
