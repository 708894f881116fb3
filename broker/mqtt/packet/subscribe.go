package packet

import "encoding/binary"

// Subscribe asks for subscriptions. [MQTT 3.1.1 §3.8] Properties alias the input of Decode.
type Subscribe struct {
	// Most is the limit of filters that Decode obeys; zero is none.
	Most int

	PacketID      uint16
	Properties    Properties
	Subscriptions []Subscription
}

// Subscription is a topic filter and how its messages are wanted. Filters are strings, not yet known to be valid filters.
type Subscription struct {
	Filter            string
	QoS               uint8
	NoLocal           bool  // MQTT 5, as what follows
	RetainAsPublished bool  //
	RetainHandling    uint8 // 0: send retained messages; 1: if the subscription is new; 2: never
}

// The subscription options. [MQTT 5 §3.8.3.1] Before version 5, there is the QoS alone.
const (
	optionQoS            = 3 << 0
	optionNoLocal        = 1 << 2
	optionAsPublished    = 1 << 3
	optionRetainHandling = 3 << 4
	optionReserved       = 3 << 6

	handlingShift = 4
)

// Decode reads the packet.
func (p *Subscribe) Decode(src []byte, v Version) error {
	*p = Subscribe{Most: p.Most}
	c, _ := open(src, TypeSubscribe, v)
	p.PacketID = c.packetID()
	p.Properties = c.properties(TypeSubscribe, v)
	for len(c.src) > 0 {
		if p.Most > 0 && len(p.Subscriptions) == p.Most {
			return errorf(QuotaExceeded, "more than %d topic filters", p.Most)
		}
		filter := string(c.text()) // [MQTT-3.8.3-1]
		if s := c.subscription(filter, v); c.err == nil {
			p.Subscriptions = append(p.Subscriptions, s)
		}
	}
	if len(p.Subscriptions) == 0 {
		c.fail(ProtocolError, "no topic filter") // [MQTT-3.8.3-3]
	}
	return c.end()
}

func (c *cursor) subscription(filter string, v Version) Subscription {
	o := c.octet()
	reserved := byte(optionReserved)
	if v != V5 {
		reserved = ^byte(optionQoS)
	}
	s := Subscription{
		Filter:            filter,
		QoS:               o & optionQoS,
		NoLocal:           o&optionNoLocal != 0,
		RetainAsPublished: o&optionAsPublished != 0,
		RetainHandling:    o & optionRetainHandling >> handlingShift,
	}
	switch {
	case o&reserved != 0 || s.QoS == 3:
		c.fail(MalformedPacket, "subscription options are malformed") // [MQTT-3.8.3-4]
	case s.RetainHandling == 3:
		c.fail(ProtocolError, "retain handling is 3") // [MQTT 5 §3.8.3.1]
	}
	return s
}

// Append writes the packet.
func (p *Subscribe) Append(dst []byte, v Version) []byte {
	dst, at := begin(dst, TypeSubscribe, reservedFlags)
	dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	dst = appendProperties(dst, p.Properties, v)
	for _, s := range p.Subscriptions {
		dst = append(appendBytes(dst, s.Filter), s.options(v))
	}
	return finish(dst, at)
}

func (s Subscription) options(v Version) byte {
	o := s.QoS
	if v != V5 {
		return o
	}
	if s.NoLocal {
		o |= optionNoLocal
	}
	if s.RetainAsPublished {
		o |= optionAsPublished
	}
	return o | s.RetainHandling<<handlingShift
}
