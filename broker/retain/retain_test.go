package retain

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/topic"
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

func retained(name string) *message.Message {
	return &message.Message{Encoding: message.MQTT, Key: name, Payload: []byte("x"), Retain: true, Owned: true}
}

// all reads every page.
func all(s *Store, filter string, limit int) (names []string) {
	var at Cursor
	for more := true; more; {
		var page []*message.Message
		page, at, more = s.Match(filter, at, limit)
		for _, m := range page {
			names = append(names, m.Key)
		}
	}
	return names
}

func TestMatchAnswersInTheOrderOfTopics(t *testing.T) {
	s := New()
	for _, name := range []string{"b", "a/b", "a", "a!", "a/b/c", "a/", "$SYS/up", "$", "/", "/a", "a.b/c", "%", "A/b"} {
		s.Set(name, retained(name))
	}
	for _, c := range []struct{ filter, want string }{
		{"#", "/ /a % A/b a a/ a/b a/b/c a! a.b/c b"},
		{"a/#", "a a/ a/b a/b/c"},
		{"a/+", "a/ a/b"},
		{"+", "% a a! b"},
		{"+/b", "A/b a/b"},
		{"+/+", "/ /a A/b a/ a/b a.b/c"},
		{"+/b/#", "A/b a/b a/b/c"},
		{"+/+/c", "a/b/c"},
		{"$SYS/#", "$SYS/up"},
		{"$SYS/+", "$SYS/up"},
		{"$", "$"},
		{"+/up", ""},
		{"a/b", "a/b"},
		{"c/#", ""},
		{"/+", "/ /a"},
		{"/#", "/ /a"},
	} {
		for limit := 1; limit < 4; limit++ {
			if got := strings.Join(all(s, c.filter, limit), " "); got != c.want {
				t.Errorf("filter %q, pages of %d: %s; want %s", c.filter, limit, got, c.want)
			}
		}
	}
}

func TestSetAndClearCount(t *testing.T) {
	s := New()
	m, n := retained("a"), retained("a")
	n.Payload = []byte("longer")
	if s.Set("a", m) != nil || s.Len() != 1 || s.Bytes() != int64(m.Size()) || s.Get("a") != m {
		t.Errorf("after the first Set: %d messages, %d bytes", s.Len(), s.Bytes())
	}
	if s.Set("a", n) != m || s.Len() != 1 || s.Bytes() != int64(n.Size()) || s.Get("a") != n {
		t.Errorf("after the second Set: %d messages, %d bytes", s.Len(), s.Bytes())
	}
	if s.Clear("b") != nil || s.Clear("a") != n || s.Clear("a") != nil || s.Len() != 0 || s.Bytes() != 0 || s.Get("a") != nil {
		t.Errorf("after Clear: %d messages, %d bytes", s.Len(), s.Bytes())
	}
}

func TestExpire(t *testing.T) {
	s := New()
	for i := range 10 {
		m := retained(fmt.Sprint("t", i))
		m.Expiry = int64(100 + i)
		s.Set(m.Key, m)
	}
	s.Set("keep", retained("keep"))
	s.Clear("t0")
	s.Set("t1", retained("t1")) // now without expiry
	later := retained("t2")
	later.Expiry = 500
	s.Set("t2", later)
	if got := s.Expire(99, 10); len(got) != 0 {
		t.Errorf("expired too early: %v", got)
	}
	var names []string
	for _, e := range slices.Concat(s.Expire(105, 2), s.Expire(105, 10), s.Expire(105, 10)) {
		names = append(names, e.Topic)
	}
	if got := strings.Join(names, " "); got != "t3 t4 t5" {
		t.Errorf("expired at 105: %s", got)
	}
	if got := strings.Join(all(s, "#", 10), " "); got != "keep t1 t2 t6 t7 t8 t9" {
		t.Errorf("left: %s", got)
	}
	s.Expire(1000, 10)
	if s.Len() != 2 || s.Bytes() != int64(retained("keep").Size()+retained("t1").Size()) {
		t.Errorf("%d messages, %d bytes are left", s.Len(), s.Bytes())
	}
}

