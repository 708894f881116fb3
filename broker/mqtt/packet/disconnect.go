package packet

// Disconnect is the last packet of a connection. [MQTT 3.1.1 §3.14] Before MQTT 5, only a client sends it, and it is
// empty. Properties alias the input of Decode.
type Disconnect reasoned

// Decode reads the packet.
func (p *Disconnect) Decode(src []byte, v Version) error {
	return (*reasoned)(p).decode(src, TypeDisconnect, v)
}

// Append writes the packet.
func (p *Disconnect) Append(dst []byte, v Version) []byte {
	return (*reasoned)(p).append(dst, TypeDisconnect, v)
}

// reasoned is the layout of DISCONNECT and AUTH in MQTT 5: a reason code and properties, which are left out from the
// back when they say nothing. [MQTT 5 §3.14.2, §3.15.2]
type reasoned struct {
	Reason     ReasonCode
	Properties Properties
}

func (p *reasoned) decode(src []byte, t Type, v Version) error {
	*p = reasoned{}
	c, _ := open(src, t, v)
	if v == V5 && len(c.src) > 0 {
		p.Reason = c.reason(t) // [MQTT5-3.14.2-1], [MQTT5-3.15.2-1]
	}
	if v == V5 && len(c.src) > 0 {
		p.Properties = c.properties(t, v)
	}
	return c.end()
}

func (p *reasoned) append(dst []byte, t Type, v Version) []byte {
	dst, at := begin(dst, t, 0)
	if v == V5 && (p.Reason != Success || len(p.Properties) > 0) {
		dst = append(dst, byte(p.Reason))
	}
	if v == V5 && len(p.Properties) > 0 {
		dst = appendProperties(dst, p.Properties, v)
	}
	return finish(dst, at)
}
