package journal

import (
	"bytes"
	"encoding/binary"
	"sync"
)

// Ahead reads records one after another, and where they lie close to one another in a segment it reads what is behind a
// record with it, so that a backlog of small records does not cost a system call for each. It belongs to one goroutine.
type Ahead struct {
	journal *Journal
	window  *[]byte // nil while nothing is read; from windows
	segment uint64
	from    uint32 // what window holds of segment: from to to
	to      uint32
	last    Position
}

const (
	windowBytes = 256 << 10
	// closeBytes is how far behind the last record one may be that is read with what is behind it.
	closeBytes = windowBytes
	// mostAhead is up to which size records are read ahead: larger ones are worth a call of their own.
	mostAhead = windowBytes / 8
)

var windows = sync.Pool{New: func() any { b := make([]byte, windowBytes); return &b }}

// Ahead makes a reader of the journal.
func (j *Journal) Ahead() *Ahead { return &Ahead{journal: j} }

// Read answers the record at a position, as Journal.Read does. Its data are the caller's.
func (a *Ahead) Read(p Position) (Record, error) {
	if r, ok := a.held(p); ok {
		a.last = p
		return r, nil
	}
	near := p.Segment == a.last.Segment && p.Offset > a.last.Offset && p.Offset-a.last.Offset < closeBytes
	a.last = p
	if near {
		if err := a.fill(p); err != nil {
			return Record{}, err
		}
		if r, ok := a.held(p); ok {
			return r, nil
		}
	}
	return a.journal.Read(p, nil)
}

// held answers the record if all of it is in the window, and it is not so large that it should not be copied.
func (a *Ahead) held(p Position) (Record, bool) {
	if a.window == nil || p.Segment != a.segment || p.Offset < a.from || p.Offset+recordHeader > a.to {
		return Record{}, false
	}
	src := (*a.window)[p.Offset-a.from : a.to-a.from]
	if binary.LittleEndian.Uint32(src[4:]) > mostAhead {
		return Record{}, false
	}
	r, _, err := decodeRecord(src, p.Segment)
	if err != nil {
		return Record{}, false // Read says what is wrong
	}
	r.Data = bytes.Clone(r.Data)
	return r, true
}

// fill reads the window that begins at a position.
func (a *Ahead) fill(p Position) error {
	s, err := a.journal.hold(p.Segment)
	if err != nil {
		return err
	}
	defer a.journal.letGo(s)
	if a.window == nil {
		a.window = windows.Get().(*[]byte)
	}
	n := min(int64(len(*a.window)), s.size-int64(p.Offset))
	a.segment, a.from, a.to = p.Segment, p.Offset, p.Offset
	if n < recordHeader {
		return nil
	}
	if err := s.readAt((*a.window)[:n], int64(p.Offset)); err != nil {
		return err
	}
	a.to += uint32(n)
	return nil
}

// Done gives the window back. The next Read begins anew.
func (a *Ahead) Done() {
	if a.window != nil {
		windows.Put(a.window)
		a.window = nil
	}
	a.last = Position{}
}
