package check

import (
	"strings"
	"testing"
	"time"
)

func TestChecker(t *testing.T) {
	send := func(c *Checker, publisher uint32, sequences ...uint64) {
		for _, s := range sequences {
			p := make([]byte, 64)
			Mark(p, publisher, s, time.Now())
			c.Take(p, time.Now())
		}
	}
	good := New()
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
		"3 were lost, 0 doubled, 0 out of order":  {},
		"-1 were lost, 0 doubled, 0 out of order": {0, 1, 2, 3},
	} {
		c := New()
		send(c, 1, sequences...)
		if err := c.Err(3); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", sequences, err, want)
		}
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
