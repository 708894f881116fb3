package router

import (
	"hash/maphash"
	"slices"
)

// links are bindings found by what they are: a list while they are few, and then a hash table with open addressing, which
// needs no more than a pointer and a third for each.
type links[T comparable] struct {
	slots []*binding[T] // a list of n; or a table, whose length is a power of two, with nil in free slots
	n     int32
	table bool
}

// fewLinks is up to where links are searched from end to end.
const fewLinks = 16

var linkSeed = maphash.MakeSeed() // so that no peer knows which keys meet

// home is the slot where the search for a binding begins.
func (l *links[T]) home(key string) int {
	return int(maphash.String(linkSeed, key)) & (len(l.slots) - 1)
}

func (l *links[T]) find(id identity[T]) *binding[T] {
	if !l.table {
		for _, b := range l.slots {
			if b.identity() == id {
				return b
			}
		}
		return nil
	}
	for i := l.home(id.key); l.slots[i] != nil; i = l.after(i) {
		if b := l.slots[i]; b.key == id.key && b.identity() == id {
			return b
		}
	}
	return nil
}

func (l *links[T]) after(i int) int { return (i + 1) & (len(l.slots) - 1) }

// has says whether a binding is among them.
func (l *links[T]) has(b *binding[T]) bool { return l.find(b.identity()) == b }

// add adds a binding that is not among them.
func (l *links[T]) add(b *binding[T]) {
	l.n++
	switch {
	case !l.table && l.n <= fewLinks:
		if len(l.slots) == cap(l.slots) { // most have one, and few many
			l.slots = append(make([]*binding[T], 0, max(1, 2*len(l.slots))), l.slots...)
		}
		l.slots = append(l.slots, b)
	case !l.table:
		l.rebuild(append(l.slots, b))
	case int(l.n) > len(l.slots)/8*7:
		l.rebuild(append(l.all(), b))
	default:
		l.put(b)
	}
}

func (l *links[T]) put(b *binding[T]) {
	i := l.home(b.key)
	for l.slots[i] != nil {
		i = l.after(i)
	}
	l.slots[i] = b
}

// rebuild makes a table of bindings, at most two thirds full.
func (l *links[T]) rebuild(all []*binding[T]) {
	size := 2 * fewLinks
	for size*2/3 < len(all) {
		size *= 2
	}
	l.slots, l.table = make([]*binding[T], size), true
	for _, b := range all {
		l.put(b)
	}
}

// remove takes out a binding that is among them.
func (l *links[T]) remove(b *binding[T]) {
	l.n--
	if !l.table {
		i := slices.Index(l.slots, b)
		last := len(l.slots) - 1
		l.slots[i], l.slots[last] = l.slots[last], nil
		if l.slots = l.slots[:last]; last == 0 {
			l.slots = nil
		}
		return
	}
	l.free(b)
	switch {
	case l.n <= fewLinks/2:
		l.slots, l.table = l.all(), false
	case int(l.n) < len(l.slots)/8:
		l.rebuild(l.all())
	}
}

// free takes a binding out of the table, and moves those back that would no longer be found behind the gap.
func (l *links[T]) free(b *binding[T]) {
	gap := l.home(b.key)
	for l.slots[gap] != b {
		gap = l.after(gap)
	}
	mask := len(l.slots) - 1
	for i := l.after(gap); l.slots[i] != nil; i = l.after(i) {
		if home := l.home(l.slots[i].key); (i-home)&mask >= (i-gap)&mask {
			l.slots[gap], gap = l.slots[i], i
		}
	}
	l.slots[gap] = nil
}

// all are the bindings, in no order; the slice is the caller's.
func (l *links[T]) all() []*binding[T] {
	all := make([]*binding[T], 0, l.n)
	for _, b := range l.slots {
		if b != nil {
			all = append(all, b)
		}
	}
	return all
}
