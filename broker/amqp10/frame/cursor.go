package frame

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// Limits bound what is read. The bytes are bounded by the frame or message that they came in.
type Limits struct {
	Depth    int // of lists, maps, arrays and descriptors inside one another; a field without such has depth 0
	Elements int // of all lists, maps (a key is one, its value another) and arrays, nested ones included
}

// unlimited is for what was read before, within limits.
var unlimited = Limits{Depth: math.MaxInt, Elements: math.MaxInt}

// cursor reads values from the front of src. After the first error src is empty, and reads answer zeros. What it answers
// aliases src.
type cursor struct {
	src   []byte
	left  Limits // what may still come
	scope Scope  // of errors
	err   *Fault
}

// fail notes an error unless there is one already.
func (c *cursor) fail(condition Condition, format string, args ...any) {
	if c.err == nil {
		c.err = faultf(c.scope, condition, format, args...)
	}
	c.src = nil
}

func (c *cursor) short(k Kind) { c.fail(DecodeError, "%s is cut short", k) }

// end answers the first error; bytes that are left over are one.
func (c *cursor) end() error {
	if c.err == nil && len(c.src) > 0 {
		c.fail(DecodeError, "%d bytes follow the last value", len(c.src))
	}
	if c.err != nil {
		return c.err
	}
	return nil
}

// noOctet notes that src is empty. It is apart, so that octet is inlined.
func (c *cursor) noOctet() byte {
	c.fail(DecodeError, "a value is cut short")
	return 0
}

func (c *cursor) octet() byte {
	if len(c.src) == 0 {
		return c.noOctet()
	}
	b := c.src[0]
	c.src = c.src[1:]
	return b
}

// constructor reads what says how a value is encoded: descriptors, if it is described, and the code. It answers all of it,
// and how many descriptors there are. 1 §1.2
//
//	+------+------------+------+
//	| 0x00 | descriptor | code |   or the code alone
//	+------+------------+------+
func (c *cursor) constructor() (ctor []byte, described int) {
	start := c.src
	for {
		switch code := c.octet(); {
		case c.err != nil:
			return nil, 0
		case code == encDescribed:
			described++
			c.descriptor()
		case kinds[code] == KindNone:
			c.fail(DecodeError, "there is no encoding %#02x", code)
			return nil, 0
		default:
			n := len(start) - len(c.src)
			return start[:n:n], described
		}
	}
}

// descriptor reads what follows the 0x00 of a described value. Others than ulong and symbol are reserved; without them
// descriptors cannot nest. 1 §1.5
func (c *cursor) descriptor() Value {
	start := c.src
	code := c.octet()
	if k := kinds[code]; c.err == nil && k != KindUlong && k != KindSymbol {
		c.fail(DecodeError, "a descriptor of encoding %#02x is neither ulong nor symbol", code)
	}
	if c.err != nil {
		return Value{}
	}
	body := c.body(code)
	if c.err != nil {
		return Value{}
	}
	return Value{ctor: start[:1:1], body: body}
}

// skip reads what follows the code of a value, without a look into it: length and count belong to it.
func (c *cursor) skip(code byte) []byte {
	n := width(code)
	if n == variable {
		size := lengthSize(code)
		if len(c.src) < size {
			c.short(kinds[code])
			return nil
		}
		n = size + int(c.src[0])
		if size == 4 {
			length := binary.BigEndian.Uint32(c.src)
			if uint64(length) > uint64(len(c.src)) {
				c.short(kinds[code])
				return nil
			}
			n = size + int(length)
		}
	}
	if n > len(c.src) {
		c.short(kinds[code])
		return nil
	}
	b := c.src[:n:n]
	c.src = c.src[n:]
	return b
}

// body reads what follows the code of a value, and checks everything in it.
func (c *cursor) body(code byte) []byte {
	body := c.skip(code)
	if c.err != nil {
		return nil
	}
	switch kinds[code] {
	case KindBoolean:
		if code == encBoolean && body[0] > 1 {
			c.fail(DecodeError, "boolean is %#02x", body[0])
		}
	case KindChar:
		if r := binary.BigEndian.Uint32(body); r > utf8.MaxRune || !utf8.ValidRune(rune(r)) {
			c.fail(DecodeError, "char is %#x, which Unicode has not", r)
		}
	case KindString:
		if !utf8.Valid(body[lengthSize(code):]) {
			c.fail(DecodeError, "string is not UTF-8")
		}
	case KindSymbol:
		if !ascii(body[lengthSize(code):]) {
			c.fail(DecodeError, "symbol is not ASCII")
		}
	case KindList, KindMap, KindArray:
		c.compound(code, body)
	}
	return body
}

func ascii(b []byte) bool {
	for _, x := range b {
		if x >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// value reads a value and checks everything in it.
func (c *cursor) value() Value {
	ctor, described := c.constructor()
	if c.err != nil || !c.enter(described) {
		return Value{}
	}
	v := Value{ctor: ctor, body: c.body(ctor[len(ctor)-1])}
	c.left.Depth += described
	if c.err != nil {
		return Value{}
	}
	return v
}

// enter goes down some levels.
func (c *cursor) enter(levels int) bool {
	if c.left.Depth -= levels; c.left.Depth < 0 {
		c.fail(ResourceLimitExceeded, "values are nested too deeply")
		return false
	}
	return true
}

// counted splits the body of a list, map or array into the count and what follows it.
func counted(code byte, body []byte) (count uint32, content []byte, ok bool) {
	switch size := lengthSize(code); {
	case code == encList0:
		return 0, body, true
	case len(body) < 2*size:
		return 0, nil, false
	case size == 1:
		return uint32(body[1]), body[2:], true
	}
	return binary.BigEndian.Uint32(body[4:]), body[8:], true
}

// compound checks the body of a list, map or array. The count is only believed as far as the limits and the bytes go.
func (c *cursor) compound(code byte, body []byte) {
	kind := kinds[code]
	count, content, ok := counted(code, body)
	if !ok {
		c.short(kind)
		return
	}
	if !c.enter(1) || !c.elements(count) {
		return
	}
	rest := c.src
	c.src = content
	switch {
	case kind == KindArray:
		c.array(count)
	case kind == KindMap && count%2 != 0:
		c.fail(DecodeError, "map has a key without a value") // 1 §1.6.23
	default:
		for i := uint32(0); i < count && c.err == nil; i++ {
			c.value()
		}
	}
	if c.err == nil && len(c.src) > 0 {
		c.fail(DecodeError, "%s has %d bytes after its last element", kind, len(c.src))
	}
	if kind == KindMap && c.err == nil && !distinct(Map(content), count/2) {
		c.fail(DecodeError, "map has a key twice") // 1 §1.6.23
	}
	if c.err == nil {
		c.src = rest
	}
	c.left.Depth++
}

// elements takes a count from the limit.
func (c *cursor) elements(count uint32) bool {
	if uint64(count) > uint64(c.left.Elements) {
		c.fail(ResourceLimitExceeded, "there are too many elements in lists, maps and arrays")
		return false
	}
	c.left.Elements -= int(count)
	return true
}

// array checks what follows the count of an array. 1 §1.2.4
//
//	+-------------+---------+---------+
//	| constructor | element | element | …
//	+-------------+---------+---------+
func (c *cursor) array(count uint32) {
	ctor, described := c.constructor()
	if c.err != nil || !c.enter(described) {
		return
	}
	code := ctor[len(ctor)-1]
	if width(code) == 0 {
		count = min(count, 1) // elements without bytes are all alike
	}
	for i := uint32(0); i < count && c.err == nil; i++ {
		c.body(code)
	}
	c.left.Depth += described
}
