package amqp10

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// attachOutgoing attaches a link to a source.
func (s *session) attachOutgoing(a *frame.Attach) error {
	c := s.conn
	t, err := c.claim(c.nameOf(a))
	if err != nil {
		return err
	}
	l := &outgoing{link: link{session: s, handle: a.Handle, name: a.Name, terminus: t}, settled: a.SenderSettleMode == frame.SenderSettled, most: a.MaxMessageSize}
	source, err := l.resolve(a)
	if err != nil {
		l.disown()
		c.leave(t, detachedLink)
		return err
	}
	r, err := l.reconcile(a)
	if err != nil {
		l.unjoin()
		l.leave(failedLink)
		return err
	}
	mode := frame.SenderUnsettled
	if l.settled {
		mode = frame.SenderSettled
	}
	s.outgoing.set(a.Handle, l)
	c.links.outgoing.set(a.Name, l)
	reply := frame.Attach{
		Name: a.Name, Handle: a.Handle, Role: frame.Sender, SenderSettleMode: mode, ReceiverSettleMode: a.ReceiverSettleMode,
		Source: source, Target: a.Target, InitialDeliveryCount: frame.Some[uint32](0), Properties: paired(a),
	}
	t.attach(c, source)
	l.stand()
	r.describe(&reply, c.mostSent)
	if !s.send(&reply) {
		return sessionError(frame.FrameSizeTooSmall, "the answer to an attach does not fit into a frame of %d bytes", c.mostSent)
	}
	s.mu.Lock()
	l.attached, l.resuming = true, r.restarts
	gone := l.gone
	s.mu.Unlock()
	if gone { // before the client was told of the link
		s.send(l.deleted())
		return nil
	}
	l.resume(r)
	return nil
}

// paired answers RabbitMQ 4's clients, which attach the two links of a pair for requests with this property.
func paired(a *frame.Attach) frame.Map {
	if v, ok := a.Properties.Lookup("paired"); ok {
		if yes, _ := v.Bool(); yes {
			return frame.AppendBool(frame.AppendSymbol(nil, "paired"), true)
		}
	}
	return nil
}

// understood are the capabilities of a terminus that mean something here.
func understood(capabilities []string) []string {
	return slices.DeleteFunc(slices.Clone(capabilities), func(c string) bool {
		return !slices.Contains(queueCapabilities, c) && !slices.Contains(topicCapabilities, c) && !slices.Contains(sharedCapabilities, c) && c != globalCapability
	})
}

// outcomesKnown are the symbols of the outcomes that receivers may use. 3 §3.5.3
var outcomesKnown = []string{"amqp:accepted:list", "amqp:rejected:list", "amqp:released:list", "amqp:modified:list"}

