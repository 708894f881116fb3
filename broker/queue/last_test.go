package queue

import (
	"math/rand/v2"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/message"
)

// TestLastValuesAgainstModel plays random operations on a queue of last values, and compares what waits with the newest
// message of each key that is not done with, in the queue, and in what a snapshot and the log would make of it.
func TestLastValuesAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range uint64(8) {
		lastValues(t, rand.New(rand.NewPCG(seed, round)))
		if t.Failed() {
			t.Fatalf("seed %d round %d", seed, round)
		}
	}
}

func lastValues(t *testing.T, r *rand.Rand) {
	q := New(Options{DeadLetterless: true, LastValue: true, MaxPriority: uint8(r.IntN(2) * 2)})
	keys := 1 + r.Uint64N(3000)
	newest, waiting, held := map[uint64]uint64{}, map[uint64]Item{}, map[uint64]Item{} // by key, by key, by tag
	var all, gone []Item                                                               // that came, that left
	var c *Consumer
	back := func(it Item) {
		if newest[it.Key] == 0 || newest[it.Key] <= it.ID {
			newest[it.Key] = it.ID
			waiting[it.Key] = it
		}
	}
	done := func(it Item) {
		if newest[it.Key] == it.ID {
			delete(newest, it.Key)
		}
	}
	take := func() {
		for more := true; more; more = q.More(0) {
			left, _ := q.Take(func(_ *Consumer, ds []Delivery) {
				for _, d := range ds {
					if w, there := waiting[d.Key]; !there || w.ID != d.ID {
						t.Errorf("%d of key %d was given, %d waits", d.ID, d.Key, w.ID)
					}
					delete(waiting, d.Key)
					held[d.Tag] = d.Item
				}
			})
			gone = append(gone, left...)
		}
	}
	for range 200 {
		switch r.IntN(6) {
		case 0:
			if c == nil {
				c = q.Join(ConsumerOptions{Limit: 1 + r.IntN(500)})
				q.Pump(0)
			}
		case 1:
			if c != nil && r.IntN(4) == 0 {
				for tag := range c.held.next {
					if it, there := held[tag]; there {
						back(it)
					}
				}
				clear(held)
				q.Leave(c)
				c = nil
			}
		case 2, 3:
			for range r.IntN(200) {
				it := Item{ID: q.NextID(), Key: 1 + r.Uint64N(keys), Priority: uint8(r.IntN(3)), Size: 1, Durable: true, Message: &message.Message{Owned: true}}
				all = append(all, it)
				newest[it.Key], waiting[it.Key] = it.ID, it
				q.Enqueue(0, it)
				take()
			}
		default:
			for tag, it := range held {
				if r.IntN(3) > 0 {
					continue
				}
				delete(held, tag)
				if r.IntN(2) == 0 {
					done(it)
					q.Settle(c, tag, tag, Accept)
				} else {
					back(it)
					q.Settle(c, tag, tag, Release)
				}
				q.Pump(0)
				take()
			}
		}
		take()
		if q.Ready() != len(waiting) || q.Bytes() != int64(len(waiting)) || q.Unacked() != len(held) {
			t.Errorf("%d wait with %d bytes, and %d are held; want %d and %d", q.Ready(), q.Bytes(), q.Unacked(), len(waiting), len(held))
			return
		}
	}
	// The log has all that came and, of what left, at least a part.
	restored := New(Options{DeadLetterless: true, LastValue: true, MaxPriority: q.options.MaxPriority})
	for _, it := range all {
		it.Message = nil
		restored.Restore(0, it)
	}
	for i, it := range gone {
		if i < len(gone)/2 || newest[it.Key] < it.ID {
			restored.Remove(it.ID, it.ID, func(*Item) {})
		}
	}
	snapshot := New(restored.options)
	if err := copyOf(q, snapshot); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]*Queue{"log": restored, "snapshot": snapshot} {
		other.Pump(0)
		want := map[uint64]uint64{}
		q.Each(func(it *Item) { want[it.Key] = max(want[it.Key], it.ID) })
		n := 0
		other.Each(func(it *Item) {
			if n++; want[it.Key] != it.ID {
				t.Errorf("%s: %d of key %d waits, want %d", name, it.ID, it.Key, want[it.Key])
			}
		})
		if n != len(want) || other.Ready() != n {
			t.Errorf("%s: %d wait of %d keys", name, n, len(want))
		}
	}
}

// copyOf brings what a snapshot of one queue has to another.
func copyOf(from, to *Queue) (err error) {
	from.Snapshot(nil).Blocks(func(b []byte) {
		if e := to.RestoreBlock(b, func(*Item) {}); e != nil {
			err = e
		}
	})
	return err
}
