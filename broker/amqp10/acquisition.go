package amqp10

import (
	"cmp"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// Deliveries that are acquired in a transaction. 4 §4.4.3
//
// A flow with a txn-id lets its link acquire in that transaction: each delivery that the link begins to send from then on is the
// transaction's, until another flow says something else or the transaction is discharged. That does not touch the link's credit:
// what of it is left is for deliveries in no transaction. A commit leaves those deliveries with the link that have no outcome in
// the transaction; a rollback puts all of them back into their queues, with or without one.
//
// The hub takes what it gives to a link that is sent settled deliveries for done with. While such a link acquires in a transaction,
// its consumer keeps them, and the commit accepts them with the rest.

// acquisition is what a link acquires in a transaction.
type acquisition struct {
	transaction *transaction
	link        *outgoing
	state       frame.State // of the link's transfers
	properties  frame.Map   // of the link's flows

	sent  []span      // guarded by session.mu; deliveries by their wide ids, in order, with those that were settled since
	kept  []hub.Range // guarded by session.mu; deliveries that were sent settled, by their tags of the hub
	count int         // guarded by session.mu; how many in all
}

// span is wide delivery-ids side by side, both ends included.
type span struct{ first, last uint64 }

// mostAcquired is how many deliveries one session may have acquired in transactions.
const mostAcquired = mostRetired

// acquisition is that of a link in the transaction.
func (t *transaction) acquisition(l *outgoing) *acquisition {
	for _, a := range t.acquisitions {
		if a.link == l {
			return a
		}
	}
	id := []byte(t.id)
	a := &acquisition{transaction: t, link: l, state: (&frame.TransactionalState{TxnID: id}).State(),
		properties: frame.AppendBinary(frame.AppendSymbol(nil, transactionProperty), id)}
	t.acquisitions = append(t.acquisitions, a)
	l.session.acquisitions = append(l.session.acquisitions, a)
	return a
}

// enroll takes from the properties of a flow in which transaction the link acquires from now on. Without properties it stays as it
// is; with others than a txn-id the link acquires in none. 4 §4.4.3
func (l *outgoing) enroll(properties frame.Map) *Error {
	if properties == nil {
		return nil
	}
	v, ok := properties.Lookup(transactionProperty)
	if !ok || v.IsNull() {
		l.acquire(nil)
		return nil
	}
	id, _ := v.Bytes()
	t := l.session.conn.declared.byID[string(id)]
	switch {
	case v.Kind() != frame.KindBinary || v.Described(): // 4 §4.5.4
		return linkError(frame.InvalidField, "property %s of a flow must be a binary", transactionProperty)
	case l.browses:
		return linkError(frame.NotImplemented, "a link that is shown copies acquires nothing, in a transaction or outside")
	case l.answering:
		return linkError(frame.NotImplemented, "answers of %s cannot be acquired in a transaction", managementAddress)
	case t == nil:
		return unknownTransaction(id)
	case t.failed != nil && l.settled: // nobody could tell what became of them
		return t.failed
	}
	l.acquire(t.acquisition(l))
	return nil
}

// acquire lets the link acquire in a transaction from now on; nil is in none. The reader calls it.
func (l *outgoing) acquire(a *acquisition) {
	s, was := l.session, l.acquires
	if was == a {
		return
	}
	set := func() {
		s.mu.Lock()
		l.acquires = a
		s.mu.Unlock()
	}
	if !l.settled || was != nil && a != nil {
		set()
		return
	}
	if !l.hub.Keep(a != nil, set) { // the queue is gone
		set()
	}
	if a == nil {
		l.hub.Settle(queue.Accept, s.unkeep(l)...)
	}
}

// unkeep takes out what was kept for a link and waits for the peer's window: it will be sent settled, in no transaction.
func (s *session) unkeep(l *outgoing) (tags []hub.Range) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.waiting {
		if w := &s.waiting[i]; w.link == l && !w.begun && w.delivery.Tag != 0 {
			tags = append(tags, hub.Range{From: w.delivery.Tag, To: w.delivery.Tag})
			w.delivery.Tag = 0
		}
	}
	return tags
}

