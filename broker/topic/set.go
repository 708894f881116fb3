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
