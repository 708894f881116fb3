package hub

import (
	"context"
	"errors"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// Binding is a wish to bind a queue or an exchange to an exchange.
type Binding struct {
	Source      string
	Destination string
	ToExchange  bool // the destination is an exchange
	Key         string
	Arguments   object.Arguments
	Origin      uint64
}

// Bind makes sure that a binding exists. It is an object of the catalogue when both its ends are durable.
func (v *VirtualHost) Bind(ctx context.Context, access *auth.Access, b Binding) error {
	q, durable, err := v.ends(access, b)
	if err != nil {
		return err
	}
	if durable {
		return v.hub.want(ctx, object.KindBinding, v.name, b.spec().Name(), b.spec())
	}
	if b.ToExchange {
		_, err = v.router.BindExchange(b.Source, b.Destination, b.Key, b.Arguments)
	} else {
		_, err = v.router.Bind(b.Source, q, b.Key, b.Arguments)
		if !v.has(q) {
			v.router.RemoveTarget(q) // its other bindings have gone before
			return errorf(NotFound, "no queue '%s' in vhost '%s'", q.name, v.name)
		}
	}
	return routerError(err)
}

// has says that a queue was not removed.
func (v *VirtualHost) has(q *Queue) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.queues[q.name] == q
}

// Unbind ends a binding; one that does not exist is no error.
func (v *VirtualHost) Unbind(ctx context.Context, access *auth.Access, b Binding) error {
	q, durable, err := v.ends(access, b)
	if CodeOf(err) == NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if durable {
		return v.hub.unwant(ctx, object.KindBinding, v.name, b.spec().Name(), object.DeleteAlways)
	}
	var gone []string
	if b.ToExchange {
		_, gone = v.router.UnbindExchange(b.Source, b.Destination, b.Key, b.Arguments)
	} else {
		_, gone = v.router.Unbind(b.Source, q, b.Key, b.Arguments)
	}
	v.unbound(gone)
	return nil
}

// BindingsOf are the bindings of a queue but for that of the default exchange; none when there is no such queue.
func (v *VirtualHost) BindingsOf(queue string) (all []Binding) {
	v.mu.RLock()
	q := v.queues[queue]
	v.mu.RUnlock()
	if q == nil {
		return nil
	}
	for _, b := range v.router.BindingsOf(q) {
		if b.Source == "" {
			continue // every queue has it
		}
		all = append(all, Binding{Source: b.Source, Destination: queue, Key: b.Key, Arguments: b.Arguments})
	}
	return all
}

// BindingsTo are the bindings that end at an exchange.
func (v *VirtualHost) BindingsTo(exchange string) (all []Binding) {
	for _, b := range v.router.BindingsTo(exchange) {
		all = append(all, Binding{Source: b.Source, Destination: exchange, ToExchange: true, Key: b.Key, Arguments: b.Arguments})
	}
	return all
}

// unbound follows auto-delete exchanges that went with their last binding: the durable ones are objects of the catalogue.
func (v *VirtualHost) unbound(exchanges []string) {
	if len(exchanges) == 0 || v.hub.stopping() {
		return
	}
	v.hub.running.Go(func() { // ends when the catalogue has the change; its own changes lead here, so it cannot be waited for
		for _, x := range exchanges {
			if err := v.hub.unwant(context.Background(), object.KindExchange, v.name, x, object.DeleteAlways); err != nil && !errors.Is(err, ErrClosed) {
				v.hub.logger.Warn("auto-delete exchange was not removed", "vhost", v.name, "exchange", x, "error", err)
			}
		}
	})
}

func (b Binding) spec() object.BindingSpec {
	s := object.BindingSpec{Source: b.Source, DestinationType: object.DestinationQueue, Destination: b.Destination, RoutingKey: b.Key, Arguments: b.Arguments}
	if b.ToExchange {
		s.DestinationType = object.DestinationExchange
	}
	return s
}

// ends checks both ends of a binding and the permissions on them (write on the destination, read on the source), and
// says whether both are durable.
func (v *VirtualHost) ends(access *auth.Access, b Binding) (q *Queue, durable bool, err error) {
	source, ok := v.router.Exchange(b.Source)
	if !ok {
		return nil, false, errorf(NotFound, "no exchange '%s' in vhost '%s'", b.Source, v.name)
	}
	if b.Source == "" || b.ToExchange && b.Destination == "" {
		return nil, false, errorf(Refused, "operation not permitted on the default exchange")
	}
	if b.ToExchange {
		to, ok := v.router.Exchange(b.Destination)
		if !ok {
			return nil, false, errorf(NotFound, "no exchange '%s' in vhost '%s'", b.Destination, v.name)
		}
		durable = to.Durable
	} else {
		if q, err = v.queueFor(b.Destination, b.Origin); err != nil {
			return nil, false, err
		}
		durable = q.durable
	}
	if err := access.Write(b.Destination); err != nil {
		return nil, false, err
	}
	if err := access.Read(b.Source); err != nil {
		return nil, false, err
	}
	if source.Type == "topic" {
		if err := access.Subscribe(topic.Swap(b.Key)); err != nil {
			return nil, false, err
		}
	}
	return q, durable && source.Durable, nil
}
