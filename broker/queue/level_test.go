package queue

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/message"
)

// randomItem makes an item as the log would have it.
func randomItem(r *rand.Rand, id uint64) Item {
	it := Item{ID: id, Durable: true, Size: uint32(r.IntN(300)), Ref: Ref{Index: id / 7, At: uint32(id%7) * 400}}
	it.Ref.Share = it.Size
	switch r.IntN(8) {
	case 0:
		it.Expiry = r.Int64N(1 << 40)
	case 1:
		it.QoS, it.Priority, it.Count, it.Returned = 1, uint8(r.IntN(5)), uint32(r.IntN(3)), true
	case 2:
		it.Ref.Share /= 2
	case 3:
		it.QoS, it.Retained = 2, true
	case 4:
		it.Message = &message.Message{Owned: true}
	case 5:
		it.Key, it.Closes = r.Uint64(), r.IntN(2) == 0
	case 6:
		it.Received, it.Shared = true, r.IntN(2) == 0
	}
	return it
}

// plain is an item without what packing may let go of.
func plain(it Item) Item {
	if it.Durable {
		it.Message = nil
	}
	return it
}

func TestPagesGiveBackTheirItems(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var items []Item
		id := uint64(1 + r.IntN(3))
		for range 1 + r.IntN(pageItems) {
			items = append(items, plain(randomItem(r, id)))
			id += 1 + uint64(r.IntN(2)*r.IntN(3))
		}
		again, err := unpack(nil, encode(items))
		if err != nil || !slices.Equal(again, items) {
			t.Fatalf("%v: %d items instead of %d", err, len(again), len(items))
		}
	}
}

func TestPackedItemsAreSmall(t *testing.T) {
	var items []Item
	for i := range uint64(pageItems) {
		items = append(items, Item{ID: 1 + i, Durable: true, Size: 300, Ref: Ref{Index: 1000 + i/50, At: uint32(i%50) * 310, Share: 300}})
	}
	if n := len(encode(items)); n > 4*pageItems {
		t.Errorf("%d items take %d bytes", len(items), n)
	}
}

// TestLevelIsAnOrderedSet compares a level with a sorted list under random use, with deep backlogs.
func TestLevelIsAnOrderedSet(t *testing.T) {
	for seed := range uint64(9) {
		r := rand.New(rand.NewPCG(seed, 2))
		var l level
		var model []Item
		place := func(id uint64) (int, bool) {
			return slices.BinarySearchFunc(model, id, func(it Item, id uint64) int { return int(it.ID) - int(id) })
		}
		next := uint64(1)
		var taken []Item
		remove := func(first, last uint64) {
			from, _ := place(first)
			to, _ := place(last + 1)
			var gone, want []uint64
			l.removeRange(first, last, func(it *Item) { gone = append(gone, it.ID) })
			for _, it := range model[from:to] {
				want = append(want, it.ID)
			}
			slices.Sort(gone)
			if !slices.Equal(gone, want) {
				t.Fatalf("seed %d: removing %d to %d took %v, want %v", seed, first, last, gone, want)
			}
			model = slices.Delete(model, from, to)
		}
		for range 300 {
			switch r.IntN(6) {
			case 0, 1:
				for range r.IntN(1500) {
					it := randomItem(r, next)
					it.Durable = r.IntN(20) > 0 || seed%3 > 0
					next += 1 + uint64(r.IntN(2))
					l.insert(it)
					model = append(model, it)
				}
			case 2:
				for range min(r.IntN(1000), len(model)) {
					it := l.popFront()
					if plain(it) != plain(model[0]) {
						t.Fatalf("seed %d: %+v came instead of %+v", seed, it, model[0])
					}
					taken = append(taken, it)
					model = model[1:]
				}
			case 3: // some come back to their place
				for range min(r.IntN(20), len(taken)) {
					i := r.IntN(len(taken))
					it := taken[i]
					taken = slices.Delete(taken, i, i+1)
					l.insert(it)
					at, _ := place(it.ID)
					model = slices.Insert(model, at, it)
				}
			case 4:
				first := 1 + r.Uint64N(next)
				remove(first, first+r.Uint64N(100))
			case 5:
				if len(model) > 0 {
					remove(model[0].ID, model[0].ID+r.Uint64N(2000))
				}
			}
			if l.len() != len(model) {
				t.Fatalf("seed %d: %d items instead of %d", seed, l.len(), len(model))
			}
		}
		i := 0
		l.each(func(it *Item) {
			if plain(*it) != plain(model[i]) {
				t.Fatalf("seed %d: item %d is %+v, want %+v", seed, i, *it, model[i])
			}
			i++
		})
	}
}

func TestSnapshotRestores(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		q := New(Options{MaxPriority: uint8(seed % 3)})
		c := q.Join(ConsumerOptions{Limit: 100})
		for i := range uint64(r.IntN(6000)) {
			it := randomItem(r, 1+i)
			it.Expiry = 0
			if it.Durable = r.IntN(10) > 0; !it.Durable {
				it.Message = &message.Message{Owned: true}
			}
			q.Restore(0, it)
		}
		q.Pump(0)
		q.Take(func(*Consumer, []Delivery) {})
		q.Settle(c, 3, 40, Accept)
		q.Take(func(*Consumer, []Delivery) {})
		settled := []Item{{ID: 1 << 20, Durable: true, Ref: Ref{Index: 9}}}
		var want []Item
		q.Each(func(it *Item) {
			if it.Durable {
				want = append(want, plain(*it))
			}
		})
		want = append(want, settled...)
		s := q.Snapshot(settled)
		again := New(Options{MaxPriority: uint8(seed % 3)})
		var got []Item
		s.Blocks(func(block []byte) {
			if err := again.RestoreBlock(block, func(it *Item) { got = append(got, *it) }); err != nil {
				t.Fatal(err)
			}
		})
		byID := func(a, b Item) int { return int(a.ID) - int(b.ID) }
		slices.SortFunc(want, byID)
		slices.SortFunc(got, byID)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d items instead of %d", seed, len(got), len(want))
		}
		var left []Item
		again.Each(func(it *Item) { left = append(left, *it) })
		slices.SortFunc(left, byID)
		if !slices.Equal(left, want) || again.Ready() != len(want) || s.Next() != q.NextID() {
			t.Fatalf("seed %d: the restored queue has %d items, %d ready, instead of %d", seed, len(left), again.Ready(), len(want))
		}
	}
}

// FuzzPage unpacks any bytes; what is understood is packed to the same items.
func FuzzPage(f *testing.F) {
	r := rand.New(rand.NewPCG(4, 4))
	var items []Item
	for i := range uint64(20) {
		items = append(items, plain(randomItem(r, 1+2*i)))
	}
	f.Add(encode(items))
	f.Fuzz(func(t *testing.T, data []byte) {
		items, err := unpack(nil, data)
		if err != nil {
			return
		}
		again, err := unpack(nil, encode(items))
		if err != nil || !slices.Equal(again, items) {
			t.Errorf("%v: %d items instead of %d", err, len(again), len(items))
		}
	})
}
