package mapping

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	amqp10 "github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// maxPacket bounds the properties of a message that came over another protocol, to what a packet of MQTT can hold.
const maxPacket = 256 << 20

// JSONProperties are those of a message of the broker's own whose payload is JSON, in the encoding of MQTT.
var JSONProperties = packet.Properties(nil).AppendNumber(packet.PayloadFormat, 1).AppendText(packet.ContentType, "application/json")

// AppendMQTT adds the properties of a message as a consumer of MQTT 5 sees them. Expiry is not among them: what of it is
// left depends on the time of the delivery.
func AppendMQTT(p packet.Properties, m *message.Message) packet.Properties {
	if m.Encoding == message.MQTT {
		return append(p, m.Properties...)
	}
	var b frame.Basic
	_, properties, _ := AMQP091(m, nil, maxPacket)
	if len(properties) < 2 || b.Decode(properties) != nil {
		return p
	}
	if m.Encoding == message.AMQP10 && b.Priority == amqp10.DefaultPriority {
		b.Priority = 0 // what every message has says nothing
	}
	a := toMQTT{p: p}
	if len(b.ContentType) > 0 && isText(b.ContentType) {
		a.once(packet.ContentType, string(b.ContentType))
	}
	if len(b.CorrelationID) > 0 {
		a.once(packet.CorrelationData, string(b.CorrelationID))
	}
	for name, v := range b.Headers.All() {
		a.header(string(name), v)
	}
	a.user("content-encoding", b.ContentEncoding)
	a.user("reply-to", b.ReplyTo)
	a.user("message-id", b.MessageID)
	a.user("type", b.Type)
	a.user("user-id", b.UserID)
	a.user("app-id", b.AppID)
	if b.Timestamp != 0 {
		a.user("timestamp", strconv.AppendUint(nil, b.Timestamp, 10))
	}
	if b.Priority != 0 {
		a.user("priority", strconv.AppendUint(nil, uint64(b.Priority), 10))
	}
	return a.p
}

// toMQTT is properties that grow by what has a form in MQTT.
type toMQTT struct {
	p    packet.Properties
	seen uint64 // the properties that are there: they may not be there twice, as headers may
}

// once adds a property unless it is there.
func (a *toMQTT) once(id packet.PropertyID, text string) {
	if a.first(id) {
		a.p = a.p.AppendText(id, text)
	}
}

func (a *toMQTT) first(id packet.PropertyID) bool {
	was := a.seen&(1<<id) != 0
	a.seen |= 1 << id
	return !was
}

func (a *toMQTT) user(name string, v []byte) {
	if len(v) > 0 && isText(v) {
		a.p = a.p.AppendUser(userOfAMQP+name, string(v))
	}
}

func (a *toMQTT) header(name string, v frame.Value) {
	switch {
	case name == headerReplyTo:
		if t := topic.Swap(string(v.Raw)); v.Kind == frame.LongString && topic.CheckName(t, 0) == nil {
			a.once(packet.ResponseTopic, t)
		}
	case name == headerCorrelation:
		if len(v.Raw) <= maxText && (v.Kind == frame.Bytes || v.Kind == frame.LongString) {
			a.once(packet.CorrelationData, string(v.Raw))
		}
	case name == headerPayloadFormat:
		if a.first(packet.PayloadFormat) {
			a.p = a.p.AppendNumber(packet.PayloadFormat, 1)
		}
	case strings.HasPrefix(name, headersOfMQTT) || !isText([]byte(name)):
	case v.Kind == frame.Array: // a user property that is there more than once
		for _, e := range v.Elements() {
			a.value(name, e)
		}
	default:
		a.value(name, v)
	}
}

// value adds a header with a value that can be written as text; tables and void cannot.
func (a *toMQTT) value(name string, v frame.Value) {
	if v.Kind == frame.LongString || v.Kind == frame.Bytes {
		if isText(v.Raw) {
			a.p = a.p.AppendUser(name, string(v.Raw))
		}
		return
	}
	switch x := v.Any().(type) {
	case bool:
		a.p = a.p.AppendUser(name, strconv.FormatBool(x))
	case int64:
		a.p = a.p.AppendUser(name, strconv.FormatInt(x, 10))
	case float64:
		a.p = a.p.AppendUser(name, strconv.FormatFloat(x, 'g', -1, 64))
	}
}

// isText says that bytes are a string of MQTT. [MQTT-1.5.3-1], [MQTT-1.5.3-2]
func isText(b []byte) bool {
	if len(b) > maxText || !utf8.Valid(b) {
		return false
	}
	for _, x := range b {
		if x == 0 {
			return false
		}
	}
	return true
}

// Attributes are what a publish of MQTT 5 says of itself to exchanges that look at more than its topic: user properties
// are headers.
type Attributes struct{ Properties packet.Properties }

// Header is the first user property of a name.
func (a *Attributes) Header(name string) (value any, ok bool) {
	for id, v := range a.Properties.All() {
		if id == packet.UserProperty && string(v.Name) == name {
			return string(v.Text), true
		}
	}
	return nil, false
}

// Property is one of object.HashProperties.
func (a *Attributes) Property(name string) string {
	switch name {
	case "correlation_id":
		v, _ := a.Properties.Get(packet.CorrelationData)
		return string(v.Bytes)
	case "message_id":
		v, _ := a.Header(userOfAMQP + "message-id")
		text, _ := v.(string)
		return text
	case "timestamp":
		v, _ := a.Header(userOfAMQP + "timestamp")
		text, _ := v.(string)
		return text
	}
	return ""
}
