package queue

import (
	"math/rand/v2"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/message"
)

// TestSelectingAgainstModel plays random operations on a queue with consumers that select by the ID's remainder, and
// checks after each step that nobody was given what it does not want, or twice, that deliveries that are not returned come
// in order, and that nothing waits that somebody with room wants.
func TestSelectingAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range uint64(20) {
		newChooser(t, rand.New(rand.NewPCG(seed, round))).play()
		if t.Failed() {
			t.Fatalf("seed %d round %d", seed, round)
		}
	}
}

type chooser struct {
	*testing.T
	rand      *rand.Rand
	queue     *Queue
	consumers []*choosy
	owner     map[uint64]*choosy // of each item that was given; nil where it came back
	examined  int
}

// choosy wants the items whose ID leaves rest when divided by of.
type choosy struct {
	of, rest, last uint64
	limit          int
	state          *Consumer
	held           map[uint64]uint64 // tag to ID
	browses        bool
}

func newChooser(t *testing.T, r *rand.Rand) *chooser {
	return &chooser{T: t, rand: r, queue: New(Options{DeadLetterless: true, MaxPriority: uint8(r.IntN(2) * 3)}), owner: map[uint64]*choosy{}}
}

func (s *chooser) play() {
	for range 100 {
		switch s.rand.IntN(10) {
		case 0:
			s.join()
		case 1:
			s.leave()
		case 2, 3, 4:
			s.publish(s.rand.IntN(1500))
		default:
			s.settle()
		}
		s.pump()
		s.check()
	}
}

func (s *chooser) join() {
	if len(s.consumers) > 5 {
		return
	}
	c := &choosy{of: 1 + s.rand.Uint64N(5), limit: 1 + s.rand.IntN(600), held: map[uint64]uint64{}, browses: s.rand.IntN(6) == 0}
	c.rest = s.rand.Uint64N(c.of)
	o := ConsumerOptions{Limit: c.limit, Browse: c.browses, Of: c}
	if c.of > 1 {
		o.Filter = func(it *Item) bool {
			s.examined++
			return it.ID%c.of == c.rest
		}
	}
	c.state = s.queue.Join(o)
	s.consumers = append(s.consumers, c)
}

func (s *chooser) leave() {
	if len(s.consumers) == 0 {
		return
	}
	i := s.rand.IntN(len(s.consumers))
	c := s.consumers[i]
	s.consumers = append(s.consumers[:i:i], s.consumers[i+1:]...)
	s.queue.Leave(c.state)
	for _, id := range c.held {
		s.owner[id] = nil
	}
}

func (s *chooser) publish(n int) {
	durable := s.rand.IntN(4) > 0
	for range n {
		s.queue.Enqueue(0, Item{Message: &message.Message{Owned: true}, Durable: durable, Size: 10, Priority: uint8(s.rand.IntN(4))})
	}
}

func (s *chooser) settle() {
	for _, c := range s.consumers {
		for tag, id := range c.held {
			if s.rand.IntN(3) == 0 {
				continue
			}
			o := []Outcome{Accept, Accept, Reject, Requeue, Release}[s.rand.IntN(5)]
			if s.queue.Settle(c.state, tag, tag, o) != 1 {
				s.Fatalf("tag %d is not held", tag)
			}
			if delete(c.held, tag); o == Requeue || o == Release {
				s.owner[id] = nil
			}
		}
	}
}

func (s *chooser) pump() {
	for again := true; again; again = s.queue.Examining() {
		s.queue.Examine(0)
		for more := true; more; more = s.queue.More(0) {
			s.queue.Take(s.take)
		}
	}
}

func (s *chooser) take(state *Consumer, ds []Delivery) {
	c := state.Of.(*choosy)
	for _, d := range ds {
		if d.ID%c.of != c.rest {
			s.Errorf("item %d went to who wants %d of %d", d.ID, c.rest, c.of)
		}
		if c.browses {
			continue
		}
		if o, given := s.owner[d.ID]; given && o != nil {
			s.Errorf("item %d was given twice", d.ID)
		}
		if !d.Returned && s.queue.options.MaxPriority == 0 {
			if d.ID < c.last {
				s.Errorf("item %d came after %d", d.ID, c.last)
			}
			c.last = d.ID
		}
		s.owner[d.ID], c.held[d.Tag] = c, d.ID
	}
}

func (s *chooser) check() {
	ready := 0
	s.queue.Each(func(it *Item) {
		if s.owner[it.ID] != nil {
			return
		}
		ready++
		for _, c := range s.consumers {
			if !c.browses && len(c.held) < c.limit && it.ID%c.of == c.rest {
				s.Errorf("item %d waits although somebody wants it", it.ID)
			}
		}
	})
	if ready != s.queue.Ready() {
		s.Errorf("%d items wait, and the queue says %d", ready, s.queue.Ready())
	}
}

// TestExaminingIsSliced looks through a long backlog for what is not there.
func TestExaminingIsSliced(t *testing.T) {
	q := New(Options{DeadLetterless: true})
	for range 10 * mostExamined {
		q.Enqueue(0, Item{Durable: true, Size: 10})
	}
	looked := 0
	q.Join(ConsumerOptions{Filter: func(*Item) bool { looked++; return false }})
	slices := 0
	for q.Examine(0); q.Examining(); q.Examine(0) {
		slices++
		if q.Pump(0); looked > (slices+1)*mostExamined {
			t.Fatal("Pump looked, too")
		}
	}
	if looked != 10*mostExamined || slices < 9 {
		t.Errorf("%d looks in %d slices", looked, slices)
	}
	if q.Pump(0); looked != 10*mostExamined {
		t.Error("it was looked at again")
	}
}

// BenchmarkSelect looks at a backlog, a tenth of which is wanted: the figure is for one item.
func BenchmarkSelect(b *testing.B) {
	q := New(Options{DeadLetterless: true})
	c := q.Join(ConsumerOptions{Limit: 1000, Filter: func(it *Item) bool { return it.ID%10 == 0 }})
	b.ReportAllocs()
	for left := b.N; left > 0; {
		b.StopTimer()
		n := min(left, 100_000)
		c.Pause(true)
		for range n {
			q.Enqueue(0, Item{Durable: true, Size: 100})
		}
		left -= n
		c.Pause(false)
		b.StartTimer()
		for again := true; again; again = q.Examining() || len(q.touched) > 0 {
			q.Examine(0)
			q.Take(func(_ *Consumer, ds []Delivery) { q.Settle(c, ds[0].Tag, ds[len(ds)-1].Tag, Accept) })
		}
		b.StopTimer()
		q.Purge()
		b.StartTimer()
	}
}
