package router

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

func TestErrorsAreTyped(t *testing.T) {
	table := New[int]()
	_, err := table.Route("missing", &Message{Key: "k", Form: topic.AMQP}, nil)
	if !errors.Is(err, ErrNoExchange) {
		t.Errorf("route: %v is not ErrNoExchange", err)
	}
	err = table.Declare("amq.topic", object.ExchangeSpec{Type: object.ExchangeTopic, Durable: true, Internal: true})
	var e *Error
	if !errors.As(err, &e) || e.Code != Inequivalent || e.Field != "internal" || e.Exchange != "amq.topic" || errors.Is(err, ErrNoExchange) {
		t.Errorf("declare: %v", err)
	}
	err = table.Declare("x", object.ExchangeSpec{Type: "nonsense"})
	for _, name := range object.ExchangeTypes {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("declare: %v does not name %s", err, name)
		}
	}
}

func TestPredeclaredExchanges(t *testing.T) {
	var names []string
	for _, x := range New[int]().Exchanges() {
		if !x.Spec.Durable || x.Spec.AutoDelete || x.Spec.Internal {
			t.Errorf("%q is %+v", x.Name, x.Spec)
		}
		names = append(names, x.Name+"="+x.Spec.Type)
	}
	want := []string{"=direct", "amq.direct=direct", "amq.fanout=fanout", "amq.headers=headers", "amq.match=headers", "amq.topic=topic"}
	if !slices.Equal(names, want) {
		t.Errorf("exchanges are %q", names)
	}
}

// The name of a deleted queue goes to the one that is made after it, also when the old one is removed late.
func TestAddQueueTakesTheName(t *testing.T) {
	table := New[int]()
	table.AddQueue("q", 1)
	table.AddQueue("q", 2)
	table.AddQueue("q", 2)
	table.RemoveTarget(1)
	got, err := table.Route("", &Message{Key: "q", Form: topic.AMQP}, nil)
	if err != nil || len(got) != 1 || got[0].Target != 2 {
		t.Errorf("q goes to %v, %v", got, err)
	}
	if b := table.BindingsOf(2); len(b) != 1 || b[0].Key != "q" || b[0].Source != "" {
		t.Errorf("bindings of the queue: %+v", b)
	}
}

func TestHeaderValues(t *testing.T) {
	for _, c := range []struct {
		want, have any
		equal      bool
	}{
		{int64(1), int64(1), true}, {int64(1), 1.0, true}, {1.5, 1.5, true}, {1.0, int64(1), true},
		{int64(1), 1.5, false}, {int64(1), "1", false}, {int64(1), true, false}, {true, true, true}, {true, false, false},
		{int64(1<<53 + 1), float64(1 << 53), false}, {int64(-1 << 63), -float64(1 << 63), true}, {int64(1<<63 - 1), float64(1 << 63), false},
		{"a", "a", true}, {"a", "b", false}, {"a", nil, false},
		{[]any{int64(1), "x"}, []any{1.0, "x"}, true}, {[]any{int64(1)}, []any{int64(1), nil}, false}, {[]any{nil}, []any{nil}, true},
		{map[string]any{"a": int64(1)}, map[string]any{"a": 1.0}, true}, {map[string]any{"a": nil}, map[string]any{"b": nil}, false},
		{map[string]any{}, []any{}, false},
	} {
		if got := equal(c.want, c.have); got != c.equal {
			t.Errorf("equal(%#v, %#v) = %v", c.want, c.have, got)
		}
	}
}

