package topic

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; zero picks one")

// random is a source whose seed is in the test's output, to be given back with -seed.
func random(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestSwap(t *testing.T) {
	for _, c := range [][2]string{
		{"", ""}, {"a", "a"}, {"a/b", "a.b"}, {"/a//b/", ".a..b."},
		{"v1.0/x", "v1/0.x"}, {"a.b/c.d", "a/b.c/d"}, {"ü/é", "ü.é"},
	} {
		if got := Swap(c[0]); got != c[1] {
			t.Errorf("Swap(%q) = %q, want %q", c[0], got, c[1])
		}
		if got := Swap(c[1]); got != c[0] {
			t.Errorf("Swap(%q) = %q, want %q", c[1], got, c[0])
		}
	}
}

func TestCheckName(t *testing.T) {
	long := strings.Repeat("x", 65535)
	for _, c := range []struct {
		name   string
		levels int
		wrong  string // part of the error, empty for a valid name
	}{
		{"a", 0, ""}, {"/", 0, ""}, {"//", 3, ""}, {"sport/tennis/player1", 3, ""}, {"Accounts payable", 0, ""},
		{"$SYS/x", 0, ""}, {"a.b*c", 0, ""}, {long, 0, ""}, {"\ufeffx", 0, ""},
		{"", 0, "empty"}, {"a\x00b", 0, "U+0000"}, {"\xff", 0, "UTF-8"}, {"\xed\xa0\x80", 0, "UTF-8"},
		{long + "x", 0, "65536 bytes"}, {"a/b/c", 2, "3 levels"}, {"a/+", 0, "wildcard"}, {"a#", 0, "wildcard"},
	} {
		checkError(t, "CheckName", c.name, CheckName(c.name, c.levels), c.wrong)
	}
}

// The examples of MQTT 3.1.1 §4.7.1 are among these.
func TestCheckFilter(t *testing.T) {
	for _, c := range []struct {
		filter string
		levels int
		wrong  string
	}{
		{"#", 0, ""}, {"sport/tennis/#", 0, ""}, {"+", 0, ""}, {"+/tennis/#", 0, ""}, {"sport/+/player1", 3, ""},
		{"/", 0, ""}, {"+//#", 0, ""}, {"a*/b.c", 0, ""}, {"$SYS/#", 0, ""},
		{"sport/tennis#", 0, "whole level"}, {"sport/tennis/#/ranking", 0, "last level"}, {"sport+", 0, "whole level"},
		{"#/", 0, "last level"}, {"##", 0, "whole level"}, {"+a/b", 0, "whole level"}, {"a/+#", 0, "whole level"},
		{"", 0, "empty"}, {"a\x00", 0, "U+0000"}, {"\xc3", 0, "UTF-8"}, {"a/b/#", 2, "3 levels"},
		{strings.Repeat("/", 65536), 0, "65536 bytes"},
	} {
		checkError(t, "CheckFilter", c.filter, CheckFilter(c.filter, c.levels), c.wrong)
	}
}

func checkError(t *testing.T, what, arg string, err error, wrong string) {
	t.Helper()
	if len(arg) > 40 {
		arg = arg[:40] + "…"
	}
	switch {
	case wrong == "" && err != nil:
		t.Errorf("%s(%q): %v", what, arg, err)
	case wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)):
		t.Errorf("%s(%q): error %v, want one about %q", what, arg, err, wrong)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		filter string
		kind   Kind
		rest   string
		wrong  string
	}{
		{"$share/consumer1/sport/tennis/+", Shared, "sport/tennis/+", ""},
		{"$share/consumer1//finance", Shared, "/finance", ""},
		{"$share/g/#", Shared, "#", ""},
		{"sport/#", Plain, "sport/#", ""},
		{"", Plain, "", ""},
		{"$sharex/a", Plain, "$sharex/a", ""},
		{"$share", Plain, "$share", ""},
		{"$SYS/#", Plain, "$SYS/#", ""},
		{"$share/", Shared, "", "no share name"},
		{"$share//a", Shared, "", "no share name"},
		{"$share/g", Shared, "", "no filter"},
		{"$share/g/", Shared, "", "no filter"},
		{"$share/g+/a", Shared, "", "wildcard"},
		{"$share/#/a", Shared, "", "wildcard"},
		{"$exclusive/a/#", Exclusive, "a/#", ""},
		{"$exclusive/", Exclusive, "", "nothing after"},
		{"$queue/orders.eu/x", OfQueue, "orders.eu/x", ""},
		{"$queue/", OfQueue, "", "nothing after"},
	} {
		kind, rest, err := Parse(c.filter)
		checkError(t, "Parse", c.filter, err, c.wrong)
		if kind != c.kind || rest != c.rest {
			t.Errorf("Parse(%q) = %v, %q", c.filter, kind, rest)
		}
	}
}

