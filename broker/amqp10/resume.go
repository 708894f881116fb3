package amqp10

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// Resuming a link on which the broker sends. Both peers say in attach what they have not settled, and the broker compares
// them. To it a delivery has no state before it has an outcome, with which it is settled, so that of the cases of 2 §2.6.13
// there are these:
//
//	the receiver's state       what becomes of the delivery
//	none, it does not know it  it is sent anew, under the same tag
//	null                       it is resumed from the beginning
//	received                   it is resumed where the receiver says
//	an outcome                 the outcome is taken, and the delivery is not in the broker's map any more
//
// What the receiver has and the broker does not is settled. A delivery of a durable queue is known by its tag after a restart,
// too: one that waits in the queue is with the link again.

// The tag of a delivery is the identity of its queue, on links that ask for a durable source, and the number of the message in
// the queue.
const messageNumberBytes = 8

// restart is how a delivery that the receiver knows is sent again.
type restart struct {
	known bool // it is resumed, and not sent anew
	from  frame.Optional[frame.Received]
}

// reconciled is what was found out about a link that is attached: nothing, where nothing is left of an earlier one.
type reconciled struct {
	exchanged bool     // maps were exchanged: the link is resumed
	again     []uint64 // tags of the hub, in order
	only      bool     // nothing new may be sent before the link was attached once more
	restarts  map[uint64]restart
	unsettled []queue.Holding
	identity  []byte
}

// stake is whose the node of a source is.
type stake uint8

const (
	nodeShared       stake = iota // a queue that others use, too
	nodeOwned                     // a queue of the link's own, which goes with the connection
	nodeSubscription              // a queue of the link's own, which is made to live as long as it is asked for
)

// promise settles what the source of a link keeps, and says so in the answer. Only a subscription's queue is the link's alone:
// of others, the broker does not know after a restart what the link held, and answers durability none. A durable subscription
// lives until its link is closed, if nothing else is asked for.
func (l *outgoing) promise(wanted, source *frame.Source, of stake) error {
	asked := lifetime{durable: wanted.Durable, policy: wanted.ExpiryPolicy, timeout: wanted.Timeout}
	if of == nodeSubscription && asked.durable != frame.DurabilityNone && !asked.lasts() {
		asked.policy = frame.ExpireNever
	}
	if of != nodeSubscription || !asked.lasts() {
		asked.durable = frame.DurabilityNone
	}
	l.identity = nil
	if wanted.Durable != frame.DurabilityNone {
		l.identity = []byte{} // consume fills it
	}
	l.exact = wanted.Durable == frame.DurabilityUnsettledState
	if err := l.terminus.promise(l.session.conn, asked, of == nodeOwned || of == nodeSubscription && !asked.lasts()); err != nil {
		return err
	}
	source.Durable, source.ExpiryPolicy, source.Timeout = l.terminus.durable, l.terminus.policy, l.terminus.timeout
	return nil
}

// attach notes that the terminus has a link.
func (t *terminus) attach(c *connection, source *frame.Source) {
	t.source = source
	c.endpoint.termini.attached(t)
}

// takeUp goes on with what the terminus kept, if the link stands for the same.
func (l *outgoing) takeUp(name string, o hub.ConsumerOptions) (took bool, err error) {
	t := l.terminus
	filter := ""
	if l.chosen != nil {
		filter = l.chosen.asked
	}
	stands := fmt.Sprintf("%q %t %t %d %t %q %t", name, o.Exclusive, o.Browse, o.Priority, o.NoAck, filter, l.identity != nil)
	l.identify(name)
	same := t.stands == stands
	t.stands = stands
	if t.consumer == nil {
		return false, nil
	}
	if same {
		ok, err := t.consumer.Return(l, o.Exclusive)
		if hub.CodeOf(err) == hub.Refused {
			err = linkError(frame.ResourceLocked, "%v", err)
		}
		if ok && err == nil {
			l.hub, t.consumer = t.consumer, nil
		}
		if ok {
			return true, err
		}
	}
	t.unhold()
	t.giveBack() // another source now
	return false, nil
}

