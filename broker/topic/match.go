package topic

import "strings"

// Match calls visit with every value that has a pattern which matches the name: once for each such pattern, in no
// order that callers may rely on. The name may be any text; in the form of MQTT it is a valid topic name. Match does
// not allocate unless the name is a routing key with a '/' in it, or patterns with '#' before their end abound.
func (t *Tree[V]) Match(name string, form Form, visit func(V)) {
	m := matching[V]{facts: factsOf(name, form), visit: visit}
	m.now, m.next, m.sticky = m.space[0][:0], m.space[1][:0], m.space[2][:0]
	separator := form.separator()
	if form == AMQP && strings.IndexByte(name, '/') >= 0 {
		name, separator = Swap(name), '/'
	}
	m.enter(&t.root)
	m.now, m.next = m.next, m.now
	for rest, more := name, name != ""; more; {
		var level string
		level, rest, more = cut(rest, separator)
		if !m.step(t.symbols[level]) {
			return
		}
	}
	for _, n := range m.now {
		m.answer(n)
	}
}

// matching is the state of one Match, which is between two levels of the name.
type matching[V comparable] struct {
	facts  facts
	visit  func(V)
	now    []*node[V] // reached by the levels so far, without '#' nodes
	next   []*node[V] // the same for the level being read
	sticky []*node[V] // '#' nodes reached at any time; their values have been visited
	member map[*node[V]]struct{}
	space  [3][24]*node[V]
}

// step reads one level, given by its symbol, zero if it is in no pattern. It answers false when nothing more can match.
func (m *matching[V]) step(symbol uint32) bool {
	m.next = m.next[:0]
	for _, n := range m.now {
		m.follow(n, symbol)
	}
	for _, n := range m.sticky { // as it is now: a '#' reached by this level does not read it as well
		m.follow(n, symbol)
	}
	m.now, m.next = m.next, m.now
	return len(m.now)+len(m.sticky) > 0
}

func (m *matching[V]) follow(n *node[V], symbol uint32) {
	if symbol != 0 {
		if c := n.next.get(symbol); c != nil {
			m.enter(c)
		}
	}
	if n.one != nil {
		m.enter(n.one)
	}
}

// enter reaches a node, and with it the '#' below, which match zero levels too.
func (m *matching[V]) enter(n *node[V]) {
	m.next = append(m.next, n)
	for h := n.any; h != nil; h = h.any {
		if h.again && m.stuck(h) {
			return // then those below were reached with it
		}
		m.answer(h) // whatever follows, it matches
		if h.again || !h.leaf() {
			m.stick(h)
		}
	}
}

// linearMembers is up to where looking through sticky is faster than a map.
const linearMembers = 16

func (m *matching[V]) stuck(h *node[V]) bool {
	if m.member != nil {
		_, ok := m.member[h]
		return ok
	}
	for _, s := range m.sticky {
		if s == h {
			return true
		}
	}
	return false
}

func (m *matching[V]) stick(h *node[V]) {
	m.sticky = append(m.sticky, h)
	if m.member == nil && len(m.sticky) > linearMembers {
		m.member = make(map[*node[V]]struct{}, 4*linearMembers)
		for _, s := range m.sticky {
			m.member[s] = struct{}{}
		}
	} else if m.member != nil {
		m.member[h] = struct{}{}
	}
}

func (m *matching[V]) answer(n *node[V]) {
	for i := range n.entries.list {
		if e := &n.entries.list[i]; e.needs&^m.facts == 0 {
			m.visit(e.value)
		}
	}
}
