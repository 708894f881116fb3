package amqp10

import (
	"context"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// Service Bus has topics, which are exchanges here, their subscriptions, which are queues bound to them, and beside each queue and
// subscription one for messages that died.
const (
	subscriptions = "/Subscriptions/" // in any case
	deadLetters   = "/$DeadLetterQueue"
)

// parseServiceBus reads a name that Service Bus alone has; false: it is another.
func parseServiceBus(name string) (n node, ok bool) {
	queue, rest, dead := cutFold(name, deadLetters)
	if dead = dead && rest == "" && queue != ""; !dead {
		queue = name
	}
	topic, subscription, subscribed := cutFold(queue, subscriptions)
	if subscribed = subscribed && topic != "" && subscription != "" && !strings.Contains(subscription, "/"); subscribed {
		queue = topic + subscriptions + subscription
	}
	if !dead && !subscribed {
		return node{}, false
	}
	n = node{kind: queueNode, queue: queue, dead: dead}
	if subscribed && !dead {
		n.topic, n.spelled = topic, name
	}
	return n, true
}

// lookUpDead finds the queue of the messages that died in a queue: the one that its arguments name, or else one that is called so.
func (c *connection) lookUpDead(n node) node {
	of := n.queue
	n.queue = of + deadLetters
	if q, err := c.host.Queue(of, c.origin); err == nil {
		if to := q.DeadLetterQueue(); to != "" {
			n.queue = to
		}
	}
	return n
}

// makeSubscription makes the queue of a subscription, bound to its topic so that it gets everything.
func (c *connection) makeSubscription(n node) error {
	kind := c.host.ExchangeType(n.topic)
	if kind == "" {
		return linkError(frame.NotFound, "there is no queue %q, and no exchange %q to which it could be bound: a topic of Service Bus is an exchange", n.queue, n.topic)
	}
	d := hub.QueueDeclaration{Name: n.queue, Spec: object.QueueSpec{Durable: true}, Origin: c.origin}
	if _, err := c.host.DeclareQueue(context.Background(), c.access, d); err != nil {
		return err
	}
	key := ""
	if kind == "topic" {
		key = "#"
	}
	return c.host.Bind(context.Background(), c.access, hub.Binding{Source: n.topic, Destination: n.queue, Key: key, Origin: c.origin})
}

// cutFold is strings.Cut for a separator of ASCII in any case.
func cutFold(s, separator string) (before, after string, found bool) {
	for i := 0; i+len(separator) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(separator)], separator) {
			return s[:i], s[i+len(separator):], true
		}
	}
	return s, "", false
}
