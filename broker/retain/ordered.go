package retain

import (
	"slices"
	"sort"
)

// ordered is a sorted map from topics to records.
//
// Topics are ordered level by level, that is, as if '/' came before every other byte: a topic is followed at once by
// what is below it, and then by its next sibling. So what a filter matches is a few runs, found by seeking; and a place
// in the order is a topic, whatever has changed since.
//
// It is a list of leaves of up to maxLeaf items. The list itself is a plain slice: to split a leaf moves 8 bytes per
// leaf, one in 128 inserts, which at ten million topics is 5 bytes an insert more than the leaf itself moves. A trie by
// levels was not taken: it needs several times the memory per topic, and a sorted structure in each wide node anyway.
type ordered struct {
	leaves []*leaf // none is empty
	size   int
}

type leaf struct{ items []item }

type item struct {
	topic  string
	record record
}

const (
	maxLeaf = 256
	minLeaf = maxLeaf / 4 // smaller ones join a neighbour that has room
)

// compare orders topics, and places between them.
func compare(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i+8 <= n && load(a, i) == load(b, i) {
		i += 8
	}
	for i < n && a[i] == b[i] {
		i++
	}
	switch {
	case i == n:
		return len(a) - len(b)
	case a[i] == '/':
		return -1
	case b[i] == '/':
		return 1
	}
	return int(a[i]) - int(b[i])
}

// load is the eight bytes of s from i on; the compiler makes it one instruction.
func load(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// position is that of an item: leaf and index in it. The end of the map is the number of leaves, and zero.
type position struct{ leaf, index int }

// seek is the position of the first topic that is not before at.
func (o *ordered) seek(at string) position {
	l := sort.Search(len(o.leaves), func(i int) bool {
		items := o.leaves[i].items
		return compare(items[len(items)-1].topic, at) >= 0
	})
	if l == len(o.leaves) {
		return position{leaf: l}
	}
	return position{leaf: l, index: o.leaves[l].seek(at)}
}

func (l *leaf) seek(at string) int {
	return sort.Search(len(l.items), func(i int) bool { return compare(l.items[i].topic, at) >= 0 })
}

// seekFrom is seek for a place that is not before p; it is quick when the answer is in the same leaf.
func (o *ordered) seekFrom(p position, at string) position {
	if l := o.leaves[p.leaf]; compare(l.items[len(l.items)-1].topic, at) >= 0 {
		return position{leaf: p.leaf, index: l.seek(at)}
	}
	return o.seek(at)
}

// at is the item of a position, nil at the end.
func (o *ordered) at(p position) *item {
	if p.leaf == len(o.leaves) {
		return nil
	}
	return &o.leaves[p.leaf].items[p.index]
}

// after is the position behind p, which is not the end.
func (o *ordered) after(p position) position {
	if p.index++; p.index == len(o.leaves[p.leaf].items) {
		return position{leaf: p.leaf + 1}
	}
	return p
}

// get is the item of a topic, nil if there is none. It is valid until the map changes.
func (o *ordered) get(topic string) *item {
	if it := o.at(o.seek(topic)); it != nil && it.topic == topic {
		return it
	}
	return nil
}

// set answers the record that the topic had, nil if there was none.
func (o *ordered) set(topic string, r record) (previous record) {
	p := o.seek(topic)
	if it := o.at(p); it != nil && it.topic == topic {
		previous, it.record = it.record, r
		return previous
	}
	o.insert(p, item{topic: topic, record: r})
	return nil
}

func (o *ordered) insert(p position, it item) {
	o.size++
	if p.leaf == len(o.leaves) { // behind all others: grow the last leaf
		if p.leaf == 0 {
			o.leaves = append(o.leaves, &leaf{items: []item{it}})
			return
		}
		p.leaf--
		p.index = len(o.leaves[p.leaf].items)
	}
	l := o.leaves[p.leaf]
	if len(l.items) == maxLeaf {
		at := maxLeaf / 2
		if p.leaf+1 == len(o.leaves) && p.index == maxLeaf {
			at = maxLeaf // topics that come in order fill their leaves
		}
		right := &leaf{items: slices.Clone(l.items[at:])}
		o.leaves = slices.Insert(o.leaves, p.leaf+1, right)
		l.items = slices.Clone(l.items[:at]) // with no room for more: half of all leaves never get any
		if p.index > at || at == maxLeaf {
			l, p.index = right, p.index-at
		}
	}
	l.insert(p.index, it)
}

// insert grows the leaf a little at a time: what is free in a leaf is memory that no message uses.
func (l *leaf) insert(at int, it item) {
	if n := len(l.items); n == cap(l.items) {
		l.items = append(make([]item, 0, min(n+n/8+4, maxLeaf)), l.items...)
	}
	l.items = slices.Insert(l.items, at, it)
}

// remove answers the record that the topic had, nil if there was none.
func (o *ordered) remove(topic string) (previous record) {
	p := o.seek(topic)
	it := o.at(p)
	if it == nil || it.topic != topic {
		return nil
	}
	previous = it.record
	o.size--
	l := o.leaves[p.leaf]
	l.items = slices.Delete(l.items, p.index, p.index+1)
	if len(l.items) < minLeaf {
		o.join(p.leaf)
	}
	return previous
}

// join puts a small leaf into a neighbour that keeps room for more, and drops it when it is empty.
func (o *ordered) join(i int) {
	l := o.leaves[i]
	switch {
	case len(l.items) == 0:
	case i > 0 && len(o.leaves[i-1].items)+len(l.items) <= maxLeaf/2:
		o.leaves[i-1].items = append(o.leaves[i-1].items, l.items...)
	case i+1 < len(o.leaves) && len(o.leaves[i+1].items)+len(l.items) <= maxLeaf/2:
		o.leaves[i+1].items = slices.Insert(o.leaves[i+1].items, 0, l.items...)
	default:
		return
	}
	o.leaves = slices.Delete(o.leaves, i, i+1)
}
