package packet

// Puback answers PUBLISH with QoS 1. [MQTT 3.1.1 §3.4] Properties alias the input of Decode.
type Puback acknowledgement

// Decode reads the packet.
func (p *Puback) Decode(src []byte, v Version) error {
	return (*acknowledgement)(p).decode(src, TypePuback, v)
}

// Append writes the packet.
func (p *Puback) Append(dst []byte, v Version) []byte {
	return (*acknowledgement)(p).append(dst, TypePuback, 0, v)
}
