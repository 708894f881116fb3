package packet

// Pubrel answers PUBREC. [MQTT 3.1.1 §3.6] Properties alias the input of Decode.
type Pubrel acknowledgement

// Decode reads the packet.
func (p *Pubrel) Decode(src []byte, v Version) error {
	return (*acknowledgement)(p).decode(src, TypePubrel, v)
}

// Append writes the packet.
func (p *Pubrel) Append(dst []byte, v Version) []byte {
	return (*acknowledgement)(p).append(dst, TypePubrel, reservedFlags, v)
}
