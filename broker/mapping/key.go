package mapping

import (
	"fmt"
	"math"

	basic "github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// The headers of 0-9-1, and user properties of MQTT, that name the group of a message, and its place in it: ours, those of
// JMS, and those of Artemis. The first that is there counts.
var (
	groupHeaders    = [...]string{headerGroup, "JMSXGroupID", "_AMQ_GROUP_ID"}
	sequenceHeaders = [...]string{headerSequence, "JMSXGroupSeq", "_AMQ_GROUP_SEQUENCE"}
)

// Group is the group of a message, nil for none, and whether the message is the last one of it: its place in the group is -1,
// which as an unsigned number is the largest.
func Group(m *message.Message) (id []byte, closes bool) {
	if m.Encoding == message.AMQP10 {
		var s frame.Message
		s.Scan(m.Properties, unlimited) //nolint:errcheck // it was checked when it was published
		p := &s.Properties
		return nilIfEmpty(p.GroupID), p.GroupSequence.Present && p.GroupSequence.Value == math.MaxUint32
	}
	for _, name := range groupHeaders {
		if v, ok := headerOf(m, name); ok {
			if id = textOf(v); len(id) > 0 {
				break
			}
		}
	}
	if len(id) == 0 {
		return nil, false
	}
	for _, name := range sequenceHeaders {
		if v, ok := headerOf(m, name); ok {
			n, isNumber := number(v)
			return id, isNumber && (n == -1 || n == math.MaxUint32)
		}
	}
	return id, false
}

// Header is a header of a message as text: of AMQP 1.0 an application property, or else an annotation, of MQTT the first user
// property of that name. Nil when there is none, or none that can be written as text.
func Header(m *message.Message, name string) []byte {
	if m.Encoding != message.AMQP10 {
		v, _ := headerOf(m, name)
		return textOf(v)
	}
	var s frame.Message
	s.Scan(m.Properties, unlimited) //nolint:errcheck // it was checked when it was published
	v, ok := s.Sections.ApplicationProperties.Map().Lookup(name)
	if !ok {
		v, _ = s.Sections.MessageAnnotations.Map().Lookup(name)
	}
	if b, isText := v.Bytes(); isText {
		return b
	}
	w, _ := tableValue(v)
	return written(w)
}

// headerOf is a header of a message of 0-9-1, or a user property of MQTT.
func headerOf(m *message.Message, name string) (v basic.Value, ok bool) {
	if m.Encoding == message.MQTT {
		for id, p := range packet.Properties(m.Properties).All() {
			if id == packet.UserProperty && string(p.Name) == name {
				return basic.Value{Kind: basic.LongString, Raw: p.Text}, true
			}
		}
		return v, false
	}
	var b basic.Basic
	if len(m.Properties) < 2 || b.Decode(m.Properties) != nil {
		return v, false
	}
	return b.Headers.Lookup(name)
}

func textOf(v basic.Value) []byte {
	if v.Kind == basic.LongString || v.Kind == basic.Bytes {
		return v.Raw
	}
	return written(v)
}

// written is a simple value as text; nil when it is none.
func written(v any) []byte {
	if w, isValue := v.(basic.Value); isValue {
		v = w.Any()
	}
	switch v := v.(type) {
	case bool, int64, float64, string:
		return fmt.Append(nil, v)
	}
	return nil
}
