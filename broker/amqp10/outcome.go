package amqp10

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// What becomes of deliveries that the peer sent: a disposition tells the outcome of as many as lie side by side. 2 §2.6.12

// awaited is deliveries whose outcome the peer waits for: tokens of the publisher and delivery-ids that both rise by one.
type awaited struct {
	token  uint64
	first  uint32
	count  uint32
	second bool // the receiver settles second: the disposition tells the outcome alone. 2 §2.8.3

	remembered *remembered // the one delivery is, and its sender may wait elsewhere now; nil for others
}

// deliveryIDs are deliveries next to one another.
type deliveryIDs struct {
	first, last uint32
	second      bool
}

// await notes a delivery whose outcome comes with a token.
func (s *session) await(token uint64, id uint32, second bool) {
	if n := len(s.asked); n > 0 {
		a := &s.asked[n-1]
		if a.remembered == nil && a.second == second && a.token+uint64(a.count) == token && a.first+a.count == id {
			a.count++
			return
		}
	}
	s.asked = append(s.asked, awaited{token: token, first: id, count: 1, second: second})
}

// release notes a delivery that went to no queue: the peer gets it back.
func (s *session) release(id uint32, second bool) {
	if n := len(s.unrouted); n > 0 {
		r := &s.unrouted[n-1]
		if r.second == second && r.last+1 == id {
			r.last = id
			return
		}
	}
	s.unrouted = append(s.unrouted, deliveryIDs{first: id, last: id, second: second})
}

// appendReleased tells of the deliveries that went nowhere; mu is held.
func (s *session) appendReleased() {
	if len(s.unrouted) == 0 {
		return
	}
	s.conn.out.Append(func(dst []byte) []byte {
		for _, r := range s.unrouted {
			dst = s.appendOutcome(dst, r, frame.Released)
		}
		return dst
	})
}

// reject tells at once that a delivery was refused, and why.
func (s *session) reject(id uint32, second bool, e *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.conn.out.Append(func(dst []byte) []byte { return s.appendRejected(dst, id, second, e) })
	}
}

func (s *session) appendRejected(dst []byte, id uint32, second bool, e *Error) []byte {
	r := frame.Rejected{Error: s.conn.fitting(e)}
	return s.appendOutcome(dst, deliveryIDs{first: id, last: id, second: second}, r.State())
}

func (s *session) appendOutcome(dst []byte, ids deliveryIDs, state frame.State) []byte {
	p := frame.Disposition{Role: frame.Receiver, First: ids.first, Settled: !ids.second, State: state}
	if ids.last != ids.first {
		p.Last = frame.Some(ids.last)
	}
	dst, _ = frame.AppendDisposition(dst, s.channel, &p, s.conn.mostSent) // it fits into the smallest frame
	return dst
}

// confirm is the publisher's callback: it turns a range of tokens into as few dispositions as there can be.
func (s *session) confirm(c hub.Confirmation) {
	for _, e := range s.confirmHere(c) { // one session's lock at a time
		e.session.tellOutcome(deliveryIDs{first: e.id, last: e.id, second: true}, e.state)
	}
}

// elsewhere is the outcome of a delivery whose link was resumed in another session.
type elsewhere struct {
	session *session
	id      uint32
	state   frame.State
}

func (s *session) confirmHere(c hub.Confirmation) (others []elsewhere) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.awaits) == 0 {
		return nil
	}
	write := func(dst []byte) []byte {
		for _, r := range c.Refused {
			dst = s.appendAccepted(dst, r.Token-1, &others)
			dst = s.appendRefused(dst, r, &others)
		}
		return s.appendAccepted(dst, c.UpTo, &others)
	}
	if s.closed {
		write(nil) // what is remembered has its outcome all the same
		return others
	}
	s.conn.out.Append(write)
	return others
}

// appendAccepted accepts what is awaited up to a token; mu is held.
func (s *session) appendAccepted(dst []byte, upTo uint64, others *[]elsewhere) []byte {
	for len(s.awaits) > 0 && s.awaits[0].token <= upTo {
		a := &s.awaits[0]
		if a.remembered != nil {
			dst = s.appendRemembered(dst, upTo, others)
			continue
		}
		n := uint32(min(uint64(a.count), upTo-a.token+1))
		dst = s.appendOutcome(dst, deliveryIDs{first: a.first, last: a.first + n - 1, second: a.second}, frame.Accepted)
		s.awaited(n)
	}
	return dst
}

