package packet

import "encoding/binary"

// Connect is the first packet of a client. [MQTT 3.1.1 §3.1] The version that Decode and Append are given does not
// matter: the packet says its own. Byte slices alias the input of Decode.
type Connect struct {
	Version    Version
	CleanStart bool   // Clean Session before MQTT 5
	KeepAlive  uint16 // seconds; zero is none
	Properties Properties
	ClientID   string
	Will       *Will
	Username   []byte // UTF-8; nil when absent
	Password   []byte // nil when absent
}

// Will is the message that the server publishes when the connection ends without DISCONNECT.
type Will struct {
	QoS        uint8
	Retain     bool
	Properties Properties
	Topic      string
	Payload    []byte
}

// The connect flags. [MQTT 3.1.1 §3.1.2.3]
const (
	connectReserved   = 1 << 0
	connectClean      = 1 << 1
	connectWill       = 1 << 2
	connectWillQoS    = 3 << 3
	connectWillRetain = 1 << 5
	connectPassword   = 1 << 6
	connectUsername   = 1 << 7

	willQoSShift = 3
)

const (
	protocolName   = "MQTT"
	protocolName31 = "MQIsdp"
)

// Decode reads the packet, whose payload has its fields in this order. [MQTT-3.1.3-1] When the error is
// UnsupportedVersion, Version is what the client asked for.
func (p *Connect) Decode(src []byte, _ Version) error {
	*p = Connect{}
	c, _ := open(src, TypeConnect, V311)
	name := string(c.text())
	p.Version = Version(c.octet())
	switch {
	case c.err != nil:
	case name != protocolName && name != protocolName31:
		c.fail(MalformedPacket, "protocol name is not MQTT") // [MQTT-3.1.2-1]
	case name == protocolName && p.Version != V311 && p.Version != V5, name == protocolName31 && p.Version != V31:
		c.fail(UnsupportedVersion, "protocol level is unknown") // [MQTT-3.1.2-2]
	case p.Version == V5: // whose fixed header is looked at closer
		if again, _ := open(src, TypeConnect, V5); again.err != nil {
			c.fail(again.err.Code, again.err.Text)
		}
	}
	flags := c.octet()
	c.connectFlags(flags, p.Version)
	p.CleanStart = flags&connectClean != 0
	p.KeepAlive = c.uint16()
	p.Properties = c.properties(TypeConnect, p.Version)
	p.ClientID = string(c.text()) // [MQTT-3.1.3-3], [MQTT-3.1.3-4]
	if flags&connectWill != 0 && c.err == nil {
		p.Will = c.will(flags, p.Version) // [MQTT-3.1.2-9]
	}
	if flags&connectUsername != 0 { // [MQTT-3.1.2-18], [MQTT-3.1.2-19]
		p.Username = c.text() // [MQTT-3.1.3-11]
	}
	if flags&connectPassword != 0 { // [MQTT-3.1.2-20], [MQTT-3.1.2-21]
		p.Password = c.binary()
	}
	if _, ok := p.Properties.Get(AuthData); ok {
		if _, ok := p.Properties.Get(AuthMethod); !ok {
			c.fail(ProtocolError, "authentication data without a method") // [MQTT 5 §3.1.2.11.10]
		}
	}
	return c.end()
}

func (c *cursor) connectFlags(flags byte, v Version) {
	if c.err != nil {
		return
	}
	switch {
	case flags&connectReserved != 0:
		c.fail(MalformedPacket, "reserved connect flag is set") // [MQTT-3.1.2-3]
	case flags&connectWill == 0 && flags&(connectWillQoS|connectWillRetain) != 0:
		c.fail(MalformedPacket, "will flags without a will") // [MQTT-3.1.2-11], [MQTT-3.1.2-13], [MQTT-3.1.2-15]
	case flags&connectWillQoS == connectWillQoS:
		c.fail(MalformedPacket, "will QoS is 3") // [MQTT-3.1.2-14]
	case v != V5 && flags&connectPassword != 0 && flags&connectUsername == 0:
		c.fail(MalformedPacket, "password without a user name") // [MQTT-3.1.2-22]
	}
}

func (c *cursor) will(flags byte, v Version) *Will {
	w := &Will{
		QoS:        flags & connectWillQoS >> willQoSShift,
		Retain:     flags&connectWillRetain != 0,
		Properties: c.properties(placeWill, v),
	}
	topic := c.text() // [MQTT-3.1.3-10]
	c.checkTopic(topic)
	w.Topic = string(topic)
	w.Payload = c.binary()
	return w
}

// Append writes the packet.
func (p *Connect) Append(dst []byte, _ Version) []byte {
	dst, at := begin(dst, TypeConnect, 0)
	name := protocolName
	if p.Version == V31 {
		name = protocolName31
	}
	dst = appendBytes(dst, name)
	dst = append(dst, byte(p.Version), p.flags())
	dst = binary.BigEndian.AppendUint16(dst, p.KeepAlive)
	dst = appendProperties(dst, p.Properties, p.Version)
	dst = appendBytes(dst, p.ClientID)
	if w := p.Will; w != nil {
		dst = appendProperties(dst, w.Properties, p.Version)
		dst = appendBytes(dst, w.Topic)
		dst = appendBytes(dst, w.Payload)
	}
	if p.Username != nil {
		dst = appendBytes(dst, p.Username)
	}
	if p.Password != nil {
		dst = appendBytes(dst, p.Password)
	}
	return finish(dst, at)
}

func (p *Connect) flags() (f byte) {
	if p.CleanStart {
		f |= connectClean
	}
	if w := p.Will; w != nil {
		f |= connectWill | w.QoS<<willQoSShift
		if w.Retain {
			f |= connectWillRetain
		}
	}
	if p.Username != nil {
		f |= connectUsername
	}
	if p.Password != nil {
		f |= connectPassword
	}
	return f
}
