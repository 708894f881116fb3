// Package check marks the payloads of a load and says from what arrived whether anything was lost, doubled or reordered,
// and how long it took.
package check

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Size is how much of a payload the mark takes: publisher, sequence number, time.
const Size = 4 + 8 + 8

// Mark writes a mark into the first Size bytes of a payload.
func Mark(payload []byte, publisher uint32, sequence uint64, at time.Time) {
	binary.LittleEndian.PutUint32(payload, publisher)
	binary.LittleEndian.PutUint64(payload[4:], sequence)
	binary.LittleEndian.PutUint64(payload[12:], uint64(at.UnixNano()))
}

// Checker takes what one receiver got. It belongs to one goroutine.
type Checker struct {
	next               map[uint32]uint64
	Received           uint64
	Lost, Out, Foreign uint64 // gaps, messages that came late or twice, payloads without a mark of this load
	Latency            Histogram
}

// New makes a checker.
func New() *Checker { return &Checker{next: make(map[uint32]uint64)} }

// Take looks at a payload that arrived.
func (c *Checker) Take(payload []byte, now time.Time) {
	if len(payload) < Size {
		c.Foreign++
		return
	}
	c.Received++
	publisher := binary.LittleEndian.Uint32(payload)
	sequence := binary.LittleEndian.Uint64(payload[4:])
	next := c.next[publisher]
	switch {
	case sequence == next:
		c.next[publisher] = next + 1
	case sequence > next:
		c.Lost += sequence - next
		c.next[publisher] = sequence + 1
	default:
		c.Out++
	}
	c.Latency.Add(now.Sub(time.Unix(0, int64(binary.LittleEndian.Uint64(payload[12:])))))
}

// Err says what was wrong; nil when everything came once and in order.
func (c *Checker) Err() error {
	if c.Lost+c.Out+c.Foreign == 0 {
		return nil
	}
	return fmt.Errorf("%d lost, %d doubled or out of order, %d foreign of %d", c.Lost, c.Out, c.Foreign, c.Received)
}

// Histogram counts durations in buckets that are one thirty-second of their value wide (3 %).
type Histogram struct {
	counts [64 * steps]uint64
	n      uint64
}

const steps = 32

// Add counts a duration; negative ones count as zero.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.n++
}

func bucket(v uint64) int {
	shift := 0
	for v>>shift >= 2*steps {
		shift++
	}
	return shift*steps + int(v>>shift)
}

func upper(b int) uint64 {
	if b < 2*steps {
		return uint64(b)
	}
	shift := b/steps - 1
	return uint64(b-shift*steps+1)<<shift - 1
}

// Merge adds the counts of another histogram.
func (h *Histogram) Merge(o *Histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
}

// Quantile is the duration that a share q of all does not exceed; zero when nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := uint64(q * float64(h.n))
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen > want || seen == h.n && c > 0 {
			return time.Duration(upper(i))
		}
	}
	return 0
}
