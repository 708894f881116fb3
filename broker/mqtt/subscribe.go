package mqtt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/router"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

func (c *connection) handleSubscribe(frame []byte) error {
	p := packet.Subscribe{Most: c.limits.Subscriptions}
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	c.flush()                                                                                            // what came before takes effect before
	ack := packet.Suback{PacketID: p.PacketID, Reasons: make([]packet.ReasonCode, len(p.Subscriptions))} // [MQTT-2.3.1-7], [MQTT-3.8.4-2], [MQTT-3.8.4-5]
	id := p.Properties.Number(packet.SubscriptionID, 0)
	granted := make([]wish, 0, len(p.Subscriptions))
	for i, s := range p.Subscriptions {
		filter, refused := c.renamed(s.Filter)
		if s.Filter = filter; refused == nil {
			var err error
			if refused, err = c.allowed(s); err != nil {
				return err
			}
		}
		if refused != nil {
			ack.Reasons[i], ack.Properties = c.subackReason(refused), c.fitting(c.reasonText(refused, false), len(ack.Reasons))
			c.log(slog.LevelInfo, "subscription was refused", refused)
			continue
		}
		w := c.grant(s, id)
		ack.Reasons[i] = packet.ReasonCode(w.QoS) // [MQTT-3.9.3-1], [MQTT5-3.8.4-7]
		granted = append(granted, w)
	}
	replayed, err := c.subscribe(granted)
	if err != nil {
		for i, r := range ack.Reasons {
			if r < packet.Failure {
				ack.Reasons[i] = c.subackReason(err)
			}
		}
		ack.Properties = c.fitting(c.reasonText(err, false), len(ack.Reasons))
		c.log(slog.LevelInfo, "subscription was refused", err)
	}
	c.out.Hold() // who reads SUBACK may publish what is not to be replayed
	c.send(&ack) // [MQTT-3.8.4-1], [MQTT-3.8.4-4]
	c.resumeQueues()
	c.startReplay(replayed)
	c.out.Release()
	return nil
}

// grant is what the client gets of a subscription that may be. [MQTT-3.8.4-6]
func (c *connection) grant(s packet.Subscription, id uint32) wish {
	kind, rest, _ := topic.Parse(s.Filter)
	qos := min(s.QoS, c.access.SubscribeLimits(rest).MaxQoS)
	if kind == topic.OfQueue {
		qos = min(s.QoS, maxQueueQoS)
	}
	o := router.Options{QoS: qos, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished, SubscriptionID: id}
	return wish{hub.Subscription{Filter: s.Filter, Options: o}, s.RetainHandling}
}

// renamed is a filter as topic policies rename it; what it begins with stays. Refused says that it becomes none.
func (c *connection) renamed(filter string) (string, error) {
	kind, rest, err := topic.Parse(filter)
	if err != nil || kind == topic.OfQueue || topic.CheckFilter(rest, c.limits.TopicLevels) != nil {
		return filter, nil // allowed says what is wrong
	}
	renamed, err := c.access.RenameFilter(rest)
	if err != nil {
		return filter, &packet.Error{Code: packet.TopicFilterInvalid, Text: err.Error()}
	}
	return strings.TrimSuffix(filter, rest) + renamed, nil
}

// renamedAll are the filters of UNSUBSCRIBE as topic policies rename them. One that the client subscribed with before it
// was to be renamed is meant as it is.
func (c *connection) renamedAll(filters []string) []string {
	var has map[string]bool
	out := slices.Clone(filters)
	for i, f := range filters {
		renamed, err := c.renamed(f)
		if err != nil || renamed == f {
			continue
		}
		if has == nil {
			has = make(map[string]bool)
			for _, s := range c.session.Subscriptions() {
				has[s.Filter] = true
			}
		}
		if has[renamed] || !has[f] {
			out[i] = renamed
		}
	}
	return out
}

// wish is a subscription that may be, and when its client wants retained messages.
type wish struct {
	hub.Subscription
	retainHandling uint8
}

// subackReason is reasonOf for SUBACK, which knows fewer codes, and one alone before version 5. [MQTT-3.9.3-2]
func (c *connection) subackReason(err error) packet.ReasonCode {
	switch r := reasonOf(err); {
	case c.version != packet.V5:
		return packet.Failure
	case packet.TypeSuback.Knows(r):
		return r
	}
	return packet.ImplementationError
}

// subscribe brings subscriptions into force and answers those whose retained messages are due.
func (c *connection) subscribe(granted []wish) (replayed []hub.Subscription, err error) {
	if len(granted) == 0 {
		return nil, nil
	}
	subs := make([]hub.Subscription, len(granted))
	for i, w := range granted {
		subs[i] = w.Subscription
	}
	existed, err := c.session.Subscribe(context.Background(), subs) // [MQTT-3.8.4-3], [MQTT5-3.8.4-4]
	if err != nil {
		return nil, err
	}
	if c.version == packet.V5 {
		c.outgoing.follow(subs)
	}
	for i, w := range granted {
		c.subscribed(w.Filter, w.QoS)
		wanted := w.retainHandling == 0 || w.retainHandling == 1 && !existed[i] // [MQTT5-3.3.1-9 to 11]
		if kind, rest, _ := topic.Parse(w.Filter); wanted && (kind == topic.Plain || kind == topic.Exclusive) {
			w.Filter = rest
			replayed = append(replayed, w.Subscription)
		}
	}
	return replayed, nil
}

// allowed says why the client may not have a subscription, nil if it may. Err ends the connection.
func (c *connection) allowed(s packet.Subscription) (refused, err error) {
	kind, rest, wrong := topic.Parse(s.Filter)
	if wrong == nil && kind != topic.OfQueue {
		wrong = topic.CheckFilter(rest, c.limits.TopicLevels)
	}
	switch {
	case wrong != nil:
		return &packet.Error{Code: packet.TopicFilterInvalid, Text: fmt.Sprintf("filter %q %v", s.Filter, wrong)}, nil
	case kind == topic.Shared && s.NoLocal: // [MQTT5-3.8.3-4]
		return nil, protocolError("no-local with a shared subscription")
	case kind == topic.OfQueue:
		return c.consume(s.Filter, rest, s.QoS), nil
	}
	if err := errors.Join(c.access.Read(string(c.exchange)), c.access.Subscribe(rest)); err != nil {
		return err, nil
	}
	if kind == topic.Exclusive {
		return c.session.Claim(rest), nil
	}
	return nil, nil
}

func (c *connection) handleUnsubscribe(frame []byte) error {
	p := packet.Unsubscribe{Most: c.limits.Subscriptions}
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	c.flush()
	p.Filters = c.renamedAll(p.Filters)
	existed, err := c.session.Unsubscribe(context.Background(), p.Filters) // [MQTT-3.10.4-1], [MQTT-3.10.4-2]
	if err != nil {
		return fmt.Errorf("unsubscribe: %w", err)
	}
	c.replay.drop(p.Filters)
	for i, f := range p.Filters {
		c.leaveQueue(f)
		if existed[i] {
			c.unsubscribed(f)
		}
	}
	ack := packet.Unsuback{PacketID: p.PacketID} // [MQTT-2.3.1-7]
	if c.version == packet.V5 {
		c.outgoing.leave(p.Filters)
		for _, was := range existed {
			reason := packet.NoSubscriptionExisted // [MQTT5-3.11.3-2]
			if was {
				reason = packet.Success
			}
			ack.Reasons = append(ack.Reasons, reason) // [MQTT5-3.11.3-1]
		}
	}
	c.send(&ack) // [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.10.4-6]
	return nil
}
