package amqp10

import (
	"log/slog"
	"math"
	"slices"
	"sync"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
)

// session is one session of a connection. Its channel has the same number in both directions, and so have its handles.
type session struct {
	conn    *connection
	channel uint16

	// Owned by the reader.
	publisher    *hub.Publisher // nil until something is published, and again while the connection sleeps for long
	posted       *hub.Publisher // of a transaction, with messages since the last flush; nil for none
	incoming     few[uint32, *incoming]
	outgoing     few[uint32, *outgoing]
	received     window
	retiring     map[uint64]*retirement // deliveries with an outcome in a transaction, by id; nil while there are none
	acquisitions []*acquisition         // of the session's links in transactions that are not discharged; nil for none
	declared     int                    // transactions of the session's coordinators
	held         int64                  // bytes in them
	published    uint64                 // deliveries that were given a token
	asked        []awaited              // since the last flush
	unrouted     []deliveryIDs          // likewise
	settling     []*outgoing            // with deliveries settled since the last flush
	remembered   map[uint32]*remembered // deliveries of the peer that it has not settled, by their ids; nil for none
	taken        []taken                // scratch of settle
	exact        []*outgoing            // likewise: of those, whose outcomes are settled when they are durable
	crediting    []*incoming            // that may send more after the flush
	touched      bool                   // in conn.touched
	lately       bool                   // it was, since the last rest
	ending       bool                   // end was sent: everything but the peer's is passed over

	mu        sync.Mutex
	awaits    []awaited     // guarded by mu
	told      window        // guarded by mu; received, as of the last flush
	nextID    uint32        // guarded by mu; transfer-id of the next frame
	room      uint32        // guarded by mu; transfers that the peer takes
	unsettled unsettled     // guarded by mu
	borrowed  int           // guarded by mu; deliveries that are acquired in transactions
	waiting   []undelivered // guarded by mu; deliveries for which the peer has no room, in order
	paused    []*outgoing   // guarded by mu; they hold back because there is no room
	full      []*outgoing   // guarded by mu; they hold back because too much is unsettled
	scratch   []byte        // guarded by mu
	tag       []byte        // guarded by mu; scratch: that of the delivery at hand
	closed    bool          // guarded by mu; nothing is sent any more
}

// window is what the peer may transfer. 2 §2.5.6
type window struct {
	next uint32 // transfer-id of the frame that comes next
	left uint32 // frames
}

const (
	// incomingWindow is how many transfers a peer may send ahead. What bounds it is the socket: transfers are handled as they
	// come.
	incomingWindow = 2048
	// outgoingWindow is what the peer is told: it alone limits what it is sent.
	outgoingWindow = math.MaxInt32
	// firstID is the transfer-id of the first frame that a session is sent.
	firstID = 0
)

// handleBegin begins a session. 2 §2.5.1
func (c *connection) handleBegin(f *frame.Frame) error {
	switch {
	case int(f.Channel) > c.channelMax:
		return connectionError(frame.FramingError, "channel %d is above the channel-max of %d", f.Channel, c.channelMax) // 2 §2.7.1
	case c.sessions.get(f.Channel) != nil:
		return connectionError(frame.NotAllowed, "begin on channel %d, where a session is", f.Channel)
	}
	var p frame.Begin
	if err := p.Decode(f.Body, c.limits()); err != nil {
		return err
	}
	s := &session{
		conn: c, channel: f.Channel,
		received: window{next: p.NextOutgoingID, left: incomingWindow},
		nextID:   firstID, room: p.IncomingWindow,
	}
	s.told = s.received
	c.sessionsMu.Lock()
	c.sessions.set(f.Channel, s)
	c.sessionsMu.Unlock()
	c.numbers.Add(1)
	c.send(f.Channel, &frame.Begin{
		RemoteChannel: frame.Some(f.Channel), NextOutgoingID: firstID, IncomingWindow: incomingWindow, OutgoingWindow: outgoingWindow,
		HandleMax: s.mostHandles() - 1,
	})
	return nil
}

// mostHandles is how many links a session may have.
func (s *session) mostHandles() uint32 {
	return uint32(min(s.conn.config.Limits.ConsumersPerChannel, math.MaxInt32))
}

