package mapping

import (
	"strconv"
	"strings"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

const (
	// maxShort is what a short string holds.
	maxShort = 255
	// maxText is the longest string of MQTT.
	maxText = 1<<16 - 1
	// frameOverhead is what a frame needs beside the properties, and they beside what is counted.
	frameOverhead = 64
)

// AMQP091 is the routing key and the properties of a message as a consumer of AMQP 0-9-1 sees them; those that came over
// another protocol have no more than most bytes of properties. The properties may alias the message, or scratch, which is answered for
// the next call.
func AMQP091(m *message.Message, scratch []byte, most int) (key string, p frame.Properties, _ []byte) {
	if m.Encoding == message.AMQP091 {
		return m.Key, frame.Properties(m.Properties), scratch
	}
	key = frame.Shorten(m.RoutingKey())
	e := toAMQP091{headers: frame.Table(scratch[:0]), left: most - frameOverhead}
	if m.Encoding == message.AMQP10 {
		e.readAMQP10(m)
	} else {
		e.read(m)
	}
	at := len(e.headers)
	e.basic.Headers = e.headers
	scratch = e.basic.Append(e.headers)
	return key, frame.Properties(scratch[at:]), scratch
}

// toAMQP091 makes properties of AMQP 0-9-1 of a message of another protocol. What does not fit is left out, the least first.
type toAMQP091 struct {
	basic   frame.Basic
	headers frame.Table
	left    int // bytes that may be added
}

func (e *toAMQP091) read(m *message.Message) {
	e.basic.DeliveryMode = 1
	if m.QoS > 0 {
		e.basic.DeliveryMode = frame.Persistent
	}
	if m.Expiry != 0 {
		e.basic.Expiration = strconv.AppendInt(nil, left(m.Expiry), 10)
	}
	e.headers = e.headers.With(headerQoS, min(m.QoS, 2))
	if m.Retain {
		e.headers = e.headers.With(headerRetain, true)
	}
	e.header(headerTopic, m.Key)
	if m.Publisher != "" {
		e.header(headerClientID, m.Publisher)
	}
	if len(m.Properties) > 0 {
		e.properties(packet.Properties(m.Properties))
	}
}

// left is how many milliseconds are left until a time in milliseconds since 1970.
func left(expiry int64) int64 { return max(expiry-time.Now().UnixMilli(), 0) }

func (e *toAMQP091) properties(all packet.Properties) {
	users := 0
	for id, v := range all.All() {
		switch id {
		case packet.PayloadFormat:
			if v.Number == 1 {
				e.headers = e.headers.With(headerPayloadFormat, uint8(1))
			}
		case packet.ContentType:
			e.short(&e.basic.ContentType, "", v.Bytes)
		case packet.ResponseTopic:
			e.header(headerReplyTo, topic.Swap(string(v.Bytes)))
		case packet.CorrelationData:
			e.short(&e.basic.CorrelationID, headerCorrelation, v.Bytes)
		case packet.UserProperty:
			users++
		}
	}
	if users > 0 {
		e.users(all)
	}
}

// users turns user properties into headers: several of one name into an array, in their order, in the place of the first.
func (e *toAMQP091) users(all packet.Properties) {
	values := make(map[string][]any)
	for id, v := range all.All() {
		if id == packet.UserProperty {
			values[string(v.Name)] = append(values[string(v.Name)], string(v.Text))
		}
	}
	for id, v := range all.All() {
		same := values[string(v.Name)]
		if id != packet.UserProperty || same == nil {
			continue
		}
		delete(values, string(v.Name))
		if len(same) == 1 {
			e.user(string(v.Name), v.Text)
			continue
		}
		size := 0
		for _, s := range same {
			size += len(s.(string)) + 5
		}
		if !reserved(string(v.Name)) && e.room(len(v.Name)+size) {
			e.headers = e.headers.With(string(v.Name), same)
		}
	}
}

func (e *toAMQP091) user(name string, text []byte) {
	property, ok := strings.CutPrefix(name, userOfAMQP)
	if (!ok || !e.property(property, text)) && !reserved(name) {
		e.header(name, string(text))
	}
}

// property gives a property of AMQP its value back; false when there is none of that name, or that value.
func (e *toAMQP091) property(name string, text []byte) bool {
	switch name {
	case "content-encoding":
		return e.short(&e.basic.ContentEncoding, "", text)
	case "reply-to":
		return e.short(&e.basic.ReplyTo, "", text)
	case "message-id":
		return e.short(&e.basic.MessageID, "", text)
	case "type":
		return e.short(&e.basic.Type, "", text)
	case "app-id":
		return e.short(&e.basic.AppID, "", text)
	case "timestamp":
		n, err := strconv.ParseUint(string(text), 10, 63)
		e.basic.Timestamp = n
		return err == nil
	case "priority":
		n, err := strconv.ParseUint(string(text), 10, 8)
		e.basic.Priority = uint8(n)
		return err == nil
	}
	return false
}

// reserved are the names of headers that mean something to the broker: a client of MQTT cannot set them.
func reserved(name string) bool {
	switch name {
	case "x-death", "CC", "BCC", headerReplyTo, headerCorrelation:
		return true
	}
	return len(name) > maxShort || strings.HasPrefix(name, headersOfMQTT)
}

// short sets a property to a short string. What is too long for one goes to a header, as bytes, if that has a name; false
// says that it went nowhere.
func (e *toAMQP091) short(field *[]byte, header string, v []byte) bool {
	switch {
	case len(v) > maxShort && header == "" || !e.room(len(v)):
		return false
	case len(v) <= maxShort:
		*field = v
	default:
		e.headers = e.headers.With(header, v)
	}
	return true
}

func (e *toAMQP091) header(name, v string) {
	if e.room(len(name) + len(v)) {
		e.headers = e.headers.With(name, v)
	}
}

func (e *toAMQP091) room(n int) bool {
	const overhead = 8
	if n += overhead; n > e.left {
		return false
	}
	e.left -= n
	return true
}
