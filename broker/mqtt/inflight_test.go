package mqtt

import (
	"math/rand/v2"
	"testing"
)

// TestInflightAgainstAMap: whatever is acknowledged in whatever order, identifiers are unique and lead to their tags.
// [MQTT-2.3.1-4], [MQTT5-4.3.2-1], [MQTT5-4.3.3-1]
func TestInflightAgainstAMap(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	var f inflight
	model := make(map[uint16]uint64)
	item := uint64(65000)
	for tag := uint64(1); tag < 300000; tag++ {
		if r.IntN(20) == 0 {
			item += uint64(r.IntN(100))
		}
		item++
		id := f.add(item, tag, awaitsPuback)
		if id == 0 || model[id] != 0 {
			t.Fatalf("seed %d: identifier %d of item %d is in use", seed, id, item)
		}
		if want := uint16((item-1)%maxPacketIDs) + 1; id != want && model[want] == 0 {
			t.Fatalf("seed %d: item %d has identifier %d, not its own", seed, item, id)
		}
		model[id] = tag
		for len(model) > 1000+r.IntN(2000) {
			for id, tag := range model {
				if got := f.take(id); got != tag {
					t.Fatalf("seed %d: identifier %d leads to tag %d, not %d", seed, id, got, tag)
				}
				delete(model, id)
				break
			}
		}
		if id := uint16(r.Uint32()); model[id] == 0 && f.take(id) != 0 {
			t.Fatalf("seed %d: identifier %d is taken twice", seed, id)
		}
	}
}

// TestRedeliveryHasItsIdentifier: the identifier depends on the item alone while the window is smaller than the numbers.
// [MQTT-4.4.0-1]
func TestRedeliveryHasItsIdentifier(t *testing.T) {
	var first, second inflight
	for item := uint64(65500); item < 65600; item++ {
		a, b := first.add(item, item, awaitsPuback), second.add(item, item+7, awaitsPuback)
		if a != b || a == 0 {
			t.Errorf("item %d has identifiers %d and %d", item, a, b)
		}
	}
}
