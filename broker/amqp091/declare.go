package amqp091

import (
	"context"
	"slices"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// arguments reads an argument table within the limits.
func (ch *channel) arguments(t frame.Table) (object.Arguments, error) {
	if err := t.Check(ch.conn.tableLimits()); err != nil {
		return nil, err
	}
	return t.Map(), nil
}

// queueName is the queue that a method names; an empty name stands for the one declared last on the channel.
func (ch *channel) queueName(name string) (string, error) {
	switch {
	case name != "":
		return name, nil
	case ch.lastQueue == "":
		return "", errorf(frame.NotFound, "no previously declared queue")
	}
	return ch.lastQueue, nil
}

func (ch *channel) handleExchange(m frame.Method) error {
	// The hub ends these calls when it closes; what a catalogue that is durable takes is a matter of milliseconds.
	ctx := context.Background()
	switch m := m.(type) {
	case *frame.ExchangeDeclare:
		return ch.declareExchange(ctx, m)
	case *frame.ExchangeDelete:
		if m.Exchange == "" {
			return errorf(frame.AccessRefused, "operation not permitted on the default exchange")
		}
		if err := ch.conn.host.DeleteExchange(ctx, ch.conn.access, m.Exchange, m.IfUnused); err != nil {
			return err
		}
		ch.reply(m.NoWait, &frame.ExchangeDeleteOk{})
		return nil
	case *frame.ExchangeBind:
		return ch.bindExchange(ctx, m)
	case *frame.ExchangeUnbind:
		return ch.unbindExchange(ctx, m)
	}
	return errorf(frame.CommandInvalid, "%v on channel %d", m.ID(), ch.number)
}

func (ch *channel) declareExchange(ctx context.Context, m *frame.ExchangeDeclare) error {
	if m.Exchange == "" {
		return errorf(frame.AccessRefused, "operation not permitted on the default exchange")
	}
	d := hub.ExchangeDeclaration{Name: m.Exchange, Passive: m.Passive}
	if !m.Passive {
		arguments, err := ch.arguments(m.Arguments)
		if err != nil {
			return err
		}
		if !slices.Contains(object.ExchangeTypes, m.Type) {
			return errorf(frame.CommandInvalid, "invalid exchange type '%s'; there are %s", m.Type, strings.Join(object.ExchangeTypes, ", "))
		}
		d.Spec = object.ExchangeSpec{Type: m.Type, Durable: m.Durable, AutoDelete: m.AutoDelete, Internal: m.Internal, Arguments: arguments}
	}
	if err := ch.conn.host.DeclareExchange(ctx, ch.conn.access, d); err != nil {
		return err
	}
	ch.reply(m.NoWait, &frame.ExchangeDeclareOk{})
	return nil
}

func (ch *channel) bindExchange(ctx context.Context, m *frame.ExchangeBind) error {
	b := hub.Binding{Source: m.Source, Destination: m.Destination, ToExchange: true, Key: m.RoutingKey, Origin: ch.conn.origin}
	if err := ch.bind(ctx, b, m.Arguments, ch.conn.host.Bind); err != nil {
		return err
	}
	ch.reply(m.NoWait, &frame.ExchangeBindOk{})
	return nil
}

func (ch *channel) unbindExchange(ctx context.Context, m *frame.ExchangeUnbind) error {
	b := hub.Binding{Source: m.Source, Destination: m.Destination, ToExchange: true, Key: m.RoutingKey, Origin: ch.conn.origin}
	if err := ch.bind(ctx, b, m.Arguments, ch.conn.host.Unbind); err != nil {
		return err
	}
	ch.reply(m.NoWait, &frame.ExchangeUnbindOk{})
	return nil
}

func (ch *channel) handleQueue(m frame.Method) error {
	ctx := context.Background() // as for exchanges
	switch m := m.(type) {
	case *frame.QueueDeclare:
		return ch.declareQueue(ctx, m)
	case *frame.QueueBind:
		return ch.bindQueue(ctx, m)
	case *frame.QueueUnbind:
		return ch.unbindQueue(ctx, m)
	case *frame.QueuePurge:
		return ch.purge(m)
	case *frame.QueueDelete:
		return ch.deleteQueue(ctx, m)
	}
	return errorf(frame.CommandInvalid, "%v on channel %d", m.ID(), ch.number)
}

func (ch *channel) declareQueue(ctx context.Context, m *frame.QueueDeclare) error {
	if done, err := ch.declareReplies(m); done {
		return err
	}
	d := hub.QueueDeclaration{Name: m.Queue, Exclusive: m.Exclusive, Passive: m.Passive, Origin: ch.conn.origin}
	if m.Passive {
		name, err := ch.queueName(m.Queue)
		if err != nil {
			return err
		}
		d.Name = name
	} else {
		arguments, err := ch.arguments(m.Arguments)
		if err != nil {
			return err
		}
		d.Spec = object.QueueSpec{Durable: m.Durable, AutoDelete: m.AutoDelete, Arguments: arguments}
	}
	q, err := ch.conn.host.DeclareQueue(ctx, ch.conn.access, d)
	if err != nil {
		return err
	}
	ch.lastQueue = q.Name()
	if m.NoWait {
		return nil
	}
	n := q.Count()
	ch.send(&frame.QueueDeclareOk{Queue: q.Name(), MessageCount: uint32(n.Ready), ConsumerCount: uint32(n.Consumers)})
	return nil
}

// queueBinding is the binding that queue.bind and queue.unbind name. Without queue and key, the key is the queue's name
// too. §1.7.2.3
func (ch *channel) queueBinding(queue, exchange, key string) (hub.Binding, error) {
	name, err := ch.queueName(queue)
	if queue == "" && key == "" {
		key = name
	}
	return hub.Binding{Source: exchange, Destination: name, Key: key, Origin: ch.conn.origin}, err
}

// bind binds or unbinds.
func (ch *channel) bind(ctx context.Context, b hub.Binding, t frame.Table, do func(context.Context, *auth.Access, hub.Binding) error) error {
	var err error
	if b.Arguments, err = ch.arguments(t); err != nil {
		return err
	}
	return do(ctx, ch.conn.access, b)
}

func (ch *channel) bindQueue(ctx context.Context, m *frame.QueueBind) error {
	b, err := ch.queueBinding(m.Queue, m.Exchange, m.RoutingKey)
	if err != nil {
		return err
	}
	if err := ch.bind(ctx, b, m.Arguments, ch.conn.host.Bind); err != nil {
		return err
	}
	ch.reply(m.NoWait, &frame.QueueBindOk{})
	return nil
}

func (ch *channel) unbindQueue(ctx context.Context, m *frame.QueueUnbind) error {
	b, err := ch.queueBinding(m.Queue, m.Exchange, m.RoutingKey)
	if err != nil {
		return err
	}
	if err := ch.bind(ctx, b, m.Arguments, ch.conn.host.Unbind); err != nil {
		return err
	}
	ch.send(&frame.QueueUnbindOk{})
	return nil
}

func (ch *channel) purge(m *frame.QueuePurge) error {
	name, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	q, err := ch.conn.host.Queue(name, ch.conn.origin)
	if err != nil {
		return err
	}
	if err := ch.conn.access.Read(name); err != nil {
		return err
	}
	n := q.Purge()
	ch.reply(m.NoWait, &frame.QueuePurgeOk{MessageCount: uint32(n)})
	return nil
}

func (ch *channel) deleteQueue(ctx context.Context, m *frame.QueueDelete) error {
	name, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	n, err := ch.conn.host.DeleteQueue(ctx, ch.conn.access, name, ch.conn.origin, m.IfUnused, m.IfEmpty)
	if err != nil {
		return err
	}
	ch.reply(m.NoWait, &frame.QueueDeleteOk{MessageCount: uint32(n)})
	return nil
}
