package queue

import (
	"cmp"
	"slices"
)

// A consumer can be suspended: it gets nothing, and what it holds stays with it under its tags, until it comes back or
// leaves. When it is back, deliveries that it holds can be given to it again.

// Suspend takes a consumer out of the queue's round.
func (q *Queue) Suspend(c *Consumer) {
	if c.gone || c.suspended {
		return
	}
	q.Stop(c)
	c.suspended, c.onlyAgain = true, false
	q.suspended++
	q.repeatNone(c)
}

// Return brings a suspended consumer back, paused and without credit, as one that has just joined.
func (q *Queue) Return(c *Consumer) {
	if c.gone || !c.suspended {
		return
	}
	q.wake(c)
	c.passive, c.paused = false, true
	c.credit = credit{counted: c.credit.counted}
	q.active++
}

// wake ends the suspension of a consumer.
func (q *Queue) wake(c *Consumer) {
	if c.suspended {
		c.suspended = false
		q.suspended--
	}
}

// Suspended is how many consumers are.
func (q *Queue) Suspended() int { return q.suspended }

// Again gives a consumer deliveries once more that it holds, in the order of the tags named, before anything new: with the
// next Pump, as far as its credit goes. With only, it gets nothing else until it was suspended and is back.
func (q *Queue) Again(c *Consumer, tags []uint64, only bool) {
	if c.gone || c.suspended {
		return
	}
	if only {
		q.Stop(c)
		c.onlyAgain = true
	}
	if len(tags) == 0 {
		return
	}
	if len(c.again) == 0 {
		q.repeating++
	}
	c.again = append(c.again, tags...)
}

// repeatNone forgets what was to be given again.
func (q *Queue) repeatNone(c *Consumer) {
	if len(c.again) > 0 {
		c.again = nil
		q.repeating--
	}
}

// repeat gives deliveries again.
func (q *Queue) repeat() {
	for _, c := range q.consumers {
		for len(c.again) > 0 && c.open() {
			tag := c.again[0]
			c.again = c.again[1:]
			c.held.look(tag, tag, func(it *Item) { c.offer(it, tag) })
			if len(c.again) == 0 {
				c.again = nil
				q.repeating--
			}
		}
	}
}

// open says that the consumer takes deliveries that it holds already.
func (c *Consumer) open() bool {
	return (!c.passive || c.onlyAgain) && !c.paused && !c.gone && c.offered < mostOffered && (!c.credit.counted || c.credit.left > 0)
}

// Holding is a delivery that a consumer has not settled.
type Holding struct{ Tag, ID uint64 }

// Holdings are the deliveries that a consumer holds, in the order of their tags.
func (c *Consumer) Holdings() []Holding {
	list := make([]Holding, 0, c.held.live)
	for t, it := range c.held.old {
		list = append(list, Holding{Tag: t, ID: it.ID})
	}
	slices.SortFunc(list, func(a, b Holding) int { return cmp.Compare(a.Tag, b.Tag) })
	for t := c.held.first; t < c.held.next; t++ {
		if s := c.held.slot(t); s.live {
			list = append(list, Holding{Tag: t, ID: s.item.ID})
		}
	}
	return list
}

// Claim lets a consumer hold durable items that wait, by their IDs, without giving them to it: it had them before a restart.
func (q *Queue) Claim(c *Consumer, ids []uint64) {
	for _, id := range ids {
		var found []Item
		q.Remove(id, id, func(it *Item) { found = append(found, *it) })
		for _, it := range found {
			if !it.Durable {
				q.held += int64(it.Size)
				q.put(it)
				continue
			}
			it.Returned = true
			q.unacked++
			c.hold(it)
		}
	}
}
