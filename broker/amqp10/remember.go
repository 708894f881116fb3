package amqp10

import (
	"context"
	"math"
	"net/url"
	"slices"
	"sync"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
)

// Resuming a link on which the peer sends. Where the receiver settles second, the broker keeps the outcome of every delivery
// that the sender has not settled, and with durability unsettled-state its tag is in the log with the message. A sender that is
// back learns by the broker's map what became of what it had sent. Of 2 §2.6.13, with the sender's state before the broker's:
//
//	any / not there        the sender sends it anew. What it resumes all the same is passed over
//	null / received        it is resumed where the broker says, or behind that where the sender says
//	null / null            the broker does not know the outcome yet. What is resumed is not published again where it is
//	null / an outcome      the sender settles
//	an outcome / another   the sender's counts, is repeated and settled
//	aborted                it is forgotten
//
// A transfer in a transaction, or one that is settled, is not remembered.

// memory is what the broker keeps of the deliveries of one sender. Its owner is that of the terminus.
type memory struct {
	sender *hub.Sender // has them in the log, too; nil where they are kept for this process alone
	expiry uint32      // of sender

	mu    sync.Mutex
	known map[string]*remembered // guarded by mu; by delivery-tag
}

// remembered is one delivery.
type remembered struct {
	of  *memory
	tag string

	again bool // some of its queues may not have it: what is resumed is published once more. The owner's

	state frame.State // guarded by of.mu; zero while there is no outcome
	gone  bool        // guarded by of.mu; the sender has settled it
	at    *session    // guarded by of.mu; where its sender waits for the outcome; nil is nowhere
	id    uint32      // guarded by of.mu; of the delivery there
}

// part is the beginning of a delivery whose link ended in the middle of it.
type part struct {
	tag  string
	body []byte
}

// mostParts is how many times the bytes of the largest message the broker keeps as beginnings of deliveries.
const mostParts = 4

// senderName is what the hub knows the sender of a link by.
func (n linkName) senderName() string {
	at := n.at.Value()
	return "amqp/" + url.PathEscape(at.user) + "/" + url.PathEscape(at.id) + "/" + url.PathEscape(n.name)
}

// remembers says whether the outcomes of a link's deliveries are kept until their sender has settled them.
func (l *incoming) remembers() bool {
	return l.second && l.node.kind != managementNode && l.node.kind != coordinatorNode
}

// remember brings the memory of the terminus to what the link wants, and compares it with what the sender says.
func (l *incoming) remember(a *frame.Attach) error {
	t, c := l.terminus, l.session.conn
	if !l.remembers() {
		t.forgetAll()
	} else if err := t.openMemory(c); err != nil {
		return err
	}
	reattached := t.session == l.session && a.Unsettled == nil // 2 §2.6.5
	t.session = nil
	l.memory = t.memory
	if reattached {
		if t.carried != nil {
			l.delivery = *t.carried
			l.delivery.carried = true
		}
		l.part, t.part, t.carried = part{}, part{}, nil
		return nil
	}
	l.part, t.part, t.carried = t.part, part{}, nil
	theirs, err := tagsOf(a)
	if err != nil {
		return err
	}
	if l.part.tag != "" && !theirs[l.part.tag] {
		l.dropPart()
	}
	if l.memory != nil {
		l.memory.leave()
		if !a.IncompleteUnsettled {
			l.memory.settle(func(tag string) bool { return !theirs[tag] })
		}
	}
	return nil
}

// tagsOf are those of the sender's map.
func tagsOf(a *frame.Attach) (map[string]bool, error) {
	tags := make(map[string]bool)
	for k, v := range a.Unsettled.All() {
		tag, _ := k.Bytes()
		if len(tag) == 0 || len(tag) > frame.MaxDeliveryTag {
			return nil, linkError(frame.InvalidField, "unsettled has a delivery-tag of %d bytes: 1 to %d are right", len(tag), frame.MaxDeliveryTag)
		}
		state, err := frame.StateOf(v)
		if err == nil && state.Code == frame.CodeReceived {
			err = new(frame.Received).Decode(state)
		}
		if err != nil {
			return nil, err
		}
		tags[string(tag)] = true
	}
	return tags, nil
}

// openMemory makes the memory of a terminus, from the log if that has some of it.
func (t *terminus) openMemory(c *connection) error {
	durable := t.durable == frame.DurabilityUnsettledState
	if t.memory != nil && (t.memory.sender != nil) != durable {
		t.forgetAll()
	}
	if !durable {
		if t.memory == nil {
			t.memory = &memory{known: make(map[string]*remembered)}
		}
		return nil
	}
	expiry := t.timeout
	if t.policy == frame.ExpireNever {
		expiry = math.MaxUint32
	}
	if t.memory != nil && t.memory.expiry == expiry {
		return nil
	}
	sender, err := c.host.OpenSender(context.Background(), t.name.senderName(), expiry)
	if err != nil {
		return err
	}
	if t.memory == nil {
		t.memory = recalled(sender)
	}
	t.memory.sender, t.memory.expiry = sender, expiry
	return nil
}

