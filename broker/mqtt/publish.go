package mqtt

import (
	"bytes"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/router"
)

// handlePublish adds a message to the batch. Nothing is copied and nothing allocated: the hub copies what it keeps.
func (c *connection) handlePublish(frame []byte) error {
	c.startPublishing()
	p := &c.publish
	c.published++
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	m := &c.message // which would be allocated for each packet otherwise
	*m = message.Message{
		Encoding: message.MQTT, QoS: p.QoS, Durable: p.QoS > 0, Retain: p.Retain,
		Publisher: c.clientID, Payload: p.Payload,
	}
	if c.version == packet.V5 {
		if err := c.extend(p, m); err != nil {
			return err
		}
	}
	routed := 0
	wait, topic, err := cutDelay(p.Topic)
	if p.Topic = topic; err == nil {
		err = c.check(p, m)
	}
	if p.QoS > 0 {
		c.token++
	}
	if err == nil {
		routed, err = c.route(p, m, wait)
	}
	return c.answer(p, routed, err)
}

// incoming is what a connection needs to take messages from its client; one that only listens has none of it. Owned by the
// reader, but for acknowledging.
type incoming struct {
	publisher  *hub.Publisher
	publish    packet.Publish
	last       *hub.Route         // where publish.Known leads, the topic that was published to last
	topics     [][]byte           // by topic alias
	published  uint64             // PUBLISH packets of the buffer
	attributes mapping.Attributes // of the PUBLISH at hand
	message    message.Message    // likewise
	token      uint64             // of the last PUBLISH with QoS 1 or 2
	completed  []ack              // PUBCOMPs that PUBRELs since the last flush ask for

	acknowledging acknowledging
}

// startPublishing makes incoming if it is not there.
func (c *connection) startPublishing() {
	if c.incoming == nil {
		c.incoming = &incoming{publisher: c.host.NewPublisher(hub.PublisherOptions{
			Access: c.access, Origin: c.origin, Encoding: message.MQTT, Confirmed: c.confirmed, Ended: c.end.Done(),
			Pace: c.endpoint.hub.NewPace(hub.PaceOptions{Access: c.access, Losable: c.losable}),
		})}
	}
}

// extend takes what only version 5 says of a message. The properties that are for others stay with it, in their order.
// [MQTT5-3.3.2-4], [MQTT5-3.3.2-15 to 18, 20]
func (c *connection) extend(p *packet.Publish, m *message.Message) error {
	if c.acknowledging.waiting(p.QoS) >= c.limits.InFlight { // [MQTT5-3.3.4-7]
		return &packet.Error{Code: packet.ReceiveMaximumExceeded, Text: fmt.Sprintf("more than %d messages wait for their acknowledgement", c.limits.InFlight)}
	}
	if len(p.Properties) == 0 {
		return nil
	}
	var err error
	m.Properties = p.Properties.Keep(func(id packet.PropertyID, v packet.Value) bool {
		switch id {
		case packet.TopicAlias:
			err = c.follow(p, int(v.Number))
		case packet.MessageExpiry:
			m.Expiry = time.Now().UnixMilli() + 1000*int64(v.Number)
		case packet.SubscriptionID:
			err = protocolError("subscription identifier from a client") // [MQTT5-3.3.4-6]
		default:
			return true
		}
		return false
	})
	return err
}

// follow obeys a topic alias: it names the topic, or stands for it. [MQTT5-3.3.2-7 to 12]
func (c *connection) follow(p *packet.Publish, alias int) error {
	if alias > c.limits.TopicAliases { // [MQTT5-3.2.2-17], [MQTT5-3.3.2-9]
		return &packet.Error{Code: packet.TopicAliasInvalid, Text: fmt.Sprintf("topic alias %d is more than %d", alias, c.limits.TopicAliases)}
	}
	for len(c.topics) <= alias && len(p.Topic) > 0 {
		c.topics = append(c.topics, nil)
	}
	if len(p.Topic) > 0 {
		c.topics[alias] = append(c.topics[alias][:0], p.Topic...)
		return nil
	}
	if alias >= len(c.topics) || len(c.topics[alias]) == 0 {
		return protocolError(fmt.Sprintf("topic alias %d was not set", alias))
	}
	p.Topic = c.topics[alias]
	return nil
}

// check says why a message may not be published, whatever its topic.
func (c *connection) check(p *packet.Publish, m *message.Message) error {
	if n := packet.Levels(p.Topic); n > c.limits.TopicLevels {
		return &packet.Error{Code: packet.TopicNameInvalid, Text: fmt.Sprintf("topic name has %d levels, more than %d", n, c.limits.TopicLevels)}
	}
	if int64(len(p.Payload)) > c.limits.MessageBytes {
		return &packet.Error{Code: packet.QuotaExceeded, Text: fmt.Sprintf("payload of %d bytes is more than %d", len(p.Payload), c.limits.MessageBytes)}
	}
	if len(m.Properties) > 0 && packet.Properties(m.Properties).Number(packet.PayloadFormat, 0) == 1 && !utf8.Valid(p.Payload) {
		return &packet.Error{Code: packet.PayloadFormatInvalid, Text: "payload is said to be UTF-8 and is not"}
	}
	return nil
}

