package amqp10

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// outgoing is a link on which the broker sends; it is the hub's Sink.
type outgoing struct {
	link
	hub       *hub.Consumer // set before its first delivery, immutable; nil for a link that was refused
	settled   bool          // deliveries are settled as they are sent
	otherwise queue.Outcome // of deliveries that are settled without a state
	most      uint64        // bytes of a message that the peer takes; zero is any
	answering bool          // it has the answers of the management node
	shared    string        // the queue of a durable subscription that links share, which ends when the last one of them is closed; empty for none
	durable   string        // the queue of a durable subscription, which ends with the link's being closed; empty for none

	chosen     *chosen // the selector; nil for none
	browses    bool    // it is shown copies, which it settles without any effect
	subscribes bool    // the queue is the link's own: what it does not select nobody wants
	exact      bool    // outcomes are settled when they are durable
	identity   []byte  // of the queue, where deliveries are known by their tags after a restart; nil otherwise

	// Owned by the reader.
	outcomes [outcomes][]hub.Range // since the last flush
	settling bool                  // in session.settling

	count    uint32       // guarded by session.mu; delivery-count
	answer   queue.Credit // guarded by session.mu; waits until what was delivered before it is sent
	answers  bool         // guarded by session.mu; there is an answer
	acquires *acquisition // guarded by session.mu, and set by the reader alone; in what transaction: nil is in none
	attached bool         // guarded by session.mu; the client knows of it
	gone     bool         // guarded by session.mu; it gets nothing any more

	resuming map[uint64]restart // guarded by session.mu; deliveries that are to be resumed, by their tags of the hub; nil for none
}

// outcomes is how many there are.
const outcomes = int(queue.Fail) + 1

// undelivered is a delivery on its way, of which some of the frames may have been sent.
type undelivered struct {
	link     *outgoing
	delivery queue.Delivery // its message is owned when it waits
	head     []byte         // what comes before the payload, once it has begun
	sent     int            // bytes of head and payload
	begun    bool
	id       uint64       // wide, once it has begun
	acquired *acquisition // nil for one in no transaction
	aborts   *transaction // it is not to be sent to its end, since the transaction that has acquired it is rolled back; nil otherwise
}

// flow takes the credit that the receiver gives. 2 §2.6.7, 2 §2.6.10
func (l *outgoing) flow(p *frame.Flow) {
	if l.hub == nil || l.detached {
		return
	}
	if e := l.enroll(p.Properties); e != nil {
		l.fail(e)
		return
	}
	if p.LinkCredit.Present { // the delivery-count is absent before the receiver has seen our attach, in which it is zero
		l.hub.Grant(p.DeliveryCount.Value+p.LinkCredit.Value, p.Drain, p.Echo)
	} else if p.Echo {
		l.session.sendFlow(nil)
	}
}

// Credit answers what the receiver asked of its credit, once all that was delivered before has been sent.
func (l *outgoing) Credit(_ *hub.Consumer, a queue.Credit) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.gone {
		return
	}
	for i := range s.waiting {
		if s.waiting[i].link == l {
			a.LetGo += l.answer.LetGo
			l.answer, l.answers = a, true
			return
		}
	}
	l.appendCredit(a)
}

// appendCredit sends a flow with an answer; session.mu is held.
func (l *outgoing) appendCredit(a queue.Credit) {
	l.count += a.LetGo
	p := frame.Flow{
		Handle: frame.Some(l.handle), DeliveryCount: frame.Some(l.count), LinkCredit: frame.Some(a.Left),
		Available: frame.Some(uint32(min(a.Available, math.MaxUint32))), Drain: a.Drain,
	}
	if l.acquires != nil {
		p.Properties = l.acquires.properties // 4 §4.4
	}
	l.session.appendFlow(&p)
}

// Deliver encodes deliveries into the connection's outbox, as far as the peer's window goes. The lock is held over the ids and
// the frames, so that both rise on the wire.
func (l *outgoing) Deliver(_ *hub.Consumer, ds []queue.Delivery) bool {
	s := l.session
	s.mu.Lock()
	if s.closed || l.gone {
		s.mu.Unlock()
		return false // what must be settled goes back to the queue when the consumer is closed
	}
	sent := 0
	if len(s.waiting) == 0 {
		s.conn.out.Append(func(dst []byte) []byte {
			for ; sent < len(ds) && len(s.waiting) == 0 && !l.gone; sent++ {
				dst = s.appendDelivery(dst, l, &ds[sent])
			}
			return dst
		})
	}
	if l.gone {
		s.mu.Unlock()
		return false
	}
	for ; sent < len(ds); sent++ {
		s.wait(undelivered{link: l, delivery: ds[sent]})
	}
	more := s.hasRoom(l)
	s.mu.Unlock()
	return more && s.conn.room.For(l.hub, s.conn.out)
}