// handle handles a frame of the session. An error that it answers ends the connection.
func (s *session) handle(d frame.Descriptor, f *frame.Frame) error {
	if s.ending {
		if d == frame.CodeEnd {
			s.remove()
		}
		return nil
	}
	err := s.dispatch(d, f)
	if len(s.conn.declared.late) > 0 {
		s.conn.declared.answerLate()
	}
	if err == nil {
		return nil
	}
	e := toError(err)
	if e.Scope == frame.ScopeConnection {
		return e
	}
	s.fail(e)
	return nil
}

func (s *session) dispatch(d frame.Descriptor, f *frame.Frame) error {
	switch d {
	case frame.CodeTransfer: // without the allocation that others need
		return s.handleTransfer(f)
	case frame.CodeDisposition:
		return s.handleDisposition(f)
	case frame.CodeFlow:
		return s.handleFlow(f)
	}
	s.conn.flush() // so that what was collected is seen before
	switch d {
	case frame.CodeAttach:
		return s.handleAttach(f)
	case frame.CodeDetach:
		return s.handleDetach(f)
	}
	var p frame.End // nothing else is left
	if err := p.Decode(f.Body, s.conn.limits()); err != nil {
		return err
	}
	s.end()
	s.send(&frame.End{})
	s.remove()
	return nil
}

func (s *session) send(p frame.Performative) bool { return s.conn.send(s.channel, p) }

// fail ends the session for a reason. 2 §2.5.4
func (s *session) fail(e *Error) {
	s.conn.endpoint.stats.SessionErrors.Add(1)
	s.conn.log(slog.LevelDebug, "session ended", "channel", s.channel, "error", e)
	s.conn.flush()
	s.ending = true
	s.end()
	s.send(&frame.End{Error: s.conn.fitting(e)})
}

func (s *session) remove() {
	s.conn.sessionsMu.Lock()
	s.conn.sessions.remove(s.channel)
	s.conn.sessionsMu.Unlock()
	s.conn.numbers.Add(-1)
}

// end ends the links, so that what they hold is back in its queues. Nothing of the session but its end is sent afterwards.
// It may be called twice.
func (s *session) end() {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.waiting = nil
	s.awaits = slices.DeleteFunc(s.awaits, func(a awaited) bool { return a.remembered == nil })
	s.mu.Unlock()
	if again {
		return
	}
	for _, l := range s.incoming.all() {
		l.leave(endedSession)
	}
	for _, l := range s.outgoing.all() {
		l.leave(endedSession)
	}
	s.incoming.clear()
	s.outgoing.clear()
	s.conn.restless(endedSession, s)
	s.unremember()
}

// isClosed says that nothing but its end is sent on the session any more.
func (s *session) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// touch notes that the session has something to flush.
func (s *session) touch() {
	if !s.touched {
		s.touched, s.lately = true, true
		s.conn.touched = append(s.conn.touched, s)
	}
}

// flush hands over what was settled and published.
func (s *session) flush() {
	s.touched = false
	s.flushSettled()
	s.mu.Lock()
	s.told = s.received
	if !s.closed {
		s.awaits = append(s.awaits, s.asked...)
		s.appendReleased()
	}
	s.mu.Unlock()
	s.asked, s.unrouted = s.asked[:0], s.unrouted[:0]
	if s.publisher != nil {
		s.publisher.HandOver()
	}
}

// holdBack holds the peer back after what the session has published, in transactions and outside.
func (s *session) holdBack() {
	for _, p := range [...]*hub.Publisher{s.publisher, s.posted} {
		if p != nil {
			p.Wait()
		}
	}
	s.posted = nil
}

// publishing is the session's publisher.
func (s *session) publishing() *hub.Publisher {
	if s.publisher == nil {
		s.publisher = s.conn.newPublisher(s.confirm)
	}
	return s.publisher
}

// rest lets go of what the session does not need while nothing comes. One that had something to flush since the last time keeps
// all of it: that may be so again and again, with pauses in which the connection sleeps.
func (s *session) rest() {
	if s.lately {
		s.lately = false
		return
	}
	if s.publisher != nil && s.publisher.Drained() {
		s.publisher = nil
		for _, l := range s.incoming.all() {
			l.to = destination{}
		}
	}
	s.asked, s.unrouted, s.settling, s.taken, s.exact, s.crediting = nil, nil, nil, nil, nil, nil
}

