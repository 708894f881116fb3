package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// cursor reads fields from the front of src and remembers the first error, after which everything reads as zero. What it
// answers aliases src.
type cursor struct {
	src []byte
	err *Error
}

// fail notes an error unless there is one already.
func (c *cursor) fail(code ReasonCode, text string) {
	if c.err == nil {
		c.err = &Error{Code: code, Text: text}
	}
	c.src = nil
}

func (c *cursor) short() { c.fail(MalformedPacket, "packet is cut short") }

func (c *cursor) octet() byte {
	if len(c.src) < 1 {
		c.short()
		return 0
	}
	b := c.src[0]
	c.src = c.src[1:]
	return b
}

func (c *cursor) uint16() uint16 {
	if len(c.src) < 2 {
		c.short()
		return 0
	}
	n := binary.BigEndian.Uint16(c.src)
	c.src = c.src[2:]
	return n
}

func (c *cursor) uint32() uint32 {
	if len(c.src) < 4 {
		c.short()
		return 0
	}
	n := binary.BigEndian.Uint32(c.src)
	c.src = c.src[4:]
	return n
}

// varint reads a variable byte integer, which must be as short as it can be. [MQTT5-1.5.5-1]
func (c *cursor) varint() int {
	v, n := varint(c.src)
	if n < 0 || n != varintLen(v) {
		c.fail(MalformedPacket, "variable byte integer is malformed")
		return 0
	}
	c.src = c.src[n:]
	return v
}

func (c *cursor) take(n int) []byte {
	if n > len(c.src) {
		c.short()
		return nil
	}
	b := c.src[:n:n]
	c.src = c.src[n:]
	return b
}

// binary reads two bytes of length and that many bytes.
func (c *cursor) binary() []byte { return c.take(int(c.uint16())) }

// text reads a string of valid UTF-8 without U+0000, of which nothing is taken away. [MQTT-1.5.3-1 to 3]
func (c *cursor) text() []byte {
	b := c.binary()
	if !validText(b) {
		c.fail(MalformedPacket, "string is not UTF-8, or contains U+0000")
		return nil
	}
	return b
}

func validText(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

// packetID reads a packet identifier, which is never zero. [MQTT-2.3.1-1]
func (c *cursor) packetID() uint16 {
	id := c.uint16()
	if id == 0 {
		c.fail(ProtocolError, "packet identifier is zero")
	}
	return id
}

// end answers the first error; bytes that are left over are one.
func (c *cursor) end() error {
	if c.err == nil && len(c.src) > 0 {
		c.fail(MalformedPacket, "packet has bytes after its last field")
	}
	if c.err != nil {
		return c.err
	}
	return nil
}

func appendBytes[T string | []byte](dst []byte, b T) []byte {
	if len(b) > maxText {
		panic("packet: string over the protocol's maximum")
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(b)))
	return append(dst, b...)
}
