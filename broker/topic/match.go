package topic

import "strings"

// Match calls visit with every value that has a pattern which matches the name: once for each such pattern, in no
// order that callers may rely on. The name may be any text; in the form of MQTT it is a valid topic name. Match does
// not allocate unless the name is a routing key with a '/' in it, or patterns with '#' before their end abound.
func (t *Tree[V]) Match(name string, form Form, visit func(V)) {
	var space [3][16]*node[V] // so that the usual match stays on the stack
	s := state[V]{
		facts: factsOf(name, form),
		next:  space[0][:0],
		any:   members[V]{list: space[1][:0]},
	}
	now := space[2][:0]
	separator := form.separator()
	if form == AMQP && strings.IndexByte(name, '/') >= 0 {
		name, separator = Swap(name), '/'
	}
	s = s.enter(&t.root, visit)
	for rest, more := name, name != ""; more; {
		var level string
		level, rest, more = cut(rest, separator)
		symbol := t.symbols[level]
		now, s.next = s.next, now[:0]
		earlier := s.any.list // a '#' reached by this level does not read it as well
		for _, n := range now {
			s = s.follow(n, symbol, visit)
		}
		for _, n := range earlier {
			s = s.follow(n, symbol, visit)
		}
		if len(s.next)+len(s.any.list) == 0 {
			return
		}
	}
	for _, n := range s.next {
		n.answer(s.facts, visit)
	}
}

// state is what a match has reached by the levels read so far. It is passed by value, because what is stored through
// a pointer would move to the heap.
type state[V comparable] struct {
	facts facts
	next  []*node[V] // without '#' nodes
	any   members[V] // '#' nodes reached at any time, whose values have been visited
}

func (s state[V]) follow(n *node[V], symbol uint32, visit func(V)) state[V] {
	if symbol != 0 {
		if c := n.next.get(symbol); c != nil {
			s = s.enter(c, visit)
		}
	}
	if n.one != nil {
		s = s.enter(n.one, visit)
	}
	return s
}

// enter reaches a node, and with it the '#' below, which match zero levels too.
func (s state[V]) enter(n *node[V], visit func(V)) state[V] {
	s.next = append(s.next, n)
	for h := n.any; h != nil; h = h.any {
		if h.again && s.any.has(h) {
			break // then those below were reached with it
		}
		h.answer(s.facts, visit) // whatever follows, it matches
		if h.again || !h.leaf() {
			s.any = s.any.with(h)
		}
	}
	return s
}

func (n *node[V]) answer(f facts, visit func(V)) {
	for i := range n.entries.list {
		if e := &n.entries.list[i]; e.needs&^f == 0 {
			visit(e.value)
		}
	}
}

// members is a set of nodes.
type members[V comparable] struct {
	list  []*node[V]
	index map[*node[V]]struct{} // nil while the list is short
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
