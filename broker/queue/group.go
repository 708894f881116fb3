package queue

import (
	"maps"
	"slices"
)

// Items with a Key belong to groups where the queue has groups: all of a group go to one consumer, in order, as long as it
// takes messages and nobody closes the group. Others go past what waits for that consumer.
//
// A group is known by its bucket, the Key modulo their number, so that there is a bound on what a queue remembers; groups
// that share a bucket share a consumer. A group goes to another consumer only when its consumer has settled all that it was
// given of it, so that two never have messages of one group at a time: order holds across the change.

// groups are the buckets that consumers have.
type groups struct {
	buckets uint64
	owned   map[uint64]*ownership // by bucket
}

// ownership is one bucket in the hands of a consumer.
type ownership struct {
	consumer *Consumer
	held     int    // deliveries that are not settled
	ends     bool   // nothing more is given, and it is over when nothing is held
	first    uint64 // no consumer passed over an item of the bucket before this one; zero: nobody passed over any
}

func (g *groups) bucket(key uint64) uint64 { return key % g.buckets }

func (g *groups) of(key uint64) *ownership { return g.owned[g.bucket(key)] }

// mayHave says whether the group of an item lets a consumer have it, as far as others have the group.
func (q *Queue) mayHave(c *Consumer, it *Item) bool {
	if q.groups == nil || it.Key == 0 {
		return true
	}
	o := q.groups.of(it.Key)
	if o == nil || o.consumer == c && !o.ends {
		return true
	}
	o.pass(it.ID)
	return false
}

// pass notes that a consumer went past an item.
func (o *ownership) pass(id uint64) {
	if o.first == 0 || id < o.first {
		o.first = id
	}
}

// join decides who gets the group of an item that a consumer may have, if nobody has it: of those of the highest priority
// that take messages, one with the fewest groups. False: it is another one.
func (q *Queue) join(c *Consumer, it *Item) bool {
	if q.groups == nil || it.Key == 0 || q.groups.of(it.Key) != nil || q.options.SingleActive {
		return true
	}
	best := c
	for _, o := range q.consumers {
		// One that selects may have looked at the item already, and does not look again.
		if o != c && o.look != nil && o.look.filter == nil && !o.look.browse && o.wants() && (o.priority > best.priority || o.priority == best.priority && o.groups < best.groups) {
			best = o
		}
	}
	if best == c {
		return true
	}
	q.groups.take(best, it.Key).pass(it.ID)
	q.lookAgain(it.ID)
	return false
}

// take gives a consumer a bucket that nobody has.
func (g *groups) take(c *Consumer, key uint64) *ownership {
	o := &ownership{consumer: c}
	g.owned[g.bucket(key)] = o
	c.groups++
	return o
}

// given notes a delivery.
func (g *groups) given(q *Queue, c *Consumer, it *Item) {
	o := g.of(it.Key)
	if o == nil {
		o = g.take(c, it.Key)
	}
	// With priorities, an earlier item of another one may wait.
	if o.first != 0 && o.first <= it.ID && q.options.MaxPriority == 0 {
		o.first = it.ID + 1
	}
	if !c.noAck {
		o.held++
	}
	if it.Closes {
		g.end(q, g.bucket(it.Key), o)
	}
}

// lent notes a delivery by Get: the group comes back with its settlement.
func (g *groups) lent(q *Queue, c *Consumer, it *Item) {
	g.given(q, c, it)
	if o := g.of(it.Key); o != nil && o.consumer == c {
		g.end(q, g.bucket(it.Key), o)
	}
}

// settled notes that a delivery ended.
func (g *groups) settled(q *Queue, key uint64) {
	o := g.of(key)
	if o == nil {
		return // it was given before there were groups
	}
	if o.held > 0 {
		o.held--
	}
	if o.ends {
		g.end(q, g.bucket(key), o)
	}
}

// end takes a bucket from its consumer, at once or when nothing of it is held.
func (g *groups) end(q *Queue, bucket uint64, o *ownership) {
	o.ends = true
	if o.held > 0 {
		return
	}
	delete(g.owned, bucket)
	o.consumer.groups--
	if o.first != 0 {
		q.lookAgain(o.first)
	}
}

// ungroup takes its groups from a consumer that takes no more.
func (q *Queue) ungroup(c *Consumer) {
	if q.groups == nil || c.groups == 0 {
		return
	}
	for bucket, o := range q.groups.owned {
		if o.consumer == c {
			q.groups.end(q, bucket, o)
		}
	}
}

// rebalance takes groups from those that have more than their share when a consumer has joined.
func (q *Queue) rebalance() {
	if q.groups == nil || q.options.GroupsStay || q.options.SingleActive || q.active < 2 {
		return
	}
	share := (len(q.groups.owned) + q.active - 1) / q.active
	has := make(map[*Consumer]int)
	for _, bucket := range slices.Sorted(maps.Keys(q.groups.owned)) {
		o := q.groups.owned[bucket]
		if o.ends {
			continue
		}
		if has[o.consumer]++; has[o.consumer] > share {
			q.groups.end(q, bucket, o)
		}
	}
}

// regroup follows a change of the number of buckets: nobody has any but those of which it holds messages, which end.
func (q *Queue) regroup() {
	for _, c := range q.consumers {
		c.groups = 0
	}
	if q.groups = nil; q.options.GroupBuckets > 0 {
		q.groups = &groups{buckets: uint64(q.options.GroupBuckets), owned: make(map[uint64]*ownership)}
	}
	for _, c := range q.consumers {
		q.adapt(c)
		if q.groups == nil {
			continue
		}
		c.each(func(it *Item) {
			if it.Key == 0 {
				return
			}
			o := q.groups.of(it.Key)
			if o == nil {
				o = q.groups.take(c, it.Key)
			}
			o.held++
			o.ends = true
		})
	}
	q.lookAgain(0)
}

// adapt lets a consumer look where there are groups, and take what comes first where there are none and it does not select.
func (q *Queue) adapt(c *Consumer) {
	switch {
	case q.groups != nil && c.look == nil && !c.passive:
		q.lookUp(c, ConsumerOptions{})
	case q.groups == nil && c.look != nil && c.look.filter == nil && !c.look.browse:
		q.lookAway(c)
	}
}

// firstFree takes the first item whose group nobody has, or the consumer itself.
func (q *Queue) firstFree(c *Consumer) (it Item, ok bool) {
	for i := len(q.levels) - 1; i >= 0 && !ok; i-- {
		q.levels[i].sift(0, func(at *Item) verdict {
			switch {
			case ok:
				return stop
			case !q.mayHave(c, at):
				return leave
			}
			it, ok = *at, true
			return take
		})
	}
	if ok {
		q.left(&it)
	}
	return it, ok
}
