package frame

import (
	"bytes"
	"encoding/binary"
)

// fewKeys is up to how many keys of a map are compared with one another; more are put into a Go map.
const fewKeys = 16

// distinct says whether the keys of a well-formed map differ. Keys are equal when type and value are, whatever the
// encoding; lists, maps and arrays as keys only when they are encoded in the same way.
func distinct(m Map, count uint32) bool {
	if count > fewKeys {
		return distinctMany(m, count)
	}
	var keys [fewKeys]Value
	n := 0
	for c := (cursor{src: m}); len(c.src) > 0; n++ {
		k := c.unchecked()
		c.unchecked()
		for _, other := range keys[:n] {
			if same(k, other) {
				return false
			}
		}
		keys[n] = k
	}
	return true
}

func distinctMany(m Map, count uint32) bool {
	seen := make(map[string]struct{}, count)
	var name []byte
	for k := range m.All() {
		name = appendCanonical(name[:0], k)
		if _, twice := seen[string(name)]; twice {
			return false
		}
		seen[string(name)] = struct{}{}
	}
	return true
}

// same compares two values as keys.
func same(a, b Value) bool {
	if a.Kind() != b.Kind() || a.Described() != b.Described() {
		return false
	}
	if !a.Described() {
		if x, ok := a.Bytes(); ok {
			y, _ := b.Bytes()
			return bytes.Equal(x, y)
		}
	}
	var x, y [64]byte // what is longer allocates
	return bytes.Equal(appendCanonical(x[:0], a), appendCanonical(y[:0], b))
}

// appendCanonical writes a value so that equal values are equal bytes.
func appendCanonical(dst []byte, v Value) []byte {
	for ; v.Described(); v = v.Plain() {
		dst = appendCanonical(append(dst, encDescribed), v.Descriptor())
	}
	dst = append(dst, byte(v.Kind()))
	if b, ok := v.Bool(); ok {
		return append(dst, bit(b))
	}
	if n, ok := v.Uint(); ok {
		return binary.BigEndian.AppendUint64(dst, n)
	}
	if n, ok := v.Int(); ok {
		return binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	if b, ok := v.Bytes(); ok {
		return append(binary.BigEndian.AppendUint32(dst, uint32(len(b))), b...)
	}
	return append(append(dst, v.code()), v.body...)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}
