package amqp10

import (
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/selector"
)

// The descriptors of filters with a message selector, as registered for AMQP: docs/selectors.md.
const (
	selectorCode   = 0x0000468c00000004
	selectorSymbol = "apache.org:selector-filter:string"
)

// chosen is a message as the filters of one link see it: as its receiver would. It belongs to the owner of the link's
// queue, who asks about one message after the other.
type chosen struct {
	asked      string             // the filters, by which a link is told that it is the same as before
	selector   *selector.Selector // nil for none
	evaluation selector.Evaluation
	conditions []requirement
	noLocal    bool   // what the connection itself publishes is not chosen
	origin     uint64 // the connection
	binding    *bindingFilter

	item       *queue.Item
	sections   frame.Sections   // before the body
	properties frame.Properties // of sections, once read
	read       bool
	scratch    []byte
}

// matches is the queue.Filter.
func (c *chosen) matches(it *queue.Item) bool {
	if c.noLocal && it.Message.Origin == c.origin {
		return false
	}
	if c.selector == nil && len(c.conditions) == 0 {
		return true
	}
	head := it.Message.Properties
	if it.Message.Encoding != message.AMQP10 {
		c.scratch = mapping.AppendAMQP10(c.scratch[:0], it.Message, nil)
		head = c.scratch
	}
	c.item, c.read = it, false
	c.sections.Locate(head) // what is in them was checked when the message was published
	matches := c.selector == nil || c.selector.Matches(c, &c.evaluation)
	for i := 0; i < len(c.conditions) && matches; i++ {
		matches = c.holds(&c.conditions[i])
	}
	c.item, c.sections, c.properties = nil, frame.Sections{}, frame.Properties{}
	return matches
}

// bare is the properties of the message.
func (c *chosen) bare() *frame.Properties {
	if c.read {
		return &c.properties
	}
	c.read = true
	if c.properties = (frame.Properties{}); len(c.sections.Properties) > 0 {
		c.properties.Decode(c.sections.Properties) //nolint:errcheck // it was checked when the message was published
	}
	return &c.properties
}

// Property implements selector.Properties.
func (c *chosen) Property(name string) selector.Value {
	v, ok := c.sections.ApplicationProperties.Map().Lookup(name)
	if !ok {
		return selector.Value{}
	}
	return operand(v)
}

// Header implements selector.Properties.
func (c *chosen) Header(h selector.Header) selector.Value {
	m := c.item.Message
	switch h {
	case selector.Durable:
		return selector.Bool(m.Durable)
	case selector.Priority:
		return selector.Int(int64(mapping.Priority(m)))
	case selector.TTL:
		if m.Expiry != 0 {
			return selector.Int(max(m.Expiry-time.Now().UnixMilli(), 0))
		}
	case selector.FirstAcquirer:
		return selector.Bool(!c.item.Returned)
	case selector.DeliveryCount:
		return selector.Int(int64(c.item.Count))
	case selector.Deliveries:
		return selector.Int(int64(c.item.Count) + 1)
	case selector.Redelivered:
		return selector.Bool(c.item.Count > 0)
	case selector.DeliveryMode:
		if m.Durable {
			return selector.String("PERSISTENT")
		}
		return selector.String("NON_PERSISTENT")
	case selector.MessageID:
		return operand(c.bare().MessageID)
	case selector.CorrelationID:
		return operand(c.bare().CorrelationID)
	case selector.AbsoluteExpiryTime:
		return number(c.bare().AbsoluteExpiryTime)
	case selector.CreationTime:
		return number(c.bare().CreationTime)
	case selector.GroupSequence:
		return number(frame.Optional[int64]{Value: int64(c.bare().GroupSequence.Value), Present: c.bare().GroupSequence.Present})
	default:
		return written(c.text(h))
	}
	return selector.Value{}
}

// text is a header that is a string, a symbol or binary.
func (c *chosen) text(h selector.Header) []byte {
	p := c.bare()
	switch h {
	case selector.UserID:
		return p.UserID
	case selector.To:
		return p.To
	case selector.Subject:
		return p.Subject
	case selector.ReplyTo:
		return p.ReplyTo
	case selector.ContentType:
		return p.ContentType
	case selector.ContentEncoding:
		return p.ContentEncoding
	case selector.GroupID:
		return p.GroupID
	case selector.ReplyToGroupID:
		return p.ReplyToGroupID
	}
	return nil
}

func written(b []byte) selector.Value {
	if b == nil {
		return selector.Value{}
	}
	return selector.Bytes(b)
}

func number(v frame.Optional[int64]) selector.Value {
	if !v.Present {
		return selector.Value{}
	}
	return selector.Int(v.Value)
}

// operand is a value of AMQP 1.0 as selectors compare it; those that are no number, text or boolean are NULL.
func operand(v frame.Value) selector.Value {
	switch v.Kind() {
	case frame.KindBoolean:
		b, _ := v.Bool()
		return selector.Bool(b)
	case frame.KindString, frame.KindSymbol, frame.KindBinary:
		b, _ := v.Bytes()
		return selector.Bytes(b)
	case frame.KindUUID:
		return selector.String(mapping.MessageID(v))
	case frame.KindChar:
		r, _ := v.Char()
		return selector.String(string(r))
	}
	if n, ok := v.Int(); ok {
		return selector.Int(n)
	}
	if n, ok := v.Uint(); ok {
		if n <= 1<<63-1 {
			return selector.Int(int64(n))
		}
		return selector.Float(float64(n))
	}
	if f, ok := v.Float(); ok {
		return selector.Float(f)
	}
	return selector.Value{}
}