// mqttMatches are the examples of MQTT 3.1.1 §4.7, and what follows from its rules.
var mqttMatches = []struct {
	filter, names string // names separated by a blank
	yes           bool
}{
	{"sport/tennis/player1/#", "sport/tennis/player1 sport/tennis/player1/ranking sport/tennis/player1/score/wimbledon", true},
	{"sport/#", "sport sport/ sport/a/b", true},
	{"sport/#", "sports /sport spor", false},
	{"#", "a / a/b /a", true},
	{"sport/tennis/+", "sport/tennis/player1 sport/tennis/player2 sport/tennis/", true},
	{"sport/tennis/+", "sport/tennis/player1/ranking sport/tennis", false},
	{"sport/+", "sport/", true},
	{"sport/+", "sport", false},
	{"+/+", "/finance", true},
	{"/+", "/finance", true},
	{"+", "/finance", false},
	{"+/tennis/#", "sport/tennis sport/tennis/x /tennis", true},
	{"#", "$SYS/monitor/Clients $", false},
	{"+/monitor/Clients", "$SYS/monitor/Clients", false},
	{"$SYS/#", "$SYS $SYS/monitor/Clients", true},
	{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
	{"a/+", "a/$b", true},
	{"ACCOUNTS", "Accounts", false},
	{"/finance", "finance", false},
	{"a/*", "a/b", false},
	{"a/*", "a/*", true},
	{"a", "a.b", false},
	{"a.b/+", "a.b/c", true},
	{"+/#", "a a/b a/b/c", true},
	{"a/+/#", "a/b a/b/c", true},
	{"a/+/#", "a", false},
}

func TestMatch(t *testing.T) {
	for _, c := range mqttMatches {
		for name := range strings.SplitSeq(c.names, " ") {
			if got := Match(c.filter, name); got != c.yes {
				t.Errorf("Match(%q, %q) = %v", c.filter, name, got)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { Match("sport/+/player1/#", "sport/tennis/player1/ranking") }); n != 0 {
		t.Errorf("Match allocates %v times", n)
	}
}

func randomForm(r *rand.Rand) Form { return Form(1 + r.IntN(2)) }

// randomName is a few levels, joined by '/', out of a few texts that are special somewhere.
func randomName(r *rand.Rand) string {
	levels := make([]string, r.IntN(6))
	for i := range levels {
		levels[i] = pick(r, "a", "a", "b", "", "$", "a.b", ".", "*", "+", "#")
	}
	return strings.Join(levels, "/")
}

// randomFilter is a valid MQTT filter.
func randomFilter(r *rand.Rand) string {
	levels := make([]string, 1+r.IntN(5))
	for i := range levels {
		levels[i] = pick(r, "a", "a", "b", "+", "+", "", "$", "a.b", "*")
	}
	if r.IntN(3) == 0 {
		levels[len(levels)-1] = "#"
	}
	if f := strings.Join(levels, "/"); f != "" {
		return f
	}
	return "a"
}

// randomPattern is a valid pattern of a form.
func randomPattern(r *rand.Rand, form Form) string {
	if form == MQTT {
		return randomFilter(r)
	}
	words := make([]string, r.IntN(6))
	for i := range words {
		words[i] = pick(r, "a", "a", "b", "*", "#", "#", "", "$", "a/b", "+")
	}
	return strings.Join(words, ".")
}

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

func FuzzFilter(f *testing.F) {
	for _, c := range mqttMatches {
		f.Add(c.filter, c.names)
	}
	f.Add("$share/g/a/#", "a\x00")
	f.Fuzz(func(t *testing.T, filter, name string) {
		if Swap(Swap(name)) != name {
			t.Fatalf("Swap is not its own inverse for %q", name)
		}
		if kind, rest, err := Parse(filter); err == nil && !strings.HasSuffix(filter, rest) || kind == Plain && rest != filter {
			t.Fatalf("Parse(%q) = %v, %q, %v", filter, kind, rest, err)
		}
		if CheckFilter(filter, 0) != nil || CheckName(name, 0) != nil {
			return
		}
		want := matchNaive(filter, MQTT, name, MQTT)
		if got := Match(filter, name); got != want {
			t.Fatalf("Match(%q, %q) = %v", filter, name, got)
		}
		var tree Tree[int]
		tree.Add(filter, MQTT, 1)
		got := 0
		tree.Match(Swap(name), AMQP, func(int) { got++ })
		if (got == 1) != want || got > 1 {
			t.Fatalf("a tree with %q visits %d values for the key of %q, Match says %v", filter, got, name, want)
		}
	})
}
