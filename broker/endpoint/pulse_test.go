package endpoint_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/endpoint"
)

// TestPulse: silence counts from the last byte that came, and signs of life are due when nothing was written for so long.
func TestPulse(t *testing.T) {
	var p endpoint.Pulse
	for i, heard := range []bool{false, false, true, false, false, false} {
		if got, want := p.Silence(heard), []int64{1, 2, 0, 1, 2, 3}[i]; got != want {
			t.Errorf("look %d: silent for %d, want %d", i, got, want)
		}
	}
	var due []int
	for i, written := range []uint64{0, 0, 5, 5, 5, 6, 6, 6, 6} {
		if p.Due(written, 2) {
			due = append(due, i)
		}
	}
	if want := []int{1, 4, 7}; !slices.Equal(due, want) {
		t.Errorf("due at %v, want %v", due, want)
	}
}

// TestEverySecond: each call is told whether the generation has changed since the one before, and the last one is before Shutdown.
func TestEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := endpoint.New[*peer]()
		generation := uint64(7)
		var changes []uint32
		seconds := uint32(0)
		s.Go(func() { // ends with Shutdown
			s.EverySecond(func() uint64 { return generation }, func(second uint32, changed bool) {
				if seconds = second; changed {
					changes = append(changes, second)
				}
				if second == 3 {
					generation++ // told of at the next call
				}
			})
		})
		time.Sleep(5*time.Second + time.Millisecond)
		if err := s.Shutdown(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if seconds != 5 || !slices.Equal(changes, []uint32{4}) {
			t.Errorf("%d calls, changes in %v", seconds, changes)
		}
	})
}
