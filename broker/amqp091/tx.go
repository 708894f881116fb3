package amqp091

import (
	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// transaction is what a channel in tx mode did since its last commit or rollback; what it published waits with the
// channel's publisher. Class tx of the specification.
type transaction struct {
	settled []settlement
	failed  error // the transaction has become too large: the next commit says so
}

// settlement is an acknowledgement, rejection or nack that waits for the commit.
type settlement struct {
	tag      uint64
	multiple bool
	outcome  queue.Outcome
}

func (ch *channel) selectTx() error {
	if ch.confirming {
		return errorf(frame.PreconditionFailed, "cannot switch from confirm to tx mode")
	}
	if ch.transaction == nil {
		ch.transaction = &transaction{}
	}
	ch.send(&frame.TxSelectOk{})
	return nil
}

// hold keeps what was published for the commit.
func (ch *channel) hold() {
	if err := ch.publisher.Hold(); err != nil {
		ch.transaction.failed = err
	}
}

// settleLater notes a settlement for the commit. The tag must be live now.
func (ch *channel) settleLater(s settlement) error {
	ch.mu.Lock()
	known := ch.unacked.knows(s.tag) || s.tag == 0 && s.multiple
	ch.mu.Unlock()
	t := ch.transaction
	switch {
	case !known:
		return errorf(frame.PreconditionFailed, "unknown delivery tag %d", s.tag)
	case len(t.settled) >= ch.conn.config.Limits.UnackedPerChannel:
		return errorf(frame.PreconditionFailed, "more than %d acknowledgements in a transaction", len(t.settled))
	}
	t.settled = append(t.settled, s)
	return nil
}

// commitTx lets everything since the last commit take effect together. Deliveries that are not accepted, and what
// concerns queues that are not durable, follow when the rest is durable.
func (ch *channel) commitTx() error {
	t := ch.transaction
	if t == nil {
		return errorf(frame.PreconditionFailed, "channel is not transactional")
	}
	ch.transaction = nil // settle is immediate now
	defer func() { ch.transaction = &transaction{} }()
	if t.failed != nil {
		return t.failed
	}
	for _, s := range t.settled {
		if err := ch.settle(s.tag, s.multiple, s.outcome); err != nil {
			ch.publisher.Rollback()
			return err
		}
	}
	if err := ch.publisher.Commit(ch.settlements()); err != nil {
		return err
	}
	ch.settledAll()
	ch.send(&frame.TxCommitOk{})
	return nil
}

// rollbackTx forgets what was published and acknowledged; the deliveries stay with the channel, to be acknowledged again.
func (ch *channel) rollbackTx() error {
	if ch.transaction == nil {
		return errorf(frame.PreconditionFailed, "channel is not transactional")
	}
	ch.publisher.Rollback()
	ch.transaction = &transaction{}
	ch.send(&frame.TxRollbackOk{})
	return nil
}

// settlements takes out what was noted for the hub.
func (ch *channel) settlements() (all []hub.Settlement) {
	for _, s := range ch.settling {
		for o := range s.settled {
			if len(s.settled[o]) > 0 {
				all = append(all, hub.Settlement{Consumer: s.hub, Outcome: queue.Outcome(o), Ranges: s.settled[o]})
				s.settled[o] = nil
			}
		}
	}
	return all
}
