package topic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// matchNaive is the definition of matching, by recursion over lists of levels.
func matchNaive(pattern string, patternForm Form, name string, nameForm Form) bool {
	topicName := name
	if nameForm == AMQP {
		topicName = Swap(name)
	}
	if patternForm == MQTT {
		if nameForm == AMQP && CheckName(name, 0) != nil {
			return false
		}
		if strings.HasPrefix(topicName, "$") && (pattern[0] == '+' || pattern[0] == '#') {
			return false
		}
	}
	var levels []string
	if name != "" {
		levels = strings.Split(topicName, "/")
	}
	var want []string
	if pattern != "" {
		want = strings.Split(pattern, string(patternForm.separator()))
	}
	return levelsMatch(want, patternForm, levels)
}

func levelsMatch(want []string, form Form, levels []string) bool {
	if len(want) == 0 {
		return len(levels) == 0
	}
	one, text := "+", want[0]
	if form == AMQP {
		one, text = "*", Swap(want[0])
	}
	switch {
	case want[0] == "#":
		return levelsMatch(want[1:], form, levels) || len(levels) > 0 && levelsMatch(want, form, levels[1:])
	case len(levels) == 0:
		return false
	case want[0] == one || text == levels[0]:
		return levelsMatch(want[1:], form, levels[1:])
	}
	return false
}

func match[V comparable](tree *Tree[V], name string, form Form) (out []V) {
	tree.Match(name, form, func(v V) { out = append(out, v) })
	return out
}

func TestTreeMatchesMQTTFilters(t *testing.T) {
	for _, c := range mqttMatches {
		var tree Tree[string]
		tree.Add(c.filter, MQTT, c.filter)
		for name := range strings.SplitSeq(c.names, " ") {
			if got := len(match(&tree, name, MQTT)) == 1; got != c.yes {
				t.Errorf("filter %q, name %q: %v", c.filter, name, got)
			}
			if got := len(match(&tree, Swap(name), AMQP)) == 1; got != c.yes {
				t.Errorf("filter %q, key %q: %v", c.filter, Swap(name), got)
			}
		}
	}
}

// The patterns and keys are RabbitMQ's own tests of the topic exchange in spirit: words are what is between dots, empty
// ones too, and the empty key has no word at all.
func TestTreeMatchesAMQPPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, keys string
		yes           bool
	}{
		{"*.orange.*", "quick.orange.rabbit lazy.orange.elephant", true},
		{"*.orange.*", "quick.orange.male.rabbit orange orange.rabbit", false},
		{"lazy.#", "lazy lazy.pink.rabbit lazy.orange.new.rabbit lazy.", true},
		{"*.*.rabbit", "lazy.pink.rabbit", true},
		{"#", "a a.b . .. $SYS.x +", true},
		{"#.a", "a b.a b.c.a .a", true},
		{"#.a", "a.b b", false},
		{"a.#.b", "a.b a.x.b a.x.y.b a.b.b a.a.b", true},
		{"a.#.b", "a b a.b.c", false},
		{"#.#", "a a.b", true},
		{"#.*", "a a.b .", true},
		{"*.#", "a a.b", true},
		{"#.a.#", "a a.a x.a.y", true},
		{"*", "a $SYS +", true},
		{"*", "a.b .", false},
		{"a..b", "a..b", true},
		{"a.*.b", "a..b", true},
		{"a..b", "a.b", false},
		{"+.a", "+.a", true},
		{"+.a", "b.a", false},
		{"a/b.c", "a/b.c", true},
		{"a/b.c", "a.b.c", false},
		{"*a", "*a", true},
		{"*a", "ba", false},
		{"a#", "a#", true},
	} {
		var tree Tree[string]
		tree.Add(c.pattern, AMQP, c.pattern)
		for key := range strings.SplitSeq(c.keys, " ") {
			if got := len(match(&tree, key, AMQP)) == 1; got != c.yes {
				t.Errorf("pattern %q, key %q: %v", c.pattern, key, got)
			}
		}
	}
}

