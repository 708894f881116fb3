package amqp091

import (
	"bytes"
	"math"
	"strconv"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/message"
)

// content is a message whose frames are arriving behind its method, the channel's last: header, bodies. §4.2.6
//
// What arrived within one read aliases the read buffer, and a message that did so as a whole is never copied here.
// detach copies what must outlive the read. A body of several frames is put together in a buffer that grows with it.
type content struct {
	step       step
	listed     bool // in the connection's begun
	properties frame.Properties
	size       uint64
	body       []byte // what arrived of a body in several frames; owned
}

type step uint8

const (
	nothing step = iota
	header
	body
)

func (c *content) awaited() bool { return c.step != nothing }

func (c *content) next() string {
	if c.step == header {
		return "header for class 60"
	}
	return "body"
}

func (c *content) reset() { *c = content{listed: c.listed} }

// detach makes what arrived so far independent of the read buffer.
func (c *content) detach() {
	c.listed = false
	if c.step == nothing {
		return
	}
	c.properties = bytes.Clone(c.properties)
}

// publish takes a basic.publish, whose content follows.
func (ch *channel) publish(f frame.Frame) error {
	if err := ch.last.learn(f); err != nil {
		return err
	}
	ch.content.step = header
	ch.begin()
	return nil
}

// begin notes that the content must be detached when the read is over.
func (ch *channel) begin() {
	if !ch.content.listed {
		ch.content.listed = true
		ch.conn.begun = append(ch.conn.begun, ch)
	}
}

func (ch *channel) contentHeader(payload []byte) error {
	c := &ch.content
	if c.step != header {
		return errorf(frame.UnexpectedFrame, "content header, but no method before it has content")
	}
	var h frame.ContentHeader
	if err := h.Decode(payload); err != nil {
		return err
	}
	if h.Class != frame.ClassBasic {
		return errorf(frame.UnexpectedFrame, "expected content header for class 60, got one for class %d instead", h.Class)
	}
	if most := ch.conn.config.Limits.MessageBytes; h.BodySize > uint64(most) {
		return &Error{Code: frame.PreconditionFailed, Text: "message size " + strconv.FormatUint(h.BodySize, 10) + " is larger than configured max size " + strconv.FormatInt(most, 10), Method: frame.BasicPublishID}
	}
	c.properties, c.size, c.step = h.Properties, h.BodySize, body
	if c.size == 0 {
		return ch.complete(nil, false)
	}
	ch.begin()
	return nil
}

// firstBody is what a body in several frames begins with; it grows as it arrives.
const firstBody = 64 << 10

func (ch *channel) contentBody(payload []byte) error {
	c := &ch.content
	missing := c.size - uint64(len(c.body))
	switch {
	case c.step != body:
		return errorf(frame.UnexpectedFrame, "content body, but no content header before it")
	case uint64(len(payload)) > missing:
		return errorf(frame.FrameError, "content body of %d bytes where %d are missing", len(payload), missing)
	case len(c.body) == 0 && uint64(len(payload)) == c.size:
		return ch.complete(payload, false)
	}
	if need := len(c.body) + len(payload); need > cap(c.body) {
		room := min(c.size, uint64(max(2*need, firstBody)))
		c.body = append(make([]byte, 0, room), c.body...)
	}
	if c.body = append(c.body, payload...); uint64(len(c.body)) == c.size {
		return ch.complete(c.body, true)
	}
	ch.begin()
	return nil
}

// complete publishes the message that is there as a whole; owned says that payload is not in the read buffer.
func (ch *channel) complete(payload []byte, owned bool) error {
	properties := ch.content.properties
	ch.content.reset()
	if err := ch.publishMessage(properties, payload, owned); err != nil {
		return toError(err, frame.BasicPublishID)
	}
	return nil
}

