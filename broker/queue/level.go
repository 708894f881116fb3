package queue

import (
	"cmp"
	"slices"
	"sort"
)

// level is the items of one priority that wait, in the order of their IDs. What is next and what came last are items in
// rings; of a long backlog the middle is packed. IDs rise from the head over the pages to the tail.
type level struct {
	head  deque
	pages []*page
	tail  deque
	n     int
	freed int64 // bytes of bodies that packing let go of, since the owner asked
	packs bool  // items that memory alone has are packed as well: they are taken out anywhere
}

// mostUnpacked is from how many items in a ring the newest or, in the tail, the oldest of them are packed.
const mostUnpacked = 2 * pageItems

func (l *level) len() int { return l.n }

// front is the first item; there is one.
func (l *level) front() *Item {
	l.load()
	return l.head.front()
}

func (l *level) popFront() Item {
	l.load()
	l.n--
	return l.head.popFront()
}

// load brings the next items into the head when it is empty.
func (l *level) load() {
	if l.head.len() > 0 {
		return
	}
	if len(l.pages) == 0 {
		l.head, l.tail = l.tail, deque{}
		return
	}
	l.open()
}

// open unpacks the first page behind the head.
func (l *level) open() {
	for _, it := range l.items(l.pages[0]) {
		l.head.insert(it)
	}
	l.pages[0] = nil
	if l.pages = l.pages[1:]; len(l.pages) == 0 {
		l.pages = nil
	}
}

// items unpacks a page that this package packed or verified. The caller must not change them.
func (l *level) items(p *page) []Item {
	if p.items != nil {
		return p.items
	}
	items, err := unpack(make([]Item, 0, p.n), p.data)
	if err != nil {
		panic("queue: " + err.Error())
	}
	return items
}

// insert puts an item into the place of its ID. One that is there already is replaced.
func (l *level) insert(it Item) {
	l.n++
	switch {
	case l.afterPages(it.ID):
		l.n -= l.tail.insert(it)
		if l.tail.len() >= mostUnpacked {
			l.packTail()
		}
	case len(l.pages) == 0 && l.tail.len() == 0:
		l.n -= l.head.insert(it)
		if l.head.len() > mostUnpacked {
			l.packHead()
		}
	case len(l.pages) > 0 && it.ID >= l.pages[0].first:
		l.insertPacked(it)
	default:
		l.n -= l.head.insert(it)
	}
}

// insertPacked puts an item among packed ones, as it comes back from a consumer that selected it there.
func (l *level) insertPacked(it Item) {
	i := l.pageOf(it.ID)
	items := l.items(l.pages[i])
	at, there := slices.BinarySearchFunc(items, it.ID, func(o Item, id uint64) int { return cmp.Compare(o.ID, id) })
	together := make([]Item, 0, len(items)+1)
	together = append(append(together, items[:at]...), it)
	if there {
		at++
		l.n--
	}
	together = append(together, items[at:]...)
	if len(together) < mostUnpacked {
		l.pages[i] = l.packed(together)
		return
	}
	l.pages[i] = l.packed(together[:pageItems])
	l.pages = slices.Insert(l.pages, i+1, l.packed(together[pageItems:]))
}

// afterPages says whether an ID belongs to the tail.
func (l *level) afterPages(id uint64) bool {
	if n := len(l.pages); n > 0 {
		return id > l.pages[n-1].last
	}
	return l.tail.len() > 0 && id >= l.tail.front().ID
}

// packHead packs the newest items of the head. A queue whose messages are in memory alone has nothing to gain from that.
func (l *level) packHead() {
	if !l.packs && !l.head.at(l.head.len()-1).Durable {
		return
	}
	items := make([]Item, pageItems)
	for i := pageItems - 1; i >= 0; i-- {
		items[i] = l.head.popBack()
	}
	l.pack(items)
}

// packTail packs the oldest items of the tail.
func (l *level) packTail() {
	items := make([]Item, pageItems)
	for i := range items {
		items[i] = l.tail.popFront()
	}
	l.pack(items)
}

func (l *level) pack(items []Item) { l.pages = append(l.pages, l.packed(items)) }

// packed packs items, and notes what that let go of.
func (l *level) packed(items []Item) *page {
	p, freed := pack(items)
	l.freed += freed
	return p
}

// removeRange takes out the items with IDs from first to last, and calls fn for each.
func (l *level) removeRange(first, last uint64, fn func(*Item)) {
	l.n -= l.head.removeRange(first, last, fn)
	for len(l.pages) > 0 && l.pages[0].first <= last && first <= l.pages[0].last && l.head.len() < mostUnpacked {
		l.open()
		l.n -= l.head.removeRange(first, last, fn)
	}
	l.removePacked(first, last, fn)
	l.n -= l.tail.removeRange(first, last, fn)
}

// removePacked takes items out of pages that are not next: each that is touched is packed again.
func (l *level) removePacked(first, last uint64, fn func(*Item)) {
	i := l.pageOf(first)
	kept := l.pages[:i]
	for ; i < len(l.pages); i++ {
		p := l.pages[i]
		if p.first > last {
			kept = append(kept, l.pages[i:]...)
			break
		}
		items := l.items(p)
		rest := make([]Item, 0, p.n)
		for k := range items {
			if it := &items[k]; it.ID >= first && it.ID <= last {
				fn(it)
				l.n--
			} else {
				rest = append(rest, *it)
			}
		}
		switch {
		case len(rest) == p.n:
			kept = append(kept, p)
		case len(rest) > 0:
			again, _ := pack(rest)
			kept = append(kept, again)
		}
	}
	clear(l.pages[len(kept):])
	l.pages = kept
}

// pageOf is the index of the first page that holds an ID or later ones.
func (l *level) pageOf(id uint64) int {
	return sort.Search(len(l.pages), func(i int) bool { return l.pages[i].last >= id })
}

// has says whether an item with an ID is there.
func (l *level) has(id uint64) bool {
	if l.head.has(id) || l.tail.has(id) {
		return true
	}
	i := l.pageOf(id)
	if i == len(l.pages) || id < l.pages[i].first {
		return false
	}
	_, there := slices.BinarySearchFunc(l.items(l.pages[i]), id, func(it Item, id uint64) int { return cmp.Compare(it.ID, id) })
	return there
}

// each calls fn for every item, in order; fn must not change it.
func (l *level) each(fn func(*Item)) {
	l.head.each(fn)
	for _, p := range l.pages {
		items := l.items(p)
		for i := range items {
			fn(&items[i])
		}
	}
	l.tail.each(fn)
}

// eachIn is each for what may lie in entries from first to last: places rise with the IDs of packed items.
func (l *level) eachIn(first, last uint64, fn func(*Item)) {
	l.head.each(fn)
	for i, p := range l.pages {
		// Pages with items that only memory has are few, and not in the order of the log.
		if p.items == nil && p.index > last {
			break
		}
		if i+1 < len(l.pages) && l.pages[i+1].items == nil && l.pages[i+1].index < first && p.items == nil {
			continue
		}
		items := l.items(p)
		for k := range items {
			fn(&items[k])
		}
	}
	l.tail.each(fn)
}
