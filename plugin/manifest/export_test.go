package manifest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/topology"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (run with -update and look at the difference); got\n%s", path, got)
	}
}

func make2(t *testing.T, kind object.Kind, vhost, name string, spec any) object.Object {
	t.Helper()
	o, err := object.New(kind, vhost, name, spec)
	if err != nil {
		t.Fatal(err)
	}
	if b, ok := spec.(object.BindingSpec); ok {
		o.Name = b.Name()
	}
	return o
}

// sample has everything that each kind can say, and names that Kubernetes does not take.
func sample(t *testing.T) []object.Object {
	t.Helper()
	qos, no := uint8(1), false
	return []object.Object{
		make2(t, object.KindVirtualHost, "", "/", object.VirtualHostSpec{}),
		make2(t, object.KindVirtualHost, "", "Tenant A", object.VirtualHostSpec{Description: "first", MaxConnections: 5, MaxQueues: 6, Events: []object.EventKind{object.EventConnected}}),
		make2(t, object.KindUser, "", "admin", object.UserSpec{PasswordHash: "$argon2id$x", Tags: []string{"administrator"}}),
		make2(t, object.KindUser, "", "app", object.UserSpec{PasswordHash: "$argon2id$x", Tags: []string{"monitoring"}, ClientIDs: []string{"%u", "plant-*"}, Limits: object.UserLimits{
			MaxConnections: 7, Client: object.Rate{MessagesPerSecond: 10, ConnectsPerSecond: -1}, User: object.Rate{BytesPerSecond: 1 << 20}, OnExcess: object.Drop,
		}}),
		make2(t, object.KindUser, "", "___", object.UserSpec{}),
		make2(t, object.KindPermission, "/", "admin", object.PermissionSpec{Configure: ".*", Write: ".*", Read: ".*"}),
		make2(t, object.KindPermission, "/", "app", object.PermissionSpec{Read: "^a", Topics: []object.TopicRule{{Filter: "a/%u/#", Publish: true}}}),
		make2(t, object.KindPermission, "Tenant A", "app", object.PermissionSpec{Configure: "^$", Write: ".*"}),
		make2(t, object.KindTopicPolicy, "/", "plant", object.TopicPolicySpec{
			Priority: 3, Filter: "plant/#", Publishers: []string{"app"}, Subscribers: []string{"app"}, MaxQoS: &qos, RetainAllowed: &no, MessageExpirySeconds: 60,
			MaxPayloadBytes: 1000, MaxMessagesPerSecond: 5, MaxBytesPerSecond: 6, OnExcess: object.Disconnect, QueuePattern: "^plant",
			QueueArguments: object.Arguments{"x-max-length": int64(10), "x-overflow": "reject-publish", "x-message-ttl": int64(1500)},
			Rewrite:        &object.TopicRewrite{To: "factory/{#}", Publish: true}, AutoSubscribe: []object.AutoSubscription{{Filter: "$share/g/a/%u", QoS: 1, RetainHandling: 2}},
		}),
		make2(t, object.KindPolicy, "/", "dead", object.PolicySpec{Pattern: "^a", Priority: 2, ApplyTo: object.ApplyToQueues, Definition: object.Arguments{"dead-letter-exchange": "dead", "max-length": int64(7)}}),
		make2(t, object.KindPolicy, "/", "all", object.PolicySpec{Pattern: "^b", Definition: object.Arguments{"alternate-exchange": "dead"}}),
		make2(t, object.KindOperatorPolicy, "/", "cap", object.PolicySpec{Pattern: ".*", Priority: 1, ApplyTo: object.ApplyToQueues, Definition: object.Arguments{"max-length": int64(9)}}),
		make2(t, object.KindOperatorPolicy, "/", "any", object.PolicySpec{Pattern: "^c", Definition: object.Arguments{"max-length": int64(9)}}),
		make2(t, object.KindExchange, "/", "events", object.ExchangeSpec{Type: "topic", Durable: true, Arguments: object.Arguments{"alternate-exchange": "amq.fanout"}}),
		make2(t, object.KindExchange, "/", "Events", object.ExchangeSpec{Type: "x-consistent-hash", Internal: true, Arguments: object.Arguments{"hash-header": "id"}}),
		make2(t, object.KindExchange, "/", "EVENTS", object.ExchangeSpec{Type: "fanout", Durable: true, AutoDelete: true}),
		make2(t, object.KindQueue, "/", "orders", object.QueueSpec{Durable: true, Arguments: object.Arguments{
			"x-message-ttl": int64(90_000), "x-expires": int64(3_600_000), "x-max-length": int64(1000), "x-max-length-bytes": int64(1 << 30), "x-overflow": "drop-head",
			"x-delivery-limit": int64(-1), "x-max-priority": int64(9), "x-single-active-consumer": true, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead",
			"x-queue-type": "quorum", "own": map[string]any{"a": []any{int64(1), 2.5, "x", nil}},
		}}),
		make2(t, object.KindQueue, "/", "sensor.data_1", object.QueueSpec{AutoDelete: true, Arguments: object.Arguments{"x-overflow": "drop-head", "x-message-ttl": int64(4294967295)}}),
		make2(t, object.KindQueue, "/", "grouped", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-group-buckets": int64(100), "x-group-rebalance": false}}),
		make2(t, object.KindQueue, "/", "states", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-last-value-key": "id"}}),
		make2(t, object.KindQueue, "Tenant A", "orders", object.QueueSpec{Durable: true}),
		make2(t, object.KindBinding, "/", "", object.BindingSpec{Source: "events", DestinationType: object.DestinationQueue, Destination: "orders", RoutingKey: "order.#"}),
		make2(t, object.KindBinding, "/", "", object.BindingSpec{Source: "events", DestinationType: object.DestinationQueue, Destination: "orders", RoutingKey: "order.*"}),
		make2(t, object.KindBinding, "/", "", object.BindingSpec{Source: "events", DestinationType: object.DestinationExchange, Destination: "EVENTS", Arguments: object.Arguments{"x-match": "any", "n": int64(1)}}),
	}
}

// TestSampleIsWhole: a field that an object of a broker gets is one that export is tried with.
func TestSampleIsWhole(t *testing.T) {
	specs := map[object.Kind]reflect.Type{
		object.KindVirtualHost: reflect.TypeFor[object.VirtualHostSpec](), object.KindUser: reflect.TypeFor[object.UserSpec](),
		object.KindPermission: reflect.TypeFor[object.PermissionSpec](), object.KindTopicPolicy: reflect.TypeFor[object.TopicPolicySpec](),
		object.KindPolicy: reflect.TypeFor[object.PolicySpec](), object.KindOperatorPolicy: reflect.TypeFor[object.PolicySpec](),
		object.KindExchange: reflect.TypeFor[object.ExchangeSpec](), object.KindQueue: reflect.TypeFor[object.QueueSpec](),
		object.KindBinding: reflect.TypeFor[object.BindingSpec](),
	}
	secret := []string{"password", "passwordHash", "scram", "overlapSeconds", "previous"} // of a user: nothing that export writes
	had := make(map[object.Kind]map[string]any)
	for _, kind := range object.Kinds {
		if specs[kind] == nil {
			t.Fatalf("%s is not known here", kind)
		}
		had[kind] = make(map[string]any)
	}
	for _, o := range sample(t) {
		all := had[o.Kind]
		if err := json.Unmarshal(o.Spec, &all); err != nil {
			t.Fatal(err)
		}
	}
	for kind, spec := range specs {
		for i := range spec.NumField() {
			name, _, _ := strings.Cut(spec.Field(i).Tag.Get("json"), ",")
			if _, ok := had[kind][name]; !ok && !(kind == object.KindUser && slices.Contains(secret, name)) {
				t.Errorf("no sample of %s has %s", kind, name)
			}
		}
	}
}

func sources(objects []object.Object) (out []Source) {
	for _, o := range objects {
		out = append(out, Source{Object: o})
	}
	return out
}

func apply(t *testing.T, state *catalog.State, owner string, objects []object.Object) {
	t.Helper()
	var changes []object.Change
	for _, o := range objects {
		changes = append(changes, object.Change{Object: o})
	}
	plan, err := state.Plan(owner, changes, catalog.Passwords{
		Hash: func(p string) (string, error) { return "$argon2id$" + p, nil }, Keys: func(string, []string) ([]string, error) { return nil, nil },
		Verify: func(string, string) bool { return false }, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range plan.Results {
		if r.Outcome == object.Refused || r.Outcome == object.Conflict {
			t.Fatalf("%s: %s", r.Key, r.Message)
		}
	}
	if _, err := state.Apply(plan.Command); err != nil {
		t.Fatal(err)
	}
}

// digests are those by kind, without what says for which Kubernetes object an object stands.
func digests(t *testing.T, objects []object.Object) map[object.Kind]string {
	t.Helper()
	out := make(map[object.Kind]string)
	for _, kind := range object.Kinds {
		var some []object.Object
		for _, o := range objects {
			if o.Kind == kind && !builtIn(o) {
				o = sameMeaning(o)
				o.Ref = ""
				some = append(some, o)
			}
		}
		d, err := object.Digest(some)
		if err != nil {
			t.Fatal(err)
		}
		out[kind] = fmt.Sprintf("%d %s", len(some), d)
	}
	return out
}

// TestExport: what a broker has is written as expected, and a broker that is given it has the same.
func TestExport(t *testing.T) {
	from, to := catalog.New(), catalog.New()
	apply(t, from, "", sample(t)[:5]) // users before who names them
	apply(t, from, "", sample(t))
	list := from.List("", "")
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	made, skipped := Export(sources(list), Target{Broker: "broker"})
	if len(skipped) > 0 {
		t.Fatalf("skipped %+v", skipped)
	}
	text, err := Bytes(made)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "export.yaml", text)
	if bytes.Contains(text, []byte("argon2id")) {
		t.Error("a hash is in it")
	}
	apply(t, to, "", []object.Object{make2(t, object.KindVirtualHost, "", "/", object.VirtualHostSpec{})})
	apply(t, to, topology.DefaultOwner, reread(t, text))
	want, got := digests(t, from.List("", "")), digests(t, to.List("", ""))
	for kind := range want {
		if want[kind] != got[kind] {
			t.Errorf("%s: %s, wanted %s", kind, got[kind], want[kind])
		}
	}
}

// reread reads manifests as the operator sees them.
func reread(t *testing.T, text []byte) (out []object.Object) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	docs, err := ReadStream("-", text)
	if err != nil {
		t.Fatal(err)
	}
	users := make(map[string]*v1alpha1.User)
	for _, d := range docs {
		o, err := d.Topology(scheme, "default")
		if err != nil {
			t.Fatal(err)
		}
		Default(o)
		if u, ok := o.(*v1alpha1.User); ok {
			users[u.Name] = u
		}
		wanted, err := topology.Translate(o, users)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, wanted)
	}
	return out
}

// TestNotExported: what a Kubernetes object cannot say is told.
func TestNotExported(t *testing.T) {
	for _, c := range []struct {
		object object.Object
		why    string
	}{
		{make2(t, object.KindUser, "", "slow", object.UserSpec{Limits: object.UserLimits{Client: object.Rate{MessagesPerSecond: 0.5}}}), "limits.client.messagesPerSecond: 0.5 is not a whole number"},
		{make2(t, object.KindTopicPolicy, "/", "odd", object.TopicPolicySpec{QueuePattern: "a", QueueArguments: object.Arguments{"x-own": int64(1)}}), "queues: arguments [x-own] have no field"},
		{make2(t, object.KindTopicPolicy, "/", "far", object.TopicPolicySpec{Filter: "a", Priority: 1 << 40}), "a Kubernetes object cannot say all of it"},
	} {
		made, skipped := Export([]Source{{Object: c.object}}, Target{Broker: "b"})
		if len(made) != 0 || len(skipped) != 1 || skipped[0].What != c.object.Key.String() || !strings.Contains(skipped[0].Why, c.why) {
			t.Errorf("%s: %v, %+v", c.object.Key, made, skipped)
		}
	}
	made, skipped := Export([]Source{{make2(t, object.KindUser, "", "admin", object.UserSpec{}), "users[0]"}}, Target{Broker: "b"})
	if len(made) != 0 || len(skipped) != 1 || skipped[0].What != "users[0]" {
		t.Errorf("admin of a file: %v %+v", made, skipped)
	}
}

// TestNames: whatever things are called, names are valid, different, and do not change when others come and go.
func TestNames(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	letters := []rune("abAB.-_/ü☃%0 ")
	word := func() string {
		var b strings.Builder
		for range random.IntN(6) {
			b.WriteRune(letters[random.IntN(len(letters))])
		}
		if random.IntN(20) == 0 {
			b.WriteString(strings.Repeat("long.", 60))
		}
		return b.String()
	}
	seen := make(map[object.Key]bool)
	var subjects []subject
	for range 3000 {
		k := object.Key{Kind: object.KindQueue, VirtualHost: []string{"/", "a", "B b"}[random.IntN(3)], Name: word()}
		if k.Name != "" && !seen[k] {
			seen[k] = true
			subjects = append(subjects, subject{key: k, base: k.Name})
		}
	}
	names := nameAll(subjects)
	used := make(map[string]object.Key)
	for i, n := range names {
		if errs := validation.IsDNS1123Subdomain(n); len(errs) > 0 || len(n) > longestName {
			t.Errorf("%s is called %q: %v", subjects[i].key, n, errs)
		}
		if other, taken := used[n]; taken {
			t.Errorf("%s and %s are both called %q", other, subjects[i].key, n)
		}
		used[n] = subjects[i].key
	}
	again := slices.Clone(subjects)
	rand.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
	for i, n := range nameAll(again) {
		if used[n] != again[i].key {
			t.Fatalf("in another order %s is called %q", again[i].key, n)
		}
	}
	// What is valid already keeps its name whatever else there is.
	valid := subject{key: object.Key{Kind: object.KindQueue, VirtualHost: "/", Name: "orders"}, base: "orders"}
	for _, others := range [][]subject{nil, subjects, {{key: object.Key{Kind: object.KindQueue, VirtualHost: "/", Name: "Orders"}, base: "Orders"}}} {
		if n := nameAll(append(slices.Clone(others), valid)); n[len(n)-1] != "orders" {
			t.Errorf("orders is called %q", n[len(n)-1])
		}
	}
	had := nameAll([]subject{{key: object.Key{Kind: object.KindQueue, VirtualHost: "v", Name: "x"}, had: "mine", base: "x"}})
	if had[0] != "mine" {
		t.Errorf("an object of Kubernetes is called %q", had[0])
	}
}