// hasRoom says whether the session takes more deliveries now; if not, the consumer is resumed when it does. The lock is held.
func (s *session) hasRoom(l *outgoing) bool {
	switch {
	case len(s.waiting) > 0:
		s.paused = append(s.paused, l)
		return false
	case s.unsettled.live >= s.conn.config.Limits.UnackedPerChannel:
		s.full = append(s.full, l)
		return false
	}
	return true
}

// wait keeps a delivery until the peer's window is wider; mu is held.
func (s *session) wait(w undelivered) {
	w.delivery.Message = w.delivery.Message.Clone()
	if w.head != nil {
		w.head = append([]byte(nil), w.head...) // it is the scratch
	}
	s.waiting = append(s.waiting, w)
}

// appendDelivery writes a delivery, or what of it fits into the peer's window: the rest waits. The lock is held.
func (s *session) appendDelivery(dst []byte, l *outgoing, d *queue.Delivery) []byte {
	w := undelivered{link: l, delivery: *d}
	dst, done := s.appendTransfers(dst, &w)
	if !done {
		s.wait(w)
	}
	return dst
}

// sendWaiting sends what waits as far as the peer's window goes; mu is held.
func (s *session) sendWaiting() {
	if len(s.waiting) == 0 || s.room == 0 || s.closed {
		return
	}
	s.conn.out.Append(func(dst []byte) []byte {
		for len(s.waiting) > 0 {
			w := &s.waiting[0]
			done := w.link.gone
			if !done {
				dst, done = s.appendTransfers(dst, w)
			}
			if !done {
				w.head = append([]byte(nil), w.head...) // it may be the scratch
				break
			}
			*w = undelivered{}
			s.waiting = s.waiting[1:]
		}
		return dst
	})
	if len(s.waiting) == 0 {
		s.waiting = nil
	}
	for _, l := range s.outgoing.all() {
		l.answerLate()
	}
}

// answerLate answers what waited until everything before it was sent; session.mu is held.
func (l *outgoing) answerLate() {
	if !l.answers || l.gone {
		return
	}
	for i := range l.session.waiting {
		if l.session.waiting[i].link == l {
			return
		}
	}
	a := l.answer
	l.answer, l.answers = queue.Credit{}, false
	l.appendCredit(a)
}

// appendTransfers writes the frames of a delivery that are not sent yet; false: the peer's window is full. The lock is held.
func (s *session) appendTransfers(dst []byte, w *undelivered) ([]byte, bool) {
	if s.room == 0 {
		return dst, false
	}
	l := w.link
	if w.aborts != nil {
		dst, _, _ = frame.AppendTransfer(dst, s.channel, &frame.Transfer{Handle: l.handle, Aborted: true}, nil, s.conn.mostSent)
		s.nextID++
		s.room--
		return dst, true
	}
	t := frame.Transfer{Handle: l.handle, State: w.state()}
	if !w.begun {
		if !s.begin(w) {
			return l.appendTooLarge(dst, len(w.head)+len(w.delivery.Message.Payload)), true
		}
		id := s.number(l, &w.delivery)
		w.id = s.unsettled.next - 1
		s.acquired(w)
		s.tag = binary.BigEndian.AppendUint64(append(s.tag[:0], l.identity...), w.delivery.ID)
		t.DeliveryID, t.DeliveryTag, t.MessageFormat, t.Settled = frame.Some(id), s.tag, frame.Some[uint32](0), l.settled
		t.State = w.state()
		if l.resuming != nil {
			l.restart(w, &t)
		}
	}
	payload := w.delivery.Message.Payload
	for {
		head := w.head[min(w.sent, len(w.head)):]
		t.Payload = payload[max(w.sent-len(w.head), 0):]
		var n int
		dst, n, _ = frame.AppendTransfer(dst, s.channel, &t, head, s.conn.mostSent) // some of it fits into the smallest frame
		s.nextID++
		s.room--
		if w.sent += n; w.sent >= len(w.head)+len(payload) {
			return dst, true
		}
		if s.room == 0 {
			return dst, false
		}
		t = frame.Transfer{Handle: l.handle, State: w.state()}
	}
}

