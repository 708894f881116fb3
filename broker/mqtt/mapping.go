package mqtt

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// What a message of AMQP 0-9-1 says of itself, as properties of version 5. docs/mapping.md is the table; the other
// direction is in package amqp091.

// The headers of AMQP that stand for properties of MQTT, which have no place of their own there.
const (
	headerReplyTo       = "x-reply-to-topic" // a routing key
	headerCorrelation   = "x-correlation-id" // bytes
	headerPayloadFormat = "x-mqtt-payload-format"
	headersOfMQTT       = "x-mqtt-" // what says how a message came over MQTT is of no use to MQTT
)

// userOfAMQP begins the names of the user properties that stand for properties of AMQP.
const userOfAMQP = "x-amqp-"

// appendProperties adds the properties of a message that its consumers see, whatever it was published with.
func appendProperties(p packet.Properties, m *message.Message) packet.Properties {
	if m.Encoding == message.MQTT {
		return append(p, m.Properties...)
	}
	var b frame.Basic
	if len(m.Properties) < 2 || b.Decode(frame.Properties(m.Properties)) != nil {
		return p
	}
	a := mapped{p: p}
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

// mapped is properties that grow by what has a form in MQTT.
type mapped struct {
	p    packet.Properties
	seen uint64 // the properties that are there: they may not be there twice, as headers may
}

// once adds a property unless it is there.
func (a *mapped) once(id packet.PropertyID, text string) {
	if a.first(id) {
		a.p = a.p.AppendText(id, text)
	}
}

func (a *mapped) first(id packet.PropertyID) bool {
	was := a.seen&(1<<id) != 0
	a.seen |= 1 << id
	return !was
}

func (a *mapped) user(name string, v []byte) {
	if len(v) > 0 && isText(v) {
		a.p = a.p.AppendUser(userOfAMQP+name, string(v))
	}
}

func (a *mapped) header(name string, v frame.Value) {
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
func (a *mapped) value(name string, v frame.Value) {
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

// maxText is the longest string of MQTT.
const maxText = 1<<16 - 1

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
