package amqp10

import (
	"bytes"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// A transaction holds messages, which are not visible before it is committed, and outcomes of deliveries, which have no
// effect before: until then the deliveries stay with their links. The hub commits both as a whole. Part 4 of the standard.
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
}

// retirement is the outcome of a delivery in a transaction. 4 §4.4.2
type retirement struct {
	transaction *transaction
	link        *outgoing
	id          uint64 // wide, of the session
	tag         uint64 // of the hub's consumer
	verdict     *verdict
	settled     bool // the peer has settled it: after a rollback it does not know it any more
}

// verdict is what one disposition says.
type verdict struct {
	outcome queue.Outcome
	decided bool        // otherwise it is the link's default
	note    frame.Map   // owned
	state   frame.State // owned
}

func (r *retirement) outcome() queue.Outcome {
	if !r.verdict.decided {
		return r.link.otherwise
	}
	return r.verdict.outcome
}

const (
	// mostTransactions is how many the coordinator links of one session may have open.
	mostTransactions = 64
	// mostRetired is how many deliveries of one session may have outcomes in transactions.
	mostRetired = 100_000
	// transactionProperty of a flow asks for deliveries that are acquired in a transaction. 4 §4.4.3
	transactionProperty = "txn-id"
)

// transactions are those of a connection, by id.
type transactions struct {
	byID   map[string]*transaction // nil while there was none; owned by the reader
	last   uint64                  // the newest id
	oldest atomic.Uint32           // no open one was declared before this second, counted from one; zero when there is none
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
	delete(ts.byID, t.id)
	t.owner.session.declared--
	if len(ts.byID) == 0 {
		ts.oldest.Store(0)
	}
}

// leave rolls back the transactions of a coordinator link that ends. 4 §4.3
func (ts *transactions) leave(l *incoming) {
	for _, t := range ts.byID {
		if t.owner == l {
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
		t.rollback()
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
		delete(r.link.session.retiring, r.id)
	}
	t.publisher, t.retired, t.posted, t.held = nil, nil, 0, 0
}

// rollback forgets the messages and the outcomes. Deliveries stay with their links, but for those that the peer has
// settled: they go back to their queues, as ones that failed.
func (t *transaction) rollback() {
	if t.publisher == nil {
		return
	}
	t.publisher.Rollback()
	var back []*retirement
	for _, r := range t.retired {
		if r.settled {
			back = append(back, r)
		}
	}
	t.release()
	giveBack(back)
}

// giveBack puts deliveries back into their queues.
func giveBack(list []*retirement) {
	for _, st := range settlements(list, func(*retirement) queue.Outcome { return queue.Fail }) {
		st.Consumer.Settle(st.Outcome, st.Ranges...)
	}
	settledNow(list)
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
	publisher, all := t.publisher, t.retired
	t.release()
	if err := publisher.Commit(settlements(plain, (*retirement).outcome)); err != nil {
		giveBack(all)
		tell(all, func(*retirement) frame.State { return (&frame.Modified{DeliveryFailed: true}).State() })
		return err
	}
	for _, r := range noted {
		r.link.hub.SettleNoted(r.outcome(), hub.Range{From: r.tag, To: r.tag}, r.verdict.note)
	}
	settledNow(all)
	tell(all, func(r *retirement) frame.State { return r.verdict.state })
	return nil
}

// settlements are deliveries as the hub takes them, in ranges where they lie side by side.
func settlements(list []*retirement, outcome func(*retirement) queue.Outcome) (all []hub.Settlement) {
	for _, r := range list {
		o := outcome(r)
		if n := len(all); n > 0 && all[n-1].Consumer == r.link.hub && all[n-1].Outcome == o {
			ranges := all[n-1].Ranges
			if last := &ranges[len(ranges)-1]; last.To+1 == r.tag {
				last.To = r.tag
			} else {
				all[n-1].Ranges = append(ranges, hub.Range{From: r.tag, To: r.tag})
			}
			continue
		}
		all = append(all, hub.Settlement{Consumer: r.link.hub, Outcome: o, Ranges: []hub.Range{{From: r.tag, To: r.tag}}})
	}
	return all
}

// settledNow takes deliveries out of what is unsettled.
func settledNow(list []*retirement) {
	for i := 0; i < len(list); {
		s := list[i].link.session
		s.mu.Lock()
		for ; i < len(list) && list[i].link.session == s; i++ {
			s.taken = s.unsettled.take(uint32(list[i].id), uint32(list[i].id), s.taken[:0])
		}
		s.mu.Unlock()
		clear(s.taken)
		s.resumeFull()
	}
}

// tell settles deliveries with the peer that it has not settled, in ranges where they lie side by side and have one verdict.
func tell(list []*retirement, state func(*retirement) frame.State) {
	for i := 0; i < len(list); {
		r, n := list[i], 1
		for ; i+n < len(list); n++ {
			if next := list[i+n]; next.link.session != r.link.session || next.id != r.id+uint64(n) || next.verdict != r.verdict || next.settled != r.settled {
				break
			}
		}
		i += n
		if r.settled {
			continue
		}
		p := frame.Disposition{Role: frame.Sender, First: uint32(r.id), Last: frame.Some(uint32(r.id) + uint32(n-1)), Settled: true, State: state(r)}
		if !r.link.session.send(&p) { // its annotations do not fit into a frame that the peer takes: it knows them
			p.State = frame.State{}
			r.link.session.send(&p)
		}
	}
}

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
	routed, err := l.publish(t.publisher, payload, owned, 0)
	if err != nil {
		e := toError(err)
		if e.Scope == frame.ScopeLink && d.settled {
			t.fail(rollback("a message of the transaction was refused: %s", e.Text))
		}
		return l.refusePost(d, e)
	}
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

// unretired is a delivery that is not settled.
type unretired struct {
	link    *outgoing
	id, tag uint64
}

// retire puts the outcomes of deliveries into a transaction. 4 §4.4.2
func (s *session) retire(p *frame.Disposition, last uint32) error {
	var ts frame.TransactionalState
	if err := ts.Decode(p.State); err != nil {
		return err
	}
	v, err := verdictOf(ts.Outcome)
	if err != nil {
		return err
	}
	t := s.conn.declared.byID[string(ts.TxnID)]
	if t == nil {
		s.detachHolders(p.First, last, unknownTransaction(ts.TxnID))
		return nil
	}
	if !v.decided && !p.Settled {
		return nil // nothing follows from it
	}
	list := s.unretired(p.First, last)
	if t.failed == nil && !s.enlist(t, v, list, p.Settled) {
		t.owner.fail(rollback("a delivery has an outcome in another transaction already"))
		return nil
	}
	if t.failed != nil && p.Settled { // the rollback came before it
		s.giveBackNew(t, v, list)
	}
	return nil
}

// verdictOf reads the outcome of a transactional state.
func verdictOf(state frame.State) (v *verdict, err error) {
	v = &verdict{decided: state.Code != 0}
	if state.Code == frame.CodeDeclared {
		return nil, sessionError(frame.NotAllowed, "declared is an outcome for what is sent to a coordinator")
	}
	v.state = frame.State{Code: state.Code, Fields: bytes.Clone(state.Fields)}
	if v.decided {
		v.outcome, v.note, err = outcomeOf(v.state)
	}
	return v, err
}

// unretired are the deliveries of a range that are not settled, those with an outcome in a transaction included.
func (s *session) unretired(first, last uint32) (list []unretired) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsettled.each(first, last, func(l *outgoing, id, tag uint64) {
		list = append(list, unretired{link: l, id: id, tag: tag})
	})
	return list
}

