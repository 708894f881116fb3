package packet

import "encoding/binary"

// Unsuback answers UNSUBSCRIBE, in MQTT 5 with a reason for each filter. [MQTT 3.1.1 §3.11] Properties alias the input of
// Decode.
type Unsuback struct {
	PacketID   uint16
	Properties Properties
	Reasons    []ReasonCode // MQTT 5
}

// Decode reads the packet.
func (p *Unsuback) Decode(src []byte, v Version) error {
	*p = Unsuback{}
	c, _ := open(src, TypeUnsuback, v)
	p.PacketID = c.packetID()
	p.Properties = c.properties(TypeUnsuback, v)
	for v == V5 && len(c.src) > 0 {
		p.Reasons = append(p.Reasons, c.reason(TypeUnsuback)) // [MQTT5-3.11.3-2]
	}
	return c.end()
}

// Append writes the packet.
func (p *Unsuback) Append(dst []byte, v Version) []byte {
	dst, at := begin(dst, TypeUnsuback, 0)
	dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	dst = appendProperties(dst, p.Properties, v)
	for _, r := range p.Reasons {
		if v == V5 {
			dst = append(dst, byte(r))
		}
	}
	return finish(dst, at)
}
