package queue

import "slices"

// credit is how many deliveries a consumer may still get, where it says so itself, as receivers of AMQP 1.0 do: beside its
// limit, which is about those that are not settled. Both peers count deliveries from zero, and a grant names the count up
// to which the consumer takes them, so that a grant and deliveries may cross on their way.
type credit struct {
	counted bool   // the consumer gets nothing that it did not grant
	given   uint32 // deliveries so far, those included that were let go by draining
	left    uint32
	drain   bool // what cannot be used at once is let go
	asked   bool // the consumer is to be told, when what can be delivered is
}

// Credit is the state of a consumer's credit after what could be delivered was.
type Credit struct {
	Given     uint32 // deliveries, as the grant counts them
	Left      uint32
	LetGo     uint32 // of those that were granted, by draining
	Available int    // messages that wait in the queue
	Drain     bool
}

// Grant lets a consumer that counts its credit have deliveries up to a count, by serial arithmetic. With drain, what of it
// cannot be used at once is let go; then, or with ask, Answers has the state. It takes effect with the next Pump.
func (q *Queue) Grant(c *Consumer, upTo uint32, drain, ask bool) {
	c.credit.left = uint32(max(int32(upTo-c.credit.given), 0))
	c.credit.drain = drain
	if (ask || drain) && !c.credit.asked && !c.gone {
		c.credit.asked = true
		q.asking = append(q.asking, c)
	}
}

// Answers calls fn for each consumer that asked for the state of its credit, when it has everything that could be
// delivered. A consumer that drains is answered later when its connection has no room, and when it has not looked at
// everything.
func (q *Queue) Answers(fn func(*Consumer, Credit)) {
	if len(q.asking) == 0 {
		return
	}
	q.asking = slices.DeleteFunc(q.asking, func(c *Consumer) bool {
		if c.gone {
			return true
		}
		k := &c.credit
		if k.drain && k.left > 0 && (c.paused && (q.ready > 0 || len(c.again) > 0) || q.looks(c)) {
			return false
		}
		a := Credit{Available: q.ready, Drain: k.drain}
		if k.drain {
			a.LetGo = k.left
			k.given, k.left = k.given+k.left, 0
		}
		a.Given, a.Left = k.given, k.left
		k.asked = false
		fn(c, a)
		return true
	})
}

// used notes a delivery.
func (k *credit) used() {
	if k.counted {
		k.given++
		k.left--
	}
}
