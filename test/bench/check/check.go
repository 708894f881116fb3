// Package check marks the payloads of a load and says from what arrived whether anything was lost, doubled or reordered,
// and how long it took.
package check

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

// Size is how much of a payload the mark takes: run, publisher, sequence number, time.
const Size = 4 + 4 + 8 + 8

// Mark writes a mark into the first Size bytes of a payload.
func Mark(payload []byte, run, publisher uint32, sequence uint64, at time.Time) {
	binary.LittleEndian.PutUint32(payload, run)
	binary.LittleEndian.PutUint32(payload[4:], publisher)
	binary.LittleEndian.PutUint64(payload[8:], sequence)
	binary.LittleEndian.PutUint64(payload[16:], uint64(at.UnixNano()))
}

// Publisher is who sent a marked payload.
func Publisher(payload []byte) uint32 { return binary.LittleEndian.Uint32(payload[4:]) }

// Ledger knows of every message of a run whether it has arrived, whoever got it. Its methods are safe for concurrent use.
type Ledger struct {
	run    uint32
	chunks [][]atomic.Pointer[chunk] // by publisher
}

const (
	chunkBits = 1 << 20
	mostBits  = 1 << 32
)

// chunk is whether chunkBits numbers next to one another were seen.
type chunk [chunkBits / 64]uint64

// NewLedger makes the ledger of a run with so many publishers.
func NewLedger(run uint32, publishers int) *Ledger {
	l := &Ledger{run: run, chunks: make([][]atomic.Pointer[chunk], publishers)}
	for i := range l.chunks {
		l.chunks[i] = make([]atomic.Pointer[chunk], mostBits/chunkBits)
	}
	return l
}

// note says whether a message had arrived before.
func (l *Ledger) note(publisher uint32, number uint64) (before bool) {
	at := &l.chunks[publisher][number/chunkBits]
	c := at.Load()
	if c == nil {
		at.CompareAndSwap(nil, new(chunk))
		c = at.Load()
	}
	bit := uint64(1) << (number % 64)
	return atomic.OrUint64(&c[number%chunkBits/64], bit)&bit != 0
}

// Checker takes what one receiver got. It belongs to one goroutine.
type Checker struct {
	ledger   *Ledger
	next     []uint64 // by publisher: the number behind the newest that came
	Received uint64   // payloads of this run, doubles included
	Doubled  uint64
	Late     uint64 // came after a later one of the same publisher
	Foreign  uint64 // payloads without a mark of this run
	Latency  Histogram
}

// New makes the checker of one receiver.
func New(l *Ledger) *Checker { return &Checker{ledger: l, next: make([]uint64, len(l.chunks))} }

// Take looks at a payload that arrived, and says who sent it; false: it is not of this run.
func (c *Checker) Take(payload []byte, now time.Time) (publisher uint32, ok bool) {
	if len(payload) < Size || binary.LittleEndian.Uint32(payload) != c.ledger.run || int(Publisher(payload)) >= len(c.next) {
		c.Foreign++
		return 0, false
	}
	publisher = Publisher(payload)
	number := binary.LittleEndian.Uint64(payload[8:])
	if number >= mostBits {
		c.Foreign++
		return 0, false
	}
	c.Received++
	switch {
	case c.ledger.note(publisher, number):
		c.Doubled++
	case number < c.next[publisher]:
		c.Late++
	default:
		c.next[publisher] = number + 1
	}
	c.Latency.Add(now.Sub(time.Unix(0, int64(binary.LittleEndian.Uint64(payload[16:])))))
	return publisher, true
}

// Merge adds what another receiver of the same run got.
func (c *Checker) Merge(o *Checker) {
	c.Received, c.Doubled, c.Late, c.Foreign = c.Received+o.Received, c.Doubled+o.Doubled, c.Late+o.Late, c.Foreign+o.Foreign
	c.Latency.Merge(&o.Latency)
}

// Err compares with how many messages were sent; nil when all of them came once and in order.
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
