package amqp10

import (
	"strconv"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/router"
)

// stored is for sections that were checked when they were published.
var stored = frame.Limits{Depth: 1 << 20, Elements: 1 << 30}

// attributes are what exchanges see of a message that was scanned.
type attributes struct{ message *frame.Message }

// Attributes are what exchanges see of a message that was stored.
func Attributes(m *message.Message) router.Attributes {
	var s frame.Message
	if s.Scan(m.Properties, stored) != nil {
		return nil // it was checked when it was published
	}
	return &attributes{&s}
}

// Header looks up an application property, or else an annotation.
func (a *attributes) Header(name string) (value any, ok bool) {
	v, ok := a.message.Sections.ApplicationProperties.Map().Lookup(name)
	if !ok {
		if v, ok = a.message.Sections.MessageAnnotations.Map().Lookup(name); !ok {
			return nil, false
		}
	}
	return mapping.Plain(v), true
}

// Property is one of object.HashProperties.
func (a *attributes) Property(name string) string {
	p := &a.message.Properties
	switch name {
	case "message_id":
		return mapping.MessageID(p.MessageID)
	case "correlation_id":
		return mapping.MessageID(p.CorrelationID)
	case "timestamp":
		if t := p.CreationTime; t.Present {
			return strconv.FormatInt(t.Value/1000, 10)
		}
	}
	return ""
}
