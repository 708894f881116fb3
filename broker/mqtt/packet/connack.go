package packet

// Connack answers CONNECT. [MQTT 3.1.1 §3.2]
type Connack struct {
	SessionPresent bool
	Reason         ReasonCode
	Properties     Properties
}

const connackSessionPresent = 1

// returnCodes are the reasons that versions before 5 can give, by their return code. [MQTT 3.1.1 §3.2.2.3]
var returnCodes = [...]ReasonCode{Success, UnsupportedVersion, ClientIDNotValid, ServerUnavailable, BadUserNameOrPassword, NotAuthorized}

// returnCode is the nearest return code of versions before 5; there is one for every reason. [MQTT-3.2.2-6]
func returnCode(r ReasonCode) byte {
	for code, reason := range returnCodes {
		if reason == r {
			return byte(code)
		}
	}
	switch r {
	case Banned, BadAuthenticationMethod:
		return returnCode(NotAuthorized)
	}
	return returnCode(ServerUnavailable)
}

// Decode reads the packet.
func (p *Connack) Decode(src []byte, v Version) error {
	*p = Connack{}
	c, _ := open(src, TypeConnack, v)
	flags := c.octet()
	if flags&^connackSessionPresent != 0 {
		c.fail(MalformedPacket, "reserved acknowledge flags are set") // [MQTT5-3.2.2-1]
	}
	p.SessionPresent = flags&connackSessionPresent != 0
	if v == V5 {
		p.Reason = c.reason(TypeConnack) // [MQTT5-3.2.2-8]
	} else if code := c.octet(); int(code) < len(returnCodes) {
		p.Reason = returnCodes[code]
	} else {
		c.fail(MalformedPacket, "return code is unknown")
	}
	p.Properties = c.properties(TypeConnack, v)
	return c.end()
}

// Append writes the packet. Before MQTT 5, the reason is the nearest return code.
func (p *Connack) Append(dst []byte, v Version) []byte {
	dst, at := begin(dst, TypeConnack, 0)
	var flags byte
	if p.SessionPresent && p.Reason == Success && v != V31 { // [MQTT-3.2.2-4]; 3.1 has no such flag
		flags = connackSessionPresent
	}
	reason := byte(p.Reason)
	if v != V5 {
		reason = returnCode(p.Reason)
	}
	dst = append(dst, flags, reason)
	return finish(appendProperties(dst, p.Properties, v), at)
}