func TestTreeEmptyKey(t *testing.T) {
	var tree Tree[string]
	for _, p := range []string{"", "#", "#.#", "*", "#.*", "a"} {
		tree.Add(p, AMQP, p)
	}
	tree.Add("#", MQTT, "filter #")
	got := match(&tree, "", AMQP)
	if slices.Sort(got); !slices.Equal(got, []string{"", "#", "#.#"}) {
		t.Errorf("the empty key matches %q", got)
	}
}

// A key that no MQTT client could be sent as a topic matches no filter.
func TestTreeKeepsKeysThatAreNoTopicsFromFilters(t *testing.T) {
	var tree Tree[string]
	tree.Add("#", MQTT, "filter")
	tree.Add("#", AMQP, "pattern")
	for _, key := range []string{"", "a.+", "a.#", "\xff", "a\x00"} {
		if got := match(&tree, key, AMQP); !slices.Equal(got, []string{"pattern"}) {
			t.Errorf("key %q matches %q", key, got)
		}
	}
}

// A random history of a tree, and what matches at each step, are those of a list that is searched from end to end.
func TestTreeAgainstList(t *testing.T) {
	r := random(t)
	type item struct {
		pattern string
		form    Form
		value   int
	}
	var tree Tree[int]
	list := make(map[item]bool)
	for step := range 6_000 {
		form := randomForm(r)
		it := item{randomPattern(r, form), form, r.IntN(4)}
		if r.IntN(2+len(list)/100) == 0 {
			if tree.Add(it.pattern, it.form, it.value) == list[it] {
				t.Fatalf("step %d: add %+v disagrees", step, it)
			}
			list[it] = true
		} else {
			if tree.Remove(it.pattern, it.form, it.value) != list[it] {
				t.Fatalf("step %d: remove %+v disagrees", step, it)
			}
			delete(list, it)
		}
		nameForm, name := randomForm(r), randomName(r)
		if nameForm == AMQP {
			name = Swap(name)
		} else if CheckName(name, 0) != nil {
			continue
		}
		var want []int
		for it := range list {
			if matchNaive(it.pattern, it.form, name, nameForm) {
				want = append(want, it.value)
			}
		}
		got := match(&tree, name, nameForm)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("step %d: %q (form %d) matches %v, want %v", step, name, nameForm, got, want)
		}
	}
	each := 0
	tree.Each(func(int) { each++ })
	if each != len(list) {
		t.Errorf("Each visits %d values of %d", each, len(list))
	}
	for it := range list {
		if !tree.Remove(it.pattern, it.form, it.value) {
			t.Errorf("cannot remove %+v", it)
		}
	}
	if !tree.root.empty() {
		t.Error("an empty tree keeps nodes")
	}
}

// Very many levels below one level come and go in any order, some with what is below them.
func TestTreeManyChildrenOfOneNode(t *testing.T) {
	r := random(t)
	const n = 60_000
	var tree Tree[int]
	for _, i := range r.Perm(n) {
		if !tree.Add(fmt.Sprintf("plant/%d", i), MQTT, i) || i%7 == 0 && !tree.Add(fmt.Sprintf("plant/%d/x", i), MQTT, i) {
			t.Fatalf("child %d was there", i)
		}
	}
	present := make([]bool, n)
	for i := range present {
		present[i] = true
	}
	for k, i := range r.Perm(n) {
		if !tree.Remove(fmt.Sprintf("plant/%d", i), MQTT, i) || tree.Remove(fmt.Sprintf("plant/%d", i), MQTT, i) {
			t.Fatalf("child %d was not removed once", i)
		}
		present[i] = false
		for range 3 {
			if o := r.IntN(n); len(match(&tree, fmt.Sprintf("plant/%d", o), MQTT)) == 1 != present[o] {
				t.Fatalf("after %d removals: child %d is there: %t", k+1, o, !present[o])
			}
		}
	}
	left := 0
	tree.Each(func(int) { left++ })
	if want := (n + 6) / 7; left != want {
		t.Fatalf("%d values are left, want %d", left, want)
	}
	for i := 0; i < n; i += 7 {
		if !tree.Remove(fmt.Sprintf("plant/%d/x", i), MQTT, i) {
			t.Fatalf("what is below child %d is missing", i)
		}
	}
	if !tree.root.empty() {
		t.Error("an empty tree keeps nodes")
	}
}

