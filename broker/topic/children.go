package topic

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

var levelSeed = maphash.MakeSeed() // so that no peer knows which levels meet

// hashOf is the hash of a level's text.
func hashOf(level string) uint32 { return uint32(maphash.String(levelSeed, level)) }

// children are the literal children of one node: a hash table whose groups are a cache line each, since a search costs
// what it takes to load its lines. A child is in the group that its hash says, or in one of those behind if that was full.
// What has grown to mostHere is split into fans by the next bits of the hash, so that no Add moves more than that.
type children[V comparable] struct {
	groups []group[V]
	fans   *[1 << fanBits]*children[V] // nil, or all that there is
	n      int32
	only   uint32 // the hash of a branch's only child, which is then not among these; a search need not load that to pass it
}

// group has a tag, seven bits of the hash, beside each child: a search compares all tags in one word, and looks at one
// child and seldom at another.
type group[V comparable] struct {
	tags  [perGroup + 1]uint8 // zero where there is no child; the last is past
	nodes [perGroup]*node[V]
}

const (
	perGroup = 7
	past     = perGroup // how many children are behind because the group was full; manyPast stays
	manyPast = 255
	mostHere = 4096
	fanBits  = 6
	mostFans = 2 // deeper, a table may hold any number
)

const (
	ones = 0x0101010101010101
	all  = 1<<(8*perGroup) - 1 // the bytes of a word that are tags
)

// room is how many children so many groups may hold: one in seven places is free, or the last ones would be far from home.
func room(groups int) int {
	if groups == 1 {
		return perGroup
	}
	return groups * (perGroup - 1)
}

// The bits of a hash: the highest choose the fans, those behind the group, the lowest are the tag.
func tagOf(hash uint32) uint8 { return uint8(hash) | 0x80 }

func fan(hash uint32, depth int) uint32 { return hash << (fanBits * depth) >> (32 - fanBits) }

// home is the group where the search for a child begins.
func (t *children[V]) home(hash uint32, depth int) int {
	return int(uint64(hash<<(fanBits*depth)) * uint64(len(t.groups)) >> 32)
}

func (t *children[V]) after(i int) int {
	if i++; i < len(t.groups) {
		return i
	}
	return 0
}

// get is the child for a text, nil if there is none.
func (t *children[V]) get(level string, hash uint32) *node[V] {
	depth := 0
	for ; t.fans != nil; depth++ {
		if t = t.fans[fan(hash, depth)]; t == nil {
			return nil
		}
	}
	if len(t.groups) == 0 {
		return nil
	}
	tag := ones * uint64(tagOf(hash))
	for i := t.home(hash, depth); ; i = t.after(i) {
		g := &t.groups[i]
		// A byte of differ is zero where the tag is. The lowest such byte is found exactly, and others may be false, which
		// the child itself then tells.
		differ := binary.LittleEndian.Uint64(g.tags[:]) ^ tag
		for same := (differ - ones) &^ differ & (ones << 7) & all; same != 0; same &= same - 1 {
			if c := g.nodes[bits.TrailingZeros64(same)/8]; c != nil && c.hash == hash && c.level == level {
				return c
			}
		}
		if g.tags[past] == 0 {
			return nil
		}
	}
}

// put adds a child that is not there.
func (t *children[V]) put(c *node[V], depth int) {
	t.n++
	switch {
	case t.fans != nil:
		t.pass(c, depth)
	case t.n > mostHere && depth < mostFans:
		t.split(depth)
		t.pass(c, depth)
	case int(t.n) > room(len(t.groups)):
		t.resize(len(t.groups)+len(t.groups)/2+1, depth)
		fallthrough
	default:
		t.place(c, depth)
	}
}

func (t *children[V]) split(depth int) {
	old := t.groups
	t.groups, t.fans = nil, new([1 << fanBits]*children[V])
	for i := range old {
		for _, c := range old[i].nodes {
			if c != nil {
				t.pass(c, depth)
			}
		}
	}
}

// pass puts a child into its fan.
func (t *children[V]) pass(c *node[V], depth int) {
	f := &t.fans[fan(c.hash, depth)]
	if *f == nil {
		*f = new(children[V])
	}
	(*f).put(c, depth+1)
}

// place puts a child into the first group from its home on that has room.
func (t *children[V]) place(c *node[V], depth int) {
	for i := t.home(c.hash, depth); ; i = t.after(i) {
		g := &t.groups[i]
		for k, have := range g.tags[:perGroup] {
			if have == 0 {
				g.tags[k], g.nodes[k] = tagOf(c.hash), c
				return
			}
		}
		if g.tags[past] < manyPast {
			g.tags[past]++
		}
	}
}

func (t *children[V]) resize(groups, depth int) {
	old := t.groups
	t.groups = make([]group[V], groups)
	for i := range old {
		for _, c := range old[i].nodes {
			if c != nil {
				t.place(c, depth)
			}
		}
	}
}

// remove takes out a child that is there.
func (t *children[V]) remove(c *node[V], depth int) {
	t.n--
	if t.fans != nil {
		f := &t.fans[fan(c.hash, depth)]
		if (*f).remove(c, depth+1); (*f).n == 0 {
			*f = nil
		}
		if t.n == 0 {
			t.fans = nil
		}
		return
	}
	t.free(c, depth)
	if groups := len(t.groups); t.n == 0 {
		t.groups = nil
	} else if groups > 2 && int(t.n) < room(groups)/4 {
		t.resize(groups/2, depth)
	}
}

// free takes a child out of its group.
func (t *children[V]) free(c *node[V], depth int) {
	for i := t.home(c.hash, depth); ; i = t.after(i) {
		g := &t.groups[i]
		for k, have := range g.nodes {
			if have == c {
				g.tags[k], g.nodes[k] = 0, nil
				return
			}
		}
		if g.tags[past] < manyPast {
			g.tags[past]--
		}
	}
}

// each calls fn with every child.
func (t *children[V]) each(fn func(*node[V])) {
	if t.fans != nil {
		for _, f := range t.fans {
			if f != nil {
				f.each(fn)
			}
		}
		return
	}
	for i := range t.groups {
		for _, c := range t.groups[i].nodes {
			if c != nil {
				fn(c)
			}
		}
	}
}