// enlist gives deliveries their outcome in a transaction, or another one than they had. False: one of them has its outcome in
// another transaction.
func (s *session) enlist(t *transaction, v *verdict, list []unretired, settled bool) bool {
	for _, d := range list {
		if r := s.retiring[d.id]; r != nil && r.transaction != t {
			return false
		}
	}
	if len(s.retiring)+len(list) > mostRetired {
		t.fail(rollback("more than %d deliveries of the session have outcomes in transactions", mostRetired))
		return true
	}
	if s.retiring == nil {
		s.retiring = make(map[uint64]*retirement)
	}
	for _, d := range list {
		if r := s.retiring[d.id]; r != nil {
			r.settled = r.settled || settled
			if v.decided {
				r.verdict = v
			}
			continue
		}
		r := &retirement{transaction: t, link: d.link, id: d.id, tag: d.tag, verdict: v, settled: settled}
		s.retiring[d.id] = r
		t.retired = append(t.retired, r)
	}
	t.grow(int64(len(v.state.Fields)))
	return true
}

// giveBackNew gives back deliveries that the peer has settled in a transaction which had failed.
func (s *session) giveBackNew(t *transaction, v *verdict, list []unretired) {
	var back []*retirement
	for _, d := range list {
		if s.retiring[d.id] == nil {
			back = append(back, &retirement{transaction: t, link: d.link, id: d.id, tag: d.tag, verdict: v, settled: true})
		}
	}
	giveBack(back)
}

// detachHolders ends the links to which deliveries of a range came, for a reason.
func (s *session) detachHolders(first, last uint32, e *Error) {
	ended := make(map[*outgoing]bool)
	for _, d := range s.unretired(first, last) {
		if !ended[d.link] {
			ended[d.link] = true
			d.link.fail(e)
		}
	}
}

// outside is the parts of a range between deliveries that have an outcome in a transaction, for which no other counts until
// it is discharged; settled says that the peer has settled those.
func (s *session) outside(first, last uint32, settled bool) (parts []deliveryIDs) {
	for _, d := range s.unretired(first, last) {
		r := s.retiring[d.id]
		if r == nil {
			continue
		}
		r.settled = r.settled || settled
		if id := uint32(d.id); id != first {
			parts = append(parts, deliveryIDs{first: first, last: id - 1})
		}
		first = uint32(d.id) + 1
	}
	if int32(last-first) >= 0 {
		parts = append(parts, deliveryIDs{first: first, last: last})
	}
	return parts
}

// abandon rolls back the transactions that have outcomes of a link's deliveries, which ends: they cannot be committed as a
// whole any more.
func (s *session) abandon(l *outgoing) {
	for _, r := range s.retiring {
		if r.link == l {
			r.transaction.fail(rollback("link %q ended before the transaction, which has outcomes of its deliveries", l.name))
		}
	}
}
