package frame

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
)

// Value is one value of any type, still encoded, and known to be well formed and within limits: it was read by this
// package. It aliases what it was read from. The zero Value is null. What kind of value it is, Kind tells, and the
// accessors, which say whether they fit.
type Value struct {
	ctor []byte // see cursor.constructor
	body []byte // see cursor.skip
}

// ReadValue reads the value that src begins with, and answers its length. The error is a *Fault with the scope of a link.
func ReadValue(src []byte, l Limits) (v Value, n int, err error) {
	c := cursor{src: src, left: l, scope: ScopeLink}
	v = c.value()
	if c.err != nil {
		return Value{}, 0, c.err
	}
	return v, len(src) - len(c.src), nil
}

// Append writes the value as it was read.
func (v Value) Append(dst []byte) []byte {
	if len(v.ctor) == 0 {
		return append(dst, encNull)
	}
	return append(append(dst, v.ctor...), v.body...)
}

// Size is how many bytes the value has as it was read.
func (v Value) Size() int { return max(len(v.ctor)+len(v.body), 1) }

func (v Value) code() byte {
	if len(v.ctor) == 0 {
		return encNull
	}
	return v.ctor[len(v.ctor)-1]
}

// Kind is the type of the value, or of what is described.
func (v Value) Kind() Kind { return kinds[v.code()] }

// IsNull says whether there is nothing.
func (v Value) IsNull() bool { return v.code() == encNull }

// Described says whether the value has a descriptor. Accessors read what is described.
func (v Value) Described() bool { return len(v.ctor) > 0 && v.ctor[0] == encDescribed }

// Descriptor is the ulong or symbol that describes the value; null if none does.
func (v Value) Descriptor() Value {
	if !v.Described() {
		return Value{}
	}
	c := cursor{src: v.ctor[1:]}
	return c.descriptor()
}

// Type is the descriptor as a number. Those of the specification may be spelled as symbols. Zero for others, and for what
// is not described.
func (v Value) Type() Descriptor {
	return number(v.Descriptor())
}

func number(d Value) Descriptor {
	if n, ok := d.Uint(); ok {
		return Descriptor(n)
	}
	symbol, _ := d.Bytes()
	return symbols[string(symbol)]
}

// Plain is the value without its outermost descriptor.
func (v Value) Plain() Value {
	if !v.Described() {
		return v
	}
	c := cursor{src: v.ctor[1:]}
	c.descriptor()
	return Value{ctor: c.src, body: v.body}
}

// Bool is the value of a boolean.
func (v Value) Bool() (b, ok bool) {
	switch v.code() {
	case encTrue:
		return true, true
	case encFalse:
		return false, true
	case encBoolean:
		return v.body[0] != 0, true
	}
	return false, false
}

// Uint is the value of a ubyte, ushort, uint or ulong.
func (v Value) Uint() (n uint64, ok bool) {
	switch v.code() {
	case encUint0, encUlong0:
		return 0, true
	case encUbyte, encSmallUint, encSmallUlong:
		return uint64(v.body[0]), true
	case encUshort:
		return uint64(binary.BigEndian.Uint16(v.body)), true
	case encUint:
		return uint64(binary.BigEndian.Uint32(v.body)), true
	case encUlong:
		return binary.BigEndian.Uint64(v.body), true
	}
	return 0, false
}

// Int is the value of a byte, short, int, long, or the milliseconds since 1970 of a timestamp.
func (v Value) Int() (n int64, ok bool) {
	switch v.code() {
	case encByte, encSmallInt, encSmallLong:
		return int64(int8(v.body[0])), true
	case encShort:
		return int64(int16(binary.BigEndian.Uint16(v.body))), true
	case encInt:
		return int64(int32(binary.BigEndian.Uint32(v.body))), true
	case encLong, encTimestamp:
		return int64(binary.BigEndian.Uint64(v.body)), true
	}
	return 0, false
}

// Float is the value of a float or double.
func (v Value) Float() (f float64, ok bool) {
	switch v.code() {
	case encFloat:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(v.body))), true
	case encDouble:
		return math.Float64frombits(binary.BigEndian.Uint64(v.body)), true
	}
	return 0, false
}

