package schedule

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

var seed = flag.Uint64("seed", 1, "of the random test")

func TestOrder(t *testing.T) {
	var s Schedule[string]
	for i, due := range []int64{30, 10, 20, 10, 30} {
		s.Add(due, fmt.Sprint(due, "/", i))
	}
	if _, ok := s.Take(9); ok {
		t.Error("something came before its time")
	}
	var got []string
	for {
		e, ok := s.Take(20)
		if !ok {
			break
		}
		got = append(got, e.Value)
	}
	if want := []string{"10/1", "10/3", "20/2"}; !slices.Equal(got, want) {
		t.Errorf("%v, wanted %v", got, want)
	}
	if due, ok := s.Next(); due != 30 || !ok || s.Len() != 2 {
		t.Errorf("next at %d, %v, of %d", due, ok, s.Len())
	}
}

// TestModel compares a schedule with a sorted list under random operations.
func TestModel(t *testing.T) {
	type waiting struct {
		due   int64
		value int
	}
	g := rand.New(rand.NewPCG(*seed, 1))
	var s Schedule[int]
	var model, removed []waiting // model in order
	insert := func(w waiting) {
		at, _ := slices.BinarySearchFunc(model, w, func(a, b waiting) int {
			if a.due <= b.due {
				return -1
			}
			return 1
		})
		model = slices.Insert(model, at, w)
	}
	for n := range 50_000 {
		switch k := g.IntN(10); {
		case k < 4:
			w := waiting{int64(g.IntN(1000)), n}
			s.Add(w.due, w.value)
			insert(w)
		case k < 6 && len(model) > 0:
			i := g.IntN(len(model))
			s.Remove(model[i].due, model[i].value)
			removed = append(removed[:0], model[i])
			model = slices.Delete(model, i, i+1)
		case k == 6 && len(removed) > 0 && g.IntN(2) == 0: // it comes back; its place among equals is its own affair
			w := removed[0]
			removed = removed[:0]
			if g.IntN(2) == 0 {
				w.due++
			}
			if slices.ContainsFunc(model, func(o waiting) bool { return o.due == w.due }) {
				continue
			}
			s.Add(w.due, w.value)
			insert(w)
		case k == 7 && g.IntN(100) == 0:
			odd := func(v int) bool { return v%2 == 1 }
			was := len(model)
			model = slices.DeleteFunc(model, func(w waiting) bool { return odd(w.value) })
			if got := len(s.Drop(odd)); got != was-len(model) {
				t.Fatalf("seed %d, step %d: %d were dropped, not %d", *seed, n, got, was-len(model))
			}
		case k == 8 && g.IntN(50) == 0:
			entries := s.Entries()
			Sort(entries)
			for i, e := range entries {
				if model[i] != (waiting{e.Due, e.Value}) {
					t.Fatalf("seed %d, step %d: entry %d is %v, not %v", *seed, n, i, e, model[i])
				}
			}
		default:
			now := int64(g.IntN(1000))
			e, ok := s.Take(now)
			want := len(model) > 0 && model[0].due <= now
			if ok != want || ok && model[0] != (waiting{e.Due, e.Value}) {
				t.Fatalf("seed %d, step %d, time %d: took %v, %v of %d", *seed, n, now, e, ok, len(model))
			}
			if ok {
				model = model[1:]
			}
		}
		if s.Len() != len(model) {
			t.Fatalf("seed %d, step %d: %d wait, not %d", *seed, n, s.Len(), len(model))
		}
	}
	seen := 0
	s.Each(func(int) { seen++ })
	if seen != len(model) {
		t.Errorf("%d were visited of %d", seen, len(model))
	}
}