// recalled is the memory that the log has of a sender.
func recalled(sender *hub.Sender) *memory {
	m := &memory{known: make(map[string]*remembered)}
	sender.Tags(func(tag string, whole bool) {
		r := &remembered{of: m, tag: tag, again: !whole}
		if whole {
			r.state = frame.Accepted
		}
		m.known[tag] = r
	})
	return m
}

// forgetAll ends the memory of a terminus, in the log, too.
func (t *terminus) forgetAll() {
	m := t.memory
	if m == nil {
		return
	}
	t.memory = nil
	m.mu.Lock()
	for _, r := range m.known {
		r.gone = true
	}
	m.mu.Unlock()
	if m.sender != nil {
		m.sender.End(context.Background()) //nolint:errcheck // the log does not take it: it is there after the next start
	}
}

// find is the delivery with a tag; nil when it is not remembered.
func (m *memory) find(tag string) *remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[tag]
}

// size is how many deliveries are remembered.
func (m *memory) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.known)
}

// leave says that the sender waits for outcomes nowhere: it resumes what it wants to know.
func (m *memory) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.known {
		r.at = nil
	}
}

// settle forgets deliveries.
func (m *memory) settle(which func(tag string) bool) {
	var tags []string
	m.mu.Lock()
	for tag, r := range m.known {
		if which(tag) {
			r.gone, r.at = true, nil
			delete(m.known, tag)
			tags = append(tags, tag)
		}
	}
	m.mu.Unlock()
	if m.sender != nil && len(tags) > 0 {
		m.sender.Settle(tags)
	}
}

// describe puts the broker's map into attach, as much of it as fits.
func (l *incoming) describe(a *frame.Attach, theirs frame.Map, frameBytes int) {
	if theirs == nil && (l.memory == nil || l.memory.size() == 0) && l.part.tag == "" {
		return
	}
	const overhead = 64 // of the frame, and of the map
	room := frameBytes - len(a.Append(nil)) - overhead
	m := frame.Map{}
	add := func(tag string, state frame.State) {
		n := len(m)
		m = state.Append(frame.AppendBinary(m, tag))
		if len(m) > room {
			m = m[:n]
			a.IncompleteUnsettled = true
		}
	}
	if l.part.tag != "" {
		r := progress(l.part.body)
		add(l.part.tag, r.State())
	}
	if l.memory != nil {
		l.memory.mu.Lock()
		for tag, r := range l.memory.known {
			add(tag, r.state)
		}
		l.memory.mu.Unlock()
	}
	a.Unsettled = m
	l.onlyResumes = a.IncompleteUnsettled
}

// progress is how far the beginning of a message goes. 3 §3.4.1
func progress(body []byte) (r frame.Received) {
	for rest := body; ; r.SectionNumber++ {
		_, n, err := frame.ReadValue(rest, stored)
		if len(rest) == 0 || err != nil {
			r.SectionOffset = uint64(len(rest))
			return r
		}
		rest = rest[n:]
	}
}

// sentFrom is where in the beginning of a message the data goes on that a sender resumes at a position.
func sentFrom(p frame.Received, body []byte) (at int, ok bool) {
	rest := body
	for range p.SectionNumber {
		_, n, err := frame.ReadValue(rest, stored)
		if len(rest) == 0 || err != nil {
			return 0, false
		}
		rest = rest[n:]
	}
	at = len(body) - len(rest)
	if p.SectionOffset > uint64(len(rest)) {
		return 0, false
	}
	return at + int(p.SectionOffset), true
}

// recall finds out, with the first transfer of a delivery, whether the broker has some of it.
func (l *incoming) recall(t *frame.Transfer) error {
	d := &l.delivery
	tag := string(d.tag[:d.tagged])
	switch {
	case tag == "" && (t.Resume || l.memory != nil && !t.Settled):
		return linkError(frame.InvalidField, "the first transfer of a delivery lacks the delivery-tag, by which it can be resumed")
	case !t.Resume && l.onlyResumes:
		return linkError(frame.NotAllowed, "a new delivery on a link that was attached with an incomplete map: detach it and attach it again when the others are settled")
	}
	if l.memory != nil {
		d.known = l.memory.find(tag)
	}
	switch {
	case d.known != nil:
		d.passed = !d.known.again
	case l.part.tag != "" && l.part.tag == tag:
		return l.goOn(t)
	default:
		d.passed = t.Resume // 2 §2.7.5
	}
	return nil
}

// goOn resumes a delivery whose beginning is there, or drops that if it is sent anew.
func (l *incoming) goOn(t *frame.Transfer) error {
	body := l.part.body
	l.dropPart()
	if !t.Resume {
		return nil
	}
	at := len(body)
	if t.State.Code == frame.CodeReceived {
		var p frame.Received
		if err := p.Decode(t.State); err != nil {
			return err
		}
		var ok bool
		if at, ok = sentFrom(p, body); !ok {
			return linkError(frame.InvalidField, "delivery is resumed at section %d, offset %d, but the broker has less of it", p.SectionNumber, p.SectionOffset)
		}
	}
	l.delivery.body = body[:at]
	return nil
}

