package topology

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unique"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
)

func TestWordsNeedNoTwoCodes(t *testing.T) {
	for i, w := range words {
		if !json.Valid([]byte(`"` + strings.ReplaceAll(w, `"`, `\"`) + `"`)) {
			t.Errorf("word %q is no part of JSON", w)
		}
		for _, before := range words[:i] {
			if strings.HasPrefix(w, before) {
				t.Errorf("word %q is never used: %q comes before it", w, before)
			}
		}
	}
	if len(words) > 0x1f+8 {
		t.Errorf("%d words are more than there are bytes that JSON never has", len(words))
	}
}

func TestPackKeepsWhatMatters(t *testing.T) {
	q := &v1alpha1.Queue{}
	q.Namespace, q.Name, q.UID, q.ResourceVersion, q.Generation = "ns", "q", "0f5c8ab0-97a5-4a34-8c1d-1b0e3c2f4d5e", "12345", 3
	q.CreationTimestamp = metav1.NewTime(time.Unix(1_700_000_000, 0))
	q.Finalizers = []string{Finalizer, "example.com/other"}
	q.Annotations = map[string]string{annotations + "plan": "true", "kubectl.kubernetes.io/last-applied-configuration": "long"}
	q.Labels = map[string]string{"a": "b"}
	q.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	q.Spec = v1alpha1.QueueSpec{BrokerRef: v1alpha1.BrokerReference{Name: "broker"}, VHost: "a\x01\u2028<\"", Arguments: map[string]apiextensionsv1.JSON{"x": {Raw: []byte(`"\u0001é\\"`)}}}
	q.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Synced", ObservedGeneration: 3, LastTransitionTime: q.CreationTimestamp}}
	q.Status.Applied = &v1alpha1.Applied{Generation: 3, Incarnation: "one"}
	want := q.DeepCopy()
	want.Annotations = map[string]string{annotations + "plan": "true"}
	want.Labels, want.ManagedFields = nil, nil

	r := &record{id: idOf(kindIndex(object.KindQueue), "ns", "q"), traits: unique.Make(traits{incarnation: "one"})}
	var err error
	if r.packed, err = pack(q); err != nil {
		t.Fatal(err)
	}
	have, err := r.unpack()
	if err != nil {
		t.Fatal(err)
	}
	if !equality.Semantic.DeepEqual(have, want) {
		t.Errorf("unpacked\n%+v, wanted\n%+v", have, want)
	}
}

func TestPackedIsSmall(t *testing.T) {
	q := &v1alpha1.Queue{}
	q.Name, q.UID, q.ResourceVersion, q.Generation = "orders-000001", "0f5c8ab0-97a5-4a34-8c1d-1b0e3c2f4d5e", "1234567", 1
	q.CreationTimestamp = metav1.Now()
	q.Finalizers = []string{Finalizer}
	durable := true
	q.Spec = v1alpha1.QueueSpec{
		BrokerRef: v1alpha1.BrokerReference{Name: "broker"}, VHost: "/", Durable: &durable, DeletionPolicy: v1alpha1.DeletionDeleteIfEmpty,
		Management: v1alpha1.Management{DriftPolicy: v1alpha1.DriftCorrect, OwnershipPolicy: v1alpha1.OwnershipExclusive},
	}
	q.Status.ObservedGeneration = 1
	q.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Synced", ObservedGeneration: 1, LastTransitionTime: metav1.Now()}}
	q.Status.Applied = &v1alpha1.Applied{Generation: 1, Incarnation: "I3QE5IRJ7T6XW2BZ"}
	packed, err := pack(q)
	if err != nil {
		t.Fatal(err)
	}
	const most = 120
	if len(packed) > most {
		t.Errorf("%d bytes are more than %d: %q", len(packed), most, packed)
	}
}

