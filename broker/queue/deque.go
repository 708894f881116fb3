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

func (d *deque) insert(it Item) {
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
		d.insertAt(d.search(it.ID), it)
	}
}

// insertAt opens a gap from whichever end is nearer. An ID that is there already is replaced.
func (d *deque) insertAt(i int, it Item) {
	if d.at(i).ID == it.ID {
		*d.at(i) = it
		return
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
}

// search is the index of the first item whose ID is not below id.
func (d *deque) search(id uint64) int {
	return sort.Search(d.n, func(i int) bool { return d.at(i).ID >= id })
}

func (d *deque) find(id uint64) *Item {
	if i := d.search(id); i < d.n && d.at(i).ID == id {
		return d.at(i)
	}
	return nil
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

func (d *deque) remove(id uint64) (Item, bool) {
	i := d.search(id)
	if i == d.n || d.at(i).ID != id {
		return Item{}, false
	}
	it := *d.at(i)
	if i < d.n/2 {
		for ; i > 0; i-- {
			*d.at(i) = *d.at(i - 1)
		}
		d.popFront()
		return it, true
	}
	for ; i < d.n-1; i++ {
		*d.at(i) = *d.at(i + 1)
	}
	*d.at(d.n - 1) = Item{}
	d.n--
	return it, true
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