// identify makes the identity of the link's queue.
func (l *outgoing) identify(name string) {
	c := l.session.conn
	q, err := c.host.Queue(name, c.origin)
	if l.identity == nil || err != nil || !q.Durable() {
		l.identity, l.exact = nil, false
		return
	}
	h := fnv.New64a()
	h.Write([]byte(c.endpoint.hub.Incarnation()))             //nolint:errcheck // never fails
	h.Write(binary.BigEndian.AppendUint64(nil, q.Identity())) //nolint:errcheck // never fails
	l.identity = binary.BigEndian.AppendUint64(nil, h.Sum64())
}

// message is the number of the message that a tag stands for.
func (l *outgoing) message(tag []byte) (id uint64, ok bool) {
	n := len(l.identity)
	if len(tag) != n+messageNumberBytes || string(tag[:n]) != string(l.identity) {
		return 0, false
	}
	return binary.BigEndian.Uint64(tag[n:]), true
}

// reconcile compares what both peers have not settled.
func (l *outgoing) reconcile(a *frame.Attach) (r reconciled, err error) {
	t, s := l.terminus, l.session
	old := t.holder
	t.holder, t.session = nil, nil
	if l.settled || l.browses || l.answering || l.hub == nil {
		return r, nil
	}
	if old != nil && old.session == s && a.Unsettled == nil {
		r.again = s.reattach(old, l) // 2 §2.6.5
		return r, nil
	}
	if old != nil {
		t.holder = old
		t.unhold()
	}
	theirs, err := l.theirs(a)
	if err != nil {
		return r, err
	}
	if l.identity != nil && len(theirs) > 0 {
		l.claim(theirs)
	}
	held := l.hub.Holdings()
	r.exchanged = len(held) > 0 || a.Unsettled != nil
	r.only = a.IncompleteUnsettled
	r.identity = l.identity
	r.restarts = make(map[uint64]restart)
	if err := l.settleTheirs(held, theirs); err != nil {
		return r, err
	}
	for _, h := range held {
		state, known := theirs[h.ID]
		switch {
		case known && state.IsOutcome():
			continue
		case known:
			r.restarts[h.Tag] = restart{known: true, from: position(state)}
		case a.IncompleteUnsettled: // it may know it all the same
			r.unsettled = append(r.unsettled, h)
			continue
		}
		r.unsettled = append(r.unsettled, h)
		r.again = append(r.again, h.Tag)
	}
	return r, nil
}

// theirs is the receiver's map by the numbers of the messages; tags that are not of this queue are left out.
func (l *outgoing) theirs(a *frame.Attach) (states map[uint64]frame.State, err error) {
	for k, v := range a.Unsettled.All() {
		tag, _ := k.Bytes()
		state, err := frame.StateOf(v)
		if err != nil {
			return nil, err
		}
		if state.Code == frame.CodeDeclared {
			return nil, linkError(frame.InvalidField, "unsettled says that a delivery is declared, which is the outcome of a request to a coordinator")
		}
		if state.Code == frame.CodeReceived {
			var r frame.Received
			if err := r.Decode(state); err != nil {
				return nil, err
			}
		}
		if id, ok := l.message(tag); ok {
			if states == nil {
				states = make(map[uint64]frame.State)
			}
			states[id] = state
		}
	}
	return states, nil
}

// position is how far a receiver says it is.
func position(state frame.State) (p frame.Optional[frame.Received]) {
	if state.Code == frame.CodeReceived && p.Value.Decode(state) == nil {
		p.Present = true
	}
	return p
}

// claim takes messages that the receiver had before the broker was started.
func (l *outgoing) claim(theirs map[uint64]frame.State) {
	held := make(map[uint64]bool)
	for _, h := range l.hub.Holdings() {
		held[h.ID] = true
	}
	var ids []uint64
	for id := range theirs {
		if !held[id] {
			ids = append(ids, id)
		}
	}
	l.hub.Claim(ids)
}

// settleTheirs takes the outcomes that the receiver has come to, durably where that is what the link is for: when it sees that
// the broker does not have a delivery any more, it forgets it, too.
func (l *outgoing) settleTheirs(held []queue.Holding, theirs map[uint64]frame.State) error {
	any := false
	for _, h := range held {
		state := theirs[h.ID]
		if !state.IsOutcome() {
			continue
		}
		o, note, err := outcomeOf(state)
		if err != nil {
			return err
		}
		any = true
		r := hub.Range{From: h.Tag, To: h.Tag}
		if len(note) > 0 {
			l.settleNoted(o, r, bytes.Clone(note))
		} else {
			l.hub.Settle(o, r)
		}
	}
	if !any || !l.exact {
		return nil
	}
	done := make(chan error, 1)
	l.hub.SettleDurably(queue.Accept, func(err error) { done <- err })
	if err := <-done; err != nil {
		return err
	}
	return nil
}