// TestRealmCountsWhatTheBrokerHas: whatever happens, the totals are the sums of what is known by key.
func TestRealmCountsWhatTheBrokerHas(t *testing.T) {
	m := newRealm(types.NamespacedName{Name: "b"})
	queue := kindIndex(object.KindQueue)
	sum := func(name string) object.Sum { return object.Key{Kind: object.KindQueue, Name: name}.Sum() }
	a := &record{id: idOf(queue, "ns", "a"), key: sum("k"), traits: unique.Make(traits{vhost: "/"})}
	b := &record{id: idOf(queue, "ns", "b"), key: sum("k"), traits: unique.Make(traits{vhost: "/"})}
	check := func(step string, want ...object.Sum) {
		t.Helper()
		var all tally
		for _, s := range want {
			all.count, all.sum = all.count+1, all.sum.Add(s)
		}
		if m.total[queue] != all {
			t.Errorf("%s: total %v, want %v", step, m.total[queue], all)
		}
	}
	m.learn(queue, sum("k"), sum("one"), 5)
	check("a stray", sum("one"))
	m.join(a)
	if m.have(a) != sum("one") {
		t.Error("what was there is not the first record's")
	}
	m.join(b)
	m.learn(queue, sum("k"), sum("two"), 7)
	check("changed", sum("two"))
	m.learn(queue, sum("k"), sum("one"), 6)
	check("older news", sum("two"))
	m.part(a)
	if m.have(b) != sum("two") {
		t.Error("the next record does not have what the first had")
	}
	m.part(b)
	check("a stray again", sum("two"))
	m.learn(queue, sum("k"), object.Sum{}, 8)
	check("gone")
	if len(m.byKey) != 0 || len(m.strays) != 0 {
		t.Errorf("left: %v %v", m.byKey, m.strays)
	}
}

func TestDifferenceSaysFieldsFromOldToNew(t *testing.T) {
	o := func(spec string) object.Object {
		return object.Object{Key: object.Key{Kind: object.KindQueue, VirtualHost: "/", Name: "q"}, Owner: DefaultOwner, Ref: "ns/q", Spec: json.RawMessage(spec)}
	}
	wanted, found := o(`{"durable":true,"arguments":{"x-max-length":1000}}`), o(`{"durable":true,"autoDelete":true,"arguments":{"x-max-length":10,"x-expires":5}}`)
	for _, c := range []struct {
		order order
		want  string
	}{
		{wishFirst, "arguments.x-expires: unset -> 5; arguments.x-max-length: 1000 -> 10; autoDelete: unset -> true"},
		{brokerFirst, "arguments.x-expires: 5 -> unset; arguments.x-max-length: 10 -> 1000; autoDelete: true -> unset"},
	} {
		if have := difference(wanted, &found, c.order); have != c.want {
			t.Errorf("difference %q, want %q", have, c.want)
		}
	}
	theirs := wanted
	theirs.Owner = ""
	if have, want := difference(wanted, &theirs, wishFirst), "owner: turnstone-operator -> nobody"; have != want {
		t.Errorf("difference %q, want %q", have, want)
	}
	if have := difference(wanted, nil, wishFirst); have != "it was deleted" {
		t.Errorf("difference to nothing %q", have)
	}
	if parts := namesIn(slices.Repeat([]string{"x"}, 10)); !strings.HasSuffix(parts, "and 2 more") {
		t.Errorf("many differences %q", parts)
	}
}

func TestRosterKeepsThoseWhoseHashIsTheSame(t *testing.T) {
	s := newRoster()
	s.hash = func(id) uint64 { return 7 }
	a, b, c := &record{id: idOf(1, "ns", "a")}, &record{id: idOf(1, "ns", "b")}, &record{id: idOf(2, "ns", "a")}
	is := func(step string, want ...*record) {
		t.Helper()
		for _, r := range []*record{a, b, c} {
			have := s.get(r.id)
			if slices.Contains(want, r) != (have == r) || have != nil && have != r {
				t.Errorf("%s: %v is %p, and its record is %p", step, r.id, have, r)
			}
		}
		n := 0
		for r := range s.all {
			n++
			if !slices.Contains(want, r) {
				t.Errorf("%s: %v is visited", step, r.id)
			}
		}
		if n != len(want) {
			t.Errorf("%s: %d records are visited, wanted %d", step, n, len(want))
		}
	}
	s.put(a)
	s.put(b)
	s.put(c)
	is("all", a, b, c)
	s.drop(a)
	is("without the first", b, c)
	s.put(a)
	s.drop(c)
	is("without the last", a, b)
	for r := range s.all {
		s.drop(r)
	}
	is("none")
}
