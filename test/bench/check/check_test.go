package check

import (
	"strings"
	"testing"
	"time"
)

const run = 7

func send(c *Checker, publisher uint32, sequences ...uint64) {
	for _, s := range sequences {
		p := make([]byte, 64)
		Mark(p, run, publisher, s, time.Now())
		c.Take(p, time.Now())
	}
}

func TestChecker(t *testing.T) {
	good := New(NewLedger(run, 3))
	send(good, 1, 0, 1, 2)
	send(good, 2, 0, 1)
	if err := good.Err(5); err != nil {
		t.Error(err)
	}
	for want, sequences := range map[string][]uint64{
		"1 were lost, 0 doubled, 0 out of order":  {0, 2},
		"2 were lost, 0 doubled, 0 out of order":  {0},
		"0 were lost, 1 doubled, 0 out of order":  {0, 1, 1, 2},
		"0 were lost, 0 doubled, 1 out of order":  {0, 2, 1},
		"1 were lost, 1 doubled, 0 out of order":  {0, 2, 2},
		"3 were lost, 0 doubled, 0 out of order":  {},
		"-1 were lost, 0 doubled, 0 out of order": {0, 1, 2, 3},
	} {
		c := New(NewLedger(run, 2))
		send(c, 1, sequences...)
		if err := c.Err(3); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", sequences, err, want)
		}
	}
}

// Two receivers of one queue: each sees gaps, together they see everything, and a message that both got is doubled.
func TestSharedQueue(t *testing.T) {
	l := NewLedger(run, 1)
	a, b := New(l), New(l)
	send(a, 0, 0, 2, 3)
	send(b, 0, 1, 4)
	all := New(l)
	all.Merge(a)
	all.Merge(b)
	if err := all.Err(5); err != nil {
		t.Error(err)
	}
	send(b, 0, 3, 5)
	all = New(l)
	all.Merge(a)
	all.Merge(b)
	if err := all.Err(6); err == nil || !strings.Contains(err.Error(), "0 were lost, 1 doubled, 0 out of order") {
		t.Error(err)
	}
}

func TestForeign(t *testing.T) {
	c := New(NewLedger(run, 1))
	for _, p := range [][]byte{make([]byte, 3), make([]byte, 64)} {
		c.Take(p, time.Now())
	}
	other := make([]byte, 64)
	Mark(other, run, 9, 0, time.Now())
	c.Take(other, time.Now())
	if err := c.Err(0); err == nil || !strings.Contains(err.Error(), "3 foreign") {
		t.Error(err)
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	for i := 1; i <= 100_000; i++ {
		h.Add(time.Duration(i) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 0.999: 99900 * time.Microsecond} {
		if got := h.Quantile(q); got < want || float64(got) > 1.01*float64(want) {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}
