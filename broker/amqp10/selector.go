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
	selector   *selector.Selector // nil for none
	evaluation selector.Evaluation
	conditions []requirement
	noLocal    bool   // what the connection itself publishes is not chosen
	origin     uint64 // the connection
	binding    *bindingFilter

	item    *queue.Item
	message frame.Message
	scratch []byte
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
	c.item = it
	// The body is not there, and Scan may say so: what comes before it has been read by then, and was checked when it was
	// published.
	c.message.Scan(head, stored) //nolint:errcheck // as said
	matches := c.selector == nil || c.selector.Matches(c, &c.evaluation)
	for i := 0; i < len(c.conditions) && matches; i++ {
		matches = c.holds(&c.conditions[i])
	}
	c.item, c.message = nil, frame.Message{}
	return matches
}

// Property implements selector.Properties.
func (c *chosen) Property(name string) selector.Value {
	v, ok := c.message.Sections.ApplicationProperties.Map().Lookup(name)
	if !ok {
		return selector.Value{}
	}
	return operand(v)
}

// Header implements selector.Properties.
func (c *chosen) Header(h selector.Header) selector.Value {
	m, p := c.item.Message, &c.message.Properties
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
		return operand(p.MessageID)
	case selector.CorrelationID:
		return operand(p.CorrelationID)
	case selector.AbsoluteExpiryTime:
		return number(p.AbsoluteExpiryTime)
	case selector.CreationTime:
		return number(p.CreationTime)
	case selector.GroupSequence:
		return number(frame.Optional[int64]{Value: int64(p.GroupSequence.Value), Present: p.GroupSequence.Present})
	default:
		return written(c.text(h))
	}
	return selector.Value{}
}

// text is a header that is a string, a symbol or binary.
func (c *chosen) text(h selector.Header) []byte {
	p := &c.message.Properties
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
	return selector.String(string(b))
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
		return selector.String(string(b))
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
