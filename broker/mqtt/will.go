package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"

	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// acceptWill keeps the will for the end of the connection. [MQTT-3.1.2-8] Whether the client may publish it is asked
// then.
func (c *connection) acceptWill(w *packet.Will) error {
	if w == nil {
		return nil
	}
	if n := packet.Levels([]byte(w.Topic)); n > c.limits.TopicLevels {
		return &refusal{packet.TopicNameInvalid, fmt.Errorf("will topic has %d levels, more than %d", n, c.limits.TopicLevels)}
	}
	kept := *w
	kept.Payload = bytes.Clone(w.Payload) // it aliases the read buffer
	c.will = &kept
	return nil
}

// publishWill publishes the will unless DISCONNECT took it back. [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.1.2-12]
func (c *connection) publishWill() {
	w := c.will
	if w == nil {
		return
	}
	c.will = nil
	route, err := c.publisher.Route(c.exchange, []byte(w.Topic))
	if err == nil {
		_, err = c.publisher.Publish(route, &message.Message{
			Exchange: route.Exchange, Key: route.Key, Encoding: message.MQTT,
			QoS: w.QoS, Durable: w.QoS > 0, Retain: w.Retain, // [MQTT-3.1.2-16], [MQTT-3.1.2-17]
			Publisher: c.clientID, Payload: w.Payload,
		}, nil, 0)
	}
	if err != nil {
		c.log(slog.LevelWarn, "will was not published", errors.Join(fmt.Errorf("topic %q", w.Topic), err))
		return
	}
	c.publisher.Flush()
}
