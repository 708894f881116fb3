package amqp10

import (
	"bytes"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/message"
)

// incoming is a link on which the peer sends. The reader owns it.
type incoming struct {
	link
	node      node
	to        destination
	second    bool // the receiver, that is the broker, settles second
	count     uint32
	credit    uint32
	crediting bool // in session.crediting
	rejects   bool // the source of a coordinator link takes the outcome rejected
	delivery  delivery

	memory      *memory // of deliveries that the sender has not settled; nil where none is kept
	part        part    // of a delivery that may be resumed
	onlyResumes bool    // no new delivery may come before the link is attached again
}

// linkCredit is how many deliveries a peer may send ahead on one link.
const linkCredit = 1000

// destination is where the last message of a link went: the next one goes there too, mostly.
type destination struct {
	to            string // of an anonymous link, or the subject where that is the key
	known         bool
	exchange, key string
	route         *hub.Route
}

// delivery is a message whose transfers are arriving. 2 §2.6.14
type delivery struct {
	begun   bool
	settled bool
	id      uint32
	body    []byte // of earlier transfers; owned
	tag     [frame.MaxDeliveryTag]byte
	tagged  uint8       // bytes of tag
	carried bool        // it was begun before the link was detached
	passed  bool        // its payload is passed over: the broker has it, or need not have it
	known   *remembered // nil for one that is new
	state   frame.State // at the sender, when it is terminal; owned

	transactional bool
	transaction   string // its id
}

// attachIncoming attaches a link to a target.
func (s *session) attachIncoming(a *frame.Attach) error {
	c := s.conn
	switch {
	case a.Coordinator != nil:
		return s.attachCoordinator(a)
	case a.Target == nil:
		return linkError(frame.InvalidField, "attach of a sender without a target")
	}
	t, err := c.claim(c.nameOf(a))
	if err != nil {
		return err
	}
	l := &incoming{link: link{session: s, handle: a.Handle, name: a.Name, terminus: t}, second: a.ReceiverSettleMode == frame.ReceiverSecond, count: a.InitialDeliveryCount.Value, credit: linkCredit}
	target := *a.Target
	if err := l.resolve(&target); err != nil {
		l.disown()
		c.leave(t, detachedLink)
		return err
	}
	c.endpoint.termini.attached(t)
	reattached := t.session == s && a.Unsettled == nil
	if err := l.remember(a); err != nil {
		l.unjoin()
		l.leave(failedLink)
		return err
	}
	l.stand()
	reply := frame.Attach{
		Name: a.Name, Handle: a.Handle, Role: frame.Receiver, SenderSettleMode: a.SenderSettleMode, ReceiverSettleMode: a.ReceiverSettleMode,
		Source: a.Source, Target: &target, MaxMessageSize: uint64(c.config.Limits.MessageBytes), Properties: paired(a),
	}
	s.incoming.set(a.Handle, l)
	c.links.incoming.set(a.Name, l)
	if !reattached {
		l.describe(&reply, a.Unsettled, c.mostSent)
	}
	l.credit = l.mostCredit()
	if !s.send(&reply) {
		return sessionError(frame.FrameSizeTooSmall, "the answer to an attach does not fit into a frame of %d bytes", c.mostSent)
	}
	s.sendFlow(l)
	return nil
}

// resolve finds out what a target is, makes it if that is asked for, and says in it what it has become.
func (l *incoming) resolve(t *frame.Target) (err error) {
	s := l.session
	c := s.conn
	asked := lifetime{policy: t.ExpiryPolicy, timeout: t.Timeout}
	if t.Durable == frame.DurabilityUnsettledState && l.second && asked.lasts() && !t.Dynamic && t.Address != managementAddress {
		asked.durable = t.Durable // what a receiver that settles first has settled, it does not know any more
	}
	if t.Dynamic {
		name, properties, err := l.makeDynamic(t.DynamicNodeProperties)
		if err != nil {
			return err
		}
		t.Address, t.DynamicNodeProperties, l.node = queueAddress(name), properties, node{kind: queueNode, queue: name}
	}
	if err := l.terminus.promise(c, asked, l.owned != ""); err != nil {
		return err
	}
	t.Durable, t.ExpiryPolicy, t.Timeout = l.terminus.durable, l.terminus.policy, l.terminus.timeout
	t.Capabilities = understood(t.Capabilities)
	switch {
	case t.Dynamic:
	case t.Address == "":
		l.node = node{kind: anonymousNode}
		return nil
	default:
		if l.node, err = parseAddress(t.Address, t.Capabilities, c.config.MQTT.Exchange); err != nil {
			return err
		}
		l.node = c.lookUp(l.node)
	}
	if l.node.kind == managementNode {
		return nil
	}
	if l.node.kind == queueNode {
		if err := c.makeSure(l.node); err != nil {
			return err
		}
		if err := l.join(l.node.queue); err != nil {
			return err
		}
	}
	exchange, key := l.node.route("")
	_, err = s.publishing().Route([]byte(exchange), []byte(key))
	return err
}

