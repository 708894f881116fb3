package main

import "testing"

func TestPercentFor(t *testing.T) {
	for live, want := range map[uint64]int{0: 350, 4 << 20: 350, 7 << 20: 200, 14 << 20: 100, 1 << 30: 100} {
		if got := percentFor(live); got != want {
			t.Errorf("with %d MB alive: %d %%, not %d", live>>20, got, want)
		}
	}
}
