package topic

import "slices"

// fewMembers is up to where a list is searched from end to end; longer ones have an index.
const fewMembers = 16

// set is a list without duplicates. It is small when it has few members, and quick when it has very many, as the
// values of a filter to which every client subscribes.
type set[T comparable] struct {
	list  []T
	index map[T]int // where in list; nil while list is short
}

func (s *set[T]) find(v T) int {
	if s.index == nil {
		return slices.Index(s.list, v)
	}
	if i, ok := s.index[v]; ok {
		return i
	}
	return -1
}

func (s *set[T]) add(v T) bool {
	if s.find(v) >= 0 {
		return false
	}
	s.list = append(s.list, v)
	if s.index != nil {
		s.index[v] = len(s.list) - 1
	} else if len(s.list) > fewMembers {
		s.index = make(map[T]int, 2*fewMembers)
		for i, w := range s.list {
			s.index[w] = i
		}
	}
	return true
}

func (s *set[T]) remove(v T) bool {
	i := s.find(v)
	if i < 0 {
		return false
	}
	last := len(s.list) - 1
	moved := s.list[last]
	s.list[i] = moved
	clear(s.list[last:])
	s.list = s.list[:last]
	switch {
	case last == 0:
		*s = set[T]{}
	case s.index != nil && last <= fewMembers/2:
		s.index = nil
	case s.index != nil:
		s.index[moved] = i
		delete(s.index, v)
	}
	return true
}

// edges are the literal children of a node, by symbol: the first one in place,
// since most nodes have no other.
type edges[V comparable] struct {
	first edge[V]
	rest  *edgeTable[V]
}

// edgeTable has a list for few edges, a map for many.
type edgeTable[V comparable] struct {
	few   []edge[V]
	index map[uint32]*node[V]
}

type edge[V comparable] struct {
	symbol uint32 // zero for no edge
	to     *node[V]
}

const fewEdges = 8

func (e *edges[V]) empty() bool { return e.first.symbol == 0 && e.rest == nil }

// get is the child for a symbol, nil if there is none, as for symbol zero.
func (e *edges[V]) get(symbol uint32) *node[V] {
	if e.first.symbol == symbol {
		return e.first.to
	}
	if e.rest == nil {
		return nil
	}
	return e.rest.get(symbol)
}

func (t *edgeTable[V]) get(symbol uint32) *node[V] {
	for i := range t.few {
		if t.few[i].symbol == symbol {
			return t.few[i].to
		}
	}
	if t.index != nil {
		return t.index[symbol]
	}
	return nil
}

// put adds a child that is not there.
func (e *edges[V]) put(symbol uint32, to *node[V]) {
	if e.first.symbol == 0 {
		e.first = edge[V]{symbol: symbol, to: to}
		return
	}
	if e.rest == nil {
		e.rest = new(edgeTable[V])
	}
	e.rest.put(symbol, to)
}

func (t *edgeTable[V]) put(symbol uint32, to *node[V]) {
	switch {
	case t.index != nil:
		t.index[symbol] = to
	case len(t.few) < fewEdges:
		t.few = append(t.few, edge[V]{symbol: symbol, to: to})
	default:
		t.index = make(map[uint32]*node[V], 2*fewEdges)
		for _, x := range t.few {
			t.index[x.symbol] = x.to
		}
		t.index[symbol] = to
		t.few = nil
	}
}

// remove takes out a child that is there.
func (e *edges[V]) remove(symbol uint32) {
	if e.first.symbol == symbol {
		e.first = edge[V]{}
		return
	}
	t := e.rest
	t.few = slices.DeleteFunc(t.few, func(x edge[V]) bool { return x.symbol == symbol })
	delete(t.index, symbol)
	if len(t.few)+len(t.index) == 0 {
		e.rest = nil
	}
}