// route is the exchange and the key of messages to a node; subject is that of the message.
func (n *node) route(subject string) (exchange, key string) {
	switch {
	case n.kind == queueNode:
		return "", n.queue
	case n.hasKey:
		return n.exchange, n.key
	}
	return n.exchange, subject
}

// fail detaches the link for a reason.
func (l *incoming) fail(e *Error) { l.endWith(e, failedLink) }

// stolen ends the link, whose terminus stays.
func (l *incoming) stolen(e *Error) { l.endWith(e, stolenLink) }

func (l *incoming) endWith(e *Error, how departure) {
	l.session.conn.flush() // what came before it
	l.leave(how)
	l.failed(e)
}

// leave ends the link on our side.
func (l *incoming) leave(how departure) {
	c, t := l.session.conn, l.terminus
	if c.links.incoming.get(l.name) == l {
		c.links.incoming.remove(l.name)
	}
	if t == nil {
		return
	}
	l.terminus = nil
	if how != closedLink && how != failedLink {
		l.leavePart(t)
	} else if l.part.tag != "" {
		l.dropPart()
	}
	l.delivery = delivery{}
	if how == detachedLink {
		t.session = l.session
	}
	if l.node.kind == coordinatorNode {
		c.declared.leave(l)
	}
	if l.owned != "" {
		t.queue = l.owned
	}
	c.leave(t, how)
}

// flow takes in what the sender says of itself. 2 §2.6.7
func (l *incoming) flow(p *frame.Flow) {
	if l.detached {
		return
	}
	if p.DeliveryCount.Present { // it may have let some of its credit go
		limit := l.count + l.credit
		l.count = p.DeliveryCount.Value
		l.credit = uint32(max(int32(limit-l.count), 0))
		l.replenish()
	}
	if p.Echo {
		l.session.sendFlow(l)
	}
}

// replenish lets the sender go on after the flush, when half of its credit is used.
func (l *incoming) replenish() {
	if l.credit <= linkCredit/2 && !l.crediting {
		l.crediting = true
		l.session.crediting = append(l.session.crediting, l)
		l.session.touch()
	}
}

// mostCredit is how many deliveries the sender may send ahead: those that are remembered are bounded.
func (l *incoming) mostCredit() uint32 {
	if l.memory == nil {
		return linkCredit
	}
	return uint32(min(max(l.session.conn.config.Limits.UnsettledPerLink-l.memory.size(), 0), linkCredit))
}

// transfer takes a transfer, and with the last one of a delivery publishes its message. 2 §2.6.14
func (l *incoming) transfer(t *frame.Transfer) error {
	d := &l.delivery
	if d.carried && t.DeliveryID.Present && t.DeliveryID.Value != d.id {
		*d = delivery{} // the sender did not go on with it
	}
	d.carried = false
	if !d.begun {
		if err := l.begin(t); err != nil {
			return err
		}
	} else if t.DeliveryID.Present && t.DeliveryID.Value != d.id {
		return linkError(frame.InvalidField, "transfer of delivery %d before delivery %d is complete", t.DeliveryID.Value, d.id)
	}
	if t.State.Code == frame.CodeTransactionalState {
		if err := d.join(t.State); err != nil {
			return err
		}
	}
	d.settled = d.settled || t.Settled
	if d.known != nil && t.State.IsOutcome() {
		d.state = frame.State{Code: t.State.Code, Fields: bytes.Clone(t.State.Fields)}
	}
	if t.Aborted {
		if d.known != nil {
			l.forget(d.known)
		}
		*d = delivery{}
		return nil
	}
	if d.passed {
		if !t.More {
			l.meet(d)
			*d = delivery{}
		}
		return nil
	}
	if size := int64(len(d.body) + len(t.Payload)); size > l.session.conn.config.Limits.MessageBytes {
		return linkError(frame.MessageSizeExceeded, "message of more than %d bytes", l.session.conn.config.Limits.MessageBytes)
	}
	if t.More {
		d.body = append(d.body, t.Payload...)
		return nil
	}
	payload, owned := t.Payload, false
	if len(d.body) > 0 {
		payload, owned = append(d.body, t.Payload...), true
	}
	whole := *d
	*d = delivery{}
	return l.receive(&whole, payload, owned)
}

