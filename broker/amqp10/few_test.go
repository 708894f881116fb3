package amqp10

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// TestFewAgainstAMap: whatever is done, it holds what a map holds.
func TestFewAgainstAMap(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var f few[uint32, int]
		want := make(map[uint32]int)
		keys := uint32(1 + rng.IntN(3*mostFew))
		for step := range 500 {
			k := rng.Uint32N(keys)
			switch rng.IntN(8) {
			case 0, 1, 2:
				f.set(k, step)
				want[k] = step
			case 3, 4:
				f.remove(k)
				delete(want, k)
			case 5:
				for key := range f.all() { // which may remove what it sees
					if key%2 == 0 {
						f.remove(key)
						delete(want, key)
					}
				}
			case 6:
				if rng.IntN(20) == 0 {
					f.clear()
					clear(want)
				}
			}
			if got := maps.Collect(f.all()); !maps.Equal(got, want) {
				t.Fatalf("seed %d, step %d: %v, want %v", seed, step, got, want)
			}
			if got := f.get(k); got != want[k] {
				t.Fatalf("seed %d, step %d: %d is %d, want %d", seed, step, k, got, want[k])
			}
		}
	}
}
