package frame

import (
	"encoding/binary"
	"unicode/utf8"
)

// cursor reads fields one after the other. After the first field that is not there it reads zeros, and end tells.
type cursor struct {
	src  []byte
	bits byte
	err  error
}

func (c *cursor) fail(what string) {
	if c.err == nil {
		c.err = errorf(SyntaxError, "%s is cut short", what)
		c.src = nil
	}
}

// end says whether the fields were all there and nothing is left.
func (c *cursor) end() error {
	if c.err == nil && len(c.src) > 0 {
		return errorf(SyntaxError, "%d bytes follow the last field", len(c.src))
	}
	return c.err
}

func (c *cursor) take(n int, what string) []byte {
	if n < 0 || n > len(c.src) { // n is negative only where int has 32 bits
		c.fail(what)
		return nil
	}
	b := c.src[:n:n]
	c.src = c.src[n:]
	return b
}

func (c *cursor) octet() uint8 {
	if len(c.src) < 1 {
		c.fail("octet")
		return 0
	}
	v := c.src[0]
	c.src = c.src[1:]
	return v
}

func (c *cursor) short() uint16 {
	if len(c.src) < 2 {
		c.fail("short")
		return 0
	}
	v := binary.BigEndian.Uint16(c.src)
	c.src = c.src[2:]
	return v
}

func (c *cursor) long() uint32 {
	if len(c.src) < 4 {
		c.fail("long")
		return 0
	}
	v := binary.BigEndian.Uint32(c.src)
	c.src = c.src[4:]
	return v
}

func (c *cursor) longLong() uint64 {
	if len(c.src) < 8 {
		c.fail("longlong")
		return 0
	}
	v := binary.BigEndian.Uint64(c.src)
	c.src = c.src[8:]
	return v
}

func (c *cursor) shortBytes() []byte  { return c.take(int(c.octet()), "short string") }
func (c *cursor) shortString() string { return string(c.shortBytes()) }
func (c *cursor) longBytes() []byte   { return c.take(int(c.long()), "long string") }
func (c *cursor) table() Table        { return Table(c.take(int(c.long()), "table")) }

// longestShort is what the length octet of a short string can say.
const longestShort = 255

// Shorten cuts a string of UTF-8 to what a short string holds, and not through a character.
func Shorten(s string) string {
	if len(s) <= longestShort {
		return s
	}
	n := longestShort
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func appendShort[T string | []byte](dst []byte, s T) []byte {
	if len(s) > longestShort {
		s = s[:longestShort]
	}
	dst = append(dst, byte(len(s)))
	return append(dst, s...)
}

func appendLong[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}
