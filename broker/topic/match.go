package topic

import "strings"

// Match calls visit with every value that has a pattern which matches the name: once for each such pattern, in no
// order that callers may rely on. The name may be any text; in the form of MQTT it is a valid topic name. Match does
// not allocate unless the name is a routing key with a '/' in it, or patterns with '#' before their end abound.
func (t *Tree[V]) Match(name string, form Form, visit func(V)) {
	// Lists that start on the stack, which the usual match does not leave. They are locals, and members a value, since
	// what is stored through a pointer would move to the heap.
	var space [3][16]*node[V]
	now, next := space[0][:0], space[1][:0] // reached before and after the level at hand, without '#' nodes
	sticky := members[V]{list: space[2][:0]}
	f := factsOf(name, form)
	separator := form.separator()
	if form == AMQP && strings.IndexByte(name, '/') >= 0 {
		name, separator = Swap(name), '/'
	}
	next = append(next, &t.root)
	sticky = sticky.enter(t.root.any(), f, visit)
	for rest, more := name, name != ""; more; {
		var level string
		level, rest, more = cut(rest, separator)
		hash := hashOf(level)
		earlier := sticky.list // a '#' reached by this level does not read it as well
		now, next = next, now[:0]
		next, sticky = read(now, level, hash, next, sticky, f, visit)
		next, sticky = read(earlier, level, hash, next, sticky, f, visit)
		if len(next)+len(sticky.list) == 0 {
			return
		}
	}
	for _, n := range next {
		n.answer(f, visit)
	}
}

// read adds to next what a level leads to from the nodes of now.
func read[V comparable](now []*node[V], level string, hash uint32, next []*node[V], sticky members[V], f facts, visit func(V)) ([]*node[V], members[V]) {
	for _, n := range now {
		b := n.below
		if b == nil {
			continue
		}
		if c := b.get(level, hash); c != nil {
			next = append(next, c)
			sticky = sticky.enter(c.any(), f, visit)
		}
		if c := b.one; c != nil {
			next = append(next, c)
			sticky = sticky.enter(c.any(), f, visit)
		}
	}
	return next, sticky
}

func (n *node[V]) answer(f facts, visit func(V)) {
	if n.needs == 0 {
		return
	}
	if n.needs&^f == 0 {
		visit(n.value)
	}
	if n.rest == nil {
		return
	}
	for i := range n.rest.list {
		if e := &n.rest.list[i]; e.needs&^f == 0 {
			visit(e.value)
		}
	}
}

// members are the '#' nodes reached so far, whose values have been visited.
type members[V comparable] struct {
	list  []*node[V]
	index map[*node[V]]struct{} // nil while the list is short
}

// enter reaches the '#' node below a node that was reached, nil if it has none, and those below that: each of them
// matches zero levels too.
func (m members[V]) enter(h *node[V], f facts, visit func(V)) members[V] {
	for ; h != nil; h = h.any() {
		if h.again && m.has(h) {
			break // then those below were reached with it
		}
		h.answer(f, visit) // whatever follows, it matches
		if h.again || h.below != nil {
			m = m.with(h)
		}
	}
	return m
}

func (m members[V]) has(n *node[V]) bool {
	if m.index != nil {
		_, ok := m.index[n]
		return ok
	}
	for _, o := range m.list {
		if o == n {
			return true
		}
	}
	return false
}

// with adds a node that is not a member.
func (m members[V]) with(n *node[V]) members[V] {
	m.list = append(m.list, n)
	switch {
	case m.index != nil:
		m.index[n] = struct{}{}
	case len(m.list) > fewMembers:
		m.index = make(map[*node[V]]struct{}, 4*fewMembers)
		for _, o := range m.list {
			m.index[o] = struct{}{}
		}
	}
	return m
}