// appendRemembered accepts the remembered deliveries that are awaited next, as one range where they lie side by side; mu is
// held.
func (s *session) appendRemembered(dst []byte, upTo uint64, others *[]elsewhere) []byte {
	var ids deliveryIDs
	any := false
	for len(s.awaits) > 0 && s.awaits[0].token <= upTo && s.awaits[0].remembered != nil {
		id, here := s.decide(s.awaits[0].remembered, frame.Accepted, others)
		s.awaited(1)
		switch {
		case !here:
		case any && ids.last+1 == id:
			ids.last = id
		default:
			if any {
				dst = s.appendOutcome(dst, ids, frame.Accepted)
			}
			ids, any = deliveryIDs{first: id, last: id, second: true}, true
		}
	}
	if any {
		dst = s.appendOutcome(dst, ids, frame.Accepted)
	}
	return dst
}

// decide gives a remembered delivery its outcome; false: its sender does not wait for it in this session.
func (s *session) decide(r *remembered, state frame.State, others *[]elsewhere) (id uint32, here bool) {
	id, here, other := r.decide(s, state)
	if other != nil {
		*others = append(*others, elsewhere{session: other, id: id, state: state})
	}
	return id, here
}

// appendRefused rejects the delivery of a token, which is the first awaited one; mu is held.
func (s *session) appendRefused(dst []byte, r hub.Refusal, others *[]elsewhere) []byte {
	if len(s.awaits) == 0 || s.awaits[0].token != r.Token {
		return dst
	}
	a := s.awaits[0]
	s.awaited(1)
	if a.remembered == nil {
		return s.appendRejected(dst, a.first, a.second, toError(r.Err))
	}
	state := (&frame.Rejected{Error: s.conn.fitting(toError(r.Err))}).State()
	if id, here := s.decide(a.remembered, state, others); here {
		dst = s.appendOutcome(dst, deliveryIDs{first: id, last: id, second: true}, state)
	}
	return dst
}

// awaited takes out the first n deliveries; mu is held.
func (s *session) awaited(n uint32) {
	a := &s.awaits[0]
	a.token, a.first, a.count = a.token+uint64(n), a.first+n, a.count-n
	if a.count > 0 {
		return
	}
	if s.awaits = s.awaits[1:]; len(s.awaits) == 0 {
		s.awaits = nil
	}
}

// handleDisposition settles deliveries that the peer got. 2 §2.7.6
func (s *session) handleDisposition(f *frame.Frame) error {
	p := &s.conn.settled
	if err := p.Decode(f.Body, s.conn.limits()); err != nil {
		return err
	}
	last := p.First
	if p.Last.Present {
		last = p.Last.Value
	}
	switch {
	case int32(last-p.First) < 0:
		return sessionError(frame.InvalidField, "disposition ends with %d before it begins with %d", last, p.First)
	case p.Role == frame.Sender:
		if p.Settled {
			s.settled(p.First, last)
		}
		return nil
	case p.State.Code == frame.CodeTransactionalState:
		return s.retire(p, last)
	case p.State.Code == frame.CodeDeclared:
		return sessionError(frame.NotAllowed, "declared is an outcome for what is sent to a coordinator")
	case !p.Settled && !p.State.IsOutcome():
		return nil // such as received: nothing follows from it
	}
	s.settledOutside(p.First, last)
	decided := p.State.IsOutcome()
	var o queue.Outcome
	var note frame.Map
	if decided {
		var err error
		if o, note, err = outcomeOf(p.State); err != nil {
			return err
		}
	}
	if len(s.retiring) == 0 {
		return s.settleAll(p, last, o, decided, note)
	}
	for _, part := range s.outside(p.First, last, p.Settled) {
		p.First, p.Last = part.first, frame.Some(part.last)
		if err := s.settleAll(p, part.last, o, decided, note); err != nil {
			return err
		}
	}
	return nil
}

// settleAll settles deliveries as a disposition says.
func (s *session) settleAll(p *frame.Disposition, last uint32, o queue.Outcome, decided bool, note frame.Map) error {
	if !s.settle(p.First, last, o, decided, note) || p.Settled {
		return nil
	}
	if len(s.exact) > 0 {
		s.settleLater(p)
		return nil
	}
	return s.settleBack(p) // the peer settles second. 2 §2.6.12
}

