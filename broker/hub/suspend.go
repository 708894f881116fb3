package hub

import (
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// A consumer can outlive the connection that it was made for: it is suspended, keeps what it holds under the same tags, and
// comes back with another sink.

// Suspend ends deliveries, and keeps those that the consumer holds. No delivery arrives after it has returned.
func (c *Consumer) Suspend() {
	c.queue.do(func(q *Queue, now int64) {
		q.state.Suspend(c.state)
		q.lease.use()
		q.state.Pump(now)
	})
}

// Return gives a suspended consumer a sink again. It is paused, as after Consume, and its credit is counted from zero. False:
// its queue is gone. An error says why it may not come back now.
func (c *Consumer) Return(sink Sink, exclusive bool) (ok bool, err error) {
	ok = c.queue.do(func(q *Queue, _ int64) {
		if err = q.admits(ConsumerOptions{Exclusive: exclusive}); err != nil {
			return
		}
		c.sink = sink
		q.hadUser, q.soleUser = true, exclusive
		q.state.Return(c.state)
	})
	return ok, err
}

// Holdings are the deliveries that the consumer holds, in the order in which they were made.
func (c *Consumer) Holdings() (list []queue.Holding) {
	c.queue.do(func(*Queue, int64) { list = c.state.Holdings() })
	return list
}

// Claim lets the consumer hold durable messages that wait in its queue and that it had before the broker was started: see
// queue.Delivery for their IDs. Those that do not wait any more are passed over.
func (c *Consumer) Claim(ids []uint64) {
	c.queue.do(func(q *Queue, _ int64) { q.state.Claim(c.state, ids) })
}

// Again gives the consumer deliveries once more that it holds, before anything new, when it has credit and is resumed. With
// only, it gets nothing new before it was suspended again.
func (c *Consumer) Again(tags []uint64, only bool) {
	c.queue.do(func(q *Queue, now int64) {
		q.state.Again(c.state, tags, only)
		q.state.Pump(now)
	})
}

// SettleDurably is Settle that says when the log has it, if the queue is durable. What of Session.Complete's done holds here,
// too.
func (c *Consumer) SettleDurably(o queue.Outcome, done func(error), ranges ...Range) {
	c.Settle(o, ranges...)
	if c.queue.shard == nil {
		done(nil)
		return
	}
	c.queue.shard.post(&afterOp{done: done})
}

// afterOp calls done when everything before it is durable.
type afterOp struct{ done func(error) }

func (o *afterOp) size() int64                        { return 0 }
func (o *afterOp) abandon()                           { o.done(ErrClosed) }
func (o *afterOp) run(s *shard, _ int64)              { s.act(o) }
func (o *afterOp) commit(_ *shard, _ int64, _ uint64) { o.done(nil) }
func (o *afterOp) fail(_ *shard, err error)           { o.done(unavailable(err)) }

// Durable says that the queue and what is stored in it outlive the broker's process.
func (q *Queue) Durable() bool { return q.shard != nil }

// Identity tells the queue from any other that there ever was under its name: ids are never given twice.
func (q *Queue) Identity() uint64 { return q.id }
