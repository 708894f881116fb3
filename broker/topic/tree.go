package topic

import "strings"

// Tree maps patterns of both forms to values and finds the values whose patterns match a name. The zero Tree is empty.
// Matches may run side by side, but not beside Add and Remove.
//
// # How it works
//
// A node stands for a pattern's beginning; its children are the next level: a literal one, "one level" ('+' or '*') or
// "any levels" ('#'). Literals are kept in the spelling of MQTT; a match hashes each level of the name once, however many
// nodes it visits. What tells the dialects apart is written at the value (needs).
//
// Match walks the name once and carries the set of nodes reached so far. A node that is not a '#' has one parent and
// so enters the set once a level. A '#' that was reached stays reached for the rest of the name, so it is kept apart
// (sticky) and entered once in a match. No value is visited twice for one pattern, and the work is at most nodes
// reached × levels, whatever patterns a peer invents. (Backtracking, which is the usual way, takes time exponential in
// the number of '#' in a pattern such as "#.a.#.a.#.a".)
//
// Most nodes of a large tree are the ends of patterns that nothing continues: a node is 48 bytes with a value of a
// pointer's size, and what leads on is apart (branch). Numbering the texts of levels was not taken: with a million
// devices, the table of numbers is as large as the tree.
type Tree[V comparable] struct{ root node[V] }

// node is not empty, except for the root: it has values or children.
type node[V comparable] struct {
	// level is the literal that leads here, empty for wildcards. At a node with values it may be a part of a value's
	// pattern, which the value's owner keeps anyway; elsewhere it is a text of its own, so that it keeps no more alive.
	level string
	below *branch[V] // nil when there are no children
	value V          // the first value, if needs is not zero
	rest  *set[entry[V]]
	hash  uint32 // of level
	kind  levelKind
	needs facts // of value
	again bool  // there is a '#' above: a match can reach this node more than once
}

// branch is the children of a node, one at least. It is one cache line.
type branch[V comparable] struct {
	one  *node[V]
	any  *node[V]
	only *node[V]    // the literal one, while there has been no other
	many children[V] // the literal ones, when only is nil
}

// entry is a value with what a name must have for the value's pattern to match it, beside fitting the levels.
type entry[V comparable] struct {
	value V
	needs facts
}

// facts are properties of a name.
type facts uint8

const (
	// isName holds for every name, so that an entry without needs is no entry.
	isName facts = 1 << iota
	// isTopic: the name can be an MQTT topic. Routing keys that cannot (empty, wildcards, not UTF-8) match no MQTT filter,
	// since no PUBLISH could carry them.
	isTopic
	// isPlain: the name does not begin with '$'. MQTT filters that begin with a wildcard need that. [MQTT-4.7.2-1]
	isPlain
)

func factsOf(name string, form Form) facts {
	f := isName
	if form == MQTT || CheckName(name, 0) == nil {
		f |= isTopic
	}
	if name == "" || name[0] != '$' {
		f |= isPlain
	}
	return f
}

func needsOf(pattern string, form Form) facts {
	switch {
	case form == AMQP:
		return isName
	case pattern != "" && wildcard(pattern[0]):
		return isName | isTopic | isPlain
	}
	return isName | isTopic
}

// Add puts a value under a pattern, which for MQTT is a valid filter. It answers false if it was there already. The tree
// may keep the pattern.
func (t *Tree[V]) Add(pattern string, form Form, v V) bool {
	n := &t.root
	for rest, more := pattern, pattern != ""; more; {
		var level string
		level, rest, more = cut(rest, form.separator())
		n = n.child(level, form, more)
	}
	return n.add(entry[V]{value: v, needs: needsOf(pattern, form)})
}

// Remove takes a value from under a pattern. It answers false if it was not there.
func (t *Tree[V]) Remove(pattern string, form Form, v V) bool {
	var space [16]*node[V]
	path := t.find(pattern, form, space[:0])
	if len(path) == 0 {
		return false
	}
	n := path[len(path)-1]
	if !n.remove(entry[V]{value: v, needs: needsOf(pattern, form)}) {
		return false
	}
	if n.needs == 0 && n.below != nil {
		n.level = strings.Clone(n.level) // the pattern can go
	}
	prune(path)
	return true
}

// Each calls visit with every value, once for each of its patterns. The tree must not change meanwhile.
func (t *Tree[V]) Each(visit func(V)) { t.root.each(visit) }

