package frame

import (
	"encoding/binary"
	"iter"
	"maps"
	"math"
	"slices"
)

// Table is a field table as it is on the wire, without its length. It aliases what it was read from, and is not known to
// be well formed before Check. §4.2.5.5
//
//	+--------------+------+-------+  +--------------+------+-------+
//	| name, short  | kind | value |  | name, short  | kind | value | …
//	+--------------+------+-------+  +--------------+------+-------+
type Table []byte

// Limits bound what a table may hold. Its bytes are bounded by the frame it came in.
type Limits struct {
	Depth   int // of tables and arrays inside one another; a table without such has depth 1
	Entries int // fields and elements in all, nested ones included
}

// Kind is the type of a value, as RabbitMQ reads it: where the specification's grammar and all its implementations differ,
// the implementations are right.
type Kind byte

// The kinds.
const (
	Bool       Kind = 't'
	Int8       Kind = 'b'
	Uint8      Kind = 'B'
	Int16      Kind = 's'
	ShortInt   Kind = 'U' // the specification's name for Int16; RabbitMQ does not read it
	Uint16     Kind = 'u'
	Int32      Kind = 'I'
	Uint32     Kind = 'i'
	Int64      Kind = 'l'
	LongInt    Kind = 'L' // the specification's name for Int64; RabbitMQ does not read it
	Float      Kind = 'f'
	Double     Kind = 'd'
	Decimal    Kind = 'D' // a scale of 8 bits, a signed value of 32
	LongString Kind = 'S'
	Bytes      Kind = 'x'
	Array      Kind = 'A'
	Timestamp  Kind = 'T' // seconds since 1970
	Nested     Kind = 'F'
	Void       Kind = 'V'
)

// size is how many bytes a value of a kind has; variable for those that say it themselves, unknown for what is no kind.
func (k Kind) size() int {
	switch k {
	case Void:
		return 0
	case Bool, Int8, Uint8:
		return 1
	case Int16, ShortInt, Uint16:
		return 2
	case Int32, Uint32, Float:
		return 4
	case Decimal:
		return 5
	case Int64, LongInt, Double, Timestamp:
		return 8
	case LongString, Bytes, Array, Nested:
		return variable
	}
	return unknown
}

const (
	variable = -1
	unknown  = -2
)

// Value is one value of a table or an array. Raw is its bytes, without the length where the kind has one.
type Value struct {
	Kind Kind
	Raw  []byte
}

// value reads a kind and a value of it.
func (c *cursor) value() Value {
	k := Kind(c.octet())
	n := k.size()
	switch {
	case c.err != nil:
		return Value{}
	case n == unknown:
		c.err = errorf(SyntaxError, "a field is of type %q, which does not exist", byte(k))
		c.src = nil
		return Value{}
	case n == variable:
		n = int(c.long())
	}
	return Value{Kind: k, Raw: c.take(n, "field value")}
}

// Check says whether the table is well formed and within limits. It allocates nothing unless it fails.
func (t Table) Check(l Limits) error {
	left := l.Entries
	return check(t, true, l.Depth, &left)
}

// check looks at a table or an array: named says which.
func check(src []byte, named bool, depth int, left *int) error {
	if depth < 1 {
		return errorf(SyntaxError, "tables are nested too deeply")
	}
	c := cursor{src: src}
	for len(c.src) > 0 {
		if *left--; *left < 0 {
			return errorf(SyntaxError, "table has too many entries")
		}
		if named {
			c.shortBytes()
		}
		v := c.value()
		if c.err == nil && (v.Kind == Nested || v.Kind == Array) {
			if err := check(v.Raw, v.Kind == Nested, depth-1, left); err != nil {
				return err
			}
		}
	}
	return c.err
}

// All yields the fields in their order; it ends at the first that is malformed. Names alias the table.
func (t Table) All() iter.Seq2[[]byte, Value] {
	return func(yield func([]byte, Value) bool) {
		for c := (cursor{src: t}); len(c.src) > 0; {
			name, v := c.shortBytes(), c.value()
			if c.err != nil || !yield(name, v) {
				return
			}
		}
	}
}

// Lookup finds a field. Of several with one name the last counts, as it does in a map.
func (t Table) Lookup(name string) (v Value, ok bool) {
	for c := (cursor{src: t}); len(c.src) > 0; {
		n, w := c.shortBytes(), c.value()
		if c.err != nil {
			break
		}
		if string(n) == name {
			v, ok = w, true
		}
	}
	return v, ok
}

