package hub

import (
	"context"
	"errors"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// A queue that is to be removed is frozen first: it takes no more, so that nothing is lost that was accepted after the question whether it
// may go. Who joins it meanwhile waits for what comes of that.

// DeleteQueue removes a queue and answers how many messages it held. One that does not exist is no error.
func (v *VirtualHost) DeleteQueue(ctx context.Context, access *auth.Access, name string, origin uint64, ifUnused, ifEmpty bool) (messages int, err error) {
	if err := access.Configure(name); err != nil {
		return 0, err
	}
	q, err := v.queueFor(name, origin)
	if CodeOf(err) == NotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return v.deleteQueue(ctx, q, ifUnused, ifEmpty)
}

func (v *VirtualHost) deleteQueue(ctx context.Context, q *Queue, ifUnused, ifEmpty bool) (messages int, err error) {
	for {
		f, err := q.ask(ifUnused, ifEmpty, true, &messages)
		switch {
		case err != nil:
			return messages, err
		case f.gone:
			return 0, nil
		case f.mine:
			return messages, v.deleteFrozen(ctx, q)
		}
		select {
		case <-f.others:
		case <-v.hub.stop:
			return 0, ErrClosed
		}
	}
}

func (v *VirtualHost) deleteFrozen(ctx context.Context, q *Queue) error {
	if q.durable {
		if err := v.hub.unwantQueue(ctx, q); err != nil {
			q.thaw()
			return err
		}
	}
	v.remove(q)
	return nil
}

// frozen is what became of a wish to freeze a queue.
type frozen struct {
	mine   bool            // it is frozen now, and was not
	others <-chan struct{} // somebody else has frozen it; closed when that is decided
	gone   bool            // it was removed
}

// ask says whether the queue is unused and empty as asked, and freezes one that is, if it is to be deleted now: it takes no
// more, and can be removed without losing what was accepted after the question.
func (q *Queue) ask(ifUnused, ifEmpty, now bool, messages *int) (f frozen, err error) {
	f.gone = !q.do(func(q *Queue, _ int64) {
		*messages = q.state.Ready()
		switch {
		case ifUnused && q.state.Active()+q.state.Suspended() > 0:
			err = errorf(Precondition, "queue '%s' in vhost '%s' in use", q.name, q.host.name)
		case ifEmpty && q.state.Ready()+q.state.Unacked()+q.inFlight > 0:
			*messages = q.state.Ready() + q.state.Unacked() + q.inFlight
			err = errorf(Precondition, "queue '%s' in vhost '%s' not empty", q.name, q.host.name)
		case q.frozen != nil:
			f.others = q.frozen
		case now:
			f.mine, q.frozen = true, make(chan struct{})
		}
	})
	return f, err
}

func (q *Queue) thaw() { q.do(func(q *Queue, _ int64) { q.decided() }) }

// decided ends the queue's being frozen; its owner calls it.
func (q *Queue) decided() {
	if q.frozen != nil {
		close(q.frozen)
		q.frozen = nil
	}
}

// remove takes a queue out of the virtual host: bindings first, then consumers, who are told.
func (v *VirtualHost) remove(q *Queue) {
	v.mu.Lock()
	if v.queues[q.name] == q {
		delete(v.queues, q.name)
	}
	v.mu.Unlock()
	v.unbound(v.router.RemoveTarget(q))
	q.do(func(q *Queue, _ int64) { q.shut() })
}

// shut ends the queue; its owner calls it. Nothing runs on it afterwards.
func (q *Queue) shut() {
	q.closed = true
	q.decided()
	q.host.hub.memory.add(-q.held)
	q.held = 0
	if q.timer != nil {
		q.timer.Stop()
	}
	q.lease.set(q, 0)
	q.state.EachConsumer(func(c *queue.Consumer) {
		if consumer := c.Of.(*Consumer); c.Active() && q.session == nil {
			consumer.sink.Cancelled(consumer)
		}
	})
	if q.shard != nil {
		q.shard.forget(q)
	}
	if q.gone != nil {
		q.gone()
	}
}

// Discard removes a transient queue, whatever it holds.
func (q *Queue) Discard() { q.host.remove(q) }

// DiscardWhenEmpty says whether a transient queue is to go as soon as it holds no message that waits or is not settled. False:
// it has gone, or is about to.
func (q *Queue) DiscardWhenEmpty(yes bool) (there bool) {
	q.do(func(q *Queue, _ int64) {
		q.ebbs = yes && q.frozen == nil
		there = q.frozen == nil && !q.ebbed()
	})
	if !there {
		q.host.removeEbbed(q)
	}
	return there
}

// ebbed says that the queue is to go now; its owner calls it.
func (q *Queue) ebbed() bool { return q.ebbs && q.state.Ready()+q.state.Unacked() == 0 }

// removeEbbed removes a queue that is empty and was to go with its last message.
func (v *VirtualHost) removeEbbed(q *Queue) {
	goes := false
	q.do(func(q *Queue, _ int64) {
		if goes = q.frozen == nil && q.ebbed(); goes {
			q.frozen, q.ebbs = make(chan struct{}), false
		}
	})
	if goes {
		v.remove(q)
	}
}

// removeUnused deletes an auto-delete queue without consumers, or one whose x-expires has run out.
func (v *VirtualHost) removeUnused(q *Queue) {
	_, err := v.deleteQueue(context.Background(), q, true, false)
	if err != nil && CodeOf(err) != Precondition && !errors.Is(err, ErrClosed) {
		v.hub.logger.Warn("unused queue was not removed", "vhost", v.name, "queue", q.name, "error", err)
	}
}

// EndOrigin ends what belongs to a connection: its exclusive queues. The connection's endpoint calls it last.
func (v *VirtualHost) EndOrigin(origin uint64) {
	v.mu.RLock()
	var mine []*Queue
	for _, q := range v.queues {
		if q.exclusive == origin {
			mine = append(mine, q)
		}
	}
	v.mu.RUnlock()
	for _, q := range mine {
		v.remove(q)
	}
}
