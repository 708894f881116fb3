package object

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

func queueObject(t *testing.T, name string, spec string) Object {
	t.Helper()
	return Object{Key: Key{Kind: KindQueue, VirtualHost: "/", Name: name}, Spec: json.RawMessage(spec)}
}

func TestDigest(t *testing.T) {
	a, b := queueObject(t, "a", `{"durable":true}`), queueObject(t, "b", `{"durable":true,"arguments":{"x-max-length":10,"x-expires":5}}`)
	same := queueObject(t, "b", `{"arguments":{"x-expires":5,"x-max-length":10},"durable":true}`)
	same.Revision, same.ID, same.Owner = 7, 8, "somebody"
	digest := func(objects ...Object) string {
		d, err := Digest(objects)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if digest(a, b) != digest(same, a) {
		t.Error("the same objects have different digests")
	}
	other := queueObject(t, "b", `{"durable":true,"arguments":{"x-max-length":11,"x-expires":5}}`)
	if digest(a, b) == digest(a, other) || digest(a) == digest(a, b) || digest() == digest(a) {
		t.Error("different objects have the same digest")
	}
	user := func(password string) Object {
		return Object{Key: Key{Kind: KindUser, Name: "u"}, Spec: json.RawMessage(`{"password":"` + password + `"}`)}
	}
	if digest(user("one")) != digest(user("two")) {
		t.Error("a password takes part in the digest")
	}
	secrets := func(hash, keys string) Object {
		return Object{Key: Key{Kind: KindUser, Name: "u"}, Spec: json.RawMessage(`{"passwordHash":"` + hash + `","scram":["` + keys + `"]}`)}
	}
	if digest(secrets("a", "b")) != digest(user("one")) {
		t.Error("a hash, or keys, take part in the digest")
	}
	if _, err := Digest([]Object{queueObject(t, "c", `{"durble":true}`)}); err == nil || !strings.Contains(err.Error(), "durble") {
		t.Errorf("unknown field: %v", err)
	}
}

func TestArguments(t *testing.T) {
	var a Arguments
	if err := json.Unmarshal([]byte(`{"n":3,"big":9007199254740993,"f":1.5,"s":"x","b":true,"l":[1,{"k":2}]}`), &a); err != nil {
		t.Fatal(err)
	}
	if n, ok, err := a.Int("big"); n != 9007199254740993 || !ok || err != nil {
		t.Errorf("big number: %d %v %v", n, ok, err)
	}
	if _, ok, err := a.Int("s"); !ok || err == nil || !strings.Contains(err.Error(), `"s" must be a whole number`) {
		t.Errorf("text as a number: %v %v", ok, err)
	}
	if _, ok, err := a.Text("missing"); ok || err != nil {
		t.Errorf("absent text: %v %v", ok, err)
	}
	b := Arguments{"n": int64(3), "z": "new"}
	if name, differ := b.Differ(Arguments{"n": int64(3)}); !differ || name != "z" {
		t.Errorf("differ in %q %v", name, differ)
	}
	if name, differ := (Arguments{"n": int64(3)}).Differ(Arguments{"n": 3.0}); differ {
		t.Errorf("3 and 3.0 differ in %q", name)
	}
}

func TestBindingNamesTellBindingsApart(t *testing.T) {
	bindings := []BindingSpec{
		{Source: "x", DestinationType: DestinationQueue, Destination: "q", RoutingKey: "a|b"},
		{Source: "x", DestinationType: DestinationQueue, Destination: "q|a", RoutingKey: "b"},
		{Source: `x\`, DestinationType: DestinationQueue, Destination: "q", RoutingKey: "a|b"},
		{Source: "x", DestinationType: DestinationExchange, Destination: "q", RoutingKey: "a|b"},
		{Source: "x", DestinationType: DestinationQueue, Destination: "q", RoutingKey: "a|b", Arguments: Arguments{"x-match": "all"}},
	}
	bindings = append(bindings, BindingSpec{Source: "x", DestinationType: DestinationQueue, Destination: "q", Arguments: Arguments{"f": math.NaN(), "g": 1}})
	seen := map[string]bool{}
	for _, b := range bindings {
		if seen[b.Name()] {
			t.Errorf("two bindings are named %q", b.Name())
		}
		seen[b.Name()] = true
	}
}

func TestKeysSortByDependency(t *testing.T) {
	keys := []Key{{Kind: KindBinding, Name: "a"}, {Kind: KindQueue, VirtualHost: "b", Name: "x"}, {Kind: KindQueue, VirtualHost: "a", Name: "y"}, {Kind: KindVirtualHost, Name: "z"}}
	slices.SortFunc(keys, Key.Compare)
	if keys[0].Kind != KindVirtualHost || keys[1].VirtualHost != "a" || keys[3].Kind != KindBinding {
		t.Errorf("order %v", keys)
	}
}
