package packet

// Auth is a step of enhanced authentication. [MQTT 5 §3.15] Properties alias the input of Decode.
type Auth reasoned

// Decode reads the packet.
func (p *Auth) Decode(src []byte, v Version) error {
	if v != V5 {
		return errorf(ProtocolError, "AUTH is a packet of MQTT 5")
	}
	return (*reasoned)(p).decode(src, TypeAuth, v)
}

// Append writes the packet.
func (p *Auth) Append(dst []byte, v Version) []byte { return (*reasoned)(p).append(dst, TypeAuth, v) }
