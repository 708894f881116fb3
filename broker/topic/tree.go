package topic

import "strings"

// Tree maps patterns of both forms to values and finds the values whose patterns match a name. The zero Tree is empty.
// Matches may run side by side, but not beside Add and Remove.
//
// # How it works
//
// A node stands for a pattern's beginning; its children are the next level: a literal one, "one level" ('+' or '*') or
// "any levels" ('#'). Literals are kept in the spelling of MQTT, as numbers given out in symbols: a match hashes each
// level of the name once, however many nodes it visits. What tells the dialects apart is written at the value (needs).
//
// Match walks the name once and carries the set of nodes reached so far. A node that is not a '#' has one parent and
// so enters the set once a level. A '#' that was reached stays reached for the rest of the name, so it is kept apart
// (sticky) and entered once in a match. No value is visited twice for one pattern, and the work is at most nodes
// reached × levels, whatever patterns a peer invents. (Backtracking, which is the usual way, takes time exponential in
// the number of '#' in a pattern such as "#.a.#.a.#.a".)
type Tree[V comparable] struct {
	root    node[V]
	symbols map[string]uint32
	uses    []uint32 // nodes by symbol; symbol zero is no symbol
	free    []uint32 // symbols without uses
}

// node is not empty, except for the root: it has values or children. With a value of a pointer's size it is one cache
// line, since a match in a large tree costs what it takes to load its nodes.
type node[V comparable] struct {
	one   *node[V]
	any   *node[V]
	next  edges[V]
	value V // the first value, if needs is not zero
	rest  *set[entry[V]]
	kind  levelKind
	needs facts // of value
	again bool  // there is a '#' above: a match can reach this node more than once
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

// Add puts a value under a pattern, which for MQTT is a valid filter. It answers false if it was there already.
func (t *Tree[V]) Add(pattern string, form Form, v V) bool {
	n := &t.root
	for rest, more := pattern, pattern != ""; more; {
		var level string
		level, rest, more = cut(rest, form.separator())
		n = t.child(n, level, form)
	}
	return n.add(entry[V]{value: v, needs: needsOf(pattern, form)})
}

// Remove takes a value from under a pattern. It answers false if it was not there.
func (t *Tree[V]) Remove(pattern string, form Form, v V) bool {
	path := t.find(pattern, form)
	if path == nil || !path[len(path)-1].to.remove(entry[V]{value: v, needs: needsOf(pattern, form)}) {
		return false
	}
	t.prune(path)
	return true
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

// child is the node below n for a level, made if it is not there.
func (t *Tree[V]) child(n *node[V], level string, form Form) *node[V] {
	kind := form.kind(level)
	if slot := n.wild(kind); slot != nil {
		if *slot == nil {
			*slot = n.sprout(kind)
		}
		return *slot
	}
	s := t.symbol(canonical(level, form))
	c := n.next.get(s)
	if c == nil {
		c = n.sprout(kind)
		t.uses[s]++
		n.next.put(s, c)
	}
	return c
}

func (n *node[V]) sprout(kind levelKind) *node[V] {
	return &node[V]{kind: kind, again: n.again || n.kind == anyLevels}
}

// wild is where the child for a wildcard is kept, nil for literals.
func (n *node[V]) wild(kind levelKind) **node[V] {
	switch kind {
	case oneLevel:
		return &n.one
	case anyLevels:
		return &n.any
	}
	return nil
}

// step is one on the way to a node, with the level that leads there.
type step[V comparable] struct {
	edge[V]
	level string
}

// find is the way to a pattern's node: nodes with the symbols that lead to them, from the root on; nil if there is none.
func (t *Tree[V]) find(pattern string, form Form) []step[V] {
	path := []step[V]{{edge: edge[V]{to: &t.root}}}
	for rest, more := pattern, pattern != ""; more; {
		var level string
		level, rest, more = cut(rest, form.separator())
		n := path[len(path)-1].to
		var e step[V]
		if slot := n.wild(form.kind(level)); slot != nil {
			e.to = *slot
		} else {
			e.level = canonical(level, form)
			e.symbol = t.symbols[e.level]
			e.to = n.next.get(e.symbol)
		}
		if e.to == nil {
			return nil
		}
		path = append(path, e)
	}
	return path
}

// prune removes the last node of a path and what above it has become empty.
func (t *Tree[V]) prune(path []step[V]) {
	for i := len(path) - 1; i > 0 && path[i].to.empty(); i-- {
		parent, e := path[i-1].to, path[i]
		if slot := parent.wild(e.to.kind); slot != nil {
			*slot = nil
			continue
		}
		parent.next.remove(e.symbol)
		t.release(e.symbol, e.level)
	}
}

func (n *node[V]) empty() bool { return n.needs == 0 && n.leaf() }

func (n *node[V]) leaf() bool { return n.one == nil && n.any == nil && n.next.empty() }

// canonical is a level in the spelling of MQTT.
func canonical(level string, form Form) string {
	if form == AMQP && strings.IndexByte(level, '/') >= 0 {
		return Swap(level)
	}
	return level
}

// symbol is the number of a level's text, a new one if it has none.
func (t *Tree[V]) symbol(text string) uint32 {
	if s := t.symbols[text]; s != 0 {
		return s
	}
	if t.symbols == nil {
		t.symbols = make(map[string]uint32)
		t.uses = make([]uint32, 1)
	}
	var s uint32
	if n := len(t.free); n > 0 {
		s, t.free = t.free[n-1], t.free[:n-1]
	} else {
		s = uint32(len(t.uses))
		t.uses = append(t.uses, 0)
	}
	t.symbols[strings.Clone(text)] = s // not the whole pattern
	return s
}

// release says that a node is gone to which a symbol leads, that of a level.
func (t *Tree[V]) release(s uint32, level string) {
	if t.uses[s]--; t.uses[s] == 0 {
		delete(t.symbols, level)
		t.free = append(t.free, s)
	}
}