// begin takes the first transfer of a delivery.
func (l *incoming) begin(t *frame.Transfer) error {
	switch {
	case !t.DeliveryID.Present:
		return linkError(frame.InvalidField, "the first transfer of a delivery lacks the delivery-id")
	case t.MessageFormat.Value != 0: // 2 §2.8.11
		return linkError(frame.NotImplemented, "message-format %d is not known", t.MessageFormat.Value)
	case l.credit == 0:
		return linkError(frame.TransferLimitExceeded, "transfer without link-credit")
	}
	l.credit--
	l.count++
	l.replenish()
	l.delivery = delivery{begun: true, id: t.DeliveryID.Value}
	l.delivery.tagged = uint8(copy(l.delivery.tag[:], t.DeliveryTag))
	if t.Resume || l.memory != nil || l.part.tag != "" {
		return l.recall(t)
	}
	return nil
}

// receive publishes a message that is there as a whole; owned says that it is not in the read buffer. What is wrong with an
// unsettled delivery alone is told with its outcome; a link on which deliveries are settled ends instead, since its peer
// would not learn of it otherwise.
func (l *incoming) receive(d *delivery, payload []byte, owned bool) error {
	s := l.session
	id, settled := d.id, d.settled
	if err := s.conn.scan.Scan(payload, s.conn.limits()); err != nil {
		return err
	}
	kind := l.node.kind
	switch {
	case d.transactional && (kind == managementNode || kind == coordinatorNode):
		return linkError(frame.NotAllowed, "what is sent on this link cannot be part of a transaction")
	case kind == managementNode:
		return l.answer(id, settled)
	case kind == coordinatorNode:
		return l.coordinate(id, settled)
	case d.transactional:
		return l.post(d, payload, owned)
	}
	if r := l.learn(d); r != nil {
		return l.publishRemembered(r, id, payload, owned)
	}
	var token uint64
	if !settled {
		s.published++
		token = s.published
	}
	routed, err := l.publish(s.publishing(), payload, owned, token, nil)
	switch {
	case hub.CodeOf(err) == hub.TooFast && settled:
		return nil // dropped, and counted
	case err != nil:
		e := toError(err)
		if settled || e.Scope != frame.ScopeLink {
			return e
		}
		s.reject(id, l.second, e)
	case settled:
	case routed == 0:
		s.release(id, l.second)
	default:
		s.await(token, id, l.second)
	}
	return nil
}

// publishRemembered publishes a message whose outcome is kept until its sender has settled it.
func (l *incoming) publishRemembered(r *remembered, id uint32, payload []byte, owned bool) error {
	s := l.session
	s.published++
	s.expects(r, id)
	routed, err := l.publish(s.publishing(), payload, owned, s.published, r)
	outcome := frame.Released
	switch {
	case err != nil:
		e := toError(err)
		if e.Scope != frame.ScopeLink {
			r.again = true
			return e
		}
		outcome = (&frame.Rejected{Error: s.conn.fitting(e)}).State()
	case routed > 0:
		r.again = false
		s.asked = append(s.asked, awaited{token: s.published, first: id, count: 1, second: true, remembered: r})
		return nil
	}
	r.decide(s, outcome)
	s.tellOutcome(deliveryIDs{first: id, last: id, second: true}, outcome)
	return nil
}

// publish publishes the message that was scanned, with the session's publisher or that of a transaction.
func (l *incoming) publish(with *hub.Publisher, payload []byte, owned bool, token uint64, r *remembered) (routed int, err error) {
	s := l.session
	p := &s.conn.scan.Properties
	if user := s.conn.access.User(); len(p.UserID) > 0 && string(p.UserID) != user {
		return 0, linkError(frame.UnauthorizedAccess, "user-id is '%s', but the authenticated user is '%s'", p.UserID, user)
	}
	route, err := l.route(with)
	if err != nil {
		return 0, err
	}
	h := &s.conn.scan.Header
	m := &s.conn.message
	m.Exchange, m.Key, m.Encoding, m.Priority = route.Exchange, route.Key, message.AMQP10, h.Priority
	m.Properties, m.Payload = split(payload, &s.conn.scan.Sections)
	m.Owned, m.Durable, m.QoS = owned, h.Durable, 0
	if h.Durable {
		m.QoS = 1
	}
	m.Expiry = expiry(h, p)
	if wait := scheduled(s.conn.scan.Sections.MessageAnnotations.Map()); wait > 0 {
		with.Postpone(wait)
	}
	if r != nil && r.of.sender != nil {
		return with.PublishTagged(route, m, &s.conn.attributes, token, r.of.sender, r.tag)
	}
	return with.Publish(route, m, &s.conn.attributes, token)
}

// split cuts what is kept of a message into what stands before the body, and the body with the footer.
func split(payload []byte, s *frame.Sections) (properties, body []byte) {
	from := len(s.Header) + len(s.DeliveryAnnotations)
	to := from + len(s.MessageAnnotations) + len(s.Properties) + len(s.ApplicationProperties)
	return payload[from:to:to], payload[to:]
}