// A node whose pattern is gone keeps no more of it than its level.
func TestTreeKeepsNoPatternOfAnother(t *testing.T) {
	var tree Tree[int]
	long := strings.Repeat("x", 1000) + "/a"
	tree.Add(long, MQTT, 1)
	tree.Add(long+"/b", MQTT, 2)
	tree.Remove(long, MQTT, 1)
	start := uintptr(unsafe.Pointer(unsafe.StringData(long)))
	for n := &tree.root; n.below != nil; {
		n = n.below.only
		if at := uintptr(unsafe.Pointer(unsafe.StringData(n.level))); at >= start && at < start+uintptr(len(long)) {
			t.Errorf("level %.5q is part of a pattern that is gone", n.level)
		}
	}
}

func TestSizes(t *testing.T) {
	for what, got := range map[string][2]uintptr{
		"node": {unsafe.Sizeof(node[*int]{}), 48}, "branch": {unsafe.Sizeof(branch[*int]{}), 64}, "group": {unsafe.Sizeof(group[*int]{}), 64},
	} {
		if got[0] != got[1] {
			t.Errorf("a %s is %d bytes, not %d", what, got[0], got[1])
		}
	}
}

// Very many values of one pattern come and go in any order.
func TestTreeManyValuesOfOnePattern(t *testing.T) {
	r := random(t)
	const n = 50_000
	var tree Tree[int]
	for i := range n {
		tree.Add("alerts/#", MQTT, i)
	}
	if tree.Add("alerts/#", MQTT, n/2) {
		t.Error("a value was added twice")
	}
	for i, v := range r.Perm(n) {
		if !tree.Remove("alerts/#", MQTT, v) {
			t.Fatalf("value %d is missing", v)
		}
		if i%5000 == 0 {
			if got := len(match(&tree, "alerts", MQTT)); got != n-1-i {
				t.Fatalf("%d values match, want %d", got, n-1-i)
			}
		}
	}
}

// Patterns that take a backtracking matcher time exponential in their length: this test would not end.
func TestTreeAdversarialPatterns(t *testing.T) {
	var tree Tree[string]
	for n := 1; n <= 60; n++ {
		tree.Add(strings.TrimSuffix(strings.Repeat("#.a.", n), "."), AMQP, fmt.Sprint("a", n))
		tree.Add(strings.Repeat("#.a.", n)+"b", AMQP, fmt.Sprint("b", n))
		tree.Add(strings.Repeat("#.*.", n)+"#", AMQP, fmt.Sprint("#", n))
		tree.Add(strings.Repeat("#.", n)+"a", AMQP, fmt.Sprint("##", n))
	}
	name := strings.TrimSuffix(strings.Repeat("a.", 120), ".")
	got := match(&tree, name, AMQP)
	slices.Sort(got)
	if len(got) != 180 || len(slices.Compact(got)) != 180 {
		t.Errorf("%d values were visited, want 180 once each", len(got))
	}
}