// begin makes what comes before the payload; false: the message is larger than the peer takes. The lock is held.
func (s *session) begin(w *undelivered) bool {
	s.scratch = appendHead(s.scratch[:0], &w.delivery)
	w.head, w.begun = s.scratch, true
	l := w.link
	return l.most == 0 || uint64(len(w.head)+len(w.delivery.Message.Payload)) <= l.most
}

// number gives a delivery its id and counts it; the lock is held.
func (s *session) number(l *outgoing, d *queue.Delivery) uint32 {
	l.count++
	tag := d.Tag
	switch {
	case l.settled:
		return s.unsettled.skip()
	case l.browses:
		tag = uint64(l.count) // the hub has none
	}
	return s.unsettled.add(l, tag, s.conn.endpoint.seconds.Load())
}

// appendHead writes the header, which is of the delivery, and what follows it up to the payload.
func appendHead(dst []byte, d *queue.Delivery) []byte {
	m := d.Message
	h := frame.Header{Durable: m.Durable, Priority: mapping.Priority(m), FirstAcquirer: !d.Returned, DeliveryCount: d.Count}
	if m.Expiry != 0 {
		h.TTL = frame.Some(uint32(min(max(m.Expiry-time.Now().UnixMilli(), 0), math.MaxUint32)))
	}
	return mapping.AppendAMQP10(h.Append(dst), m, frame.Map(d.Note))
}

// appendTooLarge detaches the link: its receiver does not take the message that is its next. The lock is held; the reader
// gives back what the link holds when the peer has answered. 2 §2.7.3
func (l *outgoing) appendTooLarge(dst []byte, size int) []byte {
	l.gone = true
	l.session.conn.endpoint.stats.LinkErrors.Add(1)
	e := linkError(frame.MessageSizeExceeded, "a message of %d bytes is larger than the link's max-message-size of %d", size, l.most)
	dst, _ = frame.AppendFrame(dst, l.session.channel, &frame.Detach{Handle: l.handle, Closed: true, Error: e.wire()}, l.session.conn.mostSent)
	return dst
}

// Cancelled tells the client that its link ends with its queue.
func (l *outgoing) Cancelled(*hub.Consumer) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.gone {
		return
	}
	l.gone = true
	if l.attached && !s.closed {
		s.send(l.deleted())
	}
}

func (l *outgoing) deleted() *frame.Detach {
	return &frame.Detach{Handle: l.handle, Closed: true, Error: &frame.Error{Condition: frame.ResourceDeleted, Description: "the queue was deleted"}}
}

func (l *outgoing) isGone() bool {
	l.session.mu.Lock()
	defer l.session.mu.Unlock()
	return l.gone
}

// fail detaches the link for a reason.
func (l *outgoing) fail(e *Error) { l.endWith(e, failedLink) }

// stolen ends the link, whose terminus stays.
func (l *outgoing) stolen(e *Error) { l.endWith(e, stolenLink) }

func (l *outgoing) endWith(e *Error, how departure) {
	l.session.conn.flush()
	told := l.isGone()
	l.leave(how)
	if !told {
		l.failed(e)
	}
	l.detached = true
}

// leave ends the link on our side.
func (l *outgoing) leave(how departure) {
	defer l.leaveShared(how == closedLink)
	s, t := l.session, l.terminus
	if s.conn.links.outgoing.get(l.name) == l {
		s.conn.links.outgoing.remove(l.name)
	}
	s.mu.Lock()
	if l.gone && how != closedLink { // the peer was told of an error already
		how = failedLink
	}
	l.gone, l.resuming, l.acquires = true, nil, nil
	s.mu.Unlock()
	s.abandon(l)
	if t == nil {
		return
	}
	l.terminus = nil
	if how == detachedLink {
		t.session = s
	}
	l.suspend(t, how)
	if l.owned != "" {
		t.queue = l.owned
	} else if l.durable != "" {
		t.queue = l.durable
	}
	s.conn.leave(t, how)
}

// suspend leaves what the peer has not settled to the terminus, if that stays. Deliveries of a link that was detached can be
// settled in their session as before. 2 §2.6.5
func (l *outgoing) suspend(t *terminus, how departure) {
	s := l.session
	t.holding = holding{consumer: l.hub, otherwise: l.otherwise}
	keeps := l.hub != nil && !l.settled && !l.browses && !l.answering && how != failedLink && t.survives(how)
	if keeps {
		l.hub.Suspend()
		keeps = len(l.hub.Holdings()) > 0
	}
	if keeps && how == detachedLink {
		t.holder, t.session = l, s
		return
	}
	s.mu.Lock()
	s.unsettled.drop(l)
	s.mu.Unlock()
	if !keeps {
		t.giveBack()
	}
}
