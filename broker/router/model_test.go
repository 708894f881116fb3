package router

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/object"
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

// modelled are the types that model knows; what the others choose is tested beside them.
var modelled = []string{object.ExchangeDirect, object.ExchangeFanout, object.ExchangeHeaders, object.ExchangeTopic}

// model is the router's definition: lists, searched from end to end.
type model struct {
	exchanges map[string]object.ExchangeSpec
	bindings  []Binding[string]
}

func newModel() *model {
	m := &model{exchanges: make(map[string]object.ExchangeSpec)}
	for name, kind := range predeclared {
		m.exchanges[name] = object.ExchangeSpec{Type: kind, Durable: true}
	}
	return m
}

func same(a, b Binding[string]) bool {
	_, differ := a.Arguments.Differ(b.Arguments)
	return a.Source == b.Source && a.Target == b.Target && a.ToExchange == b.ToExchange && a.Exchange == b.Exchange &&
		a.Key == b.Key && a.Form == b.Form && !differ
}

func (m *model) find(b Binding[string]) int {
	return slices.IndexFunc(m.bindings, func(o Binding[string]) bool { return same(o, b) })
}

// put adds a binding, or gives the one that is there new options.
func (m *model) put(b Binding[string]) (added bool) {
	if i := m.find(b); i >= 0 {
		m.bindings[i] = b
		return false
	}
	m.bindings = append(m.bindings, b)
	return true
}

// removeWhere takes bindings out, one by one, each with the auto-delete exchange that it leaves without any.
func (m *model) removeWhere(which func(Binding[string]) bool) (gone []string) {
	for {
		i := slices.IndexFunc(m.bindings, which)
		if i < 0 {
			return gone
		}
		source := m.bindings[i].Source
		m.bindings = slices.Delete(m.bindings, i, i+1)
		if spec, ok := m.exchanges[source]; ok && spec.AutoDelete && !m.inUse(source) {
			gone = append(gone, source)
			gone = append(gone, m.delete(source)...)
		}
	}
}

func (m *model) inUse(name string) bool {
	return slices.ContainsFunc(m.bindings, func(b Binding[string]) bool { return b.Source == name })
}

func (m *model) delete(name string) (gone []string) {
	delete(m.exchanges, name)
	return m.removeWhere(func(b Binding[string]) bool { return b.Source == name || b.ToExchange && b.Exchange == name })
}

func (m *model) route(exchange, key string, form topic.Form, h Attributes) map[string]Options {
	out := make(map[string]Options)
	seen := map[string]bool{exchange: true}
	todo := []string{exchange}
	visit := func(x string) {
		if _, ok := m.exchanges[x]; ok && !seen[x] {
			seen[x] = true
			todo = append(todo, x)
		}
	}
	for i := 0; i < len(todo); i++ {
		x := todo[i]
		matched := false
		for _, b := range m.bindings {
			if b.Source != x || !m.matches(b, key, form, h) {
				continue
			}
			matched = true
			if b.ToExchange {
				visit(b.Exchange)
			} else if o, ok := out[b.Target]; ok {
				out[b.Target] = mergeNaive(o, b.Options)
			} else {
				out[b.Target] = b.Options
			}
		}
		if a, ok := m.exchanges[x].Arguments[object.AlternateExchange].(string); ok && !matched {
			visit(a)
		}
	}
	return out
}

func mergeNaive(a, b Options) Options {
	ids := slices.DeleteFunc([]uint32{a.SubscriptionID, b.SubscriptionID, 0}, func(id uint32) bool { return id == 0 })
	slices.Sort(ids)
	return Options{
		QoS: max(a.QoS, b.QoS), NoLocal: a.NoLocal && b.NoLocal, RetainAsPublished: a.RetainAsPublished || b.RetainAsPublished,
		SubscriptionID: append(ids, 0)[0],
	}
}

