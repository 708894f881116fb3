package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// Publish carries a message, both ways. [MQTT 3.1.1 §3.3] Topic, Properties and Payload alias the input of Decode, which
// allocates nothing.
type Publish struct {
	Dup        bool
	QoS        uint8
	Retain     bool
	Topic      []byte // empty only in MQTT 5, with a topic alias
	PacketID   uint16 // zero for QoS 0
	Properties Properties
	Payload    []byte

	// Known is a topic name that Decode found valid before and does not look at again. It is the caller's.
	Known []byte
}

// The flags of the fixed header. [MQTT 3.1.1 §3.3.1]
const (
	flagRetain = 1 << 0
	flagQoS    = 3 << 1
	flagDup    = 1 << 3

	qosShift = 1
)

// Decode reads the packet.
func (p *Publish) Decode(src []byte, v Version) error {
	c, flags := open(src, TypePublish, v)
	p.Dup, p.QoS, p.Retain = flags&flagDup != 0, flags&flagQoS>>qosShift, flags&flagRetain != 0
	switch {
	case p.QoS == 3:
		c.fail(MalformedPacket, "QoS is 3") // [MQTT-3.3.1-4]
	case p.Dup && p.QoS == 0 && v != V31:
		c.fail(MalformedPacket, "DUP with QoS 0") // [MQTT-3.3.1-2]
	}
	p.Topic = c.binary()
	p.PacketID = 0
	if p.QoS > 0 {
		p.PacketID = c.packetID() // [MQTT-2.3.1-5] is its absence with QoS 0
	}
	p.Properties = c.properties(TypePublish, v)
	if len(p.Topic) > 0 || v != V5 {
		if len(p.Topic) == 0 || !bytes.Equal(p.Topic, p.Known) {
			c.checkTopic(p.Topic)
		}
	} else if _, ok := p.Properties.Get(TopicAlias); !ok {
		c.fail(ProtocolError, "neither topic name nor topic alias") // [MQTT 5 §3.3.2.1]
	}
	p.Payload = c.src
	c.src = nil
	return c.end()
}

// checkTopic fails on what is not a topic name. [MQTT-3.3.2-1], [MQTT-4.7.3-1]
func (c *cursor) checkTopic(b []byte) {
	if c.err != nil {
		return
	}
	if len(b) == 0 {
		c.fail(TopicNameInvalid, "topic name is empty")
		return
	}
	ascii := true
	for _, x := range b {
		switch {
		case x >= utf8.RuneSelf:
			ascii = false
		case x == '+' || x == '#':
			c.fail(TopicNameInvalid, "topic name contains a wildcard") // [MQTT-3.3.2-2]
			return
		case x == 0:
			c.fail(MalformedPacket, "topic name contains U+0000") // [MQTT-4.7.3-2]
			return
		}
	}
	if !ascii && !utf8.Valid(b) {
		c.fail(MalformedPacket, "topic name is not UTF-8") // [MQTT-1.5.3-1]
	}
}

// Append writes the packet.
func (p *Publish) Append(dst []byte, v Version) []byte {
	dst = appendPublishHeader(dst, p.flags(), p.length(v))
	dst = appendBytes(dst, p.Topic)
	if p.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	}
	dst = appendProperties(dst, p.Properties, v)
	return append(dst, p.Payload...)
}

// AppendPublish writes a packet like Append does, with the topic as a string: deliveries need no Publish of their own.
func AppendPublish(dst []byte, v Version, flags PublishFlags, topic string, id uint16, properties Properties, payload []byte) []byte {
	n := 2 + len(topic) + len(payload)
	if flags.QoS > 0 {
		n += 2
	}
	if v == V5 {
		n += varintLen(len(properties)) + len(properties)
	}
	dst = appendPublishHeader(dst, flags.bits(), n)
	dst = appendBytes(dst, topic)
	if flags.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	dst = appendProperties(dst, properties, v)
	return append(dst, payload...)
}

// PublishFlags are the flags of a PUBLISH.
type PublishFlags struct {
	Dup    bool
	QoS    uint8
	Retain bool
}

func (f PublishFlags) bits() byte {
	b := f.QoS << qosShift
	if f.Retain {
		b |= flagRetain
	}
	if f.Dup && f.QoS > 0 { // [MQTT-3.3.1-2], [MQTT-4.3.1-1]
		b |= flagDup
	}
	return b
}

func appendPublishHeader(dst []byte, flags byte, length int) []byte {
	if length > maxVarint {
		panic("packet: remaining length over the protocol's maximum")
	}
	return appendVarint(append(dst, byte(TypePublish)<<4|flags), length)
}

func (p *Publish) flags() byte { return PublishFlags{Dup: p.Dup, QoS: p.QoS, Retain: p.Retain}.bits() }

func (p *Publish) length(v Version) int {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		n += varintLen(len(p.Properties)) + len(p.Properties)
	}
	return n
}

// Levels is how many levels a topic name or a filter has.
func Levels(topic []byte) int { return 1 + bytes.Count(topic, []byte{'/'}) }
