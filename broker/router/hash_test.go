package router

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

const keys = 20_000

// where is which target each of many keys goes to, in a table whose exchange "x" has bindings of these weights.
func where(t *testing.T, weights map[string]int, order []string) (to [keys]string, count map[string]int) {
	t.Helper()
	table := New[string]()
	if err := table.Declare("x", object.ExchangeSpec{Type: object.ExchangeConsistentHash}); err != nil {
		t.Fatal(err)
	}
	for _, q := range order {
		table.AddQueue(q, q)
		if _, err := table.Bind("x", q, fmt.Sprint(weights[q]), nil); err != nil {
			t.Fatal(err)
		}
	}
	count = make(map[string]int)
	for i := range keys {
		got, err := table.Route("x", &Message{Key: fmt.Sprint("key-", i), Form: topic.AMQP}, nil)
		if err != nil || len(got) != 1 {
			t.Fatalf("key %d goes to %v, %v", i, got, err)
		}
		to[i] = got[0].Target
		count[got[0].Target]++
	}
	return to, count
}

// Each queue gets the share of its weight, whatever the order of the bindings, and a queue that comes takes only what it
// gets itself.
func TestConsistentHash(t *testing.T) {
	weights := map[string]int{"a": 1, "b": 2, "c": 1, "d": 4}
	to, count := where(t, weights, []string{"a", "b", "c"})
	for q, n := range count {
		if share := float64(n) / keys; math.Abs(share-float64(weights[q])/4) > 0.02 {
			t.Errorf("%s of weight %d gets %.3f", q, weights[q], share)
		}
	}
	if again, _ := where(t, weights, []string{"c", "a", "b"}); again != to {
		t.Error("the order of bindings decides")
	}
	with, count := where(t, weights, []string{"a", "b", "c", "d"})
	for i := range to {
		if with[i] != to[i] && with[i] != "d" {
			t.Fatalf("key %d went from %s to %s when d came", i, to[i], with[i])
		}
	}
	if share := float64(count["d"]) / keys; math.Abs(share-0.5) > 0.02 {
		t.Errorf("d of weight 4 among 4 others gets %.3f", share)
	}
}

// attributed has a header and a message-id.
type attributed struct{ header, id string }

func (a attributed) Header(name string) (any, bool) { return a.header, name == "device" }

func (a attributed) Property(name string) string {
	if name == "message_id" {
		return a.id
	}
	return ""
}

func TestConsistentHashOfAttributes(t *testing.T) {
	for what, args := range map[string]object.Arguments{"header": {object.HashHeader: "device"}, "property": {object.HashProperty: "message_id"}} {
		table := New[string]()
		if err := table.Declare("x", object.ExchangeSpec{Type: object.ExchangeConsistentHash, Arguments: args}); err != nil {
			t.Fatal(err)
		}
		for _, q := range []string{"a", "b", "c"} {
			table.AddQueue(q, q)
			if _, err := table.Bind("x", q, "1", nil); err != nil {
				t.Fatal(err)
			}
		}
		if table.Cacheable("x") {
			t.Errorf("%s: routes are kept by key", what)
		}
		route := func(key string, a Attributes) string {
			got, err := table.Route("x", &Message{Key: key, Form: topic.AMQP, Attributes: a}, nil)
			if err != nil || len(got) != 1 {
				t.Fatalf("%v, %v", got, err)
			}
			return got[0].Target
		}
		seen := make(map[string]bool)
		for i := range 100 {
			a := attributed{fmt.Sprint("d", i), fmt.Sprint("d", i)}
			seen[route("k", a)] = true
			if route("k", a) != route(fmt.Sprint(i), a) {
				t.Fatalf("%s: the key decides", what)
			}
		}
		if len(seen) != 3 {
			t.Errorf("%s: messages go to %v", what, seen)
		}
		if route("k", nil) != route("l", nil) {
			t.Errorf("%s: the key of messages without attributes decides", what)
		}
	}
}

func TestWeights(t *testing.T) {
	table := New[string]()
	if err := table.Declare("x", object.ExchangeSpec{Type: object.ExchangeConsistentHash}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "x", "0", "-1", "1.5", "1000001"} {
		var refused *Error
		if _, err := table.Bind("x", "q", key, nil); !errors.As(err, &refused) || refused.Code != BadArgument {
			t.Errorf("weight %q: %v", key, err)
		}
	}
}

// A random exchange gives each message to one queue, and each queue its share.
func TestRandomExchange(t *testing.T) {
	for _, kind := range []string{object.ExchangeRandom, object.ExchangeLocalRandom} {
		table := New[string]()
		if err := table.Declare("x", object.ExchangeSpec{Type: kind}); err != nil {
			t.Fatal(err)
		}
		if got, err := table.Route("x", &Message{}, nil); err != nil || len(got) != 0 {
			t.Errorf("%s without bindings: %v, %v", kind, got, err)
		}
		for _, q := range []string{"a", "b", "c"} {
			if _, err := table.Bind("x", q, "", nil); err != nil {
				t.Fatal(err)
			}
		}
		if table.Cacheable("x") {
			t.Errorf("%s: routes are kept by key", kind)
		}
		r := random(t)
		count := make(map[string]int)
		for range 3000 {
			got, err := table.Route("x", &Message{Key: "k", Form: topic.AMQP, Chance: r.Uint64()}, nil)
			if err != nil || len(got) != 1 {
				t.Fatal(got, err)
			}
			count[got[0].Target]++
		}
		for _, q := range []string{"a", "b", "c"} {
			if n := count[q]; n < 800 || n > 1200 {
				t.Errorf("%s: %s got %d of 3000", kind, q, n)
			}
		}
	}
}