// resolve finds or makes what the source of a link is, joins its queue, and answers what the source has become.
func (l *outgoing) resolve(a *frame.Attach) (*frame.Source, error) {
	c := l.session.conn
	if a.Source == nil {
		return l.recover(a)
	}
	wanted := a.Source
	if err := checkSource(wanted); err != nil {
		return nil, err
	}
	source := &frame.Source{Address: wanted.Address, ExpiryPolicy: frame.ExpireSessionEnd, DistributionMode: wanted.DistributionMode, DefaultOutcome: wanted.DefaultOutcome,
		Outcomes: outcomesKnown, Capabilities: understood(wanted.Capabilities)}
	var err error
	if source.Filter, l.chosen, err = chosenOf(wanted.Filter); err != nil {
		return nil, err
	}
	l.browses = wanted.DistributionMode == frame.DistributionCopy
	l.otherwise = queue.Release
	if wanted.DefaultOutcome.Code != 0 {
		if l.otherwise, _, err = outcomeOf(wanted.DefaultOutcome); err != nil {
			return nil, err
		}
	}
	if wanted.Dynamic {
		name, properties, err := l.makeDynamic(wanted.DynamicNodeProperties)
		if err != nil {
			return nil, err
		}
		source.Address, source.Dynamic, source.DynamicNodeProperties = queueAddress(name), true, properties
		if err := l.promise(wanted, source, l.stake(name)); err != nil {
			return nil, err
		}
		return source, l.consume(name, a, false)
	}
	n, err := parseAddress(wanted.Address, wanted.Capabilities, c.config.MQTT.Exchange)
	if err != nil {
		return nil, err
	}
	switch n = c.lookUp(n); n.kind {
	case managementNode:
		return source, l.consumeAnswers()
	case queueNode:
		if err := c.makeSure(n); err != nil {
			return nil, err
		}
		if err := l.join(n.queue); err != nil {
			return nil, err
		}
		l.restrict(source, n, true)
		if err := l.promise(wanted, source, l.stake(n.queue)); err != nil {
			return nil, err
		}
		return source, l.consume(n.queue, a, false)
	}
	if l.browses {
		return nil, linkError(frame.NotImplemented, "a subscription has its messages for itself: distribution-mode copy is for queues")
	}
	l.subscribes = true
	if n, err = l.rebind(n); err != nil {
		return nil, err
	}
	if hasAny(wanted.Capabilities, sharedCapabilities) {
		return source, l.subscribeTogether(n, a, source)
	}
	if err := l.promise(wanted, source, nodeSubscription); err != nil {
		return nil, err
	}
	l.restrict(source, n, l.terminus.lasts())
	if !l.terminus.lasts() {
		return source, l.subscribe(n, a)
	}
	return source, l.subscribeDurably(n, a)
}

// checkSource refuses what would be understood and not done.
func checkSource(s *frame.Source) error {
	switch {
	case s.DistributionMode != "" && s.DistributionMode != frame.DistributionMove && s.DistributionMode != frame.DistributionCopy:
		return linkError(frame.InvalidField, "distribution-mode %s is not known", s.DistributionMode)
	case !s.Dynamic && s.Address == "":
		return linkError(frame.InvalidField, "source has no address")
	}
	return nil
}

// makeSure finds the queue of a node, and makes it if the address asks for that.
func (c *connection) makeSure(n node) error {
	_, err := c.host.Queue(n.queue, c.origin)
	switch {
	case err == nil, hub.CodeOf(err) == hub.Locked: // whether it may be used is decided later
		return nil
	case n.dead:
		return linkError(frame.NotFound, "there is no queue %q: a queue has a dead-letter queue when its x-dead-letter-exchange is \"\" and its x-dead-letter-routing-key names one", n.queue)
	case n.topic != "":
		return c.makeSubscription(n)
	case !n.make:
		return err
	}
	_, err = c.host.DeclareQueue(context.Background(), c.access, hub.QueueDeclaration{Name: n.queue, Spec: object.QueueSpec{Durable: true}, Origin: c.origin})
	return err
}

// makeExclusive makes a queue of the connection's own with a name of the broker's choice.
func (s *session) makeExclusive() (name string, err error) {
	q, err := s.conn.host.DeclareQueue(context.Background(), s.conn.access, hub.QueueDeclaration{Exclusive: true, Origin: s.conn.origin})
	if err != nil {
		return "", err
	}
	return q.Name(), nil
}

// consume joins a queue. Nothing is delivered before there is credit.
func (l *outgoing) consume(name string, a *frame.Attach, exclusive bool) (err error) {
	o := l.options()
	o.Exclusive, o.Browse = exclusive, l.browses
	if l.chosen != nil && !l.chosen.always() {
		o.Select, o.Discard = l.chosen.matches, l.subscribes
	}
	if v, ok := a.Properties.Lookup("rabbitmq:priority"); ok {
		n, isInt := v.Int()
		if !isInt || n != int64(int32(n)) {
			return linkError(frame.InvalidField, "link property rabbitmq:priority must be an int")
		}
		o.Priority = int(n)
	}
	if took, err := l.takeUp(name, o); took || err != nil {
		return err
	}
	l.hub, err = l.session.conn.host.Consume(l.session.conn.access, name, o)
	var e *hub.Error
	if errors.As(err, &e) && e.Code == hub.Refused { // in exclusive use
		return linkError(frame.ResourceLocked, "%s", e.Text)
	}
	return err
}

