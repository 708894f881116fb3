package journal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
)

// carried are the newest HardState and Checkpoint records of each group and the newest Free record. The first commit of
// each segment repeats them, so that older segments are not needed for them. It belongs to the journal's goroutine.
type carried struct {
	records map[carryKey]Record
	due     bool // the current segment does not have them yet
	bytes   int  // of all of them as they are stored
}

type carryKey struct {
	kind  Type
	group uint32
}

func (t Type) carried() bool { return t == HardState || t == Checkpoint || t == Free }

// keep takes note of a record that is written or was found, if it is one to carry; its data are copied.
func (c *carried) keep(r *Record) {
	if !r.Type.carried() {
		return
	}
	if c.records == nil {
		c.records = make(map[carryKey]Record)
	}
	key := carryKey{r.Type, r.Group}
	if old, ok := c.records[key]; ok {
		c.bytes -= recordHeader + len(old.Data)
	}
	k := *r
	k.Data = slices.Clone(r.Data)
	c.records[key] = k
	c.bytes += recordHeader + len(k.Data)
}

// list answers the records in an order that does not depend on the map.
func (c *carried) list() []Record {
	keys := make([]carryKey, 0, len(c.records))
	for k := range c.records {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b carryKey) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.group, b.group))
	})
	all := make([]Record, len(keys))
	for i, k := range keys {
		all[i] = c.records[k]
	}
	return all
}

// size is what they take in a new segment, footer included.
func (c *carried) size() int64 { return int64(c.bytes) + int64(len(c.records))*maxIndexed }

// State answers the newest record of a type (HardState, Checkpoint) and group that Open found; its data must not be
// changed. It may be called before the first Append.
func (j *Journal) State(t Type, group uint32) (Record, bool) {
	r, ok := j.carried.records[carryKey{t, group}]
	return r, ok
}

// freed are released segments that are not the oldest ones: a set that a Free record holds as rising differences.
type freed map[uint64]bool

func (f freed) append(dst []byte) []byte {
	all := make([]uint64, 0, len(f))
	for n := range f {
		all = append(all, n)
	}
	slices.Sort(all)
	last := uint64(0)
	for _, n := range all {
		dst = binary.AppendUvarint(dst, n-last)
		last = n
	}
	return dst
}

var errFree = errors.New("the list of released segments cannot be read")

func decodeFreed(data []byte) (freed, error) {
	f := make(freed)
	c := cursor{data: data}
	for last := uint64(0); len(c.data) > 0; {
		step := c.uvarint()
		if c.bad || step == 0 || last+step < last {
			return nil, errFree
		}
		last += step
		f[last] = true
	}
	return f, nil
}

// release notes that segments are no longer needed and answers the record that says so. What is released at the old end
// moves the oldest segment, the rest are gaps.
func (j *Journal) release(segments []uint64) Record {
	for _, n := range segments {
		if n >= j.releasing && n < j.current.sequence {
			j.gaps[n] = true
		}
	}
	for j.gaps[j.releasing] {
		delete(j.gaps, j.releasing)
		j.releasing++
	}
	return Record{Type: Free, Data: j.gaps.append(nil)}
}
