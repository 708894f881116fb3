// Package cluster runs raft groups on the journal. It knows bytes: what an entry means is the business of the Machine that
// it is applied to.
//
// A Store is what one node keeps for all of its groups: their entries in the one journal, and a checkpoint of each
// group's state. A Group is one raft group: consensus is go.etcd.io/raft/v3 with asynchronous storage writes, so that an
// entry is applied only when it is on this node's own disk. A group with this node as its only voter is the same code
// and the same files as one with three: nothing is converted when voters are added.
//
// # Who calls what
//
// A Group has no goroutine and no lock: its owner, one goroutine, makes every call. The journal's word about a write
// arrives through GroupOptions.Notify; the owner passes it to Written and then calls Advance, as it does after Propose,
// Step and Tick. Advance hands entries to the journal, applies what is committed and sends messages. Loop is an owner
// for groups that have no other.
//
// # What is where
//
// An entry's position for everybody above is its index: it is the same on every replica. Where the journal has it is
// known here alone (places), so the cleaner can move what is alive in an old segment without telling anybody. A segment
// is given back when no group needs it: each of its entries is in a durable checkpoint, and nothing alive lies in it.
package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

// Options of Open.
type Options struct {
	FS      vfs.FS
	Dir     string // of the journal; checkpoints lie beside its segments
	Journal *journal.Journal
	Logger  *slog.Logger
}

// Store is the log and the checkpoints of a node's groups.
type Store struct {
	fs      vfs.FS
	dir     string
	journal *journal.Journal
	logger  *slog.Logger
	found   map[uint32][]found // what Open found, until the group is made
}

// found is a record of a group that Open found.
type found struct {
	kind    journal.Type
	segment uint64
	offset  uint32
	index   uint64
	term    uint64
}

// Open reads what the journal says of each group, without reading entries.
func Open(o Options) (*Store, error) {
	s := &Store{fs: o.FS, dir: o.Dir, journal: o.Journal, logger: o.Logger, found: make(map[uint32][]found)}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	for _, segment := range s.journal.Segments() {
		err := s.journal.Index(segment.Sequence, func(x journal.Indexed) error {
			if x.Type == journal.Entry || x.Type == journal.Relocation {
				s.found[x.Group] = append(s.found[x.Group], found{x.Type, segment.Sequence, x.Offset, x.Index, x.Term})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Groups are the numbers of the groups that the journal has entries of, in order.
func (s *Store) Groups() []uint32 {
	all := make([]uint32, 0, len(s.found))
	for id := range s.found {
		all = append(all, id)
	}
	slices.SortFunc(all, cmp.Compare)
	return all
}

// Replay applies to groups that were recovered and not started yet what is committed and newer than their checkpoints,
// reading each segment once.
func (s *Store) Replay(groups ...*Group) error {
	byID := make(map[uint32]*Group)
	from := s.journal.Newest() + 1
	for _, g := range groups {
		byID[g.id] = g
		if p := g.log.places.get(g.applied + 1); g.applied < g.replayTo() && p != gone {
			from = min(from, p.segment())
		}
	}
	err := s.journal.Replay(from, func(r journal.Record, at journal.Position) error {
		if g := byID[r.Group]; g != nil && r.Type == journal.Entry {
			return g.replay(r, at)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, g := range groups {
		if g.applied < g.replayTo() {
			return fmt.Errorf("group %d: entry %d is not in the journal: %w", g.id, g.applied+1, ErrDamaged)
		}
	}
	return nil
}

// ErrDamaged: the journal and the checkpoints do not fit together. Nothing was changed.
var ErrDamaged = errors.New("the log is damaged; nothing was deleted: restore the data directory from a copy, or move it away to begin empty")
