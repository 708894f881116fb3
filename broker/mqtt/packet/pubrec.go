package packet

// Pubrec answers PUBLISH with QoS 2. [MQTT 3.1.1 §3.5] Properties alias the input of Decode.
type Pubrec acknowledgement

// Decode reads the packet.
func (p *Pubrec) Decode(src []byte, v Version) error {
	return (*acknowledgement)(p).decode(src, TypePubrec, v)
}

// Append writes the packet.
func (p *Pubrec) Append(dst []byte, v Version) []byte {
	return (*acknowledgement)(p).append(dst, TypePubrec, 0, v)
}
