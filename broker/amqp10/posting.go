package amqp10

import (
	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// Messages that are sent in a transaction. 4 §4.4.1

// join notes that a delivery is sent in a transaction. All of its transfers name the same one, or none. 4 §4.4.1
func (d *delivery) join(state frame.State) error {
	var ts frame.TransactionalState
	if err := ts.Decode(state); err != nil {
		return err
	}
	if d.transactional && d.transaction != string(ts.TxnID) {
		return linkError(frame.InvalidField, "transfers of one delivery name different transactions")
	}
	d.transactional, d.transaction = true, string(ts.TxnID)
	return nil
}

// isPosting says that a delivery in a transaction is not complete. 4 §4.4.1
func (c *connection) isPosting(transaction string) bool {
	for _, l := range c.links.incoming.all() {
		if d := &l.delivery; d.begun && d.transactional && d.transaction == transaction {
			return true
		}
	}
	return false
}

// post publishes the message that was scanned in a transaction, and tells what its outcome will be. What is settled and
// cannot be published lets the transaction fail, since nobody would learn of it otherwise. 4 §4.4.1
func (l *incoming) post(d *delivery, payload []byte, owned bool) error {
	t := l.session.conn.declared.byID[d.transaction]
	if t == nil {
		return l.refusePost(d, unknownTransaction([]byte(d.transaction)))
	}
	if t.failed != nil {
		return l.refusePost(d, t.failed)
	}
	l.session.conn.declared.posting = true
	routed, err := l.publish(t.publisher, payload, owned, 0, nil)
	l.session.conn.declared.posting = false
	if err != nil {
		e := toError(err)
		if e.Scope == frame.ScopeLink && d.settled {
			t.fail(rollback("a message of the transaction was refused: %s", e.Text))
		}
		return l.refusePost(d, e)
	}
	l.session.posted = t.publisher
	l.session.touch()
	if err := t.publisher.Hold(); err != nil {
		t.fail(rollback("%s", toError(err).Text))
	} else {
		more := t.publisher.Held() - t.posted
		t.posted += more
		t.grow(more)
	}
	if t.failed != nil {
		return l.refusePost(d, t.failed)
	}
	state := frame.Accepted
	if routed == 0 {
		state = frame.Released
	}
	l.provisional(d, state)
	return nil
}

// refusePost says that a message is not in its transaction. When it was settled, the discharge says so, or the end of the link
// where there is no transaction.
func (l *incoming) refusePost(d *delivery, e *Error) error {
	if e.Scope != frame.ScopeLink || d.settled && e.Condition == frame.UnknownTransaction {
		return e
	}
	l.provisional(d, (&frame.Rejected{Error: l.session.conn.fitting(e)}).State())
	return nil
}

// provisional tells the outcome that a message will have when its transaction is committed.
func (l *incoming) provisional(d *delivery, outcome frame.State) {
	if d.settled {
		return
	}
	s := l.session
	state := (&frame.TransactionalState{TxnID: []byte(d.transaction), Outcome: outcome}).State()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.conn.out.Append(func(dst []byte) []byte {
			return s.appendOutcome(dst, deliveryIDs{first: d.id, last: d.id, second: l.second}, state)
		})
	}
}
