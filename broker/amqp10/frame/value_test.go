package frame_test

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// text is 256 bytes, one more than the short encodings hold.
var text = strings.Repeat("0123456789abcdef", 16)

const textHex = "30313233343536373839616263646566"

// encodings has every encoding of 1 §1.2 with its value; write is nil where a smaller one is written.
var encodings = []struct {
	name, bytes string
	kind        frame.Kind
	want        any
	write       func([]byte) []byte
}{
	{"null", "40", frame.KindNull, nil, frame.AppendNull},
	{"true", "41", frame.KindBoolean, true, func(b []byte) []byte { return frame.AppendBool(b, true) }},
	{"false", "42", frame.KindBoolean, false, func(b []byte) []byte { return frame.AppendBool(b, false) }},
	{"boolean true", "56 01", frame.KindBoolean, true, nil},
	{"boolean false", "56 00", frame.KindBoolean, false, nil},
	{"ubyte", "50 ff", frame.KindUbyte, uint64(255), func(b []byte) []byte { return frame.AppendUbyte(b, 255) }},
	{"ushort", "60 ff01", frame.KindUshort, uint64(0xff01), func(b []byte) []byte { return frame.AppendUshort(b, 0xff01) }},
	{"uint0", "43", frame.KindUint, uint64(0), func(b []byte) []byte { return frame.AppendUint(b, 0) }},
	{"smalluint", "52 ff", frame.KindUint, uint64(255), func(b []byte) []byte { return frame.AppendUint(b, 255) }},
	{"uint", "70 00000100", frame.KindUint, uint64(256), func(b []byte) []byte { return frame.AppendUint(b, 256) }},
	{"uint, largest", "70 ffffffff", frame.KindUint, uint64(math.MaxUint32), func(b []byte) []byte { return frame.AppendUint(b, math.MaxUint32) }},
	{"uint, larger than needed", "70 00000001", frame.KindUint, uint64(1), nil},
	{"ulong0", "44", frame.KindUlong, uint64(0), func(b []byte) []byte { return frame.AppendUlong(b, 0) }},
	{"smallulong", "53 ff", frame.KindUlong, uint64(255), func(b []byte) []byte { return frame.AppendUlong(b, 255) }},
	{"ulong", "80 0000000000000100", frame.KindUlong, uint64(256), func(b []byte) []byte { return frame.AppendUlong(b, 256) }},
	{"ulong, largest", "80 ffffffffffffffff", frame.KindUlong, uint64(math.MaxUint64), func(b []byte) []byte { return frame.AppendUlong(b, math.MaxUint64) }},
	{"byte", "51 80", frame.KindByte, int64(-128), func(b []byte) []byte { return frame.AppendByte(b, -128) }},
	{"short", "61 8000", frame.KindShort, int64(-32768), func(b []byte) []byte { return frame.AppendShort(b, -32768) }},
	{"smallint", "54 80", frame.KindInt, int64(-128), func(b []byte) []byte { return frame.AppendInt(b, -128) }},
	{"int, below", "71 ffffff7f", frame.KindInt, int64(-129), func(b []byte) []byte { return frame.AppendInt(b, -129) }},
	{"int, above", "71 00000080", frame.KindInt, int64(128), func(b []byte) []byte { return frame.AppendInt(b, 128) }},
	{"smalllong", "55 7f", frame.KindLong, int64(127), func(b []byte) []byte { return frame.AppendLong(b, 127) }},
	{"long", "81 8000000000000000", frame.KindLong, int64(math.MinInt64), func(b []byte) []byte { return frame.AppendLong(b, math.MinInt64) }},
	{"float", "72 3fc00000", frame.KindFloat, 1.5, func(b []byte) []byte { return frame.AppendFloat(b, 1.5) }},
	{"double", "82 c004000000000000", frame.KindDouble, -2.5, func(b []byte) []byte { return frame.AppendDouble(b, -2.5) }},
	{"decimal32", "74 22500000", frame.KindDecimal32, "\x22\x50\x00\x00", func(b []byte) []byte { return frame.AppendDecimal32(b, [4]byte{0x22, 0x50}) }},
	{"decimal64", "84 2234000000000000", frame.KindDecimal64, "\x22\x34\x00\x00\x00\x00\x00\x00", func(b []byte) []byte { return frame.AppendDecimal64(b, [8]byte{0x22, 0x34}) }},
	{"decimal128", "94 2208 0000 00000000 00000000 00000000", frame.KindDecimal128, "\x22\x08" + strings.Repeat("\x00", 14), func(b []byte) []byte { return frame.AppendDecimal128(b, [16]byte{0x22, 0x08}) }},
	{"char", "73 0001f600", frame.KindChar, '😀', func(b []byte) []byte { return frame.AppendChar(b, '😀') }},
	{"timestamp", "83 0000018bcfe56800", frame.KindTimestamp, int64(1700000000000), func(b []byte) []byte { return frame.AppendTimestamp(b, 1700000000000) }},
	{"timestamp before 1970", "83 ffffffffffffffff", frame.KindTimestamp, int64(-1), func(b []byte) []byte { return frame.AppendTimestamp(b, -1) }},
	{"uuid", "98 00010203 04050607 08090a0b 0c0d0e0f", frame.KindUUID, [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		func(b []byte) []byte {
			return frame.AppendUUID(b, [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
		}},
	{"vbin8", "a0 02 00ff", frame.KindBinary, "\x00\xff", func(b []byte) []byte { return frame.AppendBinary(b, "\x00\xff") }},
	{"vbin32", "b0 00000100" + strings.Repeat(textHex, 16), frame.KindBinary, text, func(b []byte) []byte { return frame.AppendBinary(b, []byte(text)) }},
	{"str8-utf8", "a1 03 e282ac", frame.KindString, "€", func(b []byte) []byte { return frame.AppendString(b, "€") }},
	{"str8-utf8, empty", "a1 00", frame.KindString, "", func(b []byte) []byte { return frame.AppendString(b, "") }},
	{"str32-utf8", "b1 00000100" + strings.Repeat(textHex, 16), frame.KindString, text, func(b []byte) []byte { return frame.AppendString(b, text) }},
	{"sym8", "a3 02 7879", frame.KindSymbol, "xy", func(b []byte) []byte { return frame.AppendSymbol(b, "xy") }},
	{"sym32", "b3 00000100" + strings.Repeat(textHex, 16), frame.KindSymbol, text, func(b []byte) []byte { return frame.AppendSymbol(b, text) }},
	{"list0", "45", frame.KindList, []any{}, func(b []byte) []byte { return frame.AppendList(b, nil) }},
	{"list8", "c0 03 02 40 41", frame.KindList, []any{nil, true}, func(b []byte) []byte { return frame.AppendList(b, frame.List{0x40, 0x41}) }},
	{"list8, empty", "c0 01 00", frame.KindList, []any{}, nil},
	{"list32", "d0 0000000c 00000002 a1021234 a1021234", frame.KindList, []any{"\x124", "\x124"}, nil},
	{"map8", "c1 05 02 a3 01 61 43", frame.KindMap, []any{"a", uint64(0)}, func(b []byte) []byte { return frame.AppendMap(b, frame.Map("\xa3\x01a\x43")) }},
	{"map8, empty", "c1 01 00", frame.KindMap, []any{}, func(b []byte) []byte { return frame.AppendMap(b, nil) }},
	{"map32", "d1 00000008 00000002 a3 01 61 43", frame.KindMap, []any{"a", uint64(0)}, nil},
	{"array8", "e0 06 02 a3 01 61 01 62", frame.KindArray, []any{"a", "b"}, func(b []byte) []byte { return frame.AppendSymbols(b, []string{"a", "b"}) }},
	{"array8, empty", "e0 02 00 a3", frame.KindArray, []any{}, func(b []byte) []byte { return frame.AppendSymbols(b, nil) }},
	{"array32", "f0 00000009 00000002 60 0001 0002", frame.KindArray, []any{uint64(1), uint64(2)}, nil},
	{"array of nothing", "e0 02 03 41", frame.KindArray, []any{true, true, true}, func(b []byte) []byte { return frame.AppendArray(b, []byte{0x41}, 3, nil) }},
	{"array of empty lists", "e0 02 02 45", frame.KindArray, []any{[]any{}, []any{}}, func(b []byte) []byte { return frame.AppendArray(b, []byte{0x45}, 2, nil) }},
	{"array of described", "e0 07 02 00 53 50 50 01 02", frame.KindArray, []any{uint64(1), uint64(2)}, nil},
	{"array of arrays", "e0 08 02 e0 02 01 41 02 01 42", frame.KindArray, []any{[]any{true}, []any{false}}, nil},
	{"array of maps", "e0 07 01 c1 04 02 54 01 41", frame.KindArray, []any{[]any{int64(1), true}}, nil},
}

// plain is a value as data of Go, for comparisons. Only one accessor may fit.
func plain(t testing.TB, v frame.Value) any {
	t.Helper()
	var all []any
	if b, ok := v.Bool(); ok {
		all = append(all, b)
	}
	if n, ok := v.Uint(); ok {
		all = append(all, n)
	}
	if n, ok := v.Int(); ok {
		all = append(all, n)
	}
	if x, ok := v.Float(); ok {
		all = append(all, x)
	}
	if r, ok := v.Char(); ok {
		all = append(all, r)
	}
	if id, ok := v.UUID(); ok {
		all = append(all, id)
	}
	if b, ok := v.Decimal(); ok {
		all = append(all, string(b))
	}
	if b, ok := v.Bytes(); ok {
		all = append(all, string(b))
	}
	if m, ok := v.Map(); ok {
		entries := []any{}
		for k, w := range m.All() {
			entries = append(entries, plain(t, k), plain(t, w))
		}
		all = append(all, entries)
	}
	if k := v.Kind(); k == frame.KindList || k == frame.KindArray {
		elements := []any{}
		for w := range v.Elements() {
			elements = append(elements, plain(t, w))
		}
		all = append(all, elements)
	}
	if v.IsNull() {
		all = append(all, nil)
	}
	if len(all) != 1 {
		t.Fatalf("%s is %v", v.Kind(), all)
	}
	if l, ok := all[0].([]any); ok && len(l) != v.Len() {
		t.Errorf("%s of length %d has %v", v.Kind(), v.Len(), l)
	}
	return all[0]
}

// TestEncodings: 1 §1.2, 1 §1.2.4, 1 §1.6, 1 §1.6.13
func TestEncodings(t *testing.T) {
	for _, x := range encodings {
		t.Run(x.name, func(t *testing.T) {
			src := unhex(t, x.bytes)
			v, n, err := frame.ReadValue(append(src, 0xff), generous)
			if err != nil || n != len(src) || v.Kind() != x.kind {
				t.Fatalf("read %d bytes of %s, %v", n, v.Kind(), err)
			}
			if got := plain(t, v); !reflect.DeepEqual(got, x.want) {
				t.Errorf("got %#v, want %#v", got, x.want)
			}
			if got := v.Append(nil); !bytes.Equal(got, src) {
				t.Errorf("written again: %x", got)
			}
			if v.Described() || !v.Descriptor().IsNull() || v.Type() != 0 {
				t.Error("is described")
			}
			if x.write != nil {
				if got := x.write([]byte("before")); string(got) != "before"+string(src) {
					t.Errorf("written: %x", got[6:])
				}
			}
			for n := range src {
				if _, _, err := frame.ReadValue(src[:n], generous); err == nil {
					t.Errorf("%d of %d bytes pass", n, len(src))
				}
			}
		})
	}
}

// TestDescribed: 1 §1.4, 1 §1.5
func TestDescribed(t *testing.T) {
	// the filter of a selector, by its number and by its name, and one that is described twice
	for _, x := range []struct {
		name  string
		value []byte
		want  frame.Descriptor
	}{
		{"number", frame.AppendString(frame.AppendDescriptor(nil, 0x468c00000004), "a = 1"), 0x468c00000004},
		{"symbol of others", frame.AppendString(frame.AppendSymbolDescriptor(nil, "apache.org:selector-filter:string"), "a = 1"), 0},
		{"symbol of the specification", frame.AppendString(frame.AppendSymbolDescriptor(nil, "amqp:accepted:list"), "a = 1"), frame.CodeAccepted},
		{"twice", frame.AppendString(frame.AppendDescriptor(frame.AppendDescriptor(nil, 1), 300), "a = 1"), 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			v, n, err := frame.ReadValue(x.value, generous)
			if err != nil || n != len(x.value) || !v.Described() || v.Type() != x.want {
				t.Fatalf("read %d bytes of %s, %v", n, v.Type(), err)
			}
			if b, ok := v.Bytes(); !ok || string(b) != "a = 1" {
				t.Errorf("%q, %t is described", b, ok)
			}
			if got := v.Append(nil); !bytes.Equal(got, x.value) {
				t.Errorf("written again: %x", got)
			}
			inner := v.Plain()
			if x.name == "twice" {
				if !inner.Described() || inner.Type() != 300 {
					t.Errorf("inside is %s", inner.Type())
				}
				inner = inner.Plain()
			}
			if inner.Described() || inner.Kind() != frame.KindString {
				t.Errorf("inside is a %s", inner.Kind())
			}
			for n := range x.value {
				if _, _, err := frame.ReadValue(x.value[:n], generous); err == nil {
					t.Errorf("%d bytes pass", n)
				}
			}
		})
	}
}

// nested is a list in a list, and so on.
func nested(depth int) []byte {
	var b []byte
	for range depth {
		b = frame.AppendList(nil, frame.List(b))
	}
	return b
}

// keys is a map of many keys, the last of which is another one's.
func keys(n int, again uint32) []byte {
	var m frame.Map
	for i := range n - 1 {
		m = frame.AppendNull(frame.AppendUint(m, uint32(i)))
	}
	return frame.AppendMap(nil, append(m, 0x70, byte(again>>24), byte(again>>16), byte(again>>8), byte(again), 0x40))
}

func TestReadValueRefuses(t *testing.T) {
	const decode, limit = frame.DecodeError, frame.ResourceLimitExceeded
	const many, deep = "there are too many elements in lists, maps and arrays", "values are nested too deeply"
	l := frame.Limits{Depth: 4, Elements: 100}
	for _, x := range []struct {
		name, bytes string
		condition   frame.Condition
		text        string
	}{
		{"no encoding", "3f", decode, "there is no encoding 0x3f"},
		{"boolean of 2", "56 02", decode, "boolean is 0x02"},
		{"surrogate", "73 0000d800", decode, "char is 0xd800, which Unicode has not"},
		{"char beyond Unicode", "73 80000041", decode, "char is 0x80000041, which Unicode has not"},
		{"string of no UTF-8", "a1 01 ff", decode, "string is not UTF-8"},
		{"symbol of no ASCII", "a3 02 c3a4", decode, "symbol is not ASCII"},
		{"binary longer than memory", "b0 ffffffff 00", decode, "binary is cut short"},
		{"list longer than memory", "d0 ffffffff ffffffff", decode, "list is cut short"},
		{"list without a count", "c0 00", decode, "list is cut short"},
		{"list32 without a count", "d0 00000003 000000", decode, "list is cut short"},
		{"list of fewer bytes than it says", "c0 02 02 40", decode, "a value is cut short"},
		{"list of more bytes than it says", "c0 03 01 40 40", decode, "list has 1 bytes after its last element"},
		{"element that leaves its list", "c0 03 01 a1 05 4040404040", decode, "string is cut short"},
		{"list of more elements than bytes", "d0 00000005 ffffffff 40", limit, many},
		{"map without a value", "c1 02 01 40", decode, "map has a key without a value"},
		{"map with a key twice", "c1 09 04 a3 01 61 40 a3 01 61 41", decode, "map has a key twice"},
		{"map with a key twice, in two encodings", "c1 0c 04 a3 01 61 40 b3 00000001 61 41", decode, "map has a key twice"},
		{"array without a constructor", "e0 01 00", decode, "a value is cut short"},
		{"array of nothing, without end", "f0 00000005 ffffffff 40", limit, many},
		{"array of empty lists, without end", "f0 00000005 ffffffff 45", limit, many},
		{"arrays of nothing in an array", "e0 08 02 e0 02 40 41 02 40 41", limit, many},
		{"array of nothing with bytes", "e0 03 01 40 40", decode, "array has 1 bytes after its last element"},
		{"array of fewer bytes than it says", "e0 04 02 60 0000", decode, "ushort is cut short"},
		{"array of no booleans", "e0 03 01 56 02", decode, "boolean is 0x02"},
		{"array of no encoding", "e0 02 01 01", decode, "there is no encoding 0x01"},
		{"reserved descriptor", "00 a1 01 61 40", decode, "a descriptor of encoding 0xa1 is neither ulong nor symbol"},
		{"descriptors without end", "00 00 00 00 00 00", decode, "a descriptor of encoding 0x00 is neither ulong nor symbol"},
		{"described too often", "0044 0044 0044 0044 0044 40", limit, deep},
		{"array of what is described too often", "e0 0a 01 0044 0044 0044 0044 40", limit, deep},
		{"descriptor of no ASCII", "00 a3 01 ff 40", decode, "symbol is not ASCII"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, _, err := frame.ReadValue(unhex(t, x.bytes), l)
			refused(t, err, x.condition, frame.ScopeLink, x.text)
		})
	}
}

func TestLimitsOfValues(t *testing.T) {
	l := frame.Limits{Depth: 4, Elements: 100}
	for _, x := range []struct {
		name  string
		value []byte
		ok    bool
	}{
		{"four deep", nested(4), true},
		{"five deep", nested(5), false},
		{"three deep and described", append(frame.AppendDescriptor(nil, 1), nested(3)...), true},
		{"four deep and described", append(frame.AppendDescriptor(nil, 1), nested(4)...), false},
		{"100 elements", frame.AppendList(nil, make100()), true},
		{"100 elements and one", frame.AppendList(nil, append(make100(), 0x40)), false},
		{"100 elements in two lists", frame.AppendList(nil, append(frame.AppendList(nil, make100()[:49]), frame.AppendList(nil, make100()[:49])...)), true},
		{"101 elements in two lists", frame.AppendList(nil, append(frame.AppendList(nil, make100()[:49]), frame.AppendList(nil, make100()[:50])...)), false},
		{"100 times nothing", frame.AppendArray(nil, []byte{0x41}, 100, nil), true},
		{"101 times nothing", frame.AppendArray(nil, []byte{0x41}, 101, nil), false},
		{"few keys", keys(10, 9), true},
		{"few keys, one twice", keys(10, 3), false},
		{"many keys", keys(50, 49), true},
		{"many keys, one twice", keys(50, 3), false},
	} {
		v, n, err := frame.ReadValue(x.value, l)
		if x.ok != (err == nil) {
			t.Errorf("%s: %v", x.name, err)
		}
		if err == nil && (n != len(x.value) || !bytes.Equal(v.Append(nil), x.value)) {
			t.Errorf("%s: read as %x", x.name, v.Append(nil))
		}
	}
}

// Keys are equal when type and value are, in whatever encoding. 1 §1.6.23
func TestKeysOfMaps(t *testing.T) {
	for _, x := range []struct {
		name, a, b string
		same       bool
	}{
		{"booleans", "41", "56 01", true},
		{"other booleans", "41", "56 00", false},
		{"uint", "52 05", "70 00000005", true},
		{"uint and ulong", "52 05", "53 05", false},
		{"int", "54 ff", "71 ffffffff", true},
		{"long", "55 ff", "81 00000000000000ff", false},
		{"string and symbol", "a1 01 61", "a3 01 61", false},
		{"binary", "a0 01 61", "b0 00000001 61", true},
		{"double", "82 3ff8000000000000", "82 3ff8000000000000", true},
		{"described", "00 53 05 a1 01 61", "00 80 0000000000000005 b1 00000001 61", true},
		{"described otherwise", "00 53 05 a1 01 61", "00 53 06 a1 01 61", false},
		{"described or not", "00 53 05 a1 01 61", "a1 01 61", false},
		{"null", "40", "40", true},
		{"lists", "c0 02 01 40", "c0 02 01 40", true},
	} {
		a, b := unhex(t, x.a), unhex(t, x.b)
		m := frame.Map(bytes.Join([][]byte{a, {0x40}, b, {0x40}}, nil))
		if _, _, err := frame.ReadValue(frame.AppendMap(nil, m), generous); (err != nil) != x.same {
			t.Errorf("%s: %v", x.name, err)
		}
		for i := range 20 { // and among more
			m = frame.AppendNull(frame.AppendUshort(m, uint16(i)))
		}
		if _, _, err := frame.ReadValue(frame.AppendMap(nil, m), generous); (err != nil) != x.same {
			t.Errorf("%s, of many: %v", x.name, err)
		}
	}
}

// make100 is a list of 100 nulls.
func make100() frame.List { return bytes.Repeat([]byte{0x40}, 100) }

// What has more than 255 bytes or elements gets four bytes for each, with nothing moved to the wrong place.
func TestLargeCompounds(t *testing.T) {
	for n := range 600 {
		l := frame.List(bytes.Repeat([]byte{0x54, 0x07}, n))
		b := frame.AppendList([]byte("before"), l)
		v, size, err := frame.ReadValue(b[6:], generous)
		if got, _ := v.List(); err != nil || size != len(b)-6 || !bytes.Equal(got, l) || v.Len() != n {
			t.Fatalf("%d elements: %x, %v", n, got, err)
		}
		header := 3
		switch {
		case n == 0:
			header = 1
		case 2*n+1 > 255:
			header = 9
		}
		if size != header+2*n {
			t.Fatalf("%d elements need %d bytes", n, size)
		}
	}
	zero := frame.AppendArray(nil, []byte{0x41}, 300, nil)
	if v, _, err := frame.ReadValue(zero, generous); err != nil || v.Len() != 300 || len(zero) != 10 {
		t.Errorf("%x is an array of %d, %v", zero, v.Len(), err)
	}
	long := []string{"short", text}
	v, _, err := frame.ReadValue(frame.AppendSymbols(nil, long), generous)
	if got := plain(t, v); err != nil || !reflect.DeepEqual(got, []any{"short", text}) {
		t.Errorf("symbols are %v, %v", got, err)
	}
}

func TestMapLookup(t *testing.T) {
	var m frame.Map
	m = frame.AppendUint(frame.AppendBinary(m, "a"), 1)
	m = frame.AppendUint(frame.AppendSymbol(m, "b"), 2)
	m = frame.AppendUint(frame.AppendString(m, "c"), 3)
	for key, want := range map[string]uint64{"a": 0, "b": 2, "c": 3, "d": 0} {
		v, ok := m.Lookup(key)
		if n, _ := v.Uint(); n != want || ok != (want > 0) {
			t.Errorf("%s is %d, %t", key, n, ok)
		}
	}
	if _, ok := frame.Map("\xa3\x01a\xa1").Lookup("a"); ok {
		t.Error("a value that is cut short is found")
	}
	if (frame.Value{}).Kind() != frame.KindNull || !bytes.Equal(frame.Value{}.Append(nil), []byte{0x40}) {
		t.Error("the zero value is not null")
	}
}
