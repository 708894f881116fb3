package mqtt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/router"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// maxQoS is the highest quality of service that is granted.
const maxQoS = 1

func (c *connection) handleSubscribe(frame []byte) error {
	p := packet.Subscribe{Most: c.limits.Subscriptions}
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	c.flush()                                                                                            // what came before takes effect before
	ack := packet.Suback{PacketID: p.PacketID, Reasons: make([]packet.ReasonCode, len(p.Subscriptions))} // [MQTT-3.8.4-2], [MQTT-3.8.4-5]
	granted := make([]hub.Subscription, 0, len(p.Subscriptions))
	for i, s := range p.Subscriptions {
		if err := c.allowed(s.Filter); err != nil {
			ack.Reasons[i] = err.Code
			c.log(slog.LevelInfo, "subscription was refused", err)
			continue
		}
		qos := min(s.QoS, maxQoS, c.access.SubscribeLimits(s.Filter).MaxQoS) // [MQTT-3.8.4-6]
		ack.Reasons[i] = packet.ReasonCode(qos)
		granted = append(granted, hub.Subscription{Filter: s.Filter, Options: router.Options{QoS: qos}})
	}
	if err := c.subscribe(granted); err != nil {
		for i, r := range ack.Reasons {
			if r < packet.Failure {
				ack.Reasons[i] = reasonOf(err)
			}
		}
		granted = nil
		c.log(slog.LevelInfo, "subscription was refused", err)
	}
	c.send(&ack) // [MQTT-3.8.4-1], [MQTT-3.8.4-4]
	c.startReplay(granted)
	return nil
}

func (c *connection) subscribe(granted []hub.Subscription) error {
	if len(granted) == 0 {
		return nil
	}
	return c.session.Subscribe(context.Background(), granted) // [MQTT-3.8.4-3]
}

// allowed says why the client may not subscribe with a filter, nil if it may.
func (c *connection) allowed(filter string) *packet.Error {
	if err := topic.CheckFilter(filter, c.limits.TopicLevels); err != nil {
		return &packet.Error{Code: packet.TopicFilterInvalid, Text: err.Error()}
	}
	if strings.HasPrefix(filter, "$share/") {
		return &packet.Error{Code: packet.SharedSubscriptionsNotKnown, Text: fmt.Sprintf("filter %q: shared subscriptions are not served", filter)}
	}
	if err := errors.Join(c.access.Read(string(c.exchange)), c.access.Subscribe(filter)); err != nil {
		return &packet.Error{Code: packet.NotAuthorized, Text: err.Error()}
	}
	return nil
}

func (c *connection) handleUnsubscribe(frame []byte) error {
	p := packet.Unsubscribe{Most: c.limits.Subscriptions}
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	c.flush()
	if err := c.session.Unsubscribe(context.Background(), p.Filters); err != nil { // [MQTT-3.10.4-1], [MQTT-3.10.4-2]
		return fmt.Errorf("unsubscribe: %w", err)
	}
	c.replay.drop(p.Filters)
	c.send(&packet.Unsuback{PacketID: p.PacketID}) // [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.10.4-6]
	return nil
}
