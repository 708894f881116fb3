package selector

import (
	"errors"
	"fmt"
	"testing"
)

// everyKind answers every name with one value.
type everyKind struct{ value Value }

func (k everyKind) Header(Header) Value   { return k.value }
func (k everyKind) Property(string) Value { return k.value }

func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		"color = 'red' AND size > 3",
		"NOT (a BETWEEN -1 AND 0x7f OR b IN ('x', 'it''s') AND c NOT LIKE '_!%%a_b%' ESCAPE '!')",
		`"a b" IS NOT NULL AND EXISTS(JMSPriority) OR - - a % 3 * 2.5e-3f / +b - 017L <> .5`,
		"((a > 3) = (b AND NULL)) IS NULL OR 1 / 0 = 1 AND -9223372036854775808 % -1 = 0",
	} {
		f.Add(s, "text", int64(5), 2.5)
	}
	f.Fuzz(func(t *testing.T, text, s string, i int64, x float64) {
		compiled, err := Compile(text, DefaultLimits)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Position < 0 || e.Position > len(text)+1 || compiled != nil {
				t.Fatalf("%q: %#v", text, err)
			}
			return
		}
		// The normal form can be longer: .1f is 0.10000000149011612.
		again, err := Compile(compiled.String(), Limits{Bytes: 32*len(text) + 32, Depth: 3 * DefaultLimits.Depth, Nodes: 3 * DefaultLimits.Nodes, Elements: DefaultLimits.Elements})
		if err != nil || again.String() != compiled.String() || fmt.Sprint(again.Names()) != fmt.Sprint(compiled.Names()) {
			t.Fatalf("%q: normal form %q becomes %v: %v", text, compiled, again, err)
		}
		var e Evaluation
		for _, v := range []Value{{}, Bool(true), Bool(false), Int(i), Float(x), String(s), String(text)} {
			if compiled.Matches(everyKind{v}, &e) != again.Matches(everyKind{v}, &e) {
				t.Fatalf("%q and its normal form %q differ for %v", text, compiled, v)
			}
		}
	})
}

func FuzzLike(f *testing.F) {
	f.Add("%a_b%a%", "xxaöbaa", "")
	f.Add("!%!!_%", "%!x", "!")
	f.Fuzz(func(t *testing.T, pattern, text, escape string) {
		if len(characters(escape)) > 1 {
			return
		}
		p, reason := newPattern(pattern, escape)
		if reason != "" {
			return
		}
		matches := p.match(text)
		normal, escape := p.text()
		again, reason := newPattern(normal, escape)
		if reason != "" || again.match(text) != matches {
			t.Fatalf("%q LIKE %q is %v, not so %q: %s", text, pattern, matches, normal, reason)
		}
	})
}
