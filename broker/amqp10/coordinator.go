package amqp10

import (
	"encoding/binary"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// A coordinator link declares and discharges transactions: what is sent on it are requests to do so. 4 §4.5

// coordinatorCapabilities are what coordinators can do. 4 §4.5.7
var coordinatorCapabilities = []string{frame.LocalTransactions, frame.MultiTxnsPerSession, frame.MultiSessionsPerTxn}

// attachCoordinator attaches a link that controls transactions.
func (s *session) attachCoordinator(a *frame.Attach) error {
	t, err := s.conn.claim(s.conn.nameOf(a))
	if err != nil {
		return err
	}
	t.standsAt(nil, false)
	l := &incoming{link: link{session: s, handle: a.Handle, name: a.Name, terminus: t}, node: node{kind: coordinatorNode},
		second: a.ReceiverSettleMode == frame.ReceiverSecond, count: a.InitialDeliveryCount.Value, credit: linkCredit}
	l.rejects = a.Source == nil || len(a.Source.Outcomes) == 0 || slices.Contains(a.Source.Outcomes, "amqp:rejected:list")
	reply := frame.Attach{
		Name: a.Name, Handle: a.Handle, Role: frame.Receiver, SenderSettleMode: a.SenderSettleMode, ReceiverSettleMode: a.ReceiverSettleMode,
		Source: a.Source, Coordinator: &frame.Coordinator{Capabilities: coordinatorCapabilities}, MaxMessageSize: uint64(s.conn.config.Limits.MessageBytes),
	}
	s.incoming.set(a.Handle, l)
	s.conn.links.incoming.set(a.Name, l)
	if !s.send(&reply) {
		return sessionError(frame.FrameSizeTooSmall, "the answer to an attach does not fit into a frame of %d bytes", s.conn.mostSent)
	}
	s.sendFlow(l)
	return nil
}

// coordinate does what the message that was scanned asks for.
func (l *incoming) coordinate(id uint32, settled bool) error {
	l.session.conn.handOver() // what was sent before is there
	v := l.session.conn.scan.Sections.Body.Value()
	switch v.Type() {
	case frame.CodeDeclare:
		return l.declare(id, settled, v)
	case frame.CodeDischarge:
		return l.discharge(id, settled, v)
	}
	return linkError(frame.NotAllowed, "what is sent to a coordinator is an amqp-value with a declare or a discharge")
}

// declare begins a transaction. 4 §4.2
func (l *incoming) declare(id uint32, settled bool, v frame.Value) error {
	s := l.session
	var d frame.Declare
	if err := d.Decode(v); err != nil {
		return err
	}
	switch {
	case settled:
		return linkError(frame.NotAllowed, "a declare must not be settled: its outcome has the txn-id")
	case !d.GlobalID.IsNull():
		return l.refuseRequest(id, settled, linkError(frame.NotImplemented, "transactions with a global-id are not served, only local ones"))
	case s.declared >= mostTransactions:
		return l.refuseRequest(id, settled, linkError(frame.ResourceLimitExceeded, "the session has %d transactions, as many as it may: discharge one first", s.declared))
	}
	ts := &s.conn.declared
	ts.last++
	t := &transaction{id: string(binary.BigEndian.AppendUint64(nil, ts.last)), owner: l, since: s.conn.endpoint.seconds.Load(), publisher: s.conn.newPublisher(nil)}
	if ts.byID == nil {
		ts.byID = make(map[string]*transaction)
	}
	ts.byID[t.id] = t
	s.declared++
	ts.oldest.CompareAndSwap(0, t.since+1)
	l.outcome(id, settled, (&frame.Declared{TxnID: []byte(t.id)}).State())
	return nil
}

// discharge ends a transaction. 4 §4.3
func (l *incoming) discharge(id uint32, settled bool, v frame.Value) error {
	var d frame.Discharge
	if err := d.Decode(v); err != nil {
		return err
	}
	ts := &l.session.conn.declared
	t := ts.byID[string(d.TxnID)]
	if t == nil || t.owner != l {
		return l.refuseRequest(id, settled, unknownTransaction(d.TxnID))
	}
	if !d.Fail && l.session.conn.isPosting(t.id) { // 4 §4.4.1
		return rollback("the transaction was discharged before all transfers of a delivery in it had come")
	}
	t.disenroll() // 4 §4.4.3
	for _, a := range t.acquisitions {
		a.link.session.curb()
	}
	defer ts.remove(t)
	switch {
	case d.Fail:
		if t.rollback(); t.aborting() {
			ts.late = append(ts.late, late{transaction: t, id: id, settled: settled})
			return nil
		}
	case t.failed != nil:
		t.rollback() // of what was acquired since
		return l.refuseRequest(id, settled, t.failed)
	default:
		if err := t.commit(); err != nil {
			e := toError(err)
			if e.Scope == frame.ScopeLink {
				e = rollback("%s", e.Text)
			}
			return l.refuseRequest(id, settled, e)
		}
	}
	l.outcome(id, settled, frame.Accepted)
	return nil
}

// refuseRequest tells why a request was not done: with the outcome rejected, or by the end of the link where its source does
// not take that. 4 §4.3
func (l *incoming) refuseRequest(id uint32, settled bool, e *Error) error {
	if settled || !l.rejects || e.Scope != frame.ScopeLink {
		return e
	}
	l.session.reject(id, l.second, e)
	return nil
}

// outcome tells what became of a request.
func (l *incoming) outcome(id uint32, settled bool, state frame.State) {
	if settled {
		return
	}
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.conn.out.Append(func(dst []byte) []byte {
			return s.appendOutcome(dst, deliveryIDs{first: id, last: id, second: l.second}, state)
		})
	}
}
