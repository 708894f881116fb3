package amqp10

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestUnsettledAgainstModel: whatever is settled in whatever order, each delivery is settled once, by its link and tag.
// 2 §2.6.12, 2 §2.8.10
func TestUnsettledAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	r := rand.New(rand.NewPCG(seed, 0))
	type delivery struct {
		link *outgoing
		tag  uint64
	}
	links := []*outgoing{{}, {}, {}}
	u := unsettled{next: math.MaxUint32 - 5000} // so that ids wrap
	model := map[uint32]delivery{}
	tags := map[*outgoing]uint64{}
	visited := 0
	for step := range 30_000 {
		if r.IntN(3) > 0 {
			l := links[r.IntN(len(links))*r.IntN(2)]
			for range 1 + r.IntN(20) {
				if r.IntN(30) == 0 {
					u.skip()
					continue
				}
				tags[l]++
				model[u.add(l, tags[l], uint32(step/1000))] = delivery{l, tags[l]}
			}
			continue
		}
		first := uint32(u.next) - uint32(r.IntN(3000))
		last := first + uint32(r.IntN(1+r.IntN(2000)))
		if r.IntN(500) == 0 {
			l := links[r.IntN(len(links))]
			u.drop(l)
			for id, d := range model {
				if d.link == l {
					delete(model, id)
				}
			}
		}
		u.each(first, last, func(l *outgoing, id, tag uint64) {
			if d, ok := model[uint32(id)]; !ok || d != (delivery{l, tag}) {
				t.Fatalf("step %d: delivery %d is %+v, not %+v", step, uint32(id), delivery{l, tag}, d)
			}
			visited++
		})
		for id := first; id != last+1; id++ {
			if _, ok := model[id]; ok {
				visited--
			}
		}
		if visited != 0 {
			t.Fatalf("step %d: %d deliveries too many were visited", step, visited)
		}
		settled := map[delivery]bool{}
		for _, x := range u.take(first, last, nil) {
			for tag := x.From; tag <= x.To; tag++ {
				settled[delivery{x.link, tag}] = true
			}
		}
		for id := first; id != last+1; id++ {
			if d, ok := model[id]; ok {
				if !settled[d] {
					t.Fatalf("step %d: delivery %d was not settled", step, id)
				}
				delete(model, id)
				delete(settled, d)
			}
		}
		for d := range settled { // ranges may cover what was settled before, and nothing else
			for id, m := range model {
				if m == d {
					t.Fatalf("step %d: delivery %d was settled, which is not from %d to %d", step, id, first, last)
				}
			}
		}
		if u.live != len(model) {
			t.Fatalf("step %d: %d live, want %d", step, u.live, len(model))
		}
	}
	if len(u.runs) > u.live+100 {
		t.Errorf("%d runs for %d deliveries", len(u.runs), u.live)
	}
}

// TestUnsettledKnowsItsOwn: ids that were not given are nobody's.
func TestUnsettledKnowsItsOwn(t *testing.T) {
	l := &outgoing{}
	var u unsettled
	for tag := range uint64(3) {
		u.add(l, tag+1, 0)
	}
	for _, x := range [][2]uint32{{3, 9}, {math.MaxUint32 - 5, math.MaxUint32}, {5, 4}, {1 << 31, 1<<31 + 5}} {
		if got := u.take(x[0], x[1], nil); len(got) > 0 {
			t.Errorf("%d to %d: %+v", x[0], x[1], got)
		}
		u.each(x[0], x[1], func(*outgoing, uint64, uint64) { t.Errorf("%d to %d: a delivery was visited", x[0], x[1]) })
	}
	if got := u.take(1, 1000, nil); len(got) != 1 || got[0].From != 2 || got[0].To != 3 || u.live != 1 {
		t.Errorf("got %+v, %d live", got, u.live)
	}
}