// expiry is when a message is no longer wanted. 3 §3.2.1, 3 §3.2.4
func expiry(h *frame.Header, p *frame.Properties) (at int64) {
	if p.AbsoluteExpiryTime.Present && p.AbsoluteExpiryTime.Value > 0 {
		at = p.AbsoluteExpiryTime.Value
	}
	if h.TTL.Present {
		if end := time.Now().UnixMilli() + int64(h.TTL.Value); at == 0 || end < at {
			at = end
		}
	}
	return at
}

// route is where the message that was scanned goes.
func (l *incoming) route(with *hub.Publisher) (r *hub.Route, err error) {
	s := l.session
	if err := l.aim(); err != nil {
		return nil, err
	}
	if also, err := moreKeys(s.conn.scan.Sections.MessageAnnotations.Map()); err != nil || len(also) > 0 {
		if err != nil {
			return nil, err
		}
		return with.RouteAlso([]byte(l.to.exchange), []byte(l.to.key), also)
	}
	if with != s.publisher {
		return with.Route([]byte(l.to.exchange), []byte(l.to.key))
	}
	if l.to.route == nil {
		l.to.route, err = s.publisher.Route([]byte(l.to.exchange), []byte(l.to.key))
	} else {
		l.to.route, err = s.publisher.Again(l.to.route)
	}
	return l.to.route, err
}

// aim brings the destination up to date with the message.
func (l *incoming) aim() error {
	p := &l.session.conn.scan.Properties
	d := &l.to
	by := p.To
	switch {
	case l.node.kind == anonymousNode:
	case l.node.kind == exchangeNode && !l.node.hasKey:
		by = p.Subject
	default:
		by = nil
	}
	if d.known && d.to == string(by) && l.node.kind != anonymousNode || d.known && d.to == string(by) && len(by) > 0 {
		return nil
	}
	n := l.node
	if n.kind == anonymousNode {
		var err error
		if n, err = l.session.addressee(); err != nil {
			d.known = false
			return err
		}
	}
	exchange, key := n.route(string(p.Subject))
	// What a plain address means, and which key one without a key has, may be different next time.
	*d = destination{to: string(by), known: l.node.kind != anonymousNode || !n.plain && (n.kind == queueNode || n.hasKey), exchange: exchange, key: key}
	return nil
}

// addressee is what the message that was scanned says of where it goes.
func (s *session) addressee() (n node, err error) {
	to := string(s.conn.scan.Properties.To)
	if to == "" {
		return n, linkError(frame.InvalidField, "message to a link without an address has no to")
	}
	if n, err = parseAddress(to, kindOfDestination(s.conn.scan.Sections.MessageAnnotations.Map()), s.conn.config.MQTT.Exchange); err != nil {
		return n, err
	}
	plain := n.plain
	if n = s.conn.lookUp(n); n.kind == managementNode {
		return n, linkError(frame.NotAllowed, "requests go to a link that is attached to %s", managementAddress)
	}
	if n.kind == queueNode && !s.conn.hasQueue(n.queue) {
		return n, linkError(frame.NotFound, "no queue '%s' in vhost '%s'", n.queue, s.conn.host.Name())
	}
	n.plain = plain
	return n, nil
}

// kindOfDestination is the capability that an annotation of JMS clients comes to: they say with each message to an anonymous
// link whether its address is that of a queue or of a topic. [JMS mapping 3.2]
func kindOfDestination(annotations frame.Map) []string {
	v, ok := annotations.Lookup("x-opt-jms-dest")
	n, _ := v.Int()
	switch {
	case ok && (n == 0 || n == 2):
		return queueCapabilities[:1]
	case ok && (n == 1 || n == 3):
		return topicCapabilities[:1]
	}
	return nil
}

// annotationKeys names further routing keys, as in RabbitMQ.
const annotationKeys = "x-cc"

// moreKeys are the routing keys of the annotation for them.
func moreKeys(annotations frame.Map) (keys []string, err error) {
	if len(annotations) == 0 {
		return nil, nil
	}
	v, ok := annotations.Lookup(annotationKeys)
	if !ok {
		return nil, nil
	}
	return listedKeys(v)
}

// listedKeys is apart, since its loop costs an allocation at its beginning.
func listedKeys(v frame.Value) (keys []string, err error) {
	wrong := linkError(frame.InvalidField, "annotation %s must be a list of routing keys", annotationKeys)
	if v.Kind() != frame.KindList && v.Kind() != frame.KindArray {
		return nil, wrong
	}
	for e := range v.Elements() {
		k, _ := e.Bytes()
		if e.Kind() != frame.KindString {
			return nil, wrong
		}
		keys = append(keys, string(k))
	}
	return keys, nil
}
