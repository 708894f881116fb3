package amqp10

import (
	"strconv"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/mapping"
)

// attributes are what exchanges see of a message: those of the message that is being published.
type attributes struct {
	properties             *frame.Properties
	application, annotated frame.Map
}

// scanned takes the attributes of a message.
func (a *attributes) scanned(m *frame.Message) {
	a.properties = &m.Properties
	a.application, a.annotated = m.Sections.ApplicationProperties.Map(), m.Sections.MessageAnnotations.Map()
}

// Header looks up an application property, or else an annotation.
func (a *attributes) Header(name string) (value any, ok bool) {
	v, ok := a.application.Lookup(name)
	if !ok {
		if v, ok = a.annotated.Lookup(name); !ok {
			return nil, false
		}
	}
	return mapping.Plain(v), true
}

// Property is one of object.HashProperties.
func (a *attributes) Property(name string) string {
	switch name {
	case "message_id":
		return mapping.MessageID(a.properties.MessageID)
	case "correlation_id":
		return mapping.MessageID(a.properties.CorrelationID)
	case "timestamp":
		if t := a.properties.CreationTime; t.Present {
			return strconv.FormatInt(t.Value/1000, 10)
		}
	}
	return ""
}