// route hands the message to the publisher, to go on after a while if it is to wait.
func (c *connection) route(p *packet.Publish, m *message.Message, wait time.Duration) (routed int, err error) {
	route, err := c.find(p.Topic)
	if err != nil {
		return 0, err
	}
	m.Exchange, m.Key = route.Exchange, route.Key
	if wait > 0 {
		c.publisher.Postpone(wait)
	}
	var a router.Attributes
	if len(m.Properties) > 0 {
		c.attributes.Properties = packet.Properties(m.Properties)
		a = &c.attributes
	}
	switch p.QoS {
	case 0:
		return c.publisher.Publish(route, m, a, 0)
	case 1:
		return c.publisher.Publish(route, m, a, c.token) // a new message each time [MQTT5-4.3.2-5]
	}
	for _, id := range c.acknowledging.takeVoid() { // before the client uses one of them again
		c.session.Complete([]uint16{id}, func(error) {})
	}
	return c.publisher.PublishOnce(route, m, a, c.token, c.session, p.PacketID) // [MQTT-4.3.3-2], [MQTT5-4.3.3-10]
}

// find is where a topic leads. Clients publish to the same topic again and again: for the last one there is no lookup, and
// its name is not checked again.
func (c *connection) find(topic []byte) (r *hub.Route, err error) {
	if last := c.publish.Known; len(last) > 0 && bytes.Equal(topic, last) {
		c.last, err = c.publisher.Again(c.last)
		return c.last, err
	}
	c.publish.Known = c.publish.Known[:0]
	if r, err = c.publisher.Route(c.exchange, topic); err == nil {
		c.last, c.publish.Known = r, append(c.publish.Known, topic...)
	}
	return r, err
}

// losable says that a message over a rate may be dropped: with QoS 0 nobody asks, and version 5 is told.
func (c *connection) losable(m *message.Message) bool { return m.QoS == 0 || c.version == packet.V5 }

// answer sees to the acknowledgement of a message. One that may not be published ends the connections of versions that
// cannot say so; version 5 says it, and drops it with QoS 0. [MQTT-3.3.5-2]
func (c *connection) answer(p *packet.Publish, routed int, err error) error {
	if err != nil {
		switch code := hub.CodeOf(err); {
		case code == hub.TooFast && p.QoS == 0:
			return nil // dropped, and counted
		case code == hub.Excess, c.version != packet.V5:
			return err
		}
	}
	if p.QoS == 0 {
		if err != nil {
			c.endpoint.stats.Denied.Add(1)
		}
		return nil
	}
	a := ack{id: p.PacketID, kind: packet.TypePuback}
	if p.QoS == 2 {
		a.kind = packet.TypePubrec
	}
	switch {
	case err != nil:
		c.endpoint.stats.Denied.Add(1)
		c.publisher.Refuse(c.token, err)
	case routed == 0:
		a.reason = c.reason(packet.NoMatchingSubscribers)
	}
	c.acknowledging.expect(a)
	return nil
}

// confirmed is the publisher's callback: messages up to a token are where they belong. Versions before 5 cannot be told
// that a queue refused a message; it is not acknowledged, and the connection ends.
func (c *connection) confirmed(done hub.Confirmation) {
	refused := done.Refused
	if len(refused) > 0 && c.version != packet.V5 {
		c.out.Append(func(dst []byte) []byte { return c.acknowledging.append(dst, refused[0].Token-1, true, nil) })
		c.Stop(fmt.Errorf("message was not taken: %w", refused[0].Err))
		return
	}
	c.out.Append(func(dst []byte) []byte {
		for _, r := range refused {
			dst = c.acknowledging.append(dst, r.Token-1, false, nil)
			dst = c.acknowledging.append(dst, r.Token, false, c.refused(r.Err))
		}
		return c.acknowledging.append(dst, done.UpTo, false, nil)
	})
}

// refused writes the acknowledgement of a message that was refused.
func (c *connection) refused(err error) func(dst []byte, a ack) []byte {
	return func(dst []byte, a ack) []byte {
		reason, text := publishReason(err), c.fitting(c.reasonText(err, false), 0)
		if a.kind == packet.TypePubrec {
			return (&packet.Pubrec{PacketID: a.id, Reason: reason, Properties: text}).Append(dst, packet.V5)
		}
		return (&packet.Puback{PacketID: a.id, Reason: reason, Properties: text}).Append(dst, packet.V5)
	}
}

// handlePubrel ends the exchange of a message of QoS 2. [MQTT-4.3.3-2], [MQTT5-4.3.3-11]
func (c *connection) handlePubrel(frame []byte) error {
	c.startPublishing()
	var p packet.Pubrel
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	a := ack{id: p.PacketID, kind: packet.TypePubcomp}
	if !c.session.Took(p.PacketID) {
		a.reason = c.reason(packet.PacketIDNotFound)
	}
	c.completed = append(c.completed, a)
	return nil
}

// finishReceived sends PUBCOMP for what the client released, when that is durable: the client may then use the
// identifiers for other messages. What became of the messages makes no difference. [MQTT5-4.3.3-12], [MQTT5-4.3.3-13]
func (c *connection) finishReceived() {
	due := append([]ack(nil), c.completed...)
	ids := make([]uint16, len(due))
	for i, a := range due {
		ids[i] = a.id
	}
	c.completed = c.completed[:0]
	c.session.Complete(ids, func(err error) {
		if err != nil {
			c.Stop(err)
			return
		}
		c.acknowledging.completed(len(due))
		c.out.Append(func(dst []byte) []byte {
			for _, a := range due {
				dst = appendAck(dst, a.kind, a.id, a.reason)
			}
			return dst
		})
	})
}
