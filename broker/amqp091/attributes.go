package amqp091

import (
	"slices"
	"strconv"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/router"
)

// attributes are what exchanges see of a message: those of the message that is being published.
type attributes struct{ frame.Summary }

// Header looks a header up.
func (a *attributes) Header(name string) (value any, ok bool) {
	v, ok := a.Headers.Lookup(name)
	if !ok {
		return nil, false
	}
	return v.Any(), true
}

// Property is one of object.HashProperties.
func (a *attributes) Property(name string) string {
	switch name {
	case "message_id":
		return string(a.MessageID)
	case "correlation_id":
		return string(a.CorrelationID)
	case "timestamp":
		if a.Timestamp != 0 {
			return strconv.FormatUint(a.Timestamp, 10)
		}
	}
	return ""
}

// Attributes are what exchanges see of a message that was stored, of either protocol.
func Attributes(m *message.Message) router.Attributes {
	if m.Encoding == message.MQTT {
		return &mapping.Attributes{Properties: packet.Properties(m.Properties)}
	}
	var b frame.Basic
	if len(m.Properties) == 0 || b.Decode(frame.Properties(m.Properties)) != nil {
		return nil
	}
	return &attributes{frame.Summary{Headers: b.Headers, CorrelationID: b.CorrelationID, MessageID: b.MessageID, Timestamp: b.Timestamp}}
}

// The headers by which a publisher names more routing keys, as in RabbitMQ. Consumers see those of CC; BCC is taken out.
const (
	headerCC  = "CC"
	headerBCC = "BCC"
)

// maxShort is what a short string holds.
const maxShort = 255

// moreKeys are the routing keys of CC and BCC, and whether there is a BCC.
func moreKeys(headers frame.Table) (keys []string, blind bool, err error) {
	if len(headers) == 0 {
		return nil, false, nil
	}
	for _, name := range []string{headerCC, headerBCC} {
		v, ok := headers.Lookup(name)
		if !ok {
			continue
		}
		blind = blind || name == headerBCC
		list, ok := v.Any().([]any)
		if !ok {
			return nil, false, errorf(frame.PreconditionFailed, "header '%s' must be an array of routing keys", name)
		}
		for _, k := range list {
			if key, ok := k.(string); ok && len(key) <= maxShort && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys, blind, nil
}

// without are the properties without a header.
func without(p frame.Properties, header string) frame.Properties {
	var b frame.Basic
	if err := b.Decode(p); err != nil {
		panic("properties that were checked: " + err.Error())
	}
	b.Headers = b.Headers.Without(header)
	return b.Append(nil)
}
