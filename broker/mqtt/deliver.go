package mqtt

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// outgoing is what the encoding of deliveries needs to know, and the deliveries that are not complete.
type outgoing struct {
	most int // bytes of the largest packet that the client takes; zero is any. Set by CONNECT

	mu        sync.Mutex
	inflight  inflight   // guarded by mu
	aliases   aliases    // guarded by mu
	selection *selection // guarded by mu; nil while no subscription says how its deliveries are to be marked
	scratch   packet.Properties
	tooLarge  []uint64 // guarded by mu; tags of deliveries that the client does not take
}

// aliases are the topic aliases of one direction. Those of the broker go to the topics that come first and stay with them.
type aliases struct {
	most  int // how many the client takes; zero is none
	given map[string]uint16
}

// fits says whether the client takes a packet of so many bytes.
func (o *outgoing) fits(bytes int) bool { return o.most == 0 || bytes <= o.most }

// of is the alias of a topic, zero for none; known says that the client has been told.
func (a *aliases) of(topic string) (alias uint16, known bool) {
	if a.most == 0 {
		return 0, false
	}
	if alias, known = a.given[topic]; known || len(a.given) >= a.most {
		return alias, known
	}
	if a.given == nil {
		a.given = make(map[string]uint16)
	}
	alias = uint16(len(a.given) + 1) // [MQTT5-3.1.2-26], [MQTT5-3.3.2-11]
	a.given[topic] = alias
	return alias, false
}

// Deliver encodes deliveries into the outbox. Those of QoS 0 are dropped when there is no room, or no CONNACK yet; the
// others come only when there is: the hub holds back after a false.
func (c *connection) Deliver(_ *hub.Consumer, ds []queue.Delivery) bool {
	skip := !c.Live() || c.out.Full()
	dropped := uint64(0)
	o := &c.outgoing
	o.mu.Lock()
	c.out.Append(func(dst []byte) []byte {
		for i := range ds {
			if ds[i].Tag == 0 && skip {
				dropped++
				continue
			}
			dst = c.appendDelivery(dst, &ds[i])
		}
		return dst
	})
	c.endpoint.stats.PublishesOut.Add(uint64(len(ds)) - dropped)
	c.endpoint.stats.PacketsOut.Add(uint64(len(ds)) - dropped)
	late := o.tooLarge
	o.tooLarge = nil
	o.mu.Unlock()
	if dropped > 0 {
		c.endpoint.stats.Dropped.Add(dropped)
	}
	if len(late) > 0 {
		c.tasks.Go(func() { c.session.Settle(queue.Accept, rangesOf(late)...) }) // ends at once: the hub must not be called here
	}
	return !c.out.Full()
}

// appendDelivery writes the PUBLISH of a delivery, or the PUBREL of one that the client has; outgoing is locked. They come
// in the order in which they were published. [MQTT-4.6.0-1]
func (c *connection) appendDelivery(dst []byte, d *queue.Delivery) []byte {
	o := &c.outgoing
	if d.Received {
		return appendAck(dst, packet.TypePubrel, o.inflight.add(d.ID, d.Tag, awaitsPubcomp), packet.Success) // [MQTT-4.4.0-1]
	}
	f := packet.PublishFlags{Retain: d.Retained} // [MQTT-3.3.1-8], [MQTT-3.3.1-9]
	var id uint16
	if d.Tag != 0 {
		state := awaitsPuback
		if d.QoS == 2 {
			state = awaitsPubrec
		}
		f.QoS, f.Dup = d.QoS, d.Returned // [MQTT-3.3.1-1], [MQTT-3.3.1-3], [MQTT5-4.3.2-2], [MQTT5-4.3.3-2]
		id = o.inflight.add(d.ID, d.Tag, state)
	}
	at := len(dst)
	dst = c.appendMessage(dst, f, id, d.Message, d.Shared)
	if len(dst) == at && id != 0 {
		o.tooLarge = append(o.tooLarge, o.inflight.take(id))
	}
	return dst
}

// appendMessage writes a PUBLISH, or nothing when the client does not take one that is so large; outgoing is locked. The
// key of a message of another protocol is a topic name [MQTT-3.3.2-2]: the router passes over others for the filters of
// MQTT. Shared says that it comes by a shared subscription.
func (c *connection) appendMessage(dst []byte, f packet.PublishFlags, id uint16, m *message.Message, shared bool) []byte {
	if c.version != packet.V5 {
		return packet.AppendPublish(dst, c.version, f, m.Topic(), id, nil, mapping.Payload(m))
	}
	o := &c.outgoing
	at, given := len(dst), len(o.aliases.given)
	if dst = c.appendExtended(dst, f, id, m, shared); o.fits(len(dst) - at) {
		return dst
	}
	c.endpoint.stats.TooLarge.Add(1) // [MQTT5-3.1.2-24], [MQTT5-3.1.2-25]
	if len(o.aliases.given) > given {
		delete(o.aliases.given, m.Topic()) // the client was not told
	}
	return dst[:at]
}

// appendExtended writes a PUBLISH of version 5, whatever its size; outgoing is locked.
func (c *connection) appendExtended(dst []byte, f packet.PublishFlags, id uint16, m *message.Message, shared bool) []byte {
	o := &c.outgoing
	topic := m.Topic()
	alias, known := o.aliases.of(topic)
	if alias == 0 && o.selection == nil && m.Encoding == message.MQTT && m.Expiry == 0 {
		return packet.AppendPublish(dst, c.version, f, topic, id, packet.Properties(m.Properties), m.Payload) // [MQTT5-3.3.2-17], [MQTT5-3.3.2-18]
	}
	p := o.scratch[:0]
	if alias != 0 {
		p = p.AppendNumber(packet.TopicAlias, uint32(alias))
	}
	if m.Expiry != 0 { // [MQTT5-3.3.2-6]
		p = p.AppendNumber(packet.MessageExpiry, secondsLeft(m.Expiry))
	}
	if o.selection != nil {
		s := o.selection.find(selectionKey{topic: topic, shared: shared, own: m.Origin == c.origin})
		p = append(p, s.ids...)                          // [MQTT5-3.3.4-3], [MQTT5-3.3.4-4], [MQTT5-3.3.4-5]
		f.Retain = f.Retain || s.asPublished && m.Retain // [MQTT5-3.3.1-13]
	}
	if p = mapping.AppendMQTT(p, m); known {
		topic = ""
	}
	o.scratch = p
	return packet.AppendPublish(dst, c.version, f, topic, id, p, mapping.Payload(m))
}

// secondsLeft until a time in milliseconds since 1970, rounded up: what is still delivered is wanted for a moment.
func secondsLeft(expiry int64) uint32 {
	left := max(expiry-time.Now().UnixMilli(), 1)
	return uint32((left + 999) / 1000)
}

// appendAck writes PUBACK, PUBREC, PUBREL or PUBCOMP without properties. Only those of version 5 have a reason.
func appendAck(dst []byte, t packet.Type, id uint16, r packet.ReasonCode) []byte {
	flags := byte(0)
	if t == packet.TypePubrel {
		flags = 2 // [MQTT-3.6.1-1]
	}
	if r == packet.Success {
		return binary.BigEndian.AppendUint16(append(dst, byte(t)<<4|flags, 2), id)
	}
	return append(binary.BigEndian.AppendUint16(append(dst, byte(t)<<4|flags, 3), id), byte(r))
}
