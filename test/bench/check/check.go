// Package check marks the payloads of a load and says from what arrived whether anything was lost, doubled or reordered,
// and how long it took.
package check

import (
	"encoding/binary"
	"fmt"
	"math/bits"
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
	from     map[uint32]*sequence
	Received uint64 // payloads with a mark, doubles included
	Doubled  uint64
	Late     uint64 // came after a later one
	Foreign  uint64 // payloads without a mark of this load
	Latency  Histogram
}

// sequence is what came from one publisher: which of the newest window numbers below next were seen.
type sequence struct {
	next uint64
	seen [window]bool
}

// window is more than may be under way from one publisher.
const window = 8192

// New makes a checker.
func New() *Checker { return &Checker{from: make(map[uint32]*sequence)} }

// Take looks at a payload that arrived.
func (c *Checker) Take(payload []byte, now time.Time) {
	if len(payload) < Size {
		c.Foreign++
		return
	}
	publisher := binary.LittleEndian.Uint32(payload)
	number := binary.LittleEndian.Uint64(payload[4:])
	s := c.from[publisher]
	if s == nil {
		s = &sequence{}
		c.from[publisher] = s
	}
	if number >= s.next+window {
		c.Foreign++
		return
	}
	c.Received++
	c.place(s, number)
	c.Latency.Add(now.Sub(time.Unix(0, int64(binary.LittleEndian.Uint64(payload[12:])))))
}

func (c *Checker) place(s *sequence, number uint64) {
	if number >= s.next {
		for ; s.next < number; s.next++ {
			s.seen[s.next%window] = false
		}
		s.seen[number%window] = true
		s.next++
		return
	}
	if s.next-number > window || s.seen[number%window] {
		c.Doubled++
		return
	}
	s.seen[number%window] = true
	c.Late++
}

// Err compares with how many messages were sent to the receiver; nil when all of them came once and in order.
func (c *Checker) Err(sent uint64) error {
	lost := int64(sent) - int64(c.Received-c.Doubled)
	if lost == 0 && c.Doubled+c.Late+c.Foreign == 0 {
		return nil
	}
	return fmt.Errorf("of %d messages %d were lost, %d doubled, %d out of order, %d foreign", sent, lost, c.Doubled, c.Late, c.Foreign)
}

// Histogram counts durations in buckets that are less than one percent of their value wide.
type Histogram struct {
	counts [64 * steps]uint64
	n      uint64
}

const steps = 128

// Add counts a duration; negative ones count as zero.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.n++
}

func bucket(v uint64) int {
	shift := max(bits.Len64(v)-bits.Len64(2*steps-1), 0)
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