func (m *model) matches(b Binding[string], key string, form topic.Form, h Attributes) bool {
	amqpKey := key
	if form == topic.MQTT {
		amqpKey = topic.Swap(key)
	}
	switch m.exchanges[b.Source].Type {
	case object.ExchangeDirect:
		return b.Key == amqpKey
	case object.ExchangeFanout:
		return true
	case object.ExchangeHeaders:
		return headersMatchNaive(b.Arguments, h)
	}
	if b.Form == topic.MQTT {
		return topic.CheckName(topic.Swap(amqpKey), 0) == nil && topic.Match(b.Key, topic.Swap(amqpKey))
	}
	words := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, ".")
	}
	return wordsMatch(words(b.Key), words(amqpKey))
}

func wordsMatch(want, words []string) bool {
	switch {
	case len(want) == 0:
		return len(words) == 0
	case want[0] == "#":
		return wordsMatch(want[1:], words) || len(words) > 0 && wordsMatch(want, words[1:])
	case len(words) == 0:
		return false
	}
	return (want[0] == "*" || want[0] == words[0]) && wordsMatch(want[1:], words[1:])
}

func headersMatchNaive(args object.Arguments, h Attributes) bool {
	all, any := true, false
	kind, _ := args["x-match"].(string)
	for name, want := range args {
		if name == "x-match" || strings.HasPrefix(name, "x-") && !strings.HasSuffix(kind, "-with-x") {
			continue
		}
		have, ok := h.Header(name)
		fits := ok && (want == nil || asNumber(want) == asNumber(have))
		all, any = all && fits, any || fits
	}
	if strings.HasPrefix(kind, "any") {
		return any
	}
	return all
}

// asNumber makes equal numbers equal values; the random ones are small.
func asNumber(v any) any {
	if i, ok := v.(int64); ok {
		return float64(i)
	}
	return v
}

type table map[string]any

func (h table) Header(name string) (any, bool) { v, ok := h[name]; return v, ok }
func (h table) Property(string) string         { return "" }

// A random history of a table, and where messages go at each step, are those of the model.
func TestTableAgainstModel(t *testing.T) {
	r := random(t)
	table, m := New[string](), newModel()
	for step := range 6_000 {
		before := table.Generation()
		did, changed := randomStep(t, r, table, m)
		if changed && table.Generation() == before {
			t.Fatalf("step %d: %s: the generation stays %d", step, did, before)
		}
		if !changed && table.Generation() != before {
			t.Fatalf("step %d: %s changes nothing but the generation", step, did)
		}
		compareRoute(t, r, step, did, table, m)
		if step%100 == 0 {
			compareListing(t, step, table, m)
		}
	}
}

var exchangeNames = []string{"a", "b", "c", "d", "amq.topic", "amq.direct", "amq.fanout", "amq.match"}