// acquired notes a delivery that is begun, which has the newest id; the lock is held.
func (s *session) acquired(w *undelivered) {
	a := w.link.acquires
	if a == nil {
		return
	}
	if _, again := w.link.resuming[w.delivery.Tag]; again {
		return
	}
	id, tag := s.unsettled.next-1, w.delivery.Tag
	switch {
	case !w.link.settled:
		if n := len(a.sent); n > 0 && a.sent[n-1].last+1 == id {
			a.sent[n-1].last = id
		} else {
			a.sent = append(a.sent, span{id, id})
		}
	case tag == 0: // the hub was done with it before
		return
	default:
		if n := len(a.kept); n > 0 && a.kept[n-1].To+1 == tag {
			a.kept[n-1].To = tag
		} else {
			a.kept = append(a.kept, hub.Range{From: tag, To: tag})
		}
	}
	w.acquired = a
	a.count++
	s.borrowed++
}

// state is that of the transfers of a delivery.
func (w *undelivered) state() (s frame.State) {
	if w.acquired != nil {
		s = w.acquired.state
	}
	return s
}

// each calls fn for the deliveries of the acquisition in a range of wide ids that are not settled; session.mu is held.
func (a *acquisition) each(from, to uint64, fn func(l *outgoing, id, tag uint64)) {
	at, _ := slices.BinarySearchFunc(a.sent, from, func(r span, id uint64) int { return cmp.Compare(r.last, id) })
	for ; at < len(a.sent) && a.sent[at].first <= to; at++ {
		r := a.sent[at]
		a.link.session.unsettled.each(uint32(max(r.first, from)), uint32(min(r.last, to)), fn)
	}
}

// foreign is an acquisition in another transaction than t that has deliveries of a range without an outcome; nil for none.
func (s *session) foreign(t *transaction, first, last uint32) (found *acquisition) {
	if len(s.acquisitions) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := s.unsettled.wide(first), s.unsettled.wide(last)
	for _, a := range s.acquisitions {
		if a.transaction != t {
			a.each(from, to, func(_ *outgoing, id, _ uint64) {
				if s.retiring[id] == nil {
					found = a
				}
			})
		}
		if found != nil {
			break
		}
	}
	return found
}

// settledOutside rolls back what has acquired deliveries of a range, whose outcome was to come in the same transaction. 4 §4.4.4
func (s *session) settledOutside(first, last uint32) {
	for a := s.foreign(nil, first, last); a != nil; a = s.foreign(nil, first, last) {
		if t := a.transaction; t.failed == nil {
			t.fail(rollback("a delivery that was acquired in the transaction was given an outcome outside of it"))
		} else {
			t.rollback()
		}
	}
}

// unretired are the deliveries that the transaction has acquired and that have no outcome in it. Those that have one are marked.
func (t *transaction) unretired() (list []*retirement) {
	for _, a := range t.acquisitions {
		s := a.link.session
		s.mu.Lock()
		a.each(0, s.unsettled.next, func(l *outgoing, id, tag uint64) {
			r := l.session.retiring[id]
			if r == nil {
				r = &retirement{transaction: t, link: l, id: id, tag: tag}
				list = append(list, r)
			}
			r.acquired = true
		})
		s.mu.Unlock()
	}
	return list
}

// kept settles what was sent settled.
func (t *transaction) kept(o queue.Outcome) (all []hub.Settlement) {
	for _, a := range t.acquisitions {
		s := a.link.session
		s.mu.Lock()
		if len(a.kept) > 0 {
			all = append(all, hub.Settlement{Consumer: a.link.hub, Outcome: o, Ranges: a.kept})
		}
		s.mu.Unlock()
	}
	return all
}