func (l *outgoing) options() hub.ConsumerOptions {
	c := l.session.conn
	return hub.ConsumerOptions{Tag: l.name, Sink: l, NoAck: l.settled, Credited: true, Limit: c.config.Limits.UnackedPerChannel, Origin: c.origin}
}

// subscribe gives the link a queue of its own that is bound to an exchange, and goes with the link.
func (l *outgoing) subscribe(n node, a *frame.Attach) (err error) {
	if l.owned, err = l.session.makeExclusive(); err != nil {
		return err
	}
	if err := l.bind(l.owned, n); err != nil {
		return err
	}
	return l.consume(l.owned, a, false)
}

func (l *outgoing) bind(name string, n node) error {
	c := l.session.conn
	return c.host.Bind(context.Background(), c.access, hub.Binding{Source: n.exchange, Destination: name, Key: n.key, Arguments: n.arguments, Origin: c.origin})
}

// subscriptionQueue is the name of the queue of a durable subscription: that of the client and the link.
func (l *outgoing) subscriptionQueue() string {
	return "amqp-subscription/" + url.PathEscape(l.session.conn.container) + "/" + url.PathEscape(l.name)
}

// subscribeDurably gives the link a queue that stays when the link is detached, and goes when it is closed. One with another
// binding is that of a subscription which the client has changed.
func (l *outgoing) subscribeDurably(n node, a *frame.Attach) error {
	c := l.session.conn
	name := l.subscriptionQueue()
	if err := l.makeLasting(name); err != nil {
		return err
	}
	for _, b := range c.host.BindingsOf(name) {
		if _, differ := b.Arguments.Differ(n.arguments); b.Source != n.exchange || b.Key != n.key || differ {
			b.Origin = c.origin
			if err := c.host.Unbind(context.Background(), c.access, b); err != nil {
				return err
			}
		}
	}
	if err := l.bind(name, n); err != nil {
		return err
	}
	l.durable = name
	return l.consume(name, a, true)
}

// recover attaches a link without a source to the one that its name has, or else to the durable subscription of its name, as
// JMS clients do before they end one by closing the link. 2 §2.6.3
func (l *outgoing) recover(a *frame.Attach) (*frame.Source, error) {
	c := l.session.conn
	if known := l.terminus.source; known != nil {
		again, there := *a, *known
		there.Dynamic, there.DynamicNodeProperties = false, nil // it was made
		again.Source = &there
		source, err := l.resolve(&again)
		if err == nil {
			source.Dynamic, source.DynamicNodeProperties = known.Dynamic, known.DynamicNodeProperties
		}
		return source, err
	}
	name := l.subscriptionQueue()
	bindings := c.host.BindingsOf(name)
	if _, err := c.host.Queue(name, c.origin); err != nil || len(bindings) == 0 {
		if source, err := l.recoverShared(); source != nil || err != nil {
			return source, err
		}
		return nil, linkError(frame.NotFound, "there is no durable subscription %q of container %q", l.name, c.container)
	}
	l.durable = name
	source := &frame.Source{
		Address: bindings[0].Key, Durable: frame.DurabilityUnsettledState, ExpiryPolicy: frame.ExpireNever, Outcomes: outcomesKnown, Capabilities: topicCapabilities[:1],
	}
	if bindings[0].Source != c.config.MQTT.Exchange {
		source.Address, source.Capabilities = "/exchanges/"+url.PathEscape(bindings[0].Source)+"/"+url.PathEscape(bindings[0].Key), nil
	}
	if err := l.promise(source, source, nodeSubscription); err != nil {
		return nil, err
	}
	return source, l.consume(name, &frame.Attach{}, true)
}
