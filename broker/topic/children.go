package topic

import "hash/maphash"

var levelSeed = maphash.MakeSeed() // so that no peer knows which levels meet

// hashOf is the hash of a level's text.
func hashOf(level string) uint32 { return uint32(maphash.String(levelSeed, level)) }

// children are the literal children of one node: a hash table with open addressing. A byte of the hash is kept beside
// each of them, so that a search looks at one child and seldom at another. What has grown to mostHere is split into fans
// by the next bits of the hash, so that no Add moves more children than that.
type children[V comparable] struct {
	n     int
	tags  []uint8    // of nodes; zero in free slots
	nodes []*node[V] // as many, a power of two
	fans  *[1 << fanBits]*children[V]
}

const (
	fewestSlots = 4
	mostHere    = 4096
	fanBits     = 6
	mostFans    = 2 // deeper, a table may hold any number
)

// The bits of a hash: the highest choose the fans, the lowest are the tag, and the slot begins above it.
func tagOf(hash uint32) uint8 { return uint8(hash) | 0x80 }

func (t *children[V]) home(hash uint32) int { return int(hash>>7) & (len(t.nodes) - 1) }

func (t *children[V]) after(i int) int { return (i + 1) & (len(t.nodes) - 1) }

func fan(hash uint32, depth int) uint32 { return hash << (fanBits * depth) >> (32 - fanBits) }

// get is the child for a text, nil if there is none.
func (t *children[V]) get(level string, hash uint32, depth int) *node[V] {
	for t.fans != nil {
		if t = t.fans[fan(hash, depth)]; t == nil {
			return nil
		}
		depth++
	}
	tag := tagOf(hash)
	for i := t.home(hash); t.tags[i] != 0; i = t.after(i) {
		if t.tags[i] == tag {
			if c := t.nodes[i]; c.hash == hash && c.level == level {
				return c
			}
		}
	}
	return nil
}

// put adds a child that is not there.
func (t *children[V]) put(c *node[V], depth int) {
	t.n++
	switch {
	case t.fans != nil:
		t.pass(c, depth)
	case t.n > mostHere && depth < mostFans:
		old := t.nodes
		t.tags, t.nodes, t.fans = nil, nil, new([1 << fanBits]*children[V])
		for _, o := range append(old, c) {
			if o != nil {
				t.pass(o, depth)
			}
		}
	case t.n > len(t.nodes)-max(1, len(t.nodes)/8): // one slot is always free
		t.resize(max(fewestSlots, 2*len(t.nodes)))
		fallthrough
	default:
		t.place(c)
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

func (t *children[V]) place(c *node[V]) {
	i := t.home(c.hash)
	for t.tags[i] != 0 {
		i = t.after(i)
	}
	t.tags[i], t.nodes[i] = tagOf(c.hash), c
}

func (t *children[V]) resize(slots int) {
	old := t.nodes
	t.tags, t.nodes = make([]uint8, slots), make([]*node[V], slots)
	for _, c := range old {
		if c != nil {
			t.place(c)
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
		return
	}
	t.free(c)
	if slots := len(t.nodes); slots > fewestSlots && t.n < slots/8 {
		t.resize(slots / 2)
	}
}

// free takes a child out of its slot, and moves those back that would no longer be found behind the gap.
func (t *children[V]) free(c *node[V]) {
	gap := t.home(c.hash)
	for t.nodes[gap] != c {
		gap = t.after(gap)
	}
	mask := len(t.nodes) - 1
	for i := t.after(gap); t.tags[i] != 0; i = t.after(i) {
		if home := t.home(t.nodes[i].hash); (i-home)&mask >= (i-gap)&mask {
			t.tags[gap], t.nodes[gap], gap = t.tags[i], t.nodes[i], i
		}
	}
	t.tags[gap], t.nodes[gap] = 0, nil
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
	for _, c := range t.nodes {
		if c != nil {
			fn(c)
		}
	}
}
