package amqp10

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/url"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// A subscription may be shared: links of any connections of one container, or of all with the capability global, take turns at
// its messages. JMS 2.0 clients name such links SUBSCRIPTION, SUBSCRIPTION|2, SUBSCRIPTION|global, SUBSCRIPTION|volatile1 and so on: what is
// before the bar is the subscription's name.
var sharedCapabilities = []string{"shared"}

const (
	globalCapability = "global"
	shareDelimiter   = "|"
)

// sharedQueue is the name of the queue of a shared subscription.
func (l *outgoing) sharedQueue(global, lasts bool) string {
	name, _, _ := strings.Cut(l.name, shareDelimiter)
	prefix := "amqp-shared-volatile/"
	if lasts {
		prefix = "amqp-shared/"
	}
	if global {
		return prefix + "/" + url.PathEscape(name) // no container is called so
	}
	return prefix + url.PathEscape(l.session.conn.container) + "/" + url.PathEscape(name)
}

// mostAttempts is how often a subscription is looked for that may be on its way out.
const mostAttempts = 10

// subscribeTogether joins the queue of a shared subscription, and makes it when the link is the first. All of its links have one
// address and one set of filters. One that lasts stays until its last link is closed, another goes with its last link.
func (l *outgoing) subscribeTogether(n node, a *frame.Attach, source *frame.Source) (err error) {
	lasts := a.Source.Durable != frame.DurabilityNone || a.Source.ExpiryPolicy == frame.ExpireNever
	l.restrict(source, n, lasts)
	if err := l.holdNothing(source); err != nil {
		return err
	}
	global := hasAny(source.Capabilities, []string{globalCapability})
	name := l.sharedQueue(global, lasts)
	if lasts {
		source.Durable, source.ExpiryPolicy = a.Source.Durable, frame.ExpireNever
	}
	spec := object.QueueSpec{Durable: lasts, AutoDelete: !lasts, Arguments: sharedArguments(n, source.Filter)}
	for range mostAttempts {
		if err = l.joinShared(name, n, a, spec); hub.CodeOf(err) != hub.NotFound {
			break
		}
	}
	if err == nil && lasts {
		l.shared = name
	}
	return err
}

// holdNothing says that what the link has not settled goes back when it is detached: there are others to have it.
func (l *outgoing) holdNothing(source *frame.Source) error {
	return l.promise(&frame.Source{ExpiryPolicy: frame.ExpireLinkDetach}, source, nodeShared)
}

// sharedArguments tell two subscriptions of one name apart. They are the queue's own, and mean nothing to it.
func sharedArguments(n node, filters frame.Map) object.Arguments {
	a := object.Arguments{"exchange": n.exchange, "key": n.key}
	if len(filters) > 0 {
		sum := sha256.Sum256(filters)
		a["filters"] = hex.EncodeToString(sum[:8])
	}
	return a
}

// joinShared makes sure of the queue and its binding, and consumes from it.
func (l *outgoing) joinShared(name string, n node, a *frame.Attach, spec object.QueueSpec) error {
	c := l.session.conn
	d := hub.QueueDeclaration{Name: name, Spec: spec, Origin: c.origin}
	q, err := c.host.Queue(name, c.origin)
	if err == nil {
		if _, differ := q.Spec().Arguments.Differ(spec.Arguments); differ {
			// The client has changed the subscription: it is another one, if nobody else has it.
			_, err = c.host.DeleteQueue(context.Background(), c.access, name, c.origin, true, false)
			if hub.CodeOf(err) == hub.Precondition {
				return linkError(frame.ResourceLocked, "the shared subscription %q is in use with another address or other filters", l.name)
			}
			q = nil
		}
	}
	if q == nil || hub.CodeOf(err) == hub.NotFound {
		_, err = c.host.DeclareQueue(context.Background(), c.access, d)
	}
	if err == nil && len(c.host.BindingsOf(name)) == 0 {
		err = l.bind(name, n)
	}
	if err != nil {
		return err
	}
	return l.consume(name, a, false)
}

// leaveShared ends a shared subscription that lasts when its last link is closed.
func (l *outgoing) leaveShared(closed bool) {
	if !closed || l.shared == "" {
		return
	}
	c := l.session.conn
	_, err := c.host.DeleteQueue(context.Background(), c.access, l.shared, c.origin, true, false)
	if err != nil && hub.CodeOf(err) != hub.Precondition && !errors.Is(err, hub.ErrClosed) {
		c.log(slog.LevelDebug, "queue of a shared subscription was not deleted", "queue", l.shared, "error", err)
	}
}

// recoverShared attaches a link without a source to the shared subscription of its name, which JMS clients end so; nil when
// there is none.
func (l *outgoing) recoverShared() (*frame.Source, error) {
	c := l.session.conn
	_, kind, _ := strings.Cut(l.name, shareDelimiter)
	name := l.sharedQueue(strings.HasPrefix(kind, globalCapability), true)
	if _, err := c.host.Queue(name, c.origin); err != nil {
		return nil, nil
	}
	l.shared = name
	if err := l.holdNothing(&frame.Source{}); err != nil {
		return nil, err
	}
	source := &frame.Source{
		Address: queueAddress(name), Durable: frame.DurabilityUnsettledState, ExpiryPolicy: frame.ExpireNever, Outcomes: outcomesKnown,
		Capabilities: []string{topicCapabilities[0], sharedCapabilities[0]},
	}
	return source, l.consume(name, &frame.Attach{}, false)
}
