package packet

// Pubcomp answers PUBREL. [MQTT 3.1.1 §3.7] Properties alias the input of Decode.
type Pubcomp acknowledgement

// Decode reads the packet.
func (p *Pubcomp) Decode(src []byte, v Version) error {
	return (*acknowledgement)(p).decode(src, TypePubcomp, v)
}

// Append writes the packet.
func (p *Pubcomp) Append(dst []byte, v Version) []byte {
	return (*acknowledgement)(p).append(dst, TypePubcomp, 0, v)
}
