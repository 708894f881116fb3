package selector

import (
	"cmp"
	"math"
	"math/bits"
	"unsafe"
)

// Kind is the type of a value.
type Kind uint8

// The kinds of JMS 2.0 §3.8.1.1. Absent is NULL: there is no such property, or it has a type that selectors do not know.
const (
	Absent Kind = iota
	Boolean
	Exact       // an integer of 64 bits
	Approximate // an IEEE 754 number of 64 bits
	Text
)

// Value is what a name stands for in a message; the zero Value is NULL. Integers above 1<<63 - 1 are given as approximate.
// The text may alias the message: nothing of it is kept after the evaluation.
type Value struct {
	kind   Kind
	number uint64 // the bits of the boolean or number
	text   string
}

// Bool is a boolean value.
func Bool(b bool) Value {
	if b {
		return Value{kind: Boolean, number: 1}
	}
	return Value{kind: Boolean}
}

// Int is an exact number.
func Int(i int64) Value { return Value{kind: Exact, number: uint64(i)} }

// Float is an approximate number.
func Float(f float64) Value { return Value{kind: Approximate, number: math.Float64bits(f)} }

// String is a text.
func String(s string) Value { return Value{kind: Text, text: s} }

// Bytes is a text that aliases b: it may be used as long as b stays as it is, which is no longer than Matches where
// Properties answer it.
func Bytes(b []byte) Value {
	return Value{kind: Text, text: unsafe.String(unsafe.SliceData(b), len(b))}
}

// Kind is the type of v.
func (v Value) Kind() Kind { return v.kind }

func (v Value) bool() bool     { return v.number != 0 }
func (v Value) int() int64     { return int64(v.number) }
func (v Value) float() float64 { return math.Float64frombits(v.number) }

func (v Value) isNumber() bool { return v.kind == Exact || v.kind == Approximate }

// approximate is a number by Java's promotion of a long to a double.
func (v Value) approximate() float64 {
	if v.kind == Exact {
		return float64(v.int())
	}
	return v.float()
}

// truth is one of three values. In their order AND is the least of its operands, OR the greatest, and NOT the sign.
type truth int8

const (
	no      truth = -1
	unknown truth = 0
	yes     truth = 1
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// compareNumbers is exact, whatever the kinds: 1<<53 + 1 is no float64. It is false for NaN, which has no place in the order.
func compareNumbers(a, b Value) (order int, ok bool) {
	switch {
	case a.kind == Exact && b.kind == Exact:
		return cmp.Compare(a.int(), b.int()), true
	case a.kind == Exact:
		return compareMixed(a.int(), b.float())
	case b.kind == Exact:
		order, ok = compareMixed(b.int(), a.float())
		return -order, ok
	}
	x, y := a.float(), b.float()
	switch {
	case x < y:
		return -1, true
	case x > y:
		return 1, true
	}
	return 0, x == y
}

func compareMixed(i int64, f float64) (order int, ok bool) {
	switch {
	case f != f:
		return 0, false
	case f >= 1<<63:
		return -1, true
	case f < -1<<63:
		return 1, true
	}
	whole := math.Trunc(f)
	if order = cmp.Compare(i, int64(whole)); order == 0 {
		order = cmp.Compare(whole, f)
	}
	return order, true
}

// compute is arithmetic. Its result is NULL where there is none: an operand is no number, a divisor is zero, or the result
// has no place in the type.
func compute(op operator, a, b Value) Value {
	switch {
	case !a.isNumber() || !b.isNumber():
		return Value{}
	case a.kind == Exact && b.kind == Exact:
		if i, ok := computeExact(op, a.int(), b.int()); ok {
			return Int(i)
		}
		return Value{}
	}
	f := computeApproximate(op, a.approximate(), b.approximate())
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return Value{}
	}
	return Float(f)
}

func computeExact(op operator, a, b int64) (result int64, ok bool) {
	switch op {
	case opAdd:
		result = a + b
		return result, (result > a) == (b > 0)
	case opSubtract:
		result = a - b
		return result, (result < a) == (b > 0)
	case opMultiply:
		return multiply(a, b)
	case opDivide:
		if b == 0 || a == math.MinInt64 && b == -1 {
			return 0, false
		}
		return a / b, true
	}
	if b == 0 {
		return 0, false
	}
	return a % b, true
}

func multiply(a, b int64) (result int64, ok bool) {
	high, low := bits.Mul64(magnitude(a), magnitude(b))
	if negative := (a < 0) != (b < 0); negative {
		return -int64(low), high == 0 && low <= 1<<63
	}
	return int64(low), high == 0 && low < 1<<63
}

func magnitude(i int64) uint64 {
	if i < 0 {
		return -uint64(i)
	}
	return uint64(i)
}

func computeApproximate(op operator, a, b float64) float64 {
	switch op {
	case opAdd:
		return a + b
	case opSubtract:
		return a - b
	case opMultiply:
		return a * b
	case opDivide:
		return a / b // by zero: an infinity or NaN
	}
	return math.Mod(a, b)
}

func negate(v Value) Value {
	switch v.kind {
	case Exact:
		if v.int() == math.MinInt64 {
			return Value{}
		}
		return Int(-v.int())
	case Approximate:
		return Float(-v.float())
	}
	return Value{}
}
