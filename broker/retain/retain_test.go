package retain

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
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
		s.Set(name, retained(name), Place{})
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
	here, there := Place{Index: 1, At: 2, Share: 3}, Place{Index: 1 << 40, At: 1 << 30, Share: 1 << 31}
	if _, existed := s.Set("a", m, here); existed || s.Len() != 1 || s.Bytes() != int64(m.Size()) || string(s.Get("a").Payload) != "x" {
		t.Errorf("after the first Set: %d messages, %d bytes", s.Len(), s.Bytes())
	}
	if at, existed := s.Set("a", n, there); !existed || at != here || s.Len() != 1 || s.Bytes() != int64(n.Size()) || string(s.Get("a").Payload) != "longer" {
		t.Errorf("after the second Set: %v, %d messages, %d bytes", at, s.Len(), s.Bytes())
	}
	s.Each(func(topic string, at Place) {
		if topic != "a" || at != there {
			t.Errorf("%s is at %v", topic, at)
		}
	})
	if _, existed := s.Clear("b"); existed {
		t.Error("a topic without message had one")
	}
	if at, existed := s.Clear("a"); !existed || at != there || s.Has("a") || s.Len() != 0 || s.Bytes() != 0 || s.Get("a") != nil {
		t.Errorf("after Clear: %v, %d messages, %d bytes", at, s.Len(), s.Bytes())
	}
	if _, existed := s.Clear("a"); existed {
		t.Error("a topic was cleared twice")
	}
}

// What comes out is what went in, in either protocol's form.
func TestMessagesAreKeptWhole(t *testing.T) {
	s := New()
	for _, m := range []message.Message{
		{Encoding: message.MQTT, Exchange: "amq.topic", Key: "a/b.c", QoS: 2, Durable: true, Retain: true, Priority: 9, Owned: true, Expiry: 1 << 42, Origin: 77, Publisher: "me", Properties: []byte{1, 1}, Payload: []byte("body")},
		{Encoding: message.AMQP091, Key: "x.y/z", Retain: true, Owned: true, Properties: []byte{0, 0}, Payload: make([]byte, 5000)},
	} {
		s.Set(m.Topic(), &m, Place{})
		if got := s.Get(m.Topic()); !reflect.DeepEqual(*got, m) {
			t.Errorf("%+v comes back as %+v", m, *got)
		}
	}
}

// expire removes what is due.
func expire(s *Store, now int64, limit int) (topics []string) {
	for _, topic := range s.Due(now, limit) {
		if _, removed := s.Expire(topic, now); removed {
			topics = append(topics, topic)
		}
	}
	return topics
}

func TestExpire(t *testing.T) {
	s := New()
	set := func(name string, expiry int64) {
		m := retained(name)
		m.Expiry = expiry
		s.Set(name, m, Place{})
	}
	for i := range 10 {
		set(fmt.Sprint("t", i), int64(100+i))
	}
	set("keep", 0)
	s.Clear("t0")
	set("t1", 0) // now without expiry
	set("t2", 500)
	if got := s.Due(99, 10); len(got) != 0 {
		t.Errorf("expired too early: %v", got)
	}
	names := slices.Concat(expire(s, 105, 2), expire(s, 105, 10), expire(s, 105, 10))
	if got := strings.Join(names, " "); got != "t3 t4 t5" {
		t.Errorf("expired at 105: %s", got)
	}
	if got := strings.Join(all(s, "#", 10), " "); got != "keep t1 t2 t6 t7 t8 t9" {
		t.Errorf("left: %s", got)
	}
	if due := s.Due(106, 1); len(due) != 1 || due[0] != "t6" {
		t.Fatalf("at 106 %v are due", due)
	}
	set("t6", 107) // between Due and Expire
	if _, removed := s.Expire("t6", 106); removed {
		t.Error("another message was removed than was due")
	}
	expire(s, 1000, 10)
	if s.Len() != 2 || s.Bytes() != int64(retained("keep").Size()+retained("t1").Size()) {
		t.Errorf("%d messages, %d bytes are left", s.Len(), s.Bytes())
	}
}

// A topic that is set again and again with an expiry far away keeps one entry, not one for each time.
func TestExpiryDoesNotGrow(t *testing.T) {
	s := New()
	for i := range 100_000 {
		m := retained("t")
		m.Expiry = int64(1_000_000 + i/2) // every other time the same
		s.Set("t", m, Place{})
	}
	if n := len(s.expiring.entries); n > 2*minSweep {
		t.Errorf("%d entries for one message", n)
	}
	if got := expire(s, 2_000_000, 10); len(got) != 1 {
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
	places := make(map[string]Place)
	now := int64(0)
	for step := range 20_000 {
		name := randomTopic(r)
		filling := step/4000%2 == 0
		switch k := r.IntN(20); {
		case k == 0:
			now += int64(r.IntN(20))
			for _, name := range expire(s, now, 1+r.IntN(20)) {
				if m := model[name]; m == nil || m.Expiry == 0 || m.Expiry > now {
					t.Fatalf("step %d: %q expired at %d: %+v", step, name, now, m)
				}
				delete(model, name)
				delete(places, name)
			}
		case (k < 15) == filling:
			m := retained(name)
			if r.IntN(2) == 0 {
				m.Expiry = now + 1 + int64(r.IntN(2000))
			}
			at := Place{Index: uint64(step + 1), At: uint32(r.IntN(1000))}
			if was, existed := s.Set(name, m, at); existed != (model[name] != nil) || was != places[name] {
				t.Fatalf("step %d: Set(%q) answers %v, not %v", step, name, was, places[name])
			}
			model[name], places[name] = m, at
		default:
			if was, existed := s.Clear(name); existed != (model[name] != nil) || was != places[name] {
				t.Fatalf("step %d: Clear(%q) answers %v, not %v", step, name, was, places[name])
			}
			delete(model, name)
			delete(places, name)
		}
		if s.Len() != len(model) {
			t.Fatalf("step %d: %d messages, want %d", step, s.Len(), len(model))
		}
		if step%20 == 0 {
			compareMatch(t, r, step, s, model)
		}
	}
	expire(s, now+10_000, len(model))
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
		s.Set(name, retained(name), Place{})
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
			if s.Set(name, retained(name), Place{}); r.IntN(3) > 0 {
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
		s.Set(name, retained(name), Place{})
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
				s.Set(name, m, Place{})
				all(s, fmt.Sprintf("+/%d", i%300), 3)
				if i%3 == 0 {
					s.Clear(name)
				}
				expire(s, int64(i-100), 5)
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
			if topic.CheckName(name, 0) != nil || s.Has(name) {
				continue
			}
			if s.Set(name, retained(name), Place{}); topic.Match(filter, name) {
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
		s.Set(name, retained(name), Place{})
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
		s.Set(m.Key, m, Place{})
	}
}

func BenchmarkInsertAndClear(b *testing.B) {
	s := million(b)
	r := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		m := retained(fmt.Sprintf("site%d/device%06d/x", r.IntN(100), r.IntN(1_000_000)))
		s.Set(m.Key, m, Place{})
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