// settleLater is settleBack when the outcomes are durable: the peer forgets the deliveries then.
func (s *session) settleLater(p *frame.Disposition) {
	reply := *p
	reply.State.Fields = bytes.Clone(reply.State.Fields)
	s.flushSettled()
	waiting, failed := new(atomic.Int32), new(atomic.Bool)
	waiting.Store(int32(len(s.exact)))
	for i, l := range s.exact {
		s.exact[i] = nil
		l.hub.SettleDurably(queue.Accept, func(err error) {
			if err != nil {
				failed.Store(true)
			}
			if waiting.Add(-1) > 0 || failed.Load() {
				return // the deliveries are in their queues again
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.closed {
				s.settleBack(&reply) //nolint:errcheck // its annotations do not fit into a frame: the peer knows them
			}
		})
	}
	s.exact = s.exact[:0]
}

// outcomeOf is what an outcome means for the queue. A message that its receiver does not want any more dies, as in RabbitMQ:
// it goes to the queue's dead-letter exchange, if there is one. Note is the annotations that the message is to have from now
// on. 3 §3.4
func outcomeOf(state frame.State) (o queue.Outcome, note frame.Map, err error) {
	switch state.Code {
	case frame.CodeAccepted:
		return queue.Accept, nil, nil
	case frame.CodeRejected:
		var r frame.Rejected
		return queue.Reject, nil, r.Decode(state)
	case frame.CodeModified:
		var m frame.Modified
		err := m.Decode(state)
		switch {
		case m.UndeliverableHere:
			return queue.Reject, m.MessageAnnotations, err
		case m.DeliveryFailed:
			return queue.Fail, m.MessageAnnotations, err
		}
		return queue.Release, m.MessageAnnotations, err
	}
	return queue.Release, nil, nil
}

// settleBack settles what the peer has told the outcome of.
func (s *session) settleBack(p *frame.Disposition) error {
	reply := *p
	reply.Role, reply.Settled, reply.Batchable = frame.Sender, true, false
	var err error
	s.conn.out.Append(func(dst []byte) []byte {
		dst, err = frame.AppendDisposition(dst, s.channel, &reply, s.conn.mostSent)
		return dst
	})
	return err
}

// settle ends deliveries; the hub is told with the next flush, in ranges. Those of a link whose receiver did not say what is
// to be done have the link's default outcome. False: none of them was unsettled.
func (s *session) settle(first, last uint32, o queue.Outcome, decided bool, note frame.Map) bool {
	note = bytes.Clone(note) // it aliases the read buffer
	s.mu.Lock()
	s.taken = s.unsettled.take(first, last, s.taken[:0])
	s.mu.Unlock()
	s.exact = s.exact[:0]
	for i, t := range s.taken {
		if !decided {
			o = t.link.otherwise
		}
		if t.link.exact && !slices.Contains(s.exact, t.link) {
			s.exact = append(s.exact, t.link)
		}
		if len(note) > 0 {
			t.link.settleNoted(o, t.Range, note)
		} else {
			t.link.note(o, t.Range)
		}
		s.taken[i] = taken{}
	}
	s.touch()
	return len(s.taken) > 0
}

// settleNoted settles deliveries whose messages are to have further annotations, which it keeps. 3 §3.4.5
func (l *outgoing) settleNoted(o queue.Outcome, r hub.Range, annotations frame.Map) {
	l.hub.SettleNoted(o, r, func(old []byte) []byte { return mapping.Annotated(old, annotations) })
}

// note collects a range for the next flush, joined to the one before where they touch.
func (l *outgoing) note(o queue.Outcome, r hub.Range) {
	if !l.settling {
		l.settling = true
		l.session.settling = append(l.session.settling, l)
	}
	if n := len(l.outcomes[o]); n > 0 && l.outcomes[o][n-1].To+1 == r.From {
		l.outcomes[o][n-1].To = r.To
		return
	}
	l.outcomes[o] = append(l.outcomes[o], r)
}

func (s *session) flushSettled() {
	if len(s.settling) == 0 {
		return
	}
	for i, l := range s.settling {
		s.settling[i] = nil
		l.settling = false
		for o := range l.outcomes {
			if len(l.outcomes[o]) > 0 {
				l.hub.Settle(queue.Outcome(o), l.outcomes[o]...)
				l.outcomes[o] = l.outcomes[o][:0]
			}
		}
	}
	s.settling = s.settling[:0]
	s.resumeFull()
}

// resumeFull lets consumers go on that held back because too much was unsettled.
func (s *session) resumeFull() {
	s.mu.Lock()
	var list []*outgoing
	if s.unsettled.live < s.conn.config.Limits.UnackedPerChannel {
		list, s.full = s.full, nil
	}
	s.mu.Unlock()
	for _, l := range list {
		l.hub.Resume()
	}
}
