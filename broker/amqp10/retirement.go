package amqp10

import (
	"bytes"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// Outcomes of deliveries in a transaction. 4 §4.4.2

// retirement is the outcome of a delivery in a transaction, or the delivery that it has acquired alone. 4 §4.4.2
type retirement struct {
	transaction *transaction
	link        *outgoing
	id          uint64   // wide, of the session
	tag         uint64   // of the hub's consumer
	verdict     *verdict // nil without an outcome
	settled     bool     // the peer has settled it: after a rollback it does not know it any more
	acquired    bool     // in the same transaction: a rollback takes it back. 4 §4.4.4
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
	if s.foreign(t, p.First, last) != nil {
		t.owner.fail(rollback("a delivery is acquired in another transaction"))
		return nil
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

// abandon rolls back the transactions that have outcomes of a link's deliveries, or have acquired some, which ends: they cannot be
// committed as a whole any more.
func (s *session) abandon(l *outgoing) {
	for _, a := range slices.Clone(s.acquisitions) {
		if a.link == l && a.isOpen() {
			a.transaction.fail(rollback("link %q ended before the transaction, in which it has acquired deliveries", l.name))
		}
	}
	for _, r := range s.retiring {
		if r.link == l {
			r.transaction.fail(rollback("link %q ended before the transaction, which has outcomes of its deliveries", l.name))
		}
	}
}

// giveBack puts deliveries back into their queues.
func giveBack(list []*retirement) {
	for _, st := range settlements(list, func(*retirement) queue.Outcome { return queue.Fail }) {
		st.Consumer.Settle(st.Outcome, st.Ranges...)
	}
	settledNow(list)
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
		if r.settled || r.link.session.isClosed() {
			continue
		}
		p := frame.Disposition{Role: frame.Sender, First: uint32(r.id), Last: frame.Some(uint32(r.id) + uint32(n-1)), Settled: true, State: state(r)}
		if !r.link.session.send(&p) { // its annotations do not fit into a frame that the peer takes: it knows them
			p.State = frame.State{}
			r.link.session.send(&p)
		}
	}
}
