package packet

import "encoding/binary"

// acknowledgement is the one layout of PUBACK, PUBREC, PUBREL and PUBCOMP. [MQTT 3.1.1 §3.4 to §3.7] Version 5 adds a
// reason code, left out when it and the properties say nothing, and properties, left out when there are none.
type acknowledgement struct {
	PacketID   uint16
	Reason     ReasonCode
	Properties Properties
}

func (p *acknowledgement) decode(src []byte, t Type, v Version) error {
	c, _ := open(src, t, v)
	p.PacketID, p.Reason, p.Properties = c.packetID(), Success, nil
	if v == V5 && len(c.src) > 0 {
		p.Reason = c.reason(t) // [MQTT5-3.4.2-1], [MQTT5-3.5.2-1], [MQTT5-3.6.2-1], [MQTT5-3.7.2-1]
	}
	if v == V5 && len(c.src) > 0 {
		p.Properties = c.properties(t, v)
	}
	return c.end()
}

func (p *acknowledgement) append(dst []byte, t Type, flags byte, v Version) []byte {
	dst, at := begin(dst, t, flags)
	dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	if v == V5 && (p.Reason != Success || len(p.Properties) > 0) {
		dst = append(dst, byte(p.Reason))
	}
	if v == V5 && len(p.Properties) > 0 {
		dst = appendProperties(dst, p.Properties, v)
	}
	return finish(dst, at)
}
