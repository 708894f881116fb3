package amqp10

import (
	"slices"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// A transaction holds messages, which are not visible before it is committed, and outcomes of deliveries, which have no
// effect before: until then the deliveries stay with their links. The hub commits both as a whole. What it acquires is with its
// link at once, and back in its queue after a rollback. Part 4 of the standard.
//
// Transactions belong to the connection. A coordinator link of any of its sessions declares and discharges them, and every
// link of the connection may take part.

// transaction is one that was declared and not discharged. The reader owns it.
type transaction struct {
	id        string
	owner     *incoming // the coordinator link that declared it
	since     uint32    // second of the endpoint in which it was declared
	publisher *hub.Publisher
	retired   []*retirement
	posted    int64  // bytes of messages, as the publisher counts them
	held      int64  // bytes in all, which owner.session.held counts too
	failed    *Error // it was rolled back: its discharge says so

	acquisitions []*acquisition // of each link that acquires in it, or did; they stay until it is discharged
}

const (
	// mostTransactions is how many the coordinator links of one session may have open.
	mostTransactions = 64
	// mostRetired is how many deliveries of one session may have outcomes in transactions. Another one bounds what it acquires.
	mostRetired = 100_000
	// transactionProperty of a flow asks for deliveries that are acquired in a transaction. 4 §4.4.3
	transactionProperty = "txn-id"
)

// transactions are those of a connection, by id.
type transactions struct {
	byID    map[string]*transaction // nil while there was none; owned by the reader
	last    uint64                  // the newest id
	posting bool                    // the message at hand is part of one; owned by the reader
	late    []late                  // rollbacks that are not answered yet; owned by the reader
	oldest  atomic.Uint32           // no open one was declared before this second, counted from one; zero when there is none
}

// overdue says that a transaction may be open for too long, in milliseconds; zero is for ever. Any goroutine may call it.
func (ts *transactions) overdue(now uint32, limit int64) bool {
	oldest := ts.oldest.Load()
	return oldest != 0 && limit > 0 && int64(now-(oldest-1))*1000 >= limit
}

// expire rolls back what is open for too long.
func (ts *transactions) expire(now uint32, limit int64) {
	if !ts.overdue(now, limit) {
		return
	}
	oldest := uint32(0)
	for _, t := range ts.byID {
		switch {
		case t.failed != nil:
		case int64(now-t.since)*1000 >= limit:
			t.fail(linkError(frame.TransactionTimeout, "the transaction was not discharged within %d ms", limit))
		case oldest == 0 || t.since+1 < oldest:
			oldest = t.since + 1
		}
	}
	ts.oldest.Store(oldest)
}

// remove forgets a transaction that has ended.
func (ts *transactions) remove(t *transaction) {
	t.forget()
	delete(ts.byID, t.id)
	t.owner.session.declared--
	if len(ts.byID) == 0 {
		ts.oldest.Store(0)
	}
}

// leave rolls back the transactions of a coordinator link that ends. 4 §4.3
func (ts *transactions) leave(l *incoming) {
	ts.late = slices.DeleteFunc(ts.late, func(a late) bool { return a.transaction.owner == l })
	for _, t := range ts.byID {
		if t.owner == l {
			t.disenroll()
			t.rollback()
			ts.remove(t)
		}
	}
}

func unknownTransaction(id []byte) *Error {
	return linkError(frame.UnknownTransaction, "no transaction of this connection has the txn-id %x: it was never declared, or it is discharged", id)
}

// fail rolls the transaction back for a reason, which its discharge tells.
func (t *transaction) fail(e *Error) {
	if t.failed == nil {
		t.failed = e
		mute := t.mute()
		t.rollback()
		endAll(mute, e)
	}
}

// grow counts what the transaction holds, and rolls it back when its session's hold too much.
func (t *transaction) grow(n int64) {
	s := t.owner.session
	t.held += n
	s.held += n
	if limit := s.conn.config.Limits.MessageBytes; s.held > limit {
		t.fail(rollback("the transactions of the session hold more than %d bytes", limit))
	}
}

// release forgets what the transaction holds.
func (t *transaction) release() {
	t.owner.session.held -= t.held
	for _, r := range t.retired {
		s := r.link.session
		if delete(s.retiring, r.id); len(s.retiring) == 0 {
			s.retiring = nil
		}
	}
	t.releaseAcquired()
	t.publisher, t.retired, t.posted, t.held = nil, nil, 0, 0
}

// rollback forgets the messages and the outcomes. Deliveries stay with their links, but for those that the peer has
// settled, and those that the transaction has acquired: they go back to their queues, as ones that failed. What is acquired in
// a transaction after it has failed goes back at the next call.
func (t *transaction) rollback() {
	if t.publisher != nil {
		t.publisher.Rollback()
	}
	back := t.unretired()
	for _, r := range t.retired {
		if r.settled || r.acquired {
			back = append(back, r)
		}
	}
	t.abort(back)
	kept := t.kept(queue.Fail)
	t.release()
	tell(back, failedState) // before they come again
	giveBack(back)
	settleKept(kept)
}

// failedState is what becomes of a delivery that goes back.
func failedState(*retirement) frame.State { return (&frame.Modified{DeliveryFailed: true}).State() }

func settleKept(list []hub.Settlement) {
	for _, st := range list {
		st.Consumer.Settle(st.Outcome, st.Ranges...)
	}
}

// commit lets the transaction take effect as a whole. After an error nothing of it has, and its deliveries are back in
// their queues. Outcomes with annotations follow when the rest is durable.
func (t *transaction) commit() error {
	var plain, noted []*retirement
	for _, r := range t.retired {
		if len(r.verdict.note) > 0 {
			noted = append(noted, r)
		} else {
			plain = append(plain, r)
		}
	}
	publisher, all, acquired, kept := t.publisher, t.retired, t.unretired(), t.kept(queue.Accept)
	if err := publisher.Commit(append(settlements(plain, (*retirement).outcome), kept...)); err != nil {
		all = append(all, acquired...)
		t.abort(all)
		t.release()
		tell(all, failedState)
		giveBack(all)
		for i := range kept {
			kept[i].Outcome = queue.Fail
		}
		settleKept(kept)
		return err
	}
	t.release()
	for _, r := range noted {
		r.link.settleNoted(r.outcome(), hub.Range{From: r.tag, To: r.tag}, r.verdict.note)
	}
	settledNow(all)
	tell(all, func(r *retirement) frame.State { return r.verdict.state })
	return nil
}
