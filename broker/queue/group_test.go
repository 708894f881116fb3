package queue

import (
	"math/rand/v2"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/message"
)

// TestGroupsAgainstModel plays random operations on a queue with groups, and checks that no two consumers have messages of
// one group at a time, that none is given before one of its group that waits, and that nothing waits that may be given.
func TestGroupsAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range uint64(12) {
		newGrouper(t, rand.New(rand.NewPCG(seed, round))).play()
		if t.Failed() {
			t.Fatalf("seed %d round %d", seed, round)
		}
	}
}

type grouper struct {
	*testing.T
	rand      *rand.Rand
	queue     *Queue
	buckets   uint64
	closes    bool // groups are closed, and all settle: else nobody knows when a consumer is done with a group
	consumers []*member
	holder    map[uint64]*member         // of each bucket
	waiting   map[uint64]map[uint64]bool // IDs by bucket
}

type member struct {
	state *Consumer
	noAck bool
	held  map[uint64]Item // by tag
}

func newGrouper(t *testing.T, r *rand.Rand) *grouper {
	buckets := 1 + r.Uint64N(20)
	o := Options{DeadLetterless: true, GroupBuckets: uint32(buckets), GroupsStay: r.IntN(2) == 0, MaxPriority: uint8(r.IntN(2) * 2), SingleActive: r.IntN(8) == 0}
	return &grouper{T: t, rand: r, queue: New(o), closes: r.IntN(2) == 0, buckets: buckets, holder: map[uint64]*member{}, waiting: map[uint64]map[uint64]bool{}}
}

func (s *grouper) play() {
	for range 200 {
		switch s.rand.IntN(12) {
		case 0:
			s.join()
		case 1:
			s.leave()
		case 2, 3, 4:
			s.publish(1 + s.rand.IntN(40))
		case 5:
			s.publish(s.rand.IntN(1500))
		default:
			s.settle()
		}
		s.pump()
		s.check()
		if s.Failed() {
			return
		}
	}
}

func (s *grouper) join() {
	if len(s.consumers) > 5 {
		return
	}
	m := &member{held: map[uint64]Item{}, noAck: !s.closes && s.rand.IntN(8) == 0}
	m.state = s.queue.Join(ConsumerOptions{Limit: 1 + s.rand.IntN(60), NoAck: m.noAck, Priority: s.rand.IntN(5) / 4, Of: m})
	s.consumers = append(s.consumers, m)
}

func (s *grouper) leave() {
	if len(s.consumers) == 0 {
		return
	}
	i := s.rand.IntN(len(s.consumers))
	m := s.consumers[i]
	for _, it := range m.held {
		s.wait(it)
	}
	m.held = nil
	if s.rand.IntN(3) > 0 {
		s.queue.Stop(m.state)
	}
	s.queue.Leave(m.state)
	s.consumers = append(s.consumers[:i], s.consumers[i+1:]...)
}

func (s *grouper) publish(n int) {
	for range n {
		it := Item{Message: &message.Message{Owned: true}, Size: 1, Durable: s.rand.IntN(2) == 0, Priority: uint8(s.rand.IntN(3))}
		if s.rand.IntN(10) > 0 {
			it.Key = 1 + s.rand.Uint64N(30)
			it.Closes = s.closes && s.rand.IntN(30) == 0
		}
		it.ID = s.queue.NextID()
		s.wait(it)
		s.queue.Enqueue(0, it)
		if s.rand.IntN(5) == 0 {
			s.take()
		}
	}
}

func (s *grouper) wait(it Item) {
	if it.Key == 0 {
		return
	}
	b := it.Key%s.buckets + s.level(it)<<32
	if s.waiting[b] == nil {
		s.waiting[b] = map[uint64]bool{}
	}
	s.waiting[b][it.ID] = true
}

func (s *grouper) level(it Item) uint64 { return uint64(min(it.Priority, s.queue.options.MaxPriority)) }

func (s *grouper) settle() {
	for _, m := range s.consumers {
		for tag, it := range m.held {
			if s.rand.IntN(3) > 0 {
				continue
			}
			o := [...]Outcome{Accept, Accept, Accept, Release, Fail, Reject}[s.rand.IntN(6)]
			delete(m.held, tag)
			if o == Release || o == Fail {
				s.wait(it)
			}
			s.queue.Settle(m.state, tag, tag, o)
		}
	}
}

func (s *grouper) pump() {
	s.queue.Pump(0)
	for s.queue.Examining() {
		s.take()
		s.queue.Examine(0)
	}
	s.take()
}

func (s *grouper) take() {
	for more := true; more; more = s.queue.More(0) {
		s.queue.Take(s.deliver)
		s.queue.Returned(1)
	}
}

func (s *grouper) deliver(c *Consumer, ds []Delivery) {
	m := c.Of.(*member)
	for _, d := range ds {
		if d.Key == 0 {
			continue
		}
		waiting := s.waiting[d.Key%s.buckets+s.level(d.Item)<<32]
		if !waiting[d.ID] {
			s.Errorf("%d was given and did not wait", d.ID)
		}
		for id := range waiting {
			if id < d.ID {
				s.Errorf("%d of bucket %d was given before %d", d.ID, d.Key%s.buckets, id)
			}
		}
		delete(waiting, d.ID)
	}
	for _, d := range ds {
		if !m.noAck {
			m.held[d.Tag] = d.Item
		}
	}
}

func (s *grouper) check() {
	holder := map[uint64]*member{}
	for _, m := range s.consumers {
		for _, it := range m.held {
			b := it.Key % s.buckets
			if it.Key == 0 {
				continue
			}
			if h := holder[b]; h != nil && h != m {
				s.Errorf("two consumers have messages of bucket %d", b)
			}
			holder[b] = m
		}
	}
	anybody := false
	for _, m := range s.consumers {
		anybody = anybody || s.queue.serves(m.state)
	}
	groups := map[*Consumer]int{}
	for _, o := range s.queue.groups.owned {
		groups[o.consumer]++
	}
	for _, m := range s.consumers {
		if n := groups[m.state]; n != m.state.groups {
			s.Errorf("a consumer has %d groups and counts %d", n, m.state.groups)
		}
	}
	for i := range s.queue.levels {
		s.queue.levels[i].each(func(it *Item) {
			o := s.queue.groups.of(it.Key)
			if it.Key == 0 {
				o = nil
			}
			if o == nil && anybody || o != nil && !o.ends && s.queue.serves(o.consumer) {
				s.Errorf("%d of key %d waits, and somebody may have it", it.ID, it.Key)
			}
			if o != nil && o.ends && o.held == 0 {
				s.Errorf("bucket %d has ended and is still owned", it.Key%s.buckets)
			}
		})
	}
}

// BenchmarkGroups is a message that comes to a queue with a hundred groups and four consumers, and is settled.
func BenchmarkGroups(b *testing.B) {
	for name, buckets := range map[string]uint32{"without": 0, "with": 1024} {
		b.Run(name, func(b *testing.B) {
			q := New(Options{DeadLetterless: true, GroupBuckets: buckets})
			for range 4 {
				q.Join(ConsumerOptions{Limit: 1000})
			}
			m := &message.Message{Owned: true}
			tags := map[*Consumer]uint64{}
			for i := 0; b.Loop(); i++ {
				it := Item{Message: m, Size: 10}
				if buckets > 0 {
					it.Key = uint64(1 + i%100)
				}
				q.Enqueue(0, it)
				var took *Consumer
				q.Take(func(c *Consumer, ds []Delivery) { took = c })
				tags[took]++
				q.Settle(took, tags[took], tags[took], Accept)
			}
		})
	}
}