// releaseAcquired forgets what the transaction has acquired. What was sent in part is sent to its end, in no transaction.
func (t *transaction) releaseAcquired() {
	for _, a := range t.acquisitions {
		s := a.link.session
		s.mu.Lock()
		s.borrowed -= a.count
		a.sent, a.kept, a.count = nil, nil, 0
		if len(s.waiting) > 0 && s.waiting[0].acquired == a {
			s.waiting[0].acquired = nil
		}
		s.mu.Unlock()
	}
}

// abort ends deliveries that were sent in part: the transfer that says so goes when the peer has room for it. They are settled by
// that. 4 §4.4.3, 2 §2.7.5
func (t *transaction) abort(lists ...[]*retirement) {
	for _, a := range t.acquisitions {
		s := a.link.session
		s.mu.Lock()
		if len(s.waiting) > 0 && s.waiting[0].acquired == a {
			w := &s.waiting[0]
			w.aborts = t
			for _, list := range lists {
				for _, r := range list {
					r.settled = r.settled || r.link == w.link && r.id == w.id
				}
			}
		}
		s.mu.Unlock()
	}
}

// aborting says that a delivery of the transaction is still to be aborted.
func (t *transaction) aborting() (yes bool) {
	for _, a := range t.acquisitions {
		s := a.link.session
		s.mu.Lock()
		yes = yes || len(s.waiting) > 0 && s.waiting[0].aborts == t
		s.mu.Unlock()
	}
	return yes
}

// disenroll lets the links that acquire in the transaction do so in none. 4 §4.4.3
func (t *transaction) disenroll() {
	for _, a := range t.acquisitions {
		if a.link.acquires == a {
			a.link.acquire(nil)
		}
	}
}

// mute lets links get nothing more that are sent settled deliveries in the transaction, and answers which those are: what they would be
// sent when it has failed could not be told from what is theirs.
func (t *transaction) mute() (links []*outgoing) {
	for _, a := range t.acquisitions {
		l := a.link
		l.session.mu.Lock()
		if l.settled && l.acquires == a && !l.gone {
			l.gone = true
			links = append(links, l)
		}
		l.session.mu.Unlock()
	}
	return links
}

// endAll ends links that are mute, for a reason.
func endAll(links []*outgoing, e *Error) {
	for _, l := range links {
		l.session.conn.flush()
		l.leave(failedLink)
		if l.detached = true; !l.session.isClosed() {
			l.failed(e)
		}
	}
}

// forget takes the transaction's acquisitions out of their sessions.
func (t *transaction) forget() {
	for _, a := range t.acquisitions {
		s := a.link.session
		s.acquisitions = slices.DeleteFunc(s.acquisitions, func(o *acquisition) bool { return o == a })
		if len(s.acquisitions) == 0 {
			s.acquisitions = nil
		}
	}
}

// isOpen says that the link has deliveries that it has acquired.
func (a *acquisition) isOpen() (open bool) {
	s := a.link.session
	s.mu.Lock()
	defer s.mu.Unlock()
	a.each(0, s.unsettled.next, func(*outgoing, uint64, uint64) { open = true })
	return open || len(a.kept) > 0
}

// greedy says that the session has acquired more in transactions than it may.
func (s *session) greedy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.borrowed > mostAcquired
}

// curb rolls back transactions in which the session has acquired too much.
func (s *session) curb() {
	for _, a := range slices.Clone(s.acquisitions) {
		if !s.greedy() {
			return
		}
		a.transaction.fail(rollback("more than %d deliveries of the session are acquired in transactions", mostAcquired))
	}
}

// late is the answer to a rollback, which comes when deliveries that were sent in part are aborted. 4 §4.4.3
type late struct {
	transaction *transaction
	id          uint32
	settled     bool
}

// answerLate answers the rollbacks that wait for nothing any more.
func (ts *transactions) answerLate() {
	ts.late = slices.DeleteFunc(ts.late, func(a late) bool {
		if a.transaction.aborting() {
			return false
		}
		a.transaction.owner.outcome(a.id, a.settled, frame.Accepted)
		return true
	})
	if len(ts.late) == 0 {
		ts.late = nil
	}
}