func (n *node[V]) each(visit func(V)) {
	n.answer(^facts(0), visit)
	b := n.below
	if b == nil {
		return
	}
	for _, c := range []*node[V]{b.one, b.any, b.only} {
		if c != nil {
			c.each(visit)
		}
	}
	b.many.each(func(c *node[V]) { c.each(visit) })
}

func (n *node[V]) add(e entry[V]) bool {
	switch {
	case n.needs == 0:
		n.value, n.needs = e.value, e.needs
		return true
	case n.value == e.value && n.needs == e.needs:
		return false
	case n.rest == nil:
		n.rest = new(set[entry[V]])
	}
	return n.rest.add(e)
}

func (n *node[V]) remove(e entry[V]) bool {
	if n.needs != e.needs || n.value != e.value {
		return n.rest != nil && n.rest.remove(e)
	}
	var first entry[V]
	if n.rest != nil {
		if last := len(n.rest.list) - 1; last >= 0 {
			first = n.rest.list[last]
			n.rest.remove(first)
		}
		if len(n.rest.list) == 0 {
			n.rest = nil
		}
	}
	n.value, n.needs = first.value, first.needs
	return true
}

// child is the node below n for a level, made if it is not there; more says that the pattern does not end with it.
func (n *node[V]) child(level string, form Form, more bool) *node[V] {
	if n.below == nil {
		n.below = new(branch[V])
	}
	b, kind := n.below, form.kind(level)
	if slot := b.wild(kind); slot != nil {
		if *slot == nil {
			*slot = n.sprout(kind)
		}
		return *slot
	}
	level = canonical(level, form)
	h := hashOf(level)
	c := b.get(level, h)
	if c == nil {
		if more {
			level = strings.Clone(level) // not the whole pattern
		}
		c = n.sprout(kind)
		c.level, c.hash = level, h
		b.put(c)
	}
	return c
}

func (n *node[V]) sprout(kind levelKind) *node[V] {
	return &node[V]{kind: kind, again: n.again || n.kind == anyLevels}
}

// wild is where the child for a wildcard is kept, nil for literals.
func (b *branch[V]) wild(kind levelKind) **node[V] {
	switch kind {
	case oneLevel:
		return &b.one
	case anyLevels:
		return &b.any
	}
	return nil
}

// get is the child for a literal, nil if there is none.
func (b *branch[V]) get(level string, hash uint32) *node[V] {
	if c := b.only; c != nil {
		if b.many.only == hash && c.level == level {
			return c
		}
		return nil
	}
	return b.many.get(level, hash)
}

// put adds a literal child that is not there.
func (b *branch[V]) put(c *node[V]) {
	if b.only == nil && b.many.n == 0 {
		b.only, b.many.only = c, c.hash
		return
	}
	if b.only != nil {
		b.many.put(b.only, 0)
		b.only = nil
	}
	b.many.put(c, 0)
}

// remove takes out a child that is there.
func (b *branch[V]) remove(c *node[V]) {
	if slot := b.wild(c.kind); slot != nil {
		*slot = nil
	} else if b.only == c {
		b.only = nil
	} else {
		b.many.remove(c, 0)
	}
}

func (b *branch[V]) empty() bool {
	return b.one == nil && b.any == nil && b.only == nil && b.many.n == 0
}

// find appends the way to a pattern's node, from the root on; nothing if there is none.
func (t *Tree[V]) find(pattern string, form Form, path []*node[V]) []*node[V] {
	n := &t.root
	path = append(path, n)
	for rest, more := pattern, pattern != ""; more; {
		var level string
		level, rest, more = cut(rest, form.separator())
		if n.below == nil {
			return nil
		}
		if slot := n.below.wild(form.kind(level)); slot != nil {
			n = *slot
		} else {
			level = canonical(level, form)
			n = n.below.get(level, hashOf(level))
		}
		if n == nil {
			return nil
		}
		path = append(path, n)
	}
	return path
}

// prune removes the last node of a path and what above it has become empty.
func prune[V comparable](path []*node[V]) {
	for i := len(path) - 1; i > 0 && path[i].empty(); i-- {
		parent := path[i-1]
		if parent.below.remove(path[i]); parent.below.empty() {
			parent.below = nil
		}
	}
}

func (n *node[V]) empty() bool { return n.needs == 0 && n.below == nil }

// canonical is a level in the spelling of MQTT.
func canonical(level string, form Form) string {
	if form == AMQP && strings.IndexByte(level, '/') >= 0 {
		return Swap(level)
	}
	return level
}

// any is the '#' below n, nil if there is none.
func (n *node[V]) any() *node[V] {
	if n.below == nil {
		return nil
	}
	return n.below.any
}