// A topic that is set again and again with an expiry far away keeps one entry, not one for each time.
func TestExpiryDoesNotGrow(t *testing.T) {
	s := New()
	for i := range 100_000 {
		m := retained("t")
		m.Expiry = int64(1_000_000 + i)
		s.Set("t", m)
	}
	if n := len(s.expiring.entries); n > 2*minSweep {
		t.Errorf("%d entries for one message", n)
	}
	if got := s.Expire(2_000_000, 10); len(got) != 1 {
		t.Errorf("expired %d messages, want 1", len(got))
	}
}

func randomTopic(r *rand.Rand) string {
	for {
		levels := make([]string, 1+r.IntN(4))
		for i := range levels {
			levels[i] = []string{"a", "b", "ab", "", "$", "a.b", "a!", "\x01", "é", fmt.Sprint(r.IntN(40))}[r.IntN(10)]
		}
		if name := strings.Join(levels, "/"); name != "" {
			return name
		}
	}
}

func randomFilter(r *rand.Rand) string {
	levels := strings.Split(randomTopic(r), "/")
	for i := range levels {
		if r.IntN(2) == 0 {
			levels[i] = "+"
		}
	}
	if r.IntN(2) == 0 {
		levels[len(levels)-1] = "#"
	}
	return strings.Join(levels, "/")
}

// A random history of a store, and its answers, are those of a map that is searched with topic.Match.
func TestStoreAgainstMap(t *testing.T) {
	r := random(t)
	s := New()
	model := make(map[string]*message.Message)
	now := int64(0)
	for step := range 20_000 {
		name := randomTopic(r)
		filling := step/4000%2 == 0
		switch k := r.IntN(20); {
		case k == 0:
			now += int64(r.IntN(20))
			for _, e := range s.Expire(now, 1+r.IntN(20)) {
				if model[e.Topic] != e.Message || e.Message.Expiry > now {
					t.Fatalf("step %d: %q expired at %d: %+v", step, e.Topic, now, e.Message)
				}
				delete(model, e.Topic)
			}
		case (k < 15) == filling:
			m := retained(name)
			if r.IntN(2) == 0 {
				m.Expiry = now + int64(r.IntN(2000))
			}
			if s.Set(name, m) != model[name] {
				t.Fatalf("step %d: Set(%q) answers another message", step, name)
			}
			model[name] = m
		default:
			if s.Clear(name) != model[name] {
				t.Fatalf("step %d: Clear(%q) answers another message", step, name)
			}
			delete(model, name)
		}
		if s.Len() != len(model) {
			t.Fatalf("step %d: %d messages, want %d", step, s.Len(), len(model))
		}
		if step%20 == 0 {
			compareMatch(t, r, step, s, model)
		}
	}
	s.Expire(now+10_000, len(model))
	for name, m := range model {
		if m.Expiry != 0 {
			delete(model, name)
		}
	}
	compareMatch(t, r, -1, s, model)
}

func compareMatch(t *testing.T, r *rand.Rand, step int, s *Store, model map[string]*message.Message) {
	t.Helper()
	filter := randomFilter(r)
	var want []string
	bytes := int64(0)
	for name, m := range model {
		bytes += int64(m.Size())
		if topic.Match(filter, name) {
			want = append(want, name)
		}
	}
	slices.SortFunc(want, func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) })
	if got := all(s, filter, 1+r.IntN(10)); !slices.Equal(got, want) {
		t.Fatalf("step %d: filter %q matches\n%q\nwant\n%q", step, filter, got, want)
	}
	if s.Bytes() != bytes {
		t.Fatalf("step %d: %d bytes, want %d", step, s.Bytes(), bytes)
	}
}

