package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// will is a client's last word.
type will struct {
	packet.Will
	delay  time.Duration
	wait   time.Duration // from when it is published, for a topic that begins with $delayed
	expiry time.Duration // from when it is published; zero is never
}

// acceptWill keeps the will for the end of the connection. [MQTT-3.1.2-8], [MQTT5-3.1.2-7] Whether the client may publish it is asked
// then.
func (c *connection) acceptWill(w *packet.Will) error {
	if w == nil {
		return nil
	}
	wait, topic, err := cutDelay([]byte(w.Topic))
	if err != nil {
		return &refusal{packet.TopicNameInvalid, err}
	}
	if n := packet.Levels(topic); n > c.limits.TopicLevels {
		return &refusal{packet.TopicNameInvalid, fmt.Errorf("will topic has %d levels, more than %d", n, c.limits.TopicLevels)}
	}
	kept := &will{Will: *w, wait: wait}
	kept.Topic = string(topic)
	kept.Payload = bytes.Clone(w.Payload) // it aliases the read buffer, as do the properties
	kept.Properties = packet.Properties(bytes.Clone(w.Properties)).Keep(func(id packet.PropertyID, v packet.Value) bool {
		switch id {
		case packet.WillDelay:
			kept.delay = time.Duration(v.Number) * time.Second
		case packet.MessageExpiry:
			kept.expiry = time.Duration(v.Number) * time.Second
		default:
			return true // [MQTT5-3.1.3-10]
		}
		return false
	})
	c.will = kept
	return nil
}

// testament is the will as a persistent session keeps it; nil when there is none, or when the client may not publish it.
func (c *connection) testament() *hub.Will {
	w := c.will
	if w == nil || c.expiry == 0 {
		return nil
	}
	var kept *hub.Will
	route, m, err := c.composeWill(w)
	if err == nil {
		m.Owned = true // the will's bytes are its own
		kept, err = c.publisher.NewWill(route, m, w.delay, w.wait, w.expiry)
	}
	if err != nil {
		c.will = nil
		c.log(slog.LevelWarn, "will is not kept", errors.Join(fmt.Errorf("topic %q", w.Topic), err))
	}
	return kept
}

// entrustWill lets go of what the session keeps.
func (c *connection) entrustWill() {
	if c.will != nil && c.session.HasWill() {
		c.will = &will{Will: packet.Will{Topic: c.will.Topic}}
	}
}

// bequeath publishes the will unless DISCONNECT took it back: now, or after its delay if the session lives so long and
// the client does not come back. A session that is not persistent has ended by now. Whether the client may publish it is
// asked again. [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.1.2-12], [MQTT5-3.1.3-9]
func (c *connection) bequeath() {
	w := c.will
	if w == nil {
		return
	}
	c.will = nil
	c.startPublishing()
	c.publisher.Unpaced()
	if !c.session.HasWill() {
		c.publishWill(w)
		return
	}
	_, err := c.publisher.Route(c.exchange, []byte(w.Topic))
	if err == nil {
		err = c.session.Bequeath(context.Background())
	} else {
		err = errors.Join(err, c.session.TakeBackWill(context.Background()))
	}
	if err != nil {
		c.log(slog.LevelWarn, "will was not published", errors.Join(fmt.Errorf("topic %q", w.Topic), err))
	}
}

// composeWill makes the message of a will, but for its expiry.
func (c *connection) composeWill(w *will) (*hub.Route, *message.Message, error) {
	c.startPublishing()
	route, err := c.publisher.Route(c.exchange, []byte(w.Topic))
	if err != nil {
		return nil, nil, err
	}
	return route, &message.Message{
		Exchange: route.Exchange, Key: route.Key, Encoding: message.MQTT,
		QoS: w.QoS, Durable: w.QoS > 0, Retain: w.Retain, // [MQTT-3.1.2-16], [MQTT-3.1.2-17]
		Publisher: c.clientID, Properties: w.Properties, Payload: w.Payload,
	}, nil
}

// publishWill publishes the will now. The publisher belongs to the reader, which has ended.
func (c *connection) publishWill(w *will) {
	route, m, err := c.composeWill(w)
	if err == nil {
		if w.expiry > 0 {
			m.Expiry = time.Now().Add(w.expiry).UnixMilli()
		}
		if w.wait > 0 {
			c.publisher.Postpone(w.wait)
		}
		_, err = c.publisher.Publish(route, m, nil, 0)
	}
	if err != nil {
		c.log(slog.LevelWarn, "will was not published", errors.Join(fmt.Errorf("topic %q", w.Topic), err))
		return
	}
	c.publisher.Flush()
}