// grant lets the peer send more, when what it sent before was taken.
func (s *session) grant() {
	if s.ending {
		return
	}
	for i, l := range s.crediting {
		s.crediting[i] = nil
		l.crediting = false
		if !l.detached {
			l.credit = max(l.credit, l.mostCredit())
			s.sendFlow(l)
		}
	}
	s.crediting = s.crediting[:0]
	if s.received.left <= incomingWindow/2 {
		s.sendFlow(nil)
	}
}

// sendFlow tells the peer what it may send, in all and on a link. The reader calls it.
func (s *session) sendFlow(l *incoming) {
	s.received.left = incomingWindow
	var p frame.Flow
	if l != nil {
		p.Handle, p.DeliveryCount, p.LinkCredit = frame.Some(l.handle), frame.Some(l.count), frame.Some(l.credit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = s.received
	s.appendFlow(&p)
}

// appendFlow completes and sends a flow; mu is held.
func (s *session) appendFlow(p *frame.Flow) {
	if s.closed {
		return
	}
	p.NextIncomingID, p.IncomingWindow = frame.Some(s.told.next), s.told.left
	p.NextOutgoingID, p.OutgoingWindow = s.nextID, outgoingWindow
	s.conn.out.Append(func(dst []byte) []byte {
		dst, _ = frame.AppendFlow(dst, s.channel, p, s.conn.mostSent) // it fits into the smallest frame
		return dst
	})
}

// handleFlow takes in what the peer lets us send. 2 §2.5.6, 2 §2.6.7
func (s *session) handleFlow(f *frame.Frame) error {
	p := &s.conn.flow
	if err := p.Decode(f.Body, s.conn.limits()); err != nil {
		return err
	}
	next := p.NextIncomingID.Value
	if !p.NextIncomingID.Present { // it has not seen our begin
		next = firstID
	}
	resumed, err := s.widen(next, p.IncomingWindow)
	if err != nil {
		return err
	}
	for _, l := range resumed {
		l.hub.Resume()
	}
	if !p.Handle.Present {
		if p.Echo {
			s.sendFlow(nil)
		}
		return nil
	}
	if l := s.outgoing.get(p.Handle.Value); l != nil {
		l.flow(p)
		return nil
	}
	if l := s.incoming.get(p.Handle.Value); l != nil {
		l.flow(p)
		return nil
	}
	return sessionError(frame.UnattachedHandle, "flow on handle %d, which is not attached", p.Handle.Value)
}

// widen takes a new window, sends what waited for it, and answers the consumers that may go on.
func (s *session) widen(next, size uint32) (resumed []*outgoing, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	onTheWay := s.nextID - next
	if int32(onTheWay) < 0 {
		return nil, sessionError(frame.InvalidField, "next-incoming-id %d of a flow is that of a transfer which was not sent", next)
	}
	s.room = 0
	if size > onTheWay {
		s.room = size - onTheWay
	}
	s.sendWaiting()
	if len(s.waiting) == 0 {
		resumed, s.paused = s.paused, nil
	}
	return resumed, nil
}

// handleTransfer counts a transfer against the window and gives it to its link. 2 §2.6.12
func (s *session) handleTransfer(f *frame.Frame) error {
	t := &s.conn.transfer
	if err := t.Decode(f.Body, s.conn.limits()); err != nil {
		return err
	}
	if s.received.left == 0 {
		return sessionError(frame.WindowViolation, "transfer beyond the incoming-window")
	}
	s.received.left--
	s.received.next++
	s.touch()
	l := s.incoming.get(t.Handle)
	switch {
	case l == nil && s.outgoing.get(t.Handle) != nil:
		return sessionError(frame.NotAllowed, "transfer on handle %d, on which the broker is the sender", t.Handle)
	case l == nil:
		return sessionError(frame.UnattachedHandle, "transfer on handle %d, which is not attached", t.Handle)
	case l.detached:
		return nil // it was on its way
	}
	err := l.transfer(t)
	if err == nil {
		return nil
	}
	if e := toError(err); e.Scope == frame.ScopeLink {
		l.fail(e)
		return nil
	}
	return err
}
