package queue

import (
	"cmp"
	"slices"
)

// Snapshot is the durable items of a queue at one moment. It shares the queue's packed pages, so that it costs little to
// take; it may be read by another goroutine.
type Snapshot struct {
	levels []levelSnapshot
	next   uint64
}

type levelSnapshot struct {
	pages []*page // immutable
	loose []Item
}

// Snapshot takes the durable items, those with consumers and others that the owner has in hand with them: settled, but
// not yet in the log.
func (q *Queue) Snapshot(others []Item) *Snapshot {
	s := &Snapshot{levels: make([]levelSnapshot, int(q.options.MaxPriority)+1), next: q.next}
	for i := range q.levels {
		l := &q.levels[i]
		for _, p := range l.pages {
			if p.items == nil {
				s.levels[i].pages = append(s.levels[i].pages, p)
			}
		}
		l.head.each(func(it *Item) { s.levels[i].add(it) })
		l.tail.each(func(it *Item) { s.levels[i].add(it) })
		for _, p := range l.pages {
			for k := range p.items {
				s.levels[i].add(&p.items[k])
			}
		}
	}
	add := func(it *Item) { s.levels[min(int(it.Priority), len(s.levels)-1)].add(it) }
	for _, c := range q.consumers {
		c.each(add)
	}
	for i := range others {
		add(&others[i])
	}
	return s
}

func (l *levelSnapshot) add(it *Item) {
	if it.Durable {
		l.loose = append(l.loose, *it)
	}
}

// Next is the ID that the queue's next item gets.
func (s *Snapshot) Next() uint64 { return s.next }

// Blocks calls write for each block of the items, which RestoreBlock takes in the same order: that of IDs, level by level.
func (s *Snapshot) Blocks(write func([]byte)) {
	for i := range s.levels {
		l := &s.levels[i]
		slices.SortFunc(l.loose, func(a, b Item) int { return cmp.Compare(a.ID, b.ID) })
		rest := l.loose
		for _, p := range l.pages {
			n, _ := slices.BinarySearchFunc(rest, p.first, func(it Item, id uint64) int { return cmp.Compare(it.ID, id) })
			writeItems(rest[:n], write)
			write(p.data)
			rest = rest[n:]
		}
		writeItems(rest, write)
	}
}

func writeItems(items []Item, write func([]byte)) {
	for chunk := range slices.Chunk(items, pageItems) {
		write(encode(chunk))
	}
}

// RestoreBlock adds the items of a block, which it keeps, to a queue that has no consumer yet, and calls fn for each. What
// the queue's options say does not matter: the items have been accepted.
func (q *Queue) RestoreBlock(block []byte, fn func(*Item)) error {
	items, err := unpack(nil, block)
	if err != nil || len(items) == 0 {
		return err
	}
	l := q.level(items[0].Priority)
	whole := q.last == nil && q.level(items[len(items)-1].Priority) == l && l.takes(items[0].ID)
	if whole {
		p := &page{first: items[0].ID, last: items[len(items)-1].ID, index: items[0].Ref.Index, n: len(items), data: block}
		l.pages = append(l.pages, p)
		l.n += len(items)
	}
	for i := range items {
		it := &items[i]
		q.next = max(q.next, it.ID+1)
		if whole {
			q.ready++
			q.bytes += int64(it.Size)
		} else {
			q.put(*it)
		}
		fn(it)
	}
	return nil
}

// takes says whether a page that begins with an ID may follow what the level has.
func (l *level) takes(first uint64) bool {
	switch {
	case l.tail.len() > 0:
		return false
	case len(l.pages) > 0:
		return l.pages[len(l.pages)-1].last < first
	case l.head.len() > 0:
		return l.head.at(l.head.len()-1).ID < first
	}
	return true
}

// Skip says that IDs before one are not to be given again.
func (q *Queue) Skip(next uint64) { q.next = max(q.next, next) }
