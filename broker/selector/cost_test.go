package selector

import (
	"math"
	"strings"
	"sync"
	"testing"
	"time"
)

// shirt has two properties and a header.
type shirt struct {
	color string
	size  int64
}

func (s *shirt) Header(h Header) Value {
	if h == Priority {
		return Int(4)
	}
	return Value{}
}

func (s *shirt) Property(name string) Value {
	switch name {
	case "color":
		return String(s.color)
	case "size":
		return Int(s.size)
	}
	return Value{}
}

func compiled(t testing.TB, text string) *Selector {
	s, err := Compile(text, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMatchesDoesNotAllocate(t *testing.T) {
	var e Evaluation
	m := &shirt{"red", 5}
	for _, text := range []string{
		"color = 'red' AND size > 3",
		"color LIKE '%r_d%' AND color LIKE 'r%' AND color NOT LIKE '%x%y%'",
		"color IN ('red', 'green', 'blue') AND size IN (1, 2.0, 5) AND JMSPriority BETWEEN 3 AND 5",
		"(size * 2 + 1) / 3.0 > 1 AND ((size > 3) = (color = 'red')) IS NOT NULL AND -size < 0 AND nothing IS NULL",
	} {
		s := compiled(t, text)
		if n := testing.AllocsPerRun(100, func() {
			if !s.Matches(m, &e) {
				t.Fatalf("%s does not match", text)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

// Of what decides nothing any more, nothing is read.
func TestReadsOnlyWhatDecides(t *testing.T) {
	var e Evaluation
	for text, want := range map[string]int{
		"a = 2 AND b = 1":                      1,
		"a = 1 OR b = 1":                       1,
		"x = 1 AND b = 1":                      1, // x is absent: unknown is as good as false
		"a = 1 AND a < 2 AND a > 0 AND b > a":  2,
		"b BETWEEN b + 1 AND a":                1,
		"(x = 1 AND a = 2) IS NULL OR b = 1":   3, // here it is not
		"a IS NULL AND b = 1 OR a = 2 AND b=1": 1,
	} {
		m := newMessage([]string{"m", "a=1", "b=1"})
		compiled(t, text).Matches(m, &e)
		if len(m.asked) != want {
			t.Errorf("%s reads %v, want %d names", text, m.asked, want)
		}
	}
}

// One Evaluation serves selectors of any number of names, and forgets what it has read.
func TestEvaluationForgets(t *testing.T) {
	var e Evaluation
	first, second := compiled(t, "a = 1"), compiled(t, "b = 1 AND a = 2 AND c = 3")
	for range 2 {
		if !first.Matches(newMessage([]string{"m", "a=1"}), &e) || first.Matches(newMessage([]string{"m", "a=2"}), &e) {
			t.Error("the value of the message before is used")
		}
		if !second.Matches(newMessage([]string{"m", "a=2", "b=1", "c=3"}), &e) {
			t.Error("a larger selector does not match")
		}
		for _, s := range e.slots {
			if s != (slot{}) {
				t.Errorf("%v is kept", s)
			}
		}
	}
}

// A selector is shared; each goroutine has an Evaluation of its own.
func TestSelectorIsShared(t *testing.T) {
	s := compiled(t, "color IN ('red', 'blue') AND size % 2 = 1 AND color LIKE '%e_%'")
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			var e Evaluation
			for size := range int64(1000) {
				m := &shirt{[]string{"red", "green", "blue", "rxed"}[i], size}
				if got, want := s.Matches(m, &e), i == 0 && size%2 == 1; got != want {
					t.Errorf("%v: %v", *m, got)
				}
				_ = s.String()
			}
		})
	}
	all.Wait()
}

// panicking panics when it is asked.
type panicking struct{ everyKind }

func (panicking) Header(Header) Value { panic("header") }

func TestEvaluationSurvivesPanic(t *testing.T) {
	var e Evaluation
	s := compiled(t, "a = 1 AND JMSPriority = 1")
	func() {
		defer func() { _ = recover() }()
		s.Matches(panicking{everyKind{Int(1)}}, &e)
	}()
	if s.Matches(everyKind{Int(2)}, &e) || !s.Matches(everyKind{Int(1)}, &e) {
		t.Error("the values of the message that panicked are used")
	}
}

// linear says whether work of 32 times the size takes less than 32*8 times as long; quadratic work takes 32 times more than
// linear. The least of several runs counts, since the machine does other things too.
func linear(t *testing.T, what string, small int, work func(size int)) {
	t.Helper()
	least := func(size int) time.Duration {
		shortest := time.Duration(math.MaxInt64)
		for range 7 {
			start := time.Now()
			work(size)
			shortest = min(shortest, time.Since(start))
		}
		return shortest
	}
	if one, many := least(small), least(32*small); many > 32*8*max(one, time.Microsecond) {
		t.Errorf("%s: %v for %d, %v for %d", what, one, small, many, 32*small)
	}
}

func TestLikeIsLinearInTheText(t *testing.T) {
	var e Evaluation
	long := strings.Repeat("a", 30)
	for _, pattern := range []string{
		"%a%a%a%a%b", "%a%a%a%a%b%", "%a_a%a_a%b%", strings.Repeat("%a", 200) + "%b", "%" + strings.Repeat("a_", 31) + "b%",
		"%" + strings.Repeat(long, 30) + "b%", strings.Repeat("_", 300) + "%b", "%_" + strings.Repeat("_", 300) + "b",
	} {
		s := compiled(t, "a LIKE '"+pattern+"'")
		linear(t, pattern, 1<<11, func(size int) {
			if s.Matches(everyKind{String(strings.Repeat("a", size))}, &e) {
				t.Errorf("%s matches", pattern)
			}
		})
	}
}

func TestCompileIsLinearInTheSelector(t *testing.T) {
	limits := Limits{Bytes: 1 << 30, Depth: 60, Nodes: 1 << 30, Elements: 1 << 30}
	deep := strings.Repeat("NOT (a AND ", 25)
	for name, text := range map[string]func(size int) string{
		"terms":    func(size int) string { return strings.Repeat("a = 1 AND ", size) + "b" },
		"sum":      func(size int) string { return strings.Repeat("a + ", size) + "b = 1" },
		"elements": func(size int) string { return "a IN ('x'" + strings.Repeat(", 'y'", size) + ")" },
		"pattern": func(size int) string {
			return "a LIKE '" + strings.Repeat("a", size) + "_" + strings.Repeat("%a", size) + "'"
		},
		"quotes":  func(size int) string { return "a = '" + strings.Repeat("''", size) + "'" },
		"digits":  func(size int) string { return "a = 1." + strings.Repeat("1", size) },
		"nested":  func(size int) string { return deep + strings.Repeat("b OR ", size) + "c" + strings.Repeat(")", 25) },
		"errors":  func(size int) string { return strings.Repeat("ö = 1 OR ", size) + "= 'x" },
		"unknown": func(size int) string { return strings.Repeat("(a AND NULL) OR ", size) + "b" },
	} {
		linear(t, name, 1<<8, func(size int) {
			s, err := Compile(text(size), limits)
			if (err == nil) == (name == "errors") {
				t.Errorf("%s: %v", name, err)
			}
			if err == nil {
				_ = s.String()
			}
		})
	}
}

func BenchmarkMatches(b *testing.B) {
	for _, text := range []string{
		"color = 'red' AND size > 3",
		"color LIKE '%r_d%' OR size IN (1, 2, 3, 4, 5)",
		"(size * 2 + 1) / 3.0 > 1 AND JMSPriority BETWEEN 3 AND 5 AND color IN ('green', 'red')",
	} {
		b.Run(text, func(b *testing.B) {
			s := compiled(b, text)
			messages := []*shirt{{"red", 5}, {"red", 2}, {"green", 5}, {"blue", 1}}
			var e Evaluation
			b.ReportAllocs()
			for i := range b.N {
				s.Matches(messages[i%len(messages)], &e)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for range b.N {
		compiled(b, "color = 'red' AND size > 3")
	}
}