// publishMessage publishes a message with the channel's last method.
func (ch *channel) publishMessage(p frame.Properties, payload []byte, owned bool) error {
	s := &ch.attributes.Summary
	if err := p.Scan(ch.conn.tableLimits(), s); err != nil {
		return err
	}
	also, blind, err := moreKeys(s.Headers)
	if err != nil {
		return err
	}
	if blind {
		p = without(p, headerBCC)
	}
	r, err := ch.route(also)
	if err != nil {
		return err
	}
	if s.UserID != nil && string(s.UserID) != ch.conn.access.User() {
		return errorf(frame.PreconditionFailed, "user_id property set to '%s' but authenticated user was '%s'", s.UserID, ch.conn.access.User())
	}
	if string(s.ReplyTo) == replyTo {
		if p, err = ch.withReplyQueue(p); err != nil {
			return err
		}
	}
	m := &ch.message
	m.Exchange, m.Key, m.Encoding, m.Priority = r.Exchange, r.Key, message.AMQP091, s.Priority
	m.Properties, m.Payload, m.Owned = p, payload, false
	m.Durable, m.QoS, m.Expiry = false, 0, 0
	if s.DeliveryMode == frame.Persistent {
		m.Durable, m.QoS = true, 1
	}
	if s.Expiration != nil {
		if m.Expiry, err = expiry(s.Expiration); err != nil {
			return err
		}
	}
	if owned {
		m.Owned, m.Properties = true, bytes.Clone(p)
	}
	var token uint64
	if ch.confirming {
		ch.published++
		token = ch.published
	}
	if !ch.conn.sends.Load() {
		ch.conn.sends.Store(true)
	}
	ch.touch()
	routed, err := ch.publisher.Publish(r, m, &ch.attributes, token)
	if hub.CodeOf(err) == hub.TooFast { // dropped, and counted
		if ch.confirming {
			ch.publisher.Refuse(token, err)
		}
		return nil
	}
	if err == nil && routed == 0 && ch.last.method.Mandatory {
		ch.returnMessage(m)
	}
	return err
}

// losable says that a message over a rate may be dropped: its publisher gets a nack, or does not ask. What a transaction
// publishes is committed as a whole.
func (c *connection) losable(*message.Message) bool { return c.current.transaction == nil }

// expiry is when a message with this expiration property is no longer wanted: milliseconds, as a number in text.
func expiry(expiration []byte) (int64, error) {
	ms, err := strconv.ParseUint(string(expiration), 10, 64)
	if err != nil || ms > math.MaxUint32 {
		return 0, errorf(frame.PreconditionFailed, "invalid expiration '%s': not a number of milliseconds from 0 to %d", expiration, uint32(math.MaxUint32))
	}
	return time.Now().UnixMilli() + int64(ms), nil
}

// returnMessage returns a mandatory message that went to no queue. The confirm follows with the flush, so it comes later.
func (ch *channel) returnMessage(m *message.Message) {
	method := frame.BasicReturn{ReplyCode: uint16(frame.NoRoute), ReplyText: frame.NoRoute.String(), Exchange: m.Exchange, RoutingKey: m.Key}
	ch.conn.out.Append(func(dst []byte) []byte {
		dst = frame.AppendMethod(dst, ch.number, &method)
		return frame.AppendContent(dst, ch.number, frame.Properties(m.Properties), m.Payload, ch.conn.frameMax)
	})
}

// confirm is the publisher's callback: it turns a range of tokens into as few methods as there can be.
func (ch *channel) confirm(c hub.Confirmation) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.closed {
		return
	}
	ch.conn.out.Append(func(dst []byte) []byte {
		for _, r := range c.Refused {
			dst = ch.appendAck(dst, r.Token-1)
			dst = frame.AppendMethod(dst, ch.number, &frame.BasicNack{DeliveryTag: r.Token})
			ch.confirmed = r.Token
		}
		return ch.appendAck(dst, c.UpTo)
	})
}

// appendAck confirms everything up to a token that was not confirmed before.
func (ch *channel) appendAck(dst []byte, upTo uint64) []byte {
	if upTo <= ch.confirmed {
		return dst
	}
	m := frame.BasicAck{DeliveryTag: upTo, Multiple: upTo > ch.confirmed+1}
	ch.confirmed = upTo
	return frame.AppendAck(dst, ch.number, &m)
}