func randomStep(t *testing.T, r *rand.Rand, table *Table[string], m *model) (did string, changed bool) {
	x, y, q := pick(r, exchangeNames), pick(r, exchangeNames), pick(r, []string{"q1", "q2", "q3", "q4"})
	key, filter := pick(r, []string{"", "a", "a.b", "a/b.c", "*", "#", "a.#", "#.b", "*.b", "+"}), pick(r, []string{"#", "a", "a/b", "a/+", "+", "+/b", "a/#", "*"})
	spec := object.ExchangeSpec{Type: pick(r, modelled), AutoDelete: r.IntN(2) == 0}
	if r.IntN(3) == 0 {
		spec.Arguments = object.Arguments{object.AlternateExchange: y}
	}
	args := randomArguments(r)
	source, exists := m.exchanges[x]
	_, builtIn := predeclared[x]
	binding := Binding[string]{Source: x, Target: q, Key: key, Form: topic.AMQP, Arguments: args, Options: Options{QoS: MaxQoS}}
	onward := Binding[string]{Source: x, ToExchange: true, Exchange: y, Key: key, Form: topic.AMQP, Arguments: args, Options: Options{QoS: MaxQoS}}
	options := Options{QoS: uint8(r.IntN(3)), NoLocal: r.IntN(2) == 0, RetainAsPublished: r.IntN(2) == 0, SubscriptionID: uint32(r.IntN(4))}
	subscription := Binding[string]{Source: x, Target: q, Key: filter, Form: topic.MQTT, Options: options}
	size := len(m.bindings) + len(m.exchanges)
	switch r.IntN(12) {
	case 0, 1:
		did = fmt.Sprintf("declare %s %+v", x, spec)
		_, differ := spec.Arguments.Differ(source.Arguments)
		wrong := exists && (source.Type != spec.Type || source.AutoDelete != spec.AutoDelete || source.Durable || differ)
		checkRefused(t, did, table.Declare(x, spec), wrong)
		if !exists {
			m.exchanges[x] = spec
		}
	case 2:
		did = fmt.Sprintf("delete %s", x)
		ifUnused := r.IntN(2) == 0
		refused := builtIn || !exists || ifUnused && m.inUse(x)
		checkRefused(t, did, table.Delete(x, ifUnused), refused)
		if !refused {
			m.delete(x)
		}
	case 3, 4:
		did = fmt.Sprintf("bind %+v", binding)
		added, err := table.Bind(x, q, key, args)
		checkRefused(t, did, err, !exists)
		if exists && m.put(binding) != added {
			t.Fatalf("%s: added %v", did, added)
		}
	case 5, 6:
		did = fmt.Sprintf("bind %+v", onward)
		added, err := table.BindExchange(x, y, key, args)
		_, there := m.exchanges[y]
		checkRefused(t, did, err, !exists || !there)
		if exists && there && m.put(onward) != added {
			t.Fatalf("%s: added %v", did, added)
		}
	case 7:
		did = fmt.Sprintf("subscribe %+v", subscription)
		err := table.Subscribe(x, filter, q, options)
		refused := !exists || source.Type != object.ExchangeTopic
		checkRefused(t, did, err, refused)
		if i := m.find(subscription); !refused {
			changed = i >= 0 && m.bindings[i].Options != options
			m.put(subscription)
		}
	case 8:
		did = fmt.Sprintf("unbind %+v", binding)
		removed, gone := table.Unbind(x, q, key, args)
		checkGone(t, did, removed, gone, m.removeOne(binding))
	case 9:
		did = fmt.Sprintf("unbind %+v", onward)
		removed, gone := table.UnbindExchange(x, y, key, args)
		checkGone(t, did, removed, gone, m.removeOne(onward))
	case 10:
		did = fmt.Sprintf("unsubscribe %+v", subscription)
		removed, gone := table.Unsubscribe(x, filter, q)
		checkGone(t, did, removed, gone, m.removeOne(subscription))
	case 11:
		if r.IntN(3) > 0 {
			did = fmt.Sprintf("add queue %s", q)
			table.AddQueue(q, q)
			m.put(Binding[string]{Target: q, Key: q, Form: topic.AMQP, Options: Options{QoS: MaxQoS}})
			break
		}
		did = fmt.Sprintf("remove target %s", q)
		gone := table.RemoveTarget(q)
		checkGone(t, did, true, gone, append([]string{""}, m.removeWhere(func(b Binding[string]) bool { return !b.ToExchange && b.Target == q })...))
	}
	return did, changed || len(m.bindings)+len(m.exchanges) != size
}

// removeOne answers nil if there is no such binding, else an empty string and the exchanges that are gone.
func (m *model) removeOne(b Binding[string]) []string {
	if m.find(b) < 0 {
		return nil
	}
	return append([]string{""}, m.removeWhere(func(o Binding[string]) bool { return same(o, b) })...)
}

func checkGone(t *testing.T, did string, removed bool, gone, want []string) {
	t.Helper()
	if removed {
		gone = append([]string{""}, gone...)
	}
	slices.Sort(gone)
	slices.Sort(want)
	if !slices.Equal(gone, want) {
		t.Fatalf("%s: gone are %q, want %q", did, gone, want)
	}
}