// Routes are answered while everything changes, and a route that was kept with its generation is right while that
// generation lasts.
func TestConcurrentUse(t *testing.T) {
	table := New[int]()
	const targets = 8
	var stop atomic.Bool
	var changing, routing sync.WaitGroup
	for g := range 2 {
		changing.Go(func() { // ends by itself
			for i := range 2000 {
				target, key := 100*g+i%targets, fmt.Sprint("k.", i%5)
				_, _ = table.Bind("amq.topic", target, key, nil)
				_ = table.Subscribe("amq.topic", fmt.Sprint("k/", i%3), target, Options{QoS: uint8(i % 3)})
				_ = table.Declare("x", object.ExchangeSpec{Type: object.ExchangeFanout, AutoDelete: true})
				_, _ = table.BindExchange("amq.topic", "x", "#", nil)
				_, _ = table.Bind("x", target, "", nil)
				table.Unbind("amq.topic", target, key, nil)
				table.RemoveTarget(100*g + (i+1)%targets)
			}
		})
	}
	for range 2 {
		routing.Go(func() { // ends when stop is set, after the changes
			var kept []Match[int]
			for !stop.Load() {
				generation := table.Generation()
				var err error
				if kept, err = table.Route("amq.topic", &Message{Key: "k.1", Form: topic.AMQP}, kept[:0]); err != nil {
					t.Error(err)
				}
				again, _ := table.Route("amq.topic", &Message{Key: "k.1", Form: topic.AMQP}, nil)
				if table.Generation() == generation && len(again) != len(kept) {
					t.Errorf("two routes of generation %d: %v and %v", generation, kept, again)
				}
				table.Cacheable("amq.topic")
				table.BindingsFrom("amq.topic")
			}
		})
	}
	changing.Wait()
	stop.Store(true)
	routing.Wait()
}

func BenchmarkRoute(b *testing.B) {
	for _, targets := range []int{1, 10, 1000, 100_000} {
		table := New[int]()
		for i := range targets {
			if err := table.Subscribe("amq.topic", "alerts/#", i, Options{QoS: 1}); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprint("subscribers=", targets), func(b *testing.B) {
			b.ReportAllocs()
			var dst []Match[int]
			m := &Message{Key: "alerts/fire", Form: topic.MQTT}
			for b.Loop() {
				dst, _ = table.Route("amq.topic", m, dst[:0])
			}
		})
	}
}

// A message of 5 headers among many bindings that ask for another value each, of which 10 fit.
func BenchmarkHeaders(b *testing.B) {
	for _, bindings := range []int{10, 1000, 100_000} {
		t := New[int]()
		for i := range bindings {
			match := []string{"all", "any"}[i%2]
			if _, err := t.Bind("amq.headers", i, "", object.Arguments{"x-match": match, "device": fmt.Sprint(i % (bindings / 10)), "colour": fmt.Sprint(i % (bindings / 10))}); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprint("bindings=", bindings), func(b *testing.B) {
			b.ReportAllocs()
			m := &Message{Attributes: table{"device": "0", "colour": "0", "a": int64(1), "b": int64(2), "c": true}}
			var dst []Match[int]
			for b.Loop() {
				dst, _ = t.Route("amq.headers", m, dst[:0])
			}
			if len(dst) != 10 {
				b.Fatalf("%d matches", len(dst))
			}
		})
	}
}

// Clients come and go that all subscribe to the same filter, among 100,000.
func BenchmarkSubscribeUnsubscribe(b *testing.B) {
	table := New[int]()
	for i := range 100_000 {
		if err := table.Subscribe("amq.topic", "alerts/#", i, Options{QoS: 1}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		table.Unsubscribe("amq.topic", "alerts/#", i%100_000)
		if err := table.Subscribe("amq.topic", "alerts/#", i%100_000, Options{QoS: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

// What a subscription costs in memory, with the client's target.
func BenchmarkSubscriptionMemory(b *testing.B) {
	const n = 200_000
	for name, filter := range map[string]string{"own": "devices/device-%06d/commands", "common": "alerts/#"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				before := heap()
				table := New[int]()
				for i := range n {
					f := filter
					if strings.Contains(f, "%") {
						f = fmt.Sprintf(f, i)
					}
					if err := table.Subscribe("amq.topic", f, i, Options{QoS: 1}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(heap()-before)/n, "B/subscription")
				runtime.KeepAlive(table)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
