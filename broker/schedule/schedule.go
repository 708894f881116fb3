// Package schedule is what waits for a time: values in the order in which they are due, those of one time in the order in
// which they came. It is a value with methods: no goroutine, no clock; time is an argument, in milliseconds since 1970.
//
// It is a heap: the values are small and many, the earliest one is asked for all the time, and hardly anything is taken
// back before it is due. What is taken back stays in the heap, marked, until it is first or until half of the heap is so.
package schedule

import "slices"

// Schedule holds values, no two of them equal. The zero Schedule is empty and ready for use.
type Schedule[T comparable] struct {
	heap []Entry[T]            // heap[i] is not before heap[(i-1)/2]
	gone map[place[T]]struct{} // removed and still in the heap
	next uint64
}

// place tells an entry from one of the same value at another time.
type place[T comparable] struct {
	due   int64
	value T
}

func (e *Entry[T]) place() place[T] { return place[T]{e.Due, e.Value} }

// Entry is a value with the time at which it is due.
type Entry[T comparable] struct {
	Due   int64
	order uint64 // of coming
	Value T
}

func (e *Entry[T]) before(o *Entry[T]) bool {
	return e.Due < o.Due || e.Due == o.Due && e.order < o.order
}

// Len is how many values wait.
func (s *Schedule[T]) Len() int { return len(s.heap) - len(s.gone) }

// Add lets a value wait.
func (s *Schedule[T]) Add(due int64, v T) {
	if _, ok := s.gone[place[T]{due, v}]; ok { // it was removed, and comes back
		delete(s.gone, place[T]{due, v})
		return
	}
	s.heap = append(s.heap, Entry[T]{Due: due, order: s.next, Value: v})
	s.next++
	s.up(len(s.heap) - 1)
}

// Remove takes back a value that waits for a time.
func (s *Schedule[T]) Remove(due int64, v T) {
	if s.gone == nil {
		s.gone = make(map[place[T]]struct{})
	}
	s.gone[place[T]{due, v}] = struct{}{}
	if len(s.gone) > len(s.heap)/2 {
		s.sweep()
	}
}

// Next is when the earliest value is due; not ok when nothing waits.
func (s *Schedule[T]) Next() (due int64, ok bool) {
	for len(s.heap) > 0 {
		if _, removed := s.gone[s.heap[0].place()]; !removed {
			return s.heap[0].Due, true
		}
		delete(s.gone, s.heap[0].place())
		s.pop()
	}
	return 0, false
}

// Take takes the earliest value if it is due.
func (s *Schedule[T]) Take(now int64) (e Entry[T], ok bool) {
	if due, some := s.Next(); !some || due > now {
		return e, false
	}
	return s.pop(), true
}

// Drop takes the values that a question is answered with true for, in no order.
func (s *Schedule[T]) Drop(which func(T) bool) (dropped []Entry[T]) {
	s.sweep()
	s.heap = slices.DeleteFunc(s.heap, func(e Entry[T]) bool {
		if !which(e.Value) {
			return false
		}
		dropped = append(dropped, e)
		return true
	})
	s.order()
	return dropped
}

// Entries are a copy of what waits, in no order.
func (s *Schedule[T]) Entries() []Entry[T] {
	s.sweep()
	return slices.Clone(s.heap)
}

// Each calls fn for each value that waits, in no order.
func (s *Schedule[T]) Each(fn func(T)) {
	for i := range s.heap {
		if _, removed := s.gone[s.heap[i].place()]; !removed {
			fn(s.heap[i].Value)
		}
	}
}

// Sort puts entries into the order in which they are due.
func Sort[T comparable](entries []Entry[T]) {
	slices.SortFunc(entries, func(a, b Entry[T]) int {
		if a.before(&b) {
			return -1
		}
		return 1
	})
}

// sweep takes out of the heap what was removed.
func (s *Schedule[T]) sweep() {
	if len(s.gone) == 0 {
		return
	}
	s.heap = slices.DeleteFunc(s.heap, func(e Entry[T]) bool {
		_, removed := s.gone[e.place()]
		return removed
	})
	s.gone = nil
	s.order()
}

// order makes a heap of the entries again.
func (s *Schedule[T]) order() {
	for i := len(s.heap)/2 - 1; i >= 0; i-- {
		s.down(i)
	}
}

// pop takes the first entry of the heap.
func (s *Schedule[T]) pop() Entry[T] {
	first, last := s.heap[0], len(s.heap)-1
	s.heap[0] = s.heap[last]
	s.heap[last] = Entry[T]{} // it may hold a pointer
	s.heap = s.heap[:last]
	s.down(0)
	if last == 0 {
		s.heap = nil // of many, a few may wait for long
	}
	return first
}

func (s *Schedule[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !s.heap[i].before(&s.heap[parent]) {
			return
		}
		s.heap[i], s.heap[parent] = s.heap[parent], s.heap[i]
		i = parent
	}
}

func (s *Schedule[T]) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s.heap); child++ {
			if s.heap[child].before(&s.heap[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		s.heap[i], s.heap[least] = s.heap[least], s.heap[i]
		i = least
	}
}