func checkRefused(t *testing.T, did string, err error, refused bool) {
	t.Helper()
	if refused != (err != nil) {
		t.Fatalf("%s: error %v, refused should be %v", did, err, refused)
	}
}

func randomArguments(r *rand.Rand) object.Arguments {
	if r.IntN(2) == 0 {
		return nil
	}
	a := object.Arguments{}
	if r.IntN(2) == 0 {
		a["x-match"] = pick(r, []string{"all", "any", "all-with-x", "any-with-x"})
	}
	for _, name := range []string{"h1", "h2", "x-h"} {
		if r.IntN(2) == 0 {
			a[name] = pick(r, []any{nil, int64(1), float64(1), "1", true})
		}
	}
	return a
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func compareRoute(t *testing.T, r *rand.Rand, step int, did string, tab *Table[string], m *model) {
	t.Helper()
	h := table{}
	for _, name := range []string{"h1", "h2", "x-h"} {
		if r.IntN(2) == 0 {
			h[name] = pick(r, []any{int64(1), float64(1), int64(2)})
		}
	}
	x := pick(r, append([]string{"", "q1"}, exchangeNames...))
	form, key := topic.AMQP, pick(r, []string{"", "a", "a.b", "a/b.c", "a.b.b", "q1", "*", "+", "$.b"})
	if r.IntN(2) == 0 && topic.CheckName(topic.Swap(key), 0) == nil {
		form, key = topic.MQTT, topic.Swap(key)
	}
	prefix := []Match[string]{{Target: "before"}}
	got, err := tab.Route(x, &Message{Key: key, Form: form, Attributes: h}, prefix)
	if _, exists := m.exchanges[x]; !exists {
		if err == nil {
			t.Fatalf("step %d: %s: exchange %q is not there, and routes", step, did, x)
		}
		return
	}
	if err != nil || got[0].Target != "before" {
		t.Fatalf("step %d: %s: route %q %q: %v", step, did, x, key, err)
	}
	want := m.route(x, key, form, h)
	have := make(map[string]Options)
	for _, g := range got[1:] {
		have[g.Target] = g.Options
	}
	if !maps.Equal(have, want) || len(got)-1 != len(want) {
		t.Fatalf("step %d: %s: route %q %q (form %d) %v\ngot  %v\nwant %v", step, did, x, key, form, h, got[1:], want)
	}
}

func compareListing(t *testing.T, step int, table *Table[string], m *model) {
	t.Helper()
	var from, ends []Binding[string]
	targets := make(map[string]bool)
	for _, x := range table.Exchanges() {
		if _, ok := m.exchanges[x.Name]; !ok {
			t.Fatalf("step %d: exchange %q should be gone", step, x.Name)
		}
		if m.inUse(x.Name) != table.InUse(x.Name) {
			t.Fatalf("step %d: InUse(%q) = %v", step, x.Name, table.InUse(x.Name))
		}
		out := table.BindingsFrom(x.Name)
		for _, b := range out {
			if !b.ToExchange {
				targets[b.Target] = true
			}
		}
		from = append(from, out...)
		ends = append(ends, table.BindingsTo(x.Name)...)
	}
	for q := range targets {
		ends = append(ends, table.BindingsOf(q)...)
	}
	for _, list := range [][]Binding[string]{from, ends} {
		if !slices.Equal(texts(list), texts(m.bindings)) {
			t.Fatalf("step %d: bindings are\n%s\nwant\n%s", step, strings.Join(texts(list), "\n"), strings.Join(texts(m.bindings), "\n"))
		}
	}
	if len(table.targets)+len(table.exchanges)+len(table.ids.free) != int(table.ids.next) {
		t.Fatalf("step %d: endpoint ids leak", step)
	}
}

func texts(list []Binding[string]) []string {
	out := make([]string, len(list))
	for i, b := range list {
		out[i] = fmt.Sprintf("%+v", b)
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}