// Topics that stay are answered exactly once, whatever comes and goes between the pages.
func TestMatchWhileTheStoreChanges(t *testing.T) {
	r := random(t)
	s := New()
	var stay []string
	for i := range 3000 {
		name := fmt.Sprintf("stay/%04d/x", i)
		stay = append(stay, name)
		s.Set(name, retained(name))
	}
	var got []string
	var at Cursor
	for more := true; more; {
		var page []*message.Message
		page, at, more = s.Match("+/+/x", at, 1+r.IntN(20))
		for _, m := range page {
			if strings.HasPrefix(m.Key, "stay/") && len(m.Key) == len("stay/0000/x") {
				got = append(got, m.Key)
			}
		}
		for range 30 {
			name := fmt.Sprintf("stay/%04d%s/x", r.IntN(3000), []string{"a", "!"}[r.IntN(2)])
			if s.Set(name, retained(name)); r.IntN(3) > 0 {
				s.Clear(name)
			}
		}
	}
	if !slices.Equal(got, stay) {
		t.Errorf("%d topics were answered, want %d", len(got), len(stay))
	}
}

// A page ends after a bounded number of looks, also when nothing matches.
func TestPageIsBounded(t *testing.T) {
	s := New()
	const n = 20_000
	for i := range n {
		name := fmt.Sprintf("a/%d/b", i)
		s.Set(name, retained(name))
	}
	pages, at := 0, Cursor{}
	for more := true; more; pages++ {
		var page []*message.Message
		page, at, more = s.Match("+/+/c", at, 100)
		if len(page) != 0 {
			t.Fatalf("%q matches", page[0].Key)
		}
	}
	if least := n / (100 * looksPerMatch); pages < least {
		t.Errorf("%d pages passed over %d topics, want at least %d", pages, n, least)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := New()
	var running sync.WaitGroup
	for g := range 4 {
		running.Go(func() { // ends by itself
			for i := range 2000 {
				name := fmt.Sprintf("%d/%d", g%2, i%300)
				m := retained(name)
				m.Expiry = int64(i)
				s.Set(name, m)
				all(s, fmt.Sprintf("+/%d", i%300), 3)
				if i%3 == 0 {
					s.Clear(name)
				}
				s.Expire(int64(i-100), 5)
			}
		})
	}
	running.Wait()
	if got := len(all(s, "#", 50)); got != s.Len() {
		t.Errorf("%d topics are answered, %d are there", got, s.Len())
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("+/b/#", "a/b\na\na/b/c\n$x/b", uint8(1))
	f.Add("#", "a\n/\n//\n$", uint8(2))
	f.Add("a/+", "a/\na\na/b/c\na!\na\x01/b", uint8(3))
	f.Fuzz(func(t *testing.T, filter, names string, limit uint8) {
		if topic.CheckFilter(filter, 0) != nil || limit == 0 {
			return
		}
		s := New()
		var want []string
		for name := range strings.SplitSeq(names, "\n") {
			if topic.CheckName(name, 0) == nil && s.Set(name, retained(name)) == nil && topic.Match(filter, name) {
				want = append(want, name)
			}
		}
		got := all(s, filter, int(limit))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("filter %q matches %q, want %q", filter, got, want)
		}
	})
}

func million(b *testing.B) *Store {
	s := New()
	for i := range 1_000_000 {
		name := fmt.Sprintf("site%d/device%06d/status", i%100, i*7919%1_000_000)
		s.Set(name, retained(name))
	}
	b.ReportAllocs()
	return s
}

func BenchmarkSet(b *testing.B) {
	s := million(b)
	r := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		i := r.IntN(1_000_000)
		m := retained(fmt.Sprintf("site%d/device%06d/status", i%100, i*7919%1_000_000))
		s.Set(m.Key, m)
	}
}

func BenchmarkInsertAndClear(b *testing.B) {
	s := million(b)
	r := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		m := retained(fmt.Sprintf("site%d/device%06d/x", r.IntN(100), r.IntN(1_000_000)))
		s.Set(m.Key, m)
		s.Clear(m.Key)
	}
}

// A page of 100 out of a million.
func BenchmarkMatch(b *testing.B) {
	s := million(b)
	for _, filter := range []string{"#", "site7/+/status", "+/device000007/status", "+/+/status", "+/+/none"} {
		b.Run(strings.ReplaceAll(filter, "/", "|"), func(b *testing.B) {
			b.ReportAllocs()
			for at, more := (Cursor{}), true; b.Loop(); {
				if _, at, more = s.Match(filter, at, 100); !more {
					at = Cursor{}
				}
			}
		})
	}
}
