package hub

import (
	"context"
	"errors"
	"sync"

	"github.com/turnstone-mq/turnstone/broker/catalog"
)

// ErrCompacted: changes since the asked revision are no longer kept.
var ErrCompacted = errors.New("revision is too old")

// keptChanges is how many changes the stream can go back.
const keptChanges = 16384

// watches is the change stream: the newest changes of the catalogue, and who waits for the next.
type watches struct {
	mu      sync.Mutex
	changes []catalog.Change // consecutive revisions, newest last
	oldest  uint64           // changes after this revision are all in changes
	next    chan struct{}    // closed when a change comes or the hub stops
	closed  bool
}

// begin says that changes after a revision will follow.
func (w *watches) begin(revision uint64) {
	w.oldest, w.next = revision, make(chan struct{})
}

func (w *watches) add(changes []catalog.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes = append(w.changes, changes...)
	if over := len(w.changes) - keptChanges; over > keptChanges/2 { // not one by one: it copies the rest
		w.oldest = w.changes[over-1].Revision
		w.changes = append(w.changes[:0:0], w.changes[over:]...)
	}
	w.wake()
}

func (w *watches) wake() {
	if !w.closed && w.next != nil {
		close(w.next)
		w.next = make(chan struct{})
	}
}

func (w *watches) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wake()
	w.closed = true
}

// since answers the changes after a revision and what to wait on for more.
func (w *watches) since(revision uint64) (changes []catalog.Change, next <-chan struct{}, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, nil, ErrClosed
	}
	if revision < w.oldest {
		return nil, nil, ErrCompacted
	}
	i := len(w.changes)
	for i > 0 && w.changes[i-1].Revision > revision {
		i--
	}
	return w.changes[i:len(w.changes):len(w.changes)], w.next, nil
}

// Changes answers the changes of metadata after a revision; it waits for one if there is none, until ctx ends (then it
// answers none, without an error). ErrCompacted says to list again.
func (h *Hub) Changes(ctx context.Context, revision uint64) ([]catalog.Change, error) {
	for {
		changes, next, err := h.watches.since(revision)
		if err != nil || len(changes) > 0 {
			return changes, err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return nil, nil
		}
	}
}
