package packet

import "encoding/binary"

// Suback answers SUBSCRIBE with a reason for each filter: the granted QoS, or an error. [MQTT 3.1.1 §3.9] Properties
// alias the input of Decode.
type Suback struct {
	PacketID   uint16
	Properties Properties
	Reasons    []ReasonCode
}

// Decode reads the packet.
func (p *Suback) Decode(src []byte, v Version) error {
	*p = Suback{}
	c, _ := open(src, TypeSuback, v)
	p.PacketID = c.packetID()
	p.Properties = c.properties(TypeSuback, v)
	for len(c.src) > 0 {
		if v == V5 {
			p.Reasons = append(p.Reasons, c.reason(TypeSuback))
			continue
		}
		r := ReasonCode(c.octet())
		if r > GrantedQoS2 && r != Failure {
			c.fail(MalformedPacket, "return code is unknown")
		}
		p.Reasons = append(p.Reasons, r)
	}
	return c.end()
}

// Append writes the packet. Before MQTT 5, every error is 0x80. [MQTT-3.9.3-2]
func (p *Suback) Append(dst []byte, v Version) []byte {
	dst, at := begin(dst, TypeSuback, 0)
	dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	dst = appendProperties(dst, p.Properties, v)
	for _, r := range p.Reasons {
		if v != V5 {
			r = min(r, Failure)
		}
		dst = append(dst, byte(r))
	}
	return finish(dst, at)
}
