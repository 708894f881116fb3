package mqtt

import (
	"bytes"
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
	expiry time.Duration // from when it is published; zero is never
}

// acceptWill keeps the will for the end of the connection. [MQTT-3.1.2-8] Whether the client may publish it is asked
// then.
func (c *connection) acceptWill(w *packet.Will) error {
	if w == nil {
		return nil
	}
	if n := packet.Levels([]byte(w.Topic)); n > c.limits.TopicLevels {
		return &refusal{packet.TopicNameInvalid, fmt.Errorf("will topic has %d levels, more than %d", n, c.limits.TopicLevels)}
	}
	kept := &will{Will: *w}
	kept.Payload = bytes.Clone(w.Payload) // it aliases the read buffer, as do the properties
	kept.Properties = packet.Properties(bytes.Clone(w.Properties)).Keep(func(id packet.PropertyID, v packet.Value) bool {
		switch id {
		case packet.WillDelay:
			kept.delay = time.Duration(v.Number) * time.Second
		case packet.MessageExpiry:
			kept.expiry = time.Duration(v.Number) * time.Second
		default:
			return true
		}
		return false
	})
	c.will = kept
	return nil
}

// bequeath publishes the will unless DISCONNECT took it back: now, or after its delay if the session lives so long and
// the client does not come back. [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.1.2-12], [MQTT5-3.1.3-9]
func (c *connection) bequeath() {
	w := c.will
	if w == nil {
		return
	}
	c.will = nil
	c.startPublishing()
	// The publisher belongs to the reader, which has ended: from here on it belongs to the will.
	c.session.Bequeath(w.delay, func() { c.publishWill(c.publisher, w) })
}

func (c *connection) publishWill(p *hub.Publisher, w *will) {
	route, err := p.Route(c.exchange, []byte(w.Topic))
	if err == nil {
		m := message.Message{
			Exchange: route.Exchange, Key: route.Key, Encoding: message.MQTT,
			QoS: w.QoS, Durable: w.QoS > 0, Retain: w.Retain, // [MQTT-3.1.2-16], [MQTT-3.1.2-17]
			Publisher: c.clientID, Properties: w.Properties, Payload: w.Payload,
		}
		if w.expiry > 0 {
			m.Expiry = time.Now().Add(w.expiry).UnixMilli()
		}
		_, err = p.Publish(route, &m, nil, 0)
	}
	if err != nil {
		c.log(slog.LevelWarn, "will was not published", errors.Join(fmt.Errorf("topic %q", w.Topic), err))
		return
	}
	p.Flush()
}
