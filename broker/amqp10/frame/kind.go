package frame

import "fmt"

// Kind is a primitive type. 1 §1.6
type Kind uint8

// The kinds.
const (
	KindNone Kind = iota // no type: a constructor that does not exist
	KindNull
	KindBoolean
	KindUbyte
	KindUshort
	KindUint
	KindUlong
	KindByte
	KindShort
	KindInt
	KindLong
	KindFloat
	KindDouble
	KindDecimal32
	KindDecimal64
	KindDecimal128
	KindChar
	KindTimestamp
	KindUUID
	KindBinary
	KindString
	KindSymbol
	KindList
	KindMap
	KindArray
)

var kindNames = [...]string{"none", "null", "boolean", "ubyte", "ushort", "uint", "ulong", "byte", "short", "int", "long", "float",
	"double", "decimal32", "decimal64", "decimal128", "char", "timestamp", "uuid", "binary", "string", "symbol", "list", "map", "array"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// The codes of the encodings. The upper four bits say how wide a value is: nothing, 1, 2, 4, 8 or 16 bytes, then by turns
// one and four bytes of length before variable ones, compounds and arrays. 1 §1.2
const (
	encDescribed  = 0x00
	encNull       = 0x40
	encTrue       = 0x41
	encFalse      = 0x42
	encUint0      = 0x43
	encUlong0     = 0x44
	encList0      = 0x45
	encUbyte      = 0x50
	encByte       = 0x51
	encSmallUint  = 0x52
	encSmallUlong = 0x53
	encSmallInt   = 0x54
	encSmallLong  = 0x55
	encBoolean    = 0x56
	encUshort     = 0x60
	encShort      = 0x61
	encUint       = 0x70
	encInt        = 0x71
	encFloat      = 0x72
	encChar       = 0x73
	encDecimal32  = 0x74
	encUlong      = 0x80
	encLong       = 0x81
	encDouble     = 0x82
	encTimestamp  = 0x83
	encDecimal64  = 0x84
	encDecimal128 = 0x94
	encUUID       = 0x98
	encBinary8    = 0xa0
	encString8    = 0xa1
	encSymbol8    = 0xa3
	encBinary32   = 0xb0
	encString32   = 0xb1
	encSymbol32   = 0xb3
	encList8      = 0xc0
	encMap8       = 0xc1
	encList32     = 0xd0
	encMap32      = 0xd1
	encArray8     = 0xe0
	encArray32    = 0xf0

	encLong32 = 0x10 // set in an encoding with four bytes of length, clear in its twin with one
)

var kinds = [256]Kind{
	encNull: KindNull, encTrue: KindBoolean, encFalse: KindBoolean, encBoolean: KindBoolean,
	encUbyte: KindUbyte, encUshort: KindUshort,
	encUint0: KindUint, encSmallUint: KindUint, encUint: KindUint,
	encUlong0: KindUlong, encSmallUlong: KindUlong, encUlong: KindUlong,
	encByte: KindByte, encShort: KindShort, encSmallInt: KindInt, encInt: KindInt, encSmallLong: KindLong, encLong: KindLong,
	encFloat: KindFloat, encDouble: KindDouble,
	encDecimal32: KindDecimal32, encDecimal64: KindDecimal64, encDecimal128: KindDecimal128,
	encChar: KindChar, encTimestamp: KindTimestamp, encUUID: KindUUID,
	encBinary8: KindBinary, encBinary32: KindBinary, encString8: KindString, encString32: KindString,
	encSymbol8: KindSymbol, encSymbol32: KindSymbol,
	encList0: KindList, encList8: KindList, encList32: KindList, encMap8: KindMap, encMap32: KindMap,
	encArray8: KindArray, encArray32: KindArray,
}

// variable is the width of encodings that say how long they are.
const variable = -1

var widths = [16]int8{4: 0, 5: 1, 6: 2, 7: 4, 8: 8, 9: 16,
	10: variable, 11: variable, 12: variable, 13: variable, 14: variable, 15: variable}

// width is how many bytes follow an encoding that exists.
func width(code byte) int { return int(widths[code>>4]) }

// lengthSize is how many bytes of length follow a variable encoding. Those of a compound have as many of count behind.
func lengthSize(code byte) int {
	if code&encLong32 == 0 {
		return 1
	}
	return 4
}
