package queue

import (
	"slices"
	"testing"
)

// given takes what a consumer was given.
func given(q *Queue) (ids []uint64) {
	q.Take(func(_ *Consumer, ds []Delivery) {
		for _, d := range ds {
			ids = append(ids, d.ID)
		}
	})
	return ids
}

// TestSuspend: a suspended consumer gets nothing and keeps what it holds; when it is back, it is given that again, before
// anything new, as far as its credit goes.
func TestSuspend(t *testing.T) {
	q := New(Options{})
	c := q.Join(ConsumerOptions{Credited: true})
	for range 6 {
		q.Enqueue(0, Item{Durable: true, Size: 1})
	}
	q.Grant(c, 3, false, false)
	q.Pump(0)
	if got := given(q); !slices.Equal(got, []uint64{1, 2, 3}) {
		t.Fatalf("given %v", got)
	}
	q.Suspend(c)
	q.Grant(c, 10, false, false)
	q.Pump(0)
	if got := given(q); len(got) > 0 || q.Active() != 0 || q.Suspended() != 1 || q.Unacked() != 3 {
		t.Fatalf("suspended, and given %v; %d active, %d suspended, %d unacked", got, q.Active(), q.Suspended(), q.Unacked())
	}
	if h := c.Holdings(); !slices.Equal(h, []Holding{{1, 1}, {2, 2}, {3, 3}}) {
		t.Errorf("holds %v", h)
	}
	q.Settle(c, 2, 2, Accept) // as long as it has its tags
	q.Return(c)
	q.Again(c, []uint64{3, 2, 1}, false)
	c.Pause(false)
	q.Grant(c, 3, false, false)
	q.Pump(0)
	if got := given(q); !slices.Equal(got, []uint64{3, 1, 4}) || q.Active() != 1 || q.Suspended() != 0 {
		t.Fatalf("back, and given %v; %d active, %d suspended", got, q.Active(), q.Suspended())
	}
	q.Suspend(c)
	q.Return(c)
	q.Again(c, []uint64{4}, true)
	c.Pause(false)
	q.Grant(c, 10, false, false)
	q.Pump(0)
	if got := given(q); !slices.Equal(got, []uint64{4}) {
		t.Fatalf("with nothing new, given %v", got)
	}
	q.Leave(c)
	if q.Ready() != 5 || q.Unacked() != 0 || q.Suspended() != 0 {
		t.Errorf("in the end %d wait, %d are unacked", q.Ready(), q.Unacked())
	}
}

// TestClaim: a consumer holds what it had before a restart, and nothing that is not there.
func TestClaim(t *testing.T) {
	q := New(Options{})
	for i := range uint64(2000) { // some of them are packed
		q.Restore(0, Item{ID: i + 1, Durable: true, Size: 1})
	}
	c := q.Join(ConsumerOptions{Credited: true})
	q.Claim(c, []uint64{700, 5, 9999})
	if h := c.Holdings(); !slices.Equal(h, []Holding{{1, 700}, {2, 5}}) || q.Ready() != 1998 || q.Unacked() != 2 {
		t.Fatalf("holds %v; %d wait, %d are unacked", h, q.Ready(), q.Unacked())
	}
	q.Leave(c)
	if q.Ready() != 2000 {
		t.Errorf("in the end %d wait", q.Ready())
	}
}
