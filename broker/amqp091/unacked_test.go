package amqp091

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestUnackedAgainstModel compares with a plain map from tag to delivery, over random histories.
func TestUnackedAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		if err := unackedHistory(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

type delivery struct {
	consumer *consumer
	hubTag   uint64
}

func unackedHistory(seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 0))
	var u unacked
	consumers := []*consumer{{tag: "a"}, {tag: "b"}, {tag: "c"}}
	hubTags := make([]uint64, len(consumers))
	model := map[uint64]delivery{}
	for range 200 {
		switch r.IntN(4) {
		case 0, 1:
			c := r.IntN(len(consumers))
			for range r.IntN(1 << r.IntN(11)) {
				if r.IntN(50) == 0 {
					u.skip()
				}
				hubTags[c]++
				model[u.add(consumers[c], hubTags[c], 0)] = delivery{consumers[c], hubTags[c]}
			}
		case 2, 3:
			tag, multiple := r.Uint64N(u.last+2), r.IntN(30) == 0
			if err := compareTake(&u, model, tag, multiple); err != nil {
				return err
			}
		}
		if err := compareCounts(&u, model, consumers); err != nil {
			return err
		}
	}
	if err := compareTake(&u, model, 0, true); err != nil {
		return err
	}
	if len(u.runs) != 0 || u.live != 0 {
		return fmt.Errorf("%d runs and %d tags stay behind", len(u.runs), u.live)
	}
	return nil
}

func compareTake(u *unacked, model map[uint64]delivery, tag uint64, multiple bool) error {
	var want []delivery
	_, known := model[tag]
	ok := known || tag == 0 && multiple
	for t, d := range model {
		if ok && (t == tag || multiple && (t < tag || tag == 0)) {
			want = append(want, d)
			delete(model, t)
		}
	}
	held := map[delivery]bool{}
	for _, d := range want {
		held[d] = true
	}
	ranges, got := u.take(tag, multiple, nil)
	if got != ok {
		return fmt.Errorf("take %d multiple=%t: %t, want %t", tag, multiple, got, ok)
	}
	for _, s := range ranges {
		for h := s.From; h <= s.To; h++ {
			delete(held, delivery{s.consumer, h})
		}
	}
	if len(held) > 0 {
		return fmt.Errorf("take %d multiple=%t: ranges %v leave out %d deliveries", tag, multiple, ranges, len(held))
	}
	return notSettled(ranges, model)
}

// notSettled: what is still held must not be settled along.
func notSettled(ranges []settledRange, model map[uint64]delivery) error {
	if len(ranges) == 0 {
		return nil
	}
	live := map[delivery]bool{}
	for _, d := range model {
		live[d] = true
	}
	for _, s := range ranges {
		for h := s.From; h <= s.To; h++ {
			if live[delivery{s.consumer, h}] {
				return fmt.Errorf("%v settles delivery %d, which is still held", s.Range, h)
			}
		}
	}
	return nil
}

func compareCounts(u *unacked, model map[uint64]delivery, consumers []*consumer) error {
	if u.live != len(model) {
		return fmt.Errorf("%d live, want %d", u.live, len(model))
	}
	n := map[*consumer]int{}
	for _, d := range model {
		n[d.consumer]++
	}
	for _, c := range consumers {
		if c.unsettled != n[c] {
			return fmt.Errorf("consumer %s has %d unsettled, want %d", c.tag, c.unsettled, n[c])
		}
	}
	return nil
}

func TestUnackedBatchIsOneRange(t *testing.T) {
	var u unacked
	c := &consumer{}
	for i := range uint64(500) {
		u.add(c, i+1, 0)
	}
	if len(u.runs) != 1 {
		t.Errorf("%d runs for one batch", len(u.runs))
	}
	got, ok := u.take(500, true, nil)
	if !ok || len(got) != 1 || got[0].From != 1 || got[0].To != 500 || len(u.runs) != 0 {
		t.Errorf("got %v, %t", got, ok)
	}
	for i := range uint64(100_000) {
		u.add(c, 501+i, 0)
		u.take(u.last, false, nil)
	}
	if cap(u.runs) > 256 {
		t.Errorf("room for %d runs after deliveries that were acknowledged at once", cap(u.runs))
	}
}