// Char is the value of a char.
func (v Value) Char() (r rune, ok bool) {
	if v.code() != encChar {
		return 0, false
	}
	return rune(binary.BigEndian.Uint32(v.body)), true
}

// UUID is the value of a uuid.
func (v Value) UUID() (id [16]byte, ok bool) {
	if v.code() != encUUID {
		return id, false
	}
	return [16]byte(v.body), true
}

// Decimal is the bytes of a decimal32, decimal64 or decimal128: IEEE 754, binary integer decimal encoding. 1 §1.6.13
func (v Value) Decimal() (b []byte, ok bool) {
	switch v.Kind() {
	case KindDecimal32, KindDecimal64, KindDecimal128:
		return v.body, true
	}
	return nil, false
}

// Bytes is what a binary, string or symbol holds.
func (v Value) Bytes() (b []byte, ok bool) {
	switch v.Kind() {
	case KindBinary, KindString, KindSymbol:
		return v.body[lengthSize(v.code()):], true
	}
	return nil, false
}

// List is the value of a list.
func (v Value) List() (l List, ok bool) {
	if v.Kind() != KindList {
		return nil, false
	}
	_, content, _ := counted(v.code(), v.body)
	return List(content), true
}

// Map is the value of a map.
func (v Value) Map() (m Map, ok bool) {
	if v.Kind() != KindMap {
		return nil, false
	}
	_, content, _ := counted(v.code(), v.body)
	return Map(content), true
}

// Len is how many elements an array, list or map has; those of a map are keys and values.
func (v Value) Len() int {
	switch v.Kind() {
	case KindList, KindMap, KindArray:
		count, _, _ := counted(v.code(), v.body)
		return int(count)
	}
	return 0
}

// Elements yields the elements of a list or an array; none of anything else.
func (v Value) Elements() iter.Seq[Value] {
	switch v.Kind() {
	case KindList:
		l, _ := v.List()
		return l.All()
	case KindArray:
		return v.array
	}
	return func(func(Value) bool) {}
}

func (v Value) array(yield func(Value) bool) {
	count, content, _ := counted(v.code(), v.body)
	c := cursor{src: content}
	ctor, _ := c.constructor()
	if c.err != nil {
		return
	}
	for range count {
		w := Value{ctor: ctor, body: c.skip(ctor[len(ctor)-1])}
		if c.err != nil || !yield(w) {
			return
		}
	}
}

// unchecked reads a value whose inside was checked before, or will never be looked at.
func (c *cursor) unchecked() Value {
	ctor, _ := c.constructor()
	if c.err != nil {
		return Value{}
	}
	return Value{ctor: ctor, body: c.skip(ctor[len(ctor)-1])}
}

// List is the elements of a list, one encoded value after the other, without size and count. One is written by appending
// values to it. Bytes that came from elsewhere are not one before ReadValue has seen them. Nil is an absent list where that
// differs from an empty one.
type List []byte

// All yields the elements; it ends at the first that is malformed.
func (l List) All() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		for c := (cursor{src: l}); len(c.src) > 0; {
			v := c.unchecked()
			if c.err != nil || !yield(v) {
				return
			}
		}
	}
}

// Map is the entries of a map, by turns an encoded key and an encoded value, without size and count. One is written by
// appending values to it, as a List is. Nil is an absent map where that differs from an empty one.
type Map []byte

// All yields the entries in their order; it ends at the first that is malformed.
func (m Map) All() iter.Seq2[Value, Value] {
	return func(yield func(k, v Value) bool) {
		for c := (cursor{src: m}); len(c.src) > 0; {
			k, v := c.unchecked(), c.unchecked()
			if c.err != nil || !yield(k, v) {
				return
			}
		}
	}
}

// Lookup finds the value of a key that is a symbol or a string.
func (m Map) Lookup(key string) (Value, bool) {
	for k, v := range m.All() {
		if b, ok := k.Bytes(); ok && k.Kind() != KindBinary && string(b) == key && !k.Described() {
			return v, true
		}
	}
	return Value{}, false
}

// spelled is a descriptor as text.
func (v Value) spelled() string {
	if n, ok := v.Uint(); ok {
		return fmt.Sprintf("%#x", n)
	}
	b, _ := v.Bytes()
	return fmt.Sprintf("%q", b)
}