// dropPart forgets the beginning of a delivery.
func (l *incoming) dropPart() {
	l.session.conn.endpoint.termini.parts.Add(-int64(len(l.part.body)))
	l.part = part{}
}

// leavePart leaves the beginning of the delivery at hand to the terminus, where there is room for it.
func (l *incoming) leavePart(t *terminus) {
	d, ts := &l.delivery, l.session.conn.endpoint.termini
	t.part = l.part
	if !d.begun || d.passed || d.known != nil || d.transactional || d.settled || len(d.body) == 0 || d.tagged == 0 {
		return
	}
	carried := *d
	t.carried = &carried
	if most := mostParts * l.session.conn.config.Limits.MessageBytes; ts.parts.Add(int64(len(d.body))) > most {
		ts.parts.Add(-int64(len(d.body)))
		return
	}
	ts.parts.Add(-int64(len(t.part.body)))
	t.part = part{tag: string(d.tag[:d.tagged]), body: d.body}
}

// meet does what is to be done with a whole delivery that the broker knows, but for publishing it again.
func (l *incoming) meet(d *delivery) {
	s, r := l.session, d.known
	switch {
	case r == nil: // 2 §2.7.5
	case d.settled:
		l.forget(r)
	case d.state.IsOutcome(): // the sender's is definitive
		l.forget(r)
		s.tellOutcome(deliveryIDs{first: d.id, last: d.id}, d.state)
	default:
		if state := s.expects(r, d.id); state.Code != 0 {
			s.tellOutcome(deliveryIDs{first: d.id, last: d.id, second: true}, state)
		}
	}
}

// expects notes that the sender waits for the outcome of a delivery here, and answers it if it is known.
func (s *session) expects(r *remembered, id uint32) frame.State {
	if s.remembered == nil {
		s.remembered = make(map[uint32]*remembered)
	}
	s.remembered[id] = r
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	r.at, r.id = s, id
	return r.state
}

// learn remembers a delivery that is published now; nil where it is not.
func (l *incoming) learn(d *delivery) *remembered {
	m := l.memory
	switch {
	case m == nil || d.settled || d.transactional:
		return nil
	case d.known != nil:
		return d.known
	}
	r := &remembered{of: m, tag: string(d.tag[:d.tagged])}
	m.mu.Lock()
	m.known[r.tag] = r
	m.mu.Unlock()
	return r
}

// decide gives a delivery its outcome, and answers which of the session's deliveries it is; false: its sender does not wait for
// it there. Elsewhere is another session where it waits.
func (r *remembered) decide(s *session, state frame.State) (id uint32, here bool, elsewhere *session) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	r.state = state
	switch {
	case r.gone || r.at == nil:
		return 0, false, nil
	case r.at == s:
		return r.id, true, nil
	}
	return r.id, false, r.at
}

// forget settles a delivery.
func (l *incoming) forget(r *remembered) {
	l.session.conn.handOver() // its receipt is behind its message
	r.of.settle(func(tag string) bool { return tag == r.tag })
	l.replenish()
}

// tellOutcome tells the outcome of deliveries.
func (s *session) tellOutcome(ids deliveryIDs, state frame.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.conn.out.Append(func(dst []byte) []byte { return s.appendOutcome(dst, ids, state) })
	}
}

// settled forgets deliveries that their sender has settled. 2 §2.6.12
func (s *session) settled(first, last uint32) {
	if len(s.remembered) == 0 {
		return
	}
	s.conn.handOver() // receipts are behind their messages
	var list []*remembered
	take := func(id uint32) {
		if r := s.remembered[id]; r != nil {
			delete(s.remembered, id)
			list = append(list, r)
		}
	}
	if n := last - first; int(n) < len(s.remembered) {
		for i := range n + 1 {
			take(first + i)
		}
	} else {
		for id := range s.remembered {
			if id-first <= n {
				take(id)
			}
		}
	}
	for len(list) > 0 {
		m := list[0].of
		tags := make(map[string]bool)
		list = slices.DeleteFunc(list, func(r *remembered) bool {
			if r.of == m {
				tags[r.tag] = true
			}
			return r.of == m
		})
		m.settleIn(s, tags)
	}
	for _, l := range s.incoming.all() {
		if l.memory != nil {
			l.replenish()
		}
	}
}

// settleIn forgets some deliveries of a session, but for those whose link was resumed elsewhere.
func (m *memory) settleIn(s *session, tags map[string]bool) {
	list := make([]string, 0, len(tags))
	m.mu.Lock()
	for tag := range tags {
		if r := m.known[tag]; r != nil && r.at == s {
			r.gone, r.at = true, nil
			delete(m.known, tag)
			list = append(list, tag)
		}
	}
	m.mu.Unlock()
	if m.sender != nil && len(list) > 0 {
		m.sender.Settle(list)
	}
}

// unremember lets go of what the session remembers: its link may be resumed elsewhere.
func (s *session) unremember() {
	for _, r := range s.remembered {
		r.of.mu.Lock()
		if r.at == s {
			r.at = nil
		}
		r.of.mu.Unlock()
	}
	s.remembered = nil
}
