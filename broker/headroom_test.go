package main

import "testing"

func TestPercentFor(t *testing.T) {
	for live, want := range map[uint64]int{0: 350, 4 << 20: 350, 7 << 20: 200, 14 << 20: 100, 1 << 30: 100} {
		if got := percentFor(live); got != want {
			t.Errorf("with %d MB alive: %d %%, not %d", live>>20, got, want)
		}
	}
}

func TestWorthCollecting(t *testing.T) {
	for _, c := range []struct {
		allocated, held, live uint64
		want                  bool
	}{
		{0, 50 << 20, 20 << 20, true},
		{quiet, 50 << 20, 20 << 20, false},
		{0, 23 << 20, 20 << 20, false},
		{0, 6 << 20, 4 << 20, false},
		{0, 106 << 20, 100 << 20, false},
		{0, 107 << 20, 100 << 20, true},
		{0, 10 << 20, 20 << 20, false},
	} {
		if got := worthCollecting(c.allocated, c.held, c.live); got != c.want {
			t.Errorf("%d allocated, %d held, %d live: %t", c.allocated, c.held, c.live, got)
		}
	}
}
