package cluster

import (
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// log is a group's log as raft reads it: what is on this node's disk. [raft.Storage]
type log struct {
	group   uint32
	journal *journal.Journal
	places  places
	shares  shares
	terms   []termRun // of the entries from first-1 on, oldest first
	first   uint64    // the oldest entry that raft may ask for; what is before is in the checkpoint
	last    uint64    // zero entries: first-1
	hard    *raftpb.HardState
	conf    *raftpb.ConfState // as of the checkpoint, or of what was replayed
	recent  []*raftpb.Entry   // the newest entries without a gap, up to last: those that are not applied, and more for peers
}

// termRun says from which index on entries have a term.
type termRun struct{ from, term uint64 }

func (l *log) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return l.hard, l.conf, nil
}

func (l *log) FirstIndex() (uint64, error) { return l.first, nil }
func (l *log) LastIndex() (uint64, error)  { return l.last, nil }

// Term answers the term of an entry, also of the one before the first.
func (l *log) Term(i uint64) (uint64, error) {
	if i+1 < l.first {
		return 0, raft.ErrCompacted
	}
	if i > l.last {
		return 0, raft.ErrUnavailable
	}
	for k := len(l.terms) - 1; k >= 0; k-- {
		if l.terms[k].from <= i {
			return l.terms[k].term, nil
		}
	}
	return 0, raft.ErrCompacted
}

// Snapshot has none to give yet: a group keeps the entries that a voter may lack.
func (l *log) Snapshot() (*raftpb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

func (l *log) Entries(lo, hi, most uint64) ([]*raftpb.Entry, error) {
	if lo < l.first {
		return nil, raft.ErrCompacted
	}
	if hi > l.last+1 {
		return nil, raft.ErrUnavailable
	}
	var all []*raftpb.Entry
	size := uint64(0)
	for i := lo; i < hi; i++ {
		e, err := l.entry(i)
		if err != nil {
			return nil, err
		}
		if size += uint64(len(e.Data)) + entryOverhead; size > most && len(all) > 0 {
			break
		}
		all = append(all, e)
	}
	return all, nil
}

// entryOverhead is about what an entry's term, index and type count beside its data.
const entryOverhead = 24

func (l *log) entry(i uint64) (*raftpb.Entry, error) {
	if n := uint64(len(l.recent)); n > 0 && i+n > l.last {
		return l.recent[i+n-l.last-1], nil
	}
	p := l.places.get(i)
	if p == gone || p.moved() {
		return nil, raft.ErrUnavailable
	}
	r, err := l.journal.Read(p.position(), nil)
	if err != nil {
		return nil, err
	}
	if r.Group != l.group || r.Index != i {
		return nil, fmt.Errorf("entry %d of group %d is not at %v: %w", i, l.group, p.position(), ErrDamaged)
	}
	return decodeEntry(r)
}

// append adds entries that are durable now; from the first of them on they replace what was there.
func (l *log) append(entries []*raftpb.Entry, at []journal.Position) {
	first := entries[0].GetIndex()
	l.cut(first)
	for i, e := range entries {
		l.place(e.GetIndex(), e.GetTerm(), newPlace(at[i], false))
	}
	l.recent = append(l.recent, entries...)
}

// cut removes the entries from an index on: another leader never knew them.
func (l *log) cut(from uint64) {
	if from > l.last {
		return
	}
	if n := l.last + 1 - from; n >= uint64(len(l.recent)) {
		l.recent = nil
	} else {
		l.recent = l.recent[:uint64(len(l.recent))-n]
	}
	for i := from; i <= l.last; i++ {
		l.places.set(i, gone)
	}
	for len(l.terms) > 0 && l.terms[len(l.terms)-1].from >= from {
		l.terms = l.terms[:len(l.terms)-1]
	}
	l.last = from - 1
}

// place notes where the entry after the last one is.
func (l *log) place(index, term uint64, p place) {
	l.places.set(index, p)
	l.shares.add(index, p)
	l.last = index
	if n := len(l.terms); n == 0 || l.terms[n-1].term != term {
		l.terms = append(l.terms, termRun{from: index, term: term})
	}
}

// applied lets go of recent entries that nobody will ask for soon.
func (l *log) applied(index uint64) {
	n := uint64(len(l.recent))
	if n == 0 {
		return
	}
	first := l.last + 1 - n
	if index < first {
		return
	}
	drop := index + 1 - first
	clear(l.recent[:drop])
	if l.recent = l.recent[drop:]; len(l.recent) == 0 {
		l.recent = nil
	}
}

// compact lets go of the entries up to an index, which a durable checkpoint has.
func (l *log) compact(index, term uint64) {
	l.first = index + 1
	for len(l.terms) > 1 && l.terms[1].from <= index {
		l.terms = l.terms[1:]
	}
	if len(l.terms) == 0 || l.terms[0].from > index {
		l.terms = append([]termRun{{from: index, term: term}}, l.terms...)
	}
	l.last = max(l.last, index)
}

// record is an entry as the journal has it.
func record(group uint32, e *raftpb.Entry) journal.Record {
	r := journal.Record{Type: journal.Entry, Group: group, Term: e.GetTerm(), Index: e.GetIndex(), Data: e.Data}
	if e.GetType() != raftpb.EntryNormal {
		r.Type = journal.Membership
	}
	return r
}

// decodeEntry is the reverse of record; the entry aliases the record's data.
func decodeEntry(r journal.Record) (*raftpb.Entry, error) {
	e := &raftpb.Entry{Term: &r.Term, Index: &r.Index, Data: r.Data}
	switch r.Type {
	case journal.Entry:
		return e, nil
	case journal.Membership:
		e.Type = raftpb.EntryConfChangeV2.Enum()
		return e, nil
	}
	return nil, fmt.Errorf("record of type %d is not an entry: %w", r.Type, ErrDamaged)
}

var _ raft.Storage = (*log)(nil)