// describe puts the broker's map into attach, as much of it as fits: the receiver's first.
func (r *reconciled) describe(a *frame.Attach, frameBytes int) {
	if !r.exchanged {
		return
	}
	const overhead = 64 // of the frame, and of the map
	room := frameBytes - len(a.Append(nil)) - overhead
	m := frame.Map{}
	add := func(h queue.Holding) {
		if room -= len(r.identity) + messageNumberBytes + 3; room < 0 {
			a.IncompleteUnsettled = true
			return
		}
		m = frame.AppendNull(frame.AppendBinary(m, binary.BigEndian.AppendUint64(append([]byte(nil), r.identity...), h.ID)))
	}
	for _, known := range [...]bool{true, false} {
		for _, h := range r.unsettled {
			if r.restarts[h.Tag].known == known {
				add(h)
			}
		}
	}
	a.Unsettled = m
	r.only = r.only || a.IncompleteUnsettled
}

// resume begins deliveries: first those that the link had.
func (l *outgoing) resume(r reconciled) {
	if r.only { // what the receiver does not know is new to it
		known := r.again[:0]
		for _, tag := range r.again {
			if r.restarts[tag].known {
				known = append(known, tag)
			}
		}
		r.again = known
	}
	if len(r.again) > 0 || r.only {
		l.hub.Again(r.again, r.only)
	}
	l.hub.Resume()
}

// reattach gives the deliveries of a link that was detached to the one that is attached in its place, and answers those that
// have not been sent.
func (s *session) reattach(old, l *outgoing) (unsent []uint64) {
	held := l.hub.Holdings()
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.unsettled.move(old, l)
	for _, h := range held {
		if !sent[h.Tag] {
			unsent = append(unsent, h.Tag)
		}
	}
	return unsent
}

// move gives the deliveries of one link to another, and answers their tags of the hub.
func (u *unsettled) move(from, to *outgoing) map[uint64]bool {
	tags := make(map[uint64]bool)
	for i := range u.runs {
		r := &u.runs[i]
		if r.link != from {
			continue
		}
		r.link = to
		for at := r.from; at < r.count && r.live > 0; at++ {
			if r.settled == nil || r.marks(at, at+1) == 0 {
				tags[r.hubFirst+uint64(at)] = true
			}
		}
	}
	return tags
}

// restart lets a delivery go on where the receiver says, or from its beginning. Session.mu is held. 2 §2.6.13
func (l *outgoing) restart(w *undelivered, t *frame.Transfer) {
	r, ok := l.resuming[w.delivery.Tag]
	if !ok {
		return
	}
	if delete(l.resuming, w.delivery.Tag); len(l.resuming) == 0 {
		l.resuming = nil
	}
	t.Resume = r.known
	if !r.from.Present {
		return
	}
	at, ok := offsetOf(r.from.Value, w.head, w.delivery.Message.Payload)
	if !ok {
		r.from.Value, at = frame.Received{}, 0
	}
	t.State, w.sent = r.from.Value.State(), at
}

// offsetOf is where in a message a position is. One within the header is answered as its beginning: what is left of the
// message's life is another now.
func offsetOf(p frame.Received, head, payload []byte) (at int, ok bool) {
	section := uint32(0)
	for _, part := range [...][]byte{head, payload} {
		for rest := part; len(rest) > 0; section++ {
			_, n, err := frame.ReadValue(rest, stored)
			if err != nil {
				return 0, false
			}
			if section == p.SectionNumber {
				if p.SectionOffset > uint64(n) || section == 0 && p.SectionOffset > 0 && p.SectionOffset < uint64(n) {
					return 0, false
				}
				return at + int(p.SectionOffset), true
			}
			rest, at = rest[n:], at+n
		}
	}
	return at, section == p.SectionNumber && p.SectionOffset == 0
}