// Map is the table as plain data: see Value.Any. Nil if the table is empty. The table must have passed Check.
func (t Table) Map() map[string]any {
	if len(t) == 0 {
		return nil
	}
	m := make(map[string]any)
	for name, v := range t.All() {
		m[string(name)] = v.Any()
	}
	return m
}

// Any is the value as plain data: nil, bool, int64, float64, string, []any or map[string]any. Bytes become a string,
// decimals a float64, timestamps their seconds.
func (v Value) Any() any {
	b := v.Raw
	if n := v.Kind.size(); n >= 0 && len(b) != n {
		return nil // only a Value that was not read can be so
	}
	switch v.Kind {
	case Bool:
		return b[0] != 0
	case Int8:
		return int64(int8(b[0]))
	case Uint8:
		return int64(b[0])
	case Int16, ShortInt:
		return int64(int16(binary.BigEndian.Uint16(b)))
	case Uint16:
		return int64(binary.BigEndian.Uint16(b))
	case Int32:
		return int64(int32(binary.BigEndian.Uint32(b)))
	case Uint32:
		return int64(binary.BigEndian.Uint32(b))
	case Int64, LongInt, Timestamp:
		return int64(binary.BigEndian.Uint64(b))
	case Float:
		return finite(float64(math.Float32frombits(binary.BigEndian.Uint32(b))))
	case Double:
		return finite(math.Float64frombits(binary.BigEndian.Uint64(b)))
	case Decimal:
		return float64(int32(binary.BigEndian.Uint32(b[1:]))) / math.Pow10(int(b[0]))
	case LongString, Bytes:
		return string(b)
	case Array:
		return v.array()
	case Nested:
		if m := Table(b).Map(); m != nil {
			return m
		}
		return map[string]any{}
	}
	return nil
}

// finite passes on what JSON has a notation for; what is not a number is nothing.
func finite(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return f
}

// Elements are the values of an array; none if it is something else.
func (v Value) Elements() (all []Value) {
	if v.Kind != Array {
		return nil
	}
	for c := (cursor{src: v.Raw}); len(c.src) > 0; {
		w := c.value()
		if c.err != nil {
			break
		}
		all = append(all, w)
	}
	return all
}

func (v Value) array() []any {
	a := []any{}
	for _, w := range v.Elements() {
		a = append(a, w.Any())
	}
	return a
}

// NewTable encodes plain data, sorted by name. It panics on types that Value.Any does not make.
func NewTable(m map[string]any) Table {
	var t Table
	for _, name := range slices.Sorted(maps.Keys(m)) {
		t = t.With(name, m[name])
	}
	return t
}

// With is the table with one more field. It may share its bytes with t, as append does.
func (t Table) With(name string, value any) Table {
	return Table(appendValue(appendShort([]byte(t), name), value))
}

// Without is the table without a name.
func (t Table) Without(name string) (kept Table) {
	for n, v := range t.All() {
		if string(n) != name {
			kept = kept.With(string(n), v)
		}
	}
	return kept
}

// Join is the table with the fields of another one behind its own.
func (t Table) Join(other Table) Table { return append(slices.Clip(t), other...) }

func appendValue(dst []byte, value any) []byte {
	switch v := value.(type) {
	case nil:
		return append(dst, byte(Void))
	case bool:
		return append(dst, byte(Bool), bit(v))
	case uint8:
		return append(dst, byte(Uint8), v)
	case int:
		return binary.BigEndian.AppendUint64(append(dst, byte(Int64)), uint64(v))
	case int32:
		return binary.BigEndian.AppendUint32(append(dst, byte(Int32)), uint32(v))
	case int64:
		return binary.BigEndian.AppendUint64(append(dst, byte(Int64)), uint64(v))
	case float64:
		return binary.BigEndian.AppendUint64(append(dst, byte(Double)), math.Float64bits(v))
	case string:
		return appendLong(append(dst, byte(LongString)), v)
	case []byte:
		return appendLong(append(dst, byte(Bytes)), v)
	case Value:
		dst = append(dst, byte(v.Kind))
		if v.Kind.size() == variable {
			return appendLong(dst, v.Raw)
		}
		return append(dst, v.Raw...)
	case Table:
		return appendLong(append(dst, byte(Nested)), v)
	case map[string]any:
		return appendLong(append(dst, byte(Nested)), NewTable(v))
	case []any:
		var a []byte
		for _, w := range v {
			a = appendValue(a, w)
		}
		return appendLong(append(dst, byte(Array)), a)
	}
	panic(errorf(InternalError, "a table cannot hold a %T", value))
}
