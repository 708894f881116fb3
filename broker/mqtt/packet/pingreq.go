package packet

// Pingreq asks for a Pingresp. [MQTT 3.1.1 §3.12]
type Pingreq struct{}

// Decode reads the packet.
func (*Pingreq) Decode(src []byte, v Version) error {
	c, _ := open(src, TypePingreq, v)
	return c.end()
}

// Append writes the packet.
func (*Pingreq) Append(dst []byte, _ Version) []byte { return append(dst, byte(TypePingreq)<<4, 0) }
