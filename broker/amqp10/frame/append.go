package frame

import (
	"encoding/binary"
	"math"
)

// The functions below write one value each, in the smallest encoding that holds it.

// AppendNull writes null.
func AppendNull(dst []byte) []byte { return append(dst, encNull) }

// AppendBool writes a boolean.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, encTrue)
	}
	return append(dst, encFalse)
}

// AppendUbyte writes a ubyte.
func AppendUbyte(dst []byte, v uint8) []byte { return append(dst, encUbyte, v) }

// AppendUshort writes a ushort.
func AppendUshort(dst []byte, v uint16) []byte {
	return binary.BigEndian.AppendUint16(append(dst, encUshort), v)
}

// AppendUint writes a uint.
func AppendUint(dst []byte, v uint32) []byte {
	switch {
	case v == 0:
		return append(dst, encUint0)
	case v <= math.MaxUint8:
		return append(dst, encSmallUint, byte(v))
	}
	return append(dst, encUint, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// AppendUlong writes a ulong.
func AppendUlong(dst []byte, v uint64) []byte {
	switch {
	case v == 0:
		return append(dst, encUlong0)
	case v <= math.MaxUint8:
		return append(dst, encSmallUlong, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(dst, encUlong), v)
}

// AppendByte writes a byte.
func AppendByte(dst []byte, v int8) []byte { return append(dst, encByte, byte(v)) }

// AppendShort writes a short.
func AppendShort(dst []byte, v int16) []byte {
	return binary.BigEndian.AppendUint16(append(dst, encShort), uint16(v))
}

// AppendInt writes an int.
func AppendInt(dst []byte, v int32) []byte {
	if v == int32(int8(v)) {
		return append(dst, encSmallInt, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(dst, encInt), uint32(v))
}

// AppendLong writes a long.
func AppendLong(dst []byte, v int64) []byte {
	if v == int64(int8(v)) {
		return append(dst, encSmallLong, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(dst, encLong), uint64(v))
}

// AppendFloat writes a float.
func AppendFloat(dst []byte, v float32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, encFloat), math.Float32bits(v))
}

// AppendDouble writes a double.
func AppendDouble(dst []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, encDouble), math.Float64bits(v))
}

// AppendDecimal32 writes a decimal32; see Value.Decimal.
func AppendDecimal32(dst []byte, v [4]byte) []byte { return append(append(dst, encDecimal32), v[:]...) }

// AppendDecimal64 writes a decimal64; see Value.Decimal.
func AppendDecimal64(dst []byte, v [8]byte) []byte { return append(append(dst, encDecimal64), v[:]...) }

// AppendDecimal128 writes a decimal128; see Value.Decimal.
func AppendDecimal128(dst []byte, v [16]byte) []byte {
	return append(append(dst, encDecimal128), v[:]...)
}

// AppendChar writes a char.
func AppendChar(dst []byte, v rune) []byte {
	return binary.BigEndian.AppendUint32(append(dst, encChar), uint32(v))
}

// AppendTimestamp writes a timestamp, milliseconds since 1970.
func AppendTimestamp(dst []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, encTimestamp), uint64(v))
}

// AppendUUID writes a uuid.
func AppendUUID(dst []byte, v [16]byte) []byte { return append(append(dst, encUUID), v[:]...) }

// AppendBinary writes a binary.
func AppendBinary[T string | []byte](dst []byte, v T) []byte {
	return appendVariable(dst, encBinary8, v)
}

// AppendString writes a string, which has to be UTF-8.
func AppendString[T string | []byte](dst []byte, v T) []byte {
	return appendVariable(dst, encString8, v)
}

// AppendSymbol writes a symbol, which has to be ASCII.
func AppendSymbol[T string | []byte](dst []byte, v T) []byte {
	return appendVariable(dst, encSymbol8, v)
}

func appendVariable[T string | []byte](dst []byte, code8 byte, v T) []byte {
	if len(v) <= math.MaxUint8 {
		return append(append(dst, code8, byte(len(v))), v...)
	}
	dst = binary.BigEndian.AppendUint32(append(dst, code8|encLong32), uint32(len(v)))
	return append(dst, v...)
}

// AppendDescriptor writes what makes the value that is written next a described one.
func AppendDescriptor(dst []byte, d Descriptor) []byte {
	if d <= math.MaxUint8 {
		return append(dst, encDescribed, encSmallUlong, byte(d)) // zero is none of a type
	}
	return AppendUlong(append(dst, encDescribed), uint64(d))
}

// AppendSymbolDescriptor does as AppendDescriptor for a type that is named by a symbol.
func AppendSymbolDescriptor(dst []byte, name string) []byte {
	return AppendSymbol(append(dst, encDescribed), name)
}

// AppendList writes a list.
func AppendList(dst []byte, l List) []byte {
	return appendCompound(dst, encList8, l)
}

// AppendMap writes a map.
func AppendMap(dst []byte, m Map) []byte {
	return appendCompound(dst, encMap8, m)
}

func appendCompound(dst []byte, code8 byte, content []byte) []byte {
	dst, at := beginCompound(dst)
	dst = append(dst, content...)
	count := 0
	for c := (cursor{src: content}); len(c.src) > 0; count++ {
		c.unchecked()
	}
	return endCompound(dst, at, code8, count)
}

// AppendArray writes an array of count elements that are written as constructor, the code with what describes it, says;
// content is what follows the code of each, one behind the other.
func AppendArray(dst, constructor []byte, count int, content []byte) []byte {
	dst, at := beginCompound(dst)
	dst = append(dst, constructor...)
	dst = append(dst, content...)
	return endCompound(dst, at, encArray8, count)
}

// AppendSymbols writes an array of symbols.
func AppendSymbols(dst []byte, symbols []string) []byte {
	code := byte(encSymbol8)
	for _, s := range symbols {
		if len(s) > math.MaxUint8 {
			code = encSymbol32
		}
	}
	dst, at := beginCompound(dst)
	dst = append(dst, code)
	for _, s := range symbols {
		if code == encSymbol8 {
			dst = append(dst, byte(len(s)))
		} else {
			dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
		}
		dst = append(dst, s...)
	}
	return endCompound(dst, at, encArray8, len(symbols))
}

const (
	compound8Header  = 3 // code, size, count
	compound32Header = 9
)

// beginCompound makes room for the header of a list, map or array, whose content the caller writes.
func beginCompound(dst []byte) (_ []byte, at int) {
	return append(dst, 0, 0, 0), len(dst)
}

// endCompound writes the header at dst[at]. Content that needs a larger one is moved.
func endCompound(dst []byte, at int, code8 byte, count int) []byte {
	size := len(dst) - at - compound8Header
	switch {
	case count == 0 && code8 == encList8:
		dst[at] = encList0
		return dst[:at+1]
	case size+1 <= math.MaxUint8 && count <= math.MaxUint8:
		dst[at], dst[at+1], dst[at+2] = code8, byte(size+1), byte(count)
		return dst
	}
	dst = append(dst, 0, 0, 0, 0, 0, 0)
	copy(dst[at+compound32Header:], dst[at+compound8Header:len(dst)-(compound32Header-compound8Header)])
	dst[at] = code8 | encLong32
	binary.BigEndian.PutUint32(dst[at+1:], uint32(size+4))
	binary.BigEndian.PutUint32(dst[at+5:], uint32(count))
	return dst
}
