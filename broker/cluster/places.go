package cluster

import "github.com/turnstone-mq/turnstone/broker/journal"

// place is where the journal has an entry: segment and offset, and whether what lies there is the whole entry or a
// Relocation record with what is alive of it.
type place uint64

const (
	gone       place = 0
	relocated  place = 1 << 63
	chunkBits        = 10
	chunkLen         = 1 << chunkBits
	maxSegment       = 1<<31 - 1
)

func newPlace(p journal.Position, moved bool) place {
	at := place(p.Segment)<<32 | place(p.Offset)
	if moved {
		at |= relocated
	}
	return at
}

func (p place) segment() uint64 { return uint64(p&^relocated) >> 32 }
func (p place) moved() bool     { return p&relocated != 0 }
func (p place) position() journal.Position {
	return journal.Position{Segment: p.segment(), Offset: uint32(p)}
}

// places are the places of a group's entries by index: eight bytes an entry, in chunks that go when none of their entries
// is in the journal any more.
type places struct {
	base   uint64 // number of chunks[0]
	chunks []*placeChunk
}

type placeChunk struct {
	at   [chunkLen]place
	used int // that are not gone
}

func (ps *places) get(index uint64) place {
	n := index >> chunkBits
	if n < ps.base || n >= ps.base+uint64(len(ps.chunks)) || ps.chunks[n-ps.base] == nil {
		return gone
	}
	return ps.chunks[n-ps.base].at[index&(chunkLen-1)]
}

func (ps *places) set(index uint64, p place) {
	n := index >> chunkBits
	if len(ps.chunks) == 0 {
		ps.base = n
	}
	for n < ps.base { // a relocation of an entry before all others that are left
		ps.chunks = append([]*placeChunk{nil}, ps.chunks...)
		ps.base--
	}
	for n >= ps.base+uint64(len(ps.chunks)) {
		ps.chunks = append(ps.chunks, nil)
	}
	c := ps.chunks[n-ps.base]
	if c == nil {
		if p == gone {
			return
		}
		c = &placeChunk{}
		ps.chunks[n-ps.base] = c
	}
	slot := &c.at[index&(chunkLen-1)]
	if *slot == gone {
		c.used++
	}
	if *slot = p; p == gone {
		c.used--
	}
	if c.used == 0 {
		ps.chunks[n-ps.base] = nil
		ps.trim()
	}
}

// trim drops the empty chunks at both ends.
func (ps *places) trim() {
	for len(ps.chunks) > 0 && ps.chunks[0] == nil {
		ps.chunks = ps.chunks[1:]
		ps.base++
	}
	for len(ps.chunks) > 0 && ps.chunks[len(ps.chunks)-1] == nil {
		ps.chunks = ps.chunks[:len(ps.chunks)-1]
	}
}

// share is what one group has in one segment.
type share struct {
	first, last uint64 // entries whose place is or was there
	newest      uint64 // the last one that lies there whole, and is therefore needed until a checkpoint has it
	live        int64  // bytes of it that the machine needs, as it said by Use
}

// shares are a group's shares by segment.
type shares map[uint64]*share

// add notes that an entry lies in a segment.
func (s shares) add(index uint64, p place) {
	x := s[p.segment()]
	if x == nil {
		x = &share{first: index, last: index}
		s[p.segment()] = x
	}
	x.first, x.last = min(x.first, index), max(x.last, index)
	if !p.moved() {
		x.newest = max(x.newest, index)
	}
}
