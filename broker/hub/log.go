package hub

import (
	"fmt"
	"sync"

	"github.com/turnstone-mq/turnstone/broker/journal"
)

// Log is the ordered durable log of one group: the metadata (group 0) or one shard. It is where replication goes: an
// entry is committed when it is on stable storage of this node today, of a majority of nodes when there are more.
type Log interface {
	// Propose adds an entry, which belongs to the log until committed is called: in the order of proposals, by the log's own
	// goroutine, with where the entry is now or why it is not. It may wait for the disk to catch up, but never for committed.
	// Essential entries take no more messages in, such as settlements and changes of metadata: they may use the space that
	// is kept for them when the disk is full.
	Propose(entry []byte, essential bool, committed func(journal.Position, error))
}

// localLog is a group with this node as its only voter.
type localLog struct {
	journal *journal.Journal
	group   uint32

	mu    sync.Mutex
	index uint64 // of the newest entry; guarded by mu, which also keeps the order of proposals
}

// term is the only one that a group with a single voter knows.
const term = 1

func (l *localLog) Propose(entry []byte, essential bool, committed func(journal.Position, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index++
	record := journal.Record{Type: journal.Entry, Group: l.group, Term: term, Index: l.index, Data: entry, Reserved: essential}
	l.journal.Append([]journal.Record{record}, func(at []journal.Position, err error) {
		if err != nil {
			committed(journal.Position{}, err)
			return
		}
		committed(at[0], nil)
	})
}

// recovered tells the log of an entry that the journal holds.
func (l *localLog) recovered(index uint64) error {
	if l.index != 0 && index <= l.index {
		return fmt.Errorf("group %d: entry %d follows entry %d", l.group, index, l.index)
	}
	l.index = index
	return nil
}

var _ Log = (*localLog)(nil)
