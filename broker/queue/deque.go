package queue

import "sort"

// deque holds items in the order of their IDs, in a ring that grows and shrinks by powers of two.
// Items leave at the front and come at the back; one that comes back goes to the place of its ID.
type deque struct {
	ring []Item
	head int
	n    int
}

const smallestRing = 8

func (d *deque) len() int       { return d.n }
func (d *deque) front() *Item   { return d.at(0) }
func (d *deque) at(i int) *Item { return &d.ring[(d.head+i)&(len(d.ring)-1)] }

// insert puts an item into the place of its ID and answers 1 if there was one already, which it replaces.
func (d *deque) insert(it Item) (replaced int) {
	if d.n == len(d.ring) {
		d.resize(max(smallestRing, 2*len(d.ring)))
	}
	switch {
	case d.n == 0 || d.at(d.n-1).ID < it.ID:
		d.n++
		*d.at(d.n - 1) = it
	case it.ID < d.front().ID:
		d.head = (d.head - 1) & (len(d.ring) - 1)
		d.n++
		*d.front() = it
	default:
		return d.insertAt(d.search(it.ID), it)
	}
	return 0
}

// insertAt opens a gap from whichever end is nearer.
func (d *deque) insertAt(i int, it Item) (replaced int) {
	if d.at(i).ID == it.ID {
		*d.at(i) = it
		return 1
	}
	if i < d.n/2 {
		d.head = (d.head - 1) & (len(d.ring) - 1)
		d.n++
		for j := range i {
			*d.at(j) = *d.at(j + 1)
		}
	} else {
		d.n++
		for j := d.n - 1; j > i; j-- {
			*d.at(j) = *d.at(j - 1)
		}
	}
	*d.at(i) = it
	return 0
}

// search is the index of the first item whose ID is not below id.
func (d *deque) search(id uint64) int {
	return sort.Search(d.n, func(i int) bool { return d.at(i).ID >= id })
}

func (d *deque) has(id uint64) bool {
	i := d.search(id)
	return i < d.n && d.at(i).ID == id
}

func (d *deque) popFront() Item {
	it := *d.front()
	*d.front() = Item{}
	d.head = (d.head + 1) & (len(d.ring) - 1)
	d.n--
	if len(d.ring) > smallestRing && d.n <= len(d.ring)/4 {
		d.resize(len(d.ring) / 2)
	}
	return it
}

func (d *deque) popBack() Item {
	at := d.at(d.n - 1)
	it := *at
	*at = Item{}
	d.n--
	return it
}

// removeRange takes out the items with IDs from first to last, calls fn for each, and answers how many there were.
func (d *deque) removeRange(first, last uint64, fn func(*Item)) (removed int) {
	from := d.search(first)
	to := from
	for ; to < d.n && d.at(to).ID <= last; to++ {
		fn(d.at(to))
	}
	removed = to - from
	if removed == 0 {
		return 0
	}
	if from == 0 {
		for range removed {
			d.popFront()
		}
		return removed
	}
	for ; to < d.n; to++ {
		*d.at(to - removed) = *d.at(to)
	}
	for range removed {
		d.popBack()
	}
	return removed
}

func (d *deque) each(fn func(*Item)) {
	for i := range d.n {
		fn(d.at(i))
	}
}

func (d *deque) resize(size int) {
	ring := make([]Item, size)
	for i := range d.n {
		ring[i] = *d.at(i)
	}
	d.ring, d.head = ring, 0
}
