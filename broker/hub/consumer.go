package hub

import (
	"slices"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// Sink is a connection's side of a consumer.
type Sink interface {
	// Deliver encodes deliveries into the connection's outbox; it must not block and must not call the hub. The slice and
	// messages that are not Owned are valid during the call. It answers false when the outbox is full now (the deliveries
	// are taken all the same): the queue then holds back until Consumer.Resume.
	Deliver(c *Consumer, ds []queue.Delivery) bool
	// Cancelled says that the queue is gone, and the consumer with it. It must not call the hub.
	Cancelled(c *Consumer)
}

// CreditSink is the Sink of a consumer that counts its credit.
type CreditSink interface {
	Sink
	// Credit answers Grant, after the deliveries that the grant led to. It is called as Deliver is.
	Credit(c *Consumer, s queue.Credit)
}

// Consumer takes messages from one queue for one connection.
type Consumer struct {
	// Tag is the endpoint's own name for it.
	Tag string

	queue *Queue
	sink  Sink
	state *queue.Consumer // belongs to the queue's owner
}

// ConsumerOptions of VirtualHost.Consume.
type ConsumerOptions struct {
	Tag       string
	Sink      Sink
	NoAck     bool
	Exclusive bool
	Limit     int // deliveries that may be unsettled; zero is no limit
	Priority  int
	// Flow is what the consumer shares with others of its connection; nil is nothing.
	Flow *queue.Flow
	// Credited consumers get what they have credit for, see Grant; their Sink is a CreditSink.
	Credited bool
	// Passive consumers take messages by Get alone.
	Passive bool
	// Select says which messages the consumer takes, wherever they wait; nil is all of them. The queue's owner calls it, and
	// it keeps nothing of the item, whose message is there.
	Select queue.Filter
	// Discard has what Select does not choose accepted: nobody else takes messages of the queue.
	Discard bool
	// Browse shows the consumer what waits, and gives it nothing: its deliveries have the tag zero and are not settled.
	Browse bool
	// Origin is the connection, which must own an exclusive queue.
	Origin uint64
}

// Range is a range of delivery tags, both ends included.
type Range struct{ From, To uint64 }

// Consume adds a consumer to a queue; deliveries begin at once, possibly before Consume returns unless Paused was asked
// for.
func (v *VirtualHost) Consume(access *auth.Access, name string, o ConsumerOptions) (*Consumer, error) {
	q, err := v.queueFor(name, o.Origin)
	if err != nil {
		return nil, err
	}
	if err := access.Read(name); err != nil {
		return nil, err
	}
	return v.join(q, o)
}

// join adds a consumer, paused. Of a queue that is about to be removed it waits for what comes of that: who is told that there
// is no queue can make another one.
func (v *VirtualHost) join(q *Queue, o ConsumerOptions) (*Consumer, error) {
	for {
		c, frozen, err := v.tryJoin(q, o)
		if frozen == nil {
			return c, err
		}
		select {
		case <-frozen:
		case <-v.hub.stop:
			return nil, ErrClosed
		}
	}
}

// tryJoin is join that does not wait: it answers what to wait for.
func (v *VirtualHost) tryJoin(q *Queue, o ConsumerOptions) (c *Consumer, frozen <-chan struct{}, err error) {
	c = &Consumer{Tag: o.Tag, queue: q, sink: o.Sink}
	var refused error
	ran := q.do(func(q *Queue, now int64) {
		if q.frozen != nil {
			frozen = q.frozen
			return
		}
		if refused = q.admits(o); refused != nil {
			return
		}
		if !o.Passive && !o.Browse {
			q.hadUser, q.soleUser = true, o.Exclusive
		}
		c.state = q.state.Join(queue.ConsumerOptions{NoAck: o.NoAck, Passive: o.Passive, Limit: o.Limit, Priority: o.Priority, Flow: o.Flow, Credited: o.Credited, Filter: q.filter(o.Select), Discard: o.Discard, Browse: o.Browse, Of: c})
		// The consumer starts paused: the endpoint answers consume-ok first and then calls Resume.
		c.state.Pause(true)
	})
	if !ran {
		return nil, nil, errorf(NotFound, "no queue '%s' in vhost '%s'", q.name, v.name)
	}
	return c, frozen, refused
}

// admits says whether a new consumer may join.
func (q *Queue) admits(o ConsumerOptions) error {
	if o.Passive {
		return nil
	}
	if o.Browse {
		return nil
	}
	if q.soleUser && q.state.Active() > 0 || o.Exclusive && q.state.Active() > 0 {
		return errorf(Refused, "queue '%s' in vhost '%s' in exclusive use", q.name, q.host.name)
	}
	return nil
}

// Resume begins deliveries after Consume, and again when the connection's outbox has room after Deliver answered false.
func (c *Consumer) Resume() {
	c.queue.later(func(q *Queue, now int64) {
		c.state.Pause(false)
		q.state.Pump(now)
	})
}

// Keep says whether a consumer with NoAck is to hold what it is given until it is settled, from now on, and runs a function of the
// endpoint between the deliveries of either kind. That must not call the hub. False: the queue is gone, and nothing ran.
func (c *Consumer) Keep(keep bool, between func()) bool {
	return c.queue.do(func(q *Queue, now int64) {
		c.state.Keep(keep)
		between()
		q.state.Pump(now)
	})
}

// SetLimit changes how many deliveries may be unsettled; zero is no limit.
func (c *Consumer) SetLimit(n int) {
	c.queue.later(func(q *Queue, now int64) {
		c.state.SetLimit(n)
		q.state.Pump(now)
	})
}

// Grant says up to which count of deliveries the consumer takes them, by serial arithmetic, counted from the first. With
// drain, what of it cannot be used at once is let go. The sink is told of the state if it drains or asks.
func (c *Consumer) Grant(upTo uint32, drain, ask bool) {
	c.queue.later(func(q *Queue, now int64) {
		q.state.Grant(c.state, upTo, drain, ask)
		q.state.Pump(now)
	})
}

// Share lets the consumer take part in a flow. No delivery that the flow forbids arrives after Share has returned.
func (c *Consumer) Share(f *queue.Flow) {
	c.queue.do(func(*Queue, int64) { c.state.Share(f) })
}

// Settle ends deliveries; tags that the consumer does not hold are passed over. The ranges are copied if need be.
func (c *Consumer) Settle(o queue.Outcome, ranges ...Range) {
	if c.queue.shard != nil {
		ranges = slices.Clone(ranges)
	}
	c.queue.later(func(q *Queue, now int64) {
		for _, r := range ranges {
			q.state.Settle(c.state, r.From, r.To, o)
		}
		q.state.Pump(now)
	})
}

// SettleNoted is Settle of one range, with a note for whoever gets the messages next: see queue.Delivery. The queue's owner
// calls the remark.
func (c *Consumer) SettleNoted(o queue.Outcome, r Range, remark queue.Remark) {
	c.queue.later(func(q *Queue, now int64) {
		q.state.SettleNoted(c.state, r.From, r.To, o, remark)
		q.state.Pump(now)
	})
}

// Get takes the next message, for basic.get. The body is owned by the delivery.
func (c *Consumer) Get() (d queue.Delivery, remaining int, ok bool) {
	c.queue.lease.use()
	c.queue.doInOrder(func(q *Queue, now int64) {
		if d, remaining, ok = q.state.Get(now, c.state); ok && q.shard != nil {
			one := []queue.Delivery{d}
			q.shard.load(q, one)
			d = one[0]
		}
	})
	return d, remaining, ok
}

// Stop ends new deliveries (basic.cancel); those that it holds stay with the consumer until they are settled or Close is
// called. No delivery arrives after Stop has returned.
func (c *Consumer) Stop() {
	c.queue.do(func(q *Queue, now int64) {
		q.state.Stop(c.state)
		q.lease.use()
		q.state.Pump(now)
	})
}

// Close ends the consumer; what it holds goes back to the queue in its old place.
func (c *Consumer) Close() {
	c.queue.do(func(q *Queue, now int64) {
		if c.state.Active() {
			q.lease.use()
		}
		q.state.Leave(c.state)
		q.state.Pump(now)
	})
}

// Queue is the queue that the consumer takes from.
func (c *Consumer) Queue() *Queue { return c.queue }
