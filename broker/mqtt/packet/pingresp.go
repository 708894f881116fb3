package packet

// Pingresp answers Pingreq. [MQTT 3.1.1 §3.13]
type Pingresp struct{}

// Decode reads the packet.
func (*Pingresp) Decode(src []byte, v Version) error {
	c, _ := open(src, TypePingresp, v)
	return c.end()
}

// Append writes the packet.
func (*Pingresp) Append(dst []byte, _ Version) []byte { return append(dst, byte(TypePingresp)<<4, 0) }