func TestTreeMatchDoesNotAllocate(t *testing.T) {
	tree, names := benchmarkTree(rand.New(rand.NewPCG(1, 2)), 1000)
	n := 0
	visit := func(int) { n++ }
	for _, form := range []Form{MQTT, AMQP} {
		name := names[0]
		if form == AMQP {
			name = Swap(name)
		}
		if a := testing.AllocsPerRun(100, func() { tree.Match(name, form, visit) }); a != 0 {
			t.Errorf("form %d: %v allocations for a match", form, a)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, c := range [][2]string{{"*.orange.*", "quick.orange.rabbit"}, {"#.a.#.a", "a.a.a"}, {"#.#.*", "."}, {"", ""}, {"a/b.+", "a/b.+"}, {"a..#", "a.."}} {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, pattern, key string) {
		if len(key) > 100 || strings.Count(pattern, "#") > 5 {
			return // the definition takes exponential time
		}
		var tree Tree[int]
		tree.Add(pattern, AMQP, 1)
		if got, want := len(match(&tree, key, AMQP)), matchNaive(pattern, AMQP, key, AMQP); got > 1 || (got == 1) != want {
			t.Fatalf("pattern %q, key %q: %d visits, want a match: %v", pattern, key, got, want)
		}
		if !tree.Remove(pattern, AMQP, 1) || !tree.root.empty() {
			t.Fatalf("pattern %q is not removed without trace", pattern)
		}
	})
}

// benchmarkTree has patterns of four to six levels, a tenth of them with wildcards, and names that match some.
func benchmarkTree(r *rand.Rand, patterns int) (tree *Tree[int], names []string) {
	tree = new(Tree[int])
	for i := range patterns {
		levels := []string{
			pick(r, "factory", "office", "home", "fleet"), fmt.Sprint("site", r.IntN(100)),
			fmt.Sprint("line", r.IntN(50)), fmt.Sprint("device", r.IntN(5000)), pick(r, "temperature", "pressure", "state"), "value",
		}[:4+r.IntN(3)]
		names = append(names, strings.Join(levels, "/"))
		if r.IntN(10) > 0 {
			tree.Add(strings.Join(levels, "/"), MQTT, i)
			continue
		}
		switch r.IntN(4) {
		case 0:
			levels[len(levels)-1] = "#"
			tree.Add(strings.Join(levels, "/"), MQTT, i)
		case 1:
			levels[r.IntN(len(levels)-1)] = "*"
			tree.Add(strings.Join(levels, "."), AMQP, i)
		default:
			levels[1+r.IntN(len(levels)-1)] = "+"
			tree.Add(strings.Join(levels, "/"), MQTT, i)
		}
	}
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return tree, names
}

func BenchmarkTreeMatch(b *testing.B) {
	for _, patterns := range []int{100, 10_000, 100_000} {
		tree, names := benchmarkTree(rand.New(rand.NewPCG(1, 2)), patterns)
		keys := make([]string, len(names))
		for i, n := range names {
			keys[i] = Swap(n)
		}
		found := 0
		visit := func(int) { found++ }
		run := func(form Form, names []string) func(*testing.B) {
			return func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					tree.Match(names[i%len(names)], form, visit)
				}
			}
		}
		b.Run(fmt.Sprintf("mqtt/%d", patterns), run(MQTT, names))
		b.Run(fmt.Sprintf("amqp/%d", patterns), run(AMQP, keys))
	}
}

// The median of single matches, clock included, in trees of 100,000 and of a million patterns: with ever other names, which
// finds the tree's nodes in main memory, and with a thousand names again and again.
func BenchmarkTreeMatchMedian(b *testing.B) {
	for _, patterns := range []int{100_000, 1_000_000} {
		tree, names := benchmarkTree(rand.New(rand.NewPCG(1, 2)), patterns)
		for _, distinct := range []int{100_000, 1000} {
			b.Run(fmt.Sprintf("patterns=%d/names=%d", patterns, distinct), func(b *testing.B) {
				took := make([]time.Duration, 0, 1<<20)
				found := 0
				visit := func(int) { found++ }
				for i := 0; b.Loop(); i++ {
					start := time.Now()
					tree.Match(names[i%distinct], MQTT, visit)
					took = append(took, time.Since(start))
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2]), "ns/median")
				b.ReportMetric(float64(found)/float64(len(took)), "found/op")
			})
		}
	}
}

func BenchmarkTreeMatchAdversarial(b *testing.B) {
	var tree Tree[int]
	tree.Add(strings.Repeat("#.a.", 60)+"#", AMQP, 1)
	name := strings.TrimSuffix(strings.Repeat("a.", 120), ".")
	for b.Loop() {
		tree.Match(name, AMQP, func(int) {})
	}
}

func BenchmarkTreeAddRemove(b *testing.B) {
	tree, names := benchmarkTree(rand.New(rand.NewPCG(1, 2)), 100_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tree.Add(names[i%len(names)], MQTT, -1)
		tree.Remove(names[i%len(names)], MQTT, -1)
	}
}
