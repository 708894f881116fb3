package selector

import (
	"flag"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; zero picks one")

func random(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// reference is a selector by its definition: a text, and a function of the message that answers nil, a bool, int64, float64
// or string.
type reference struct {
	text  string
	value func(message) any
}

// Selectors made at random say of messages made at random what the reference says, and so do their normal forms.
func TestAgreesWithReference(t *testing.T) {
	r := random(t)
	limits := Limits{Bytes: 1 << 20, Depth: 1000, Nodes: 100_000, Elements: 1000}
	var e Evaluation
	answers := make(map[bool]int)
	for range 10_000 {
		want := randomCondition(r, 4)
		s, err := Compile(want.text, limits)
		if err != nil {
			t.Fatalf("%s: %v", want.text, err)
		}
		normal, err := Compile(s.String(), limits)
		if err != nil {
			t.Fatalf("%s: normal form %s: %v", want.text, s, err)
		}
		if normal.String() != s.String() || fmt.Sprint(normal.Names()) != fmt.Sprint(s.Names()) {
			t.Fatalf("%s: normal form\n%s\nbecomes\n%s", want.text, s, normal)
		}
		for range 5 {
			m := randomMessage(r)
			expected := want.value(m) == any(true)
			answers[expected]++
			if got := s.Matches(m, &e); got != expected {
				t.Fatalf("%s\nof %v is %v, want %v; normal form\n%s", want.text, m.values, got, expected, s)
			}
			for n, times := range m.asked {
				if times > 1 {
					t.Fatalf("%s asks %d times for %s", want.text, times, n)
				}
			}
			if got := normal.Matches(m, &e); got != expected {
				t.Fatalf("%s\nof %v is %v, want %v; it is the normal form of\n%s", normal, m.values, got, expected, want.text)
			}
		}
	}
	if answers[true] < 5000 || answers[false] < 5000 {
		t.Errorf("the selectors are too one-sided: %v", answers)
	}
}

func randomMessage(r *rand.Rand) message {
	m := message{values: make(map[Name]Value), asked: make(map[Name]int)}
	for _, name := range []string{"a", "b", "c", "d"} {
		m.values[Name{Property: name}] = [...]func() Value{
			func() Value { return Value{} },
			func() Value { return Bool(r.IntN(2) == 0) },
			func() Value { return Int(randomInt(r)) },
			func() Value { return Float(randomFloat(r)) },
			func() Value { return String(randomText(r)) },
		}[r.IntN(5)]()
	}
	return m
}

func randomInt(r *rand.Rand) int64 {
	edges := []int64{math.MinInt64, math.MinInt64 + 1, math.MaxInt64, 1 << 53, 1<<53 + 1}
	if r.IntN(8) == 0 {
		return edges[r.IntN(len(edges))]
	}
	return r.Int64N(7) - 3
}

func randomFloat(r *rand.Rand) float64 {
	edges := []float64{1 << 63, -1 << 63, 1 << 53, 1e308, math.Inf(1), math.Inf(-1), math.NaN(), math.Copysign(0, -1)}
	if r.IntN(8) == 0 {
		return edges[r.IntN(len(edges))]
	}
	return float64(r.IntN(13)-6) / 2
}

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(6) {
		b.WriteString([]string{"a", "b", "ö", "%", "_", "'", `\`}[r.IntN(7)])
	}
	return b.String()
}

func pick(r *rand.Rand, all ...string) string { return all[r.IntN(len(all))] }

func randomCondition(r *rand.Rand, depth int) reference {
	if depth == 0 {
		return randomLeaf(r)
	}
	switch r.IntN(9) {
	case 0, 1:
		x, y := randomCondition(r, depth-1), randomCondition(r, depth-1)
		return reference{fmt.Sprintf("(%s) AND (%s)", x.text, y.text), func(m message) any {
			return least(boolean(x.value(m)), boolean(y.value(m)))
		}}
	case 2, 3:
		x, y := randomCondition(r, depth-1), randomCondition(r, depth-1)
		return reference{fmt.Sprintf("(%s) or (%s)", x.text, y.text), func(m message) any {
			return opposed(least(opposed(boolean(x.value(m))), opposed(boolean(y.value(m)))))
		}}
	case 4:
		x := randomCondition(r, depth-1)
		return reference{fmt.Sprintf("NOT (%s)", x.text), func(m message) any { return opposed(boolean(x.value(m))) }}
	case 5:
		x := randomCondition(r, depth-1)
		return reference{fmt.Sprintf("((%s) AND TRUE) IS NULL", x.text), func(m message) any { return boolean(x.value(m)) == nil }}
	case 6:
		x, y, op := randomCondition(r, depth-1), randomLeaf(r), pick(r, "=", "<>")
		return reference{fmt.Sprintf("(%s AND TRUE) %s (NOT (%s))", x.text, op, y.text), func(m message) any {
			return compared(op, boolean(x.value(m)), opposed(boolean(y.value(m))))
		}}
	}
	return randomLeaf(r)
}

func randomLeaf(r *rand.Rand) reference {
	not, word := r.IntN(2) == 0, ""
	if not {
		word = "NOT "
	}
	perhaps := func(v any) any {
		if not {
			return opposed(v)
		}
		return v
	}
	x := randomName(r)
	switch r.IntN(8) {
	case 0:
		return x
	case 1:
		n := reference{pick(r, "TRUE", "False", "null"), nil}
		v := map[string]any{"TRUE": true, "False": false}[n.text]
		return reference{n.text, func(message) any { return v }}
	case 2:
		is := pick(r, "IS NULL", "IS NOT NULL")
		x = randomNumber(r, 1)
		return reference{x.text + " " + is, func(m message) any { return (x.value(m) == nil) == (is == "IS NULL") }}
	case 3:
		op, y := pick(r, "=", "<>"), randomText(r)
		if r.IntN(2) == 0 {
			return reference{quote(y) + op + x.text, func(m message) any { return compared(op, y, x.value(m)) }}
		}
		return reference{x.text + op + quote(y), func(m message) any { return compared(op, x.value(m), y) }}
	case 4:
		pattern := randomText(r) + pick(r, "", "%", "_", "%a_b%", "%a%")
		return reference{fmt.Sprintf("%s %sLIKE %s ESCAPE '!'", x.text, word, quote(pattern)), func(m message) any {
			s, ok := x.value(m).(string)
			if !ok {
				return nil
			}
			return perhaps(isLike(characters(s), characters(pattern)))
		}}
	case 5:
		return randomIn(r, x, word, perhaps)
	case 6:
		x, low, high := randomNumber(r, 1), randomNumber(r, 1), randomNumber(r, 1)
		return reference{fmt.Sprintf("%s %sBETWEEN %s AND %s", x.text, word, low.text, high.text), func(m message) any {
			return perhaps(least(compared(">=", x.value(m), low.value(m)), compared("<=", x.value(m), high.value(m))))
		}}
	}
	y, z, op := randomNumber(r, 2), randomNumber(r, 2), pick(r, "=", "<>", "<", "<=", ">", ">=")
	return reference{y.text + op + z.text, func(m message) any { return compared(op, y.value(m), z.value(m)) }}
}

func randomIn(r *rand.Rand, x reference, word string, perhaps func(any) any) reference {
	var texts []string
	var elements []any
	numbers := r.IntN(2) == 0
	for range 1 + r.IntN(12) {
		if numbers {
			n := randomLiteral(r)
			texts, elements = append(texts, n.text), append(elements, n.value(message{}))
		} else {
			s := randomText(r)
			texts, elements = append(texts, quote(s)), append(elements, s)
		}
	}
	return reference{fmt.Sprintf("%s %sIN (%s)", x.text, word, strings.Join(texts, ",")), func(m message) any {
		var found any = false
		for _, y := range elements {
			found = opposed(least(opposed(found), opposed(compared("=", x.value(m), y))))
		}
		return perhaps(found)
	}}
}

func randomName(r *rand.Rand) reference {
	name := pick(r, "a", "b", "c", "d")
	return reference{pick(r, name, `"`+name+`"`), func(m message) any {
		switch v := m.values[Name{Property: name}]; v.kind {
		case Boolean:
			return v.bool()
		case Exact:
			return v.int()
		case Approximate:
			return v.float()
		case Text:
			return v.text
		}
		return nil
	}}
}

func randomLiteral(r *rand.Rand) reference {
	if r.IntN(2) == 0 {
		i := randomInt(r)
		return reference{strconv.FormatInt(i, 10), func(message) any { return i }}
	}
	f := randomFloat(r)
	if math.IsInf(f, 0) || f != f {
		f = 1.5
	}
	return reference{strconv.FormatFloat(f, 'e', -1, 64), func(message) any { return f }}
}

func randomNumber(r *rand.Rand, depth int) reference {
	kind := r.IntN(5)
	switch {
	case kind == 0:
		return randomLiteral(r)
	case kind < 3 || depth == 0:
		return randomName(r)
	case kind == 3:
		x, minus := randomNumber(r, depth-1), r.IntN(2) == 0
		return reference{fmt.Sprintf("%s (%s)", map[bool]string{true: "-", false: "+"}[minus], x.text), func(m message) any {
			v := x.value(m)
			if f, ok := v.(float64); ok && minus {
				return -f
			} else if ok {
				return f
			}
			return computed("*", v, map[bool]int64{true: -1, false: 1}[minus])
		}}
	}
	x, y, op := randomNumber(r, depth-1), randomNumber(r, depth-1), pick(r, "+", "-", "*", "/", "%")
	return reference{fmt.Sprintf("(%s %s (%s))", x.text, op, y.text), func(m message) any { return computed(op, x.value(m), y.value(m)) }}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// boolean is a value where a condition stands.
func boolean(v any) any {
	if b, ok := v.(bool); ok {
		return b
	}
	return nil
}

func opposed(v any) any {
	if b, ok := v.(bool); ok {
		return !b
	}
	return nil
}

func least(a, b any) any {
	switch {
	case a == any(false) || b == any(false):
		return false
	case a == nil || b == nil:
		return nil
	}
	return true
}

func compared(op string, a, b any) any {
	if x, y := exactly(a), exactly(b); x != nil && y != nil {
		order := x.Cmp(y)
		return map[string]bool{"=": order == 0, "<>": order != 0, "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[op]
	}
	if op != "=" && op != "<>" {
		return nil
	}
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return (a == b) == (op == "=")
		}
	case bool:
		if b, ok := b.(bool); ok {
			return (a == b) == (op == "=")
		}
	}
	return nil
}

// exactly is a number without loss, or nil.
func exactly(v any) *big.Float {
	switch v := v.(type) {
	case int64:
		return new(big.Float).SetInt64(v)
	case float64:
		if v == v {
			return big.NewFloat(v)
		}
	}
	return nil
}

func computed(op string, a, b any) any {
	x, exactX := a.(int64)
	y, exactY := b.(int64)
	if exactX && exactY {
		return computedExactly(op, big.NewInt(x), big.NewInt(y))
	}
	f, ok := approximated(a)
	g, ok2 := approximated(b)
	if !ok || !ok2 {
		return nil
	}
	var result float64
	switch op {
	case "+":
		result = f + g
	case "-":
		result = f - g
	case "*":
		result = f * g
	case "/":
		result = f / g
	case "%":
		result = math.Mod(f, g)
	}
	if math.IsInf(result, 0) || result != result {
		return nil
	}
	return result
}

func approximated(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func computedExactly(op string, x, y *big.Int) any {
	result := new(big.Int)
	switch {
	case op == "+":
		result.Add(x, y)
	case op == "-":
		result.Sub(x, y)
	case op == "*":
		result.Mul(x, y)
	case y.Sign() == 0:
		return nil
	case op == "/":
		result.Quo(x, y)
	default:
		result.Rem(x, y)
	}
	if !result.IsInt64() {
		return nil
	}
	return result.Int64()
}

// characters are code points, or bytes that belong to none.
func characters(s string) (all []string) {
	for len(s) > 0 {
		_, n := utf8.DecodeRuneInString(s)
		all, s = append(all, s[:n]), s[n:]
	}
	return all
}

// isLike tries every way.
func isLike(s, pattern []string) bool {
	if len(pattern) == 0 {
		return len(s) == 0
	}
	switch {
	case pattern[0] == "%":
		return isLike(s, pattern[1:]) || len(s) > 0 && isLike(s[1:], pattern)
	case len(s) == 0:
		return false
	}
	return (pattern[0] == "_" || pattern[0] == s[0]) && isLike(s[1:], pattern[1:])
}

// Patterns and texts of few letters, so that there are many ways, all of them tried by the reference.
func TestLikeAgreesWithReference(t *testing.T) {
	r := random(t)
	word := func(letters []string, longest int) string {
		var b strings.Builder
		for range r.IntN(longest) {
			b.WriteString(letters[r.IntN(len(letters))])
		}
		return b.String()
	}
	matched := 0
	for range 200_000 {
		text := word([]string{"a", "b", "ö", "\xc3", "\xb6", "\uFFFD"}, 12)
		pattern := word([]string{"a", "a", "b", "ö", "_", "%", "%", "\uFFFD"}, 9)
		p, reason := newPattern(pattern, "")
		if reason != "" {
			t.Fatalf("%q %s", pattern, reason)
		}
		want := isLike(characters(text), characters(pattern))
		if got := p.match(text); got != want {
			t.Fatalf("%q LIKE %q is %v", text, pattern, got)
		}
		if want {
			matched++
		}
		normal, escape := p.text()
		if again, reason := newPattern(normal, escape); reason != "" || again.match(text) != want {
			t.Fatalf("%q LIKE %q is %v, not so %q: %s", text, pattern, want, normal, reason)
		}
	}
	if matched < 10_000 {
		t.Errorf("only %d matched", matched)
	}
}
