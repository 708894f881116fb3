package packet

import "encoding/binary"

// Unsubscribe ends subscriptions. [MQTT 3.1.1 §3.10] Properties alias the input of Decode.
type Unsubscribe struct {
	// Most is the limit of filters that Decode obeys; zero is none.
	Most int

	PacketID   uint16
	Properties Properties
	Filters    []string
}

// Decode reads the packet.
func (p *Unsubscribe) Decode(src []byte, v Version) error {
	*p = Unsubscribe{Most: p.Most}
	c, _ := open(src, TypeUnsubscribe, v)
	p.PacketID = c.packetID()
	p.Properties = c.properties(TypeUnsubscribe, v)
	for len(c.src) > 0 {
		if p.Most > 0 && len(p.Filters) == p.Most {
			return errorf(QuotaExceeded, "more than %d topic filters", p.Most)
		}
		p.Filters = append(p.Filters, string(c.text())) // [MQTT-3.10.3-1]
	}
	if len(p.Filters) == 0 {
		c.fail(ProtocolError, "no topic filter") // [MQTT-3.10.3-2]
	}
	return c.end()
}

// Append writes the packet.
func (p *Unsubscribe) Append(dst []byte, v Version) []byte {
	dst, at := begin(dst, TypeUnsubscribe, reservedFlags)
	dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	dst = appendProperties(dst, p.Properties, v)
	for _, f := range p.Filters {
		dst = appendBytes(dst, f)
	}
	return finish(dst, at)
}
