package amqp091

import (
	"strconv"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/message"
)

// A message that was published over AMQP 0-9-1 is delivered with the properties that it came with, octet by octet. One
// that was published over MQTT gets these, which docs/amqp091.md lists:
//
//	QoS 0 / QoS above 0     delivery_mode 1 / 2
//	QoS                     header x-mqtt-qos
//	RETAIN                  header x-mqtt-retain, if it was set
//	expiry                  expiration: the milliseconds that are left
//	topic name              routing key, with '/' and '.' swapped; see topic.Swap
//	a topic name too long   header x-mqtt-topic with all of it; the routing key is cut

// The headers of messages that came over MQTT.
const (
	headerQoS    = "x-mqtt-qos"
	headerRetain = "x-mqtt-retain"
	headerTopic  = "x-mqtt-topic"
)

// maxKey is what a short string holds. MQTT's topic names may have up to 65,535 bytes.
const maxKey = 255

// plain are the properties of messages of MQTT without expiry and with a short topic name, by QoS and RETAIN.
var plain = func() (p [3][2]frame.Properties) {
	for qos := range p {
		for retain := range p[qos] {
			m := message.Message{QoS: uint8(qos), Retain: retain == 1}
			p[qos][retain] = appendMapped(nil, &m, 0, "")
		}
	}
	return p
}()

// envelope is the routing key and the properties of a message as a consumer sees them. The properties may alias the
// message, or scratch, which is answered for the next call.
func envelope(m *message.Message, scratch []byte) (key string, p frame.Properties, _ []byte) {
	if m.Encoding == message.AMQP091 {
		return m.Key, frame.Properties(m.Properties), scratch
	}
	key = m.RoutingKey()
	qos := min(m.QoS, 2)
	if m.Expiry == 0 && len(key) <= maxKey {
		retain := 0
		if m.Retain {
			retain = 1
		}
		return key, plain[qos][retain], scratch
	}
	long := ""
	if len(key) > maxKey {
		long, key = m.Key, key[:cutAt(key, maxKey)]
	}
	var now int64
	if m.Expiry != 0 {
		now = time.Now().UnixMilli()
	}
	scratch = appendMapped(scratch[:0], m, now, long)
	return key, frame.Properties(scratch), scratch
}

func appendMapped(dst []byte, m *message.Message, now int64, long string) []byte {
	headers := frame.Table(nil).With(headerQoS, m.QoS)
	if m.Retain {
		headers = headers.With(headerRetain, true)
	}
	if long != "" {
		headers = headers.With(headerTopic, long)
	}
	b := frame.Basic{Headers: headers, DeliveryMode: 1}
	if m.QoS > 0 {
		b.DeliveryMode = frame.Persistent
	}
	if m.Expiry != 0 {
		b.Expiration = strconv.AppendInt(nil, max(m.Expiry-now, 0), 10)
	}
	return b.Append(dst)
}
