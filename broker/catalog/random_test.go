package catalog

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// TestRandomPlans makes random wishes in a small world, in which most of them meet, and checks after each what must
// always hold.
func TestRandomPlans(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := &generator{t: t, Rand: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // reproducible
			s := New()
			for range 60 {
				owner := []string{"", "a", "b", Anyone}[g.IntN(4)]
				changes := g.changes()
				p, err := s.Plan(owner, changes, plain)
				if err != nil {
					t.Fatal(err)
				}
				before := s.Snapshot()
				if p.Command != nil {
					applied, err := s.Apply(p.Command)
					if err != nil {
						t.Fatal(err)
					}
					checkRevisions(t, s, applied)
				} else if !bytes.Equal(before, s.Snapshot()) {
					t.Error("a plan changed the state")
				}
				checkResults(t, s, changes, p.Results)
				checkState(t, s)
				checkAgain(t, s, owner, changes, p.Results)
			}
		})
	}
}

// checkRevisions: each change has its own, in order.
func checkRevisions(t *testing.T, s *State, applied []Change) {
	t.Helper()
	for i, c := range applied {
		if want := s.Revision() - uint64(len(applied)-1-i); c.Revision != want {
			t.Errorf("change %d has revision %d, wanted %d", i, c.Revision, want)
		}
	}
}

// checkResults: what was said to be there is there, what was said to be gone is gone.
func checkResults(t *testing.T, s *State, changes []object.Change, results []object.Result) {
	t.Helper()
	for i, r := range results {
		o, there := s.Get(r.Key)
		switch r.Outcome {
		case object.Created, object.Updated:
			if !there || o.Revision != r.Revision {
				t.Errorf("%s was %s at %d and is %+v", r.Key, r.Outcome, r.Revision, o)
			}
		case object.Deleted:
			if there {
				t.Errorf("%s was deleted and is there", r.Key)
			}
		case object.Unchanged:
			if there == (changes[i].Delete != "") {
				t.Errorf("%s is unchanged, and there: %t", r.Key, there)
			}
		default:
			if r.Message == "" || r.Reason == "" {
				t.Errorf("%s is %s without a reason", r.Key, r.Outcome)
			}
		}
	}
}

// checkState: everything that an object refers to is there, and the indexes are what the objects say.
func checkState(t *testing.T, s *State) {
	t.Helper()
	for _, o := range s.objects {
		for _, p := range parents(o) {
			if s.objects[p] == nil {
				t.Errorf("%s refers to %s, which is gone", o.Key, p)
			}
		}
	}
	fresh := New()
	if err := fresh.Restore(s.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(fresh.Snapshot(), s.Snapshot()) || !reflect.DeepEqual(fresh.children, s.children) ||
		!maps.Equal(fresh.queues, s.queues) || !maps.Equal(fresh.admins, s.admins) {
		t.Error("a state that was restored differs")
	}
	owners := make(map[string]bool)
	for _, o := range s.objects {
		owners[o.Owner] = true
	}
	for owner := range owners {
		checkDigests(t, fresh, s, owner)
	}
}

// checkDigests: digests that changed with the objects are those of the objects.
func checkDigests(t *testing.T, fresh, s *State, owner string) {
	t.Helper()
	want, err := fresh.Digests(owner)
	if err != nil {
		t.Fatal(err)
	}
	have, err := s.Digests(owner)
	if err != nil || !maps.Equal(want, have) {
		t.Errorf("digests of owner %q: %v %v, those of its objects are %v", owner, have, err, want)
	}
	for _, k := range object.Kinds {
		all := s.List(owner, k)
		whole, err := object.Digest(all)
		if err != nil || have[k] != (Digest{len(all), whole}) {
			t.Errorf("digest of the %s objects of owner %q: %v %v, want %d %s", k, owner, have[k], err, len(all), whole)
		}
		if k != object.KindQueue {
			continue
		}
		buckets, err := s.BucketDigests(owner, k)
		if err != nil {
			t.Fatal(err)
		}
		in := make([][]object.Object, object.Buckets)
		for _, o := range all {
			in[o.Bucket()] = append(in[o.Bucket()], o)
		}
		for i, b := range buckets {
			if d, err := object.Digest(in[i]); err != nil || b != (Digest{len(in[i]), d}) {
				t.Fatalf("bucket %d of %s of owner %q: %v, want %d %s %v", i, k, owner, b, len(in[i]), d, err)
			}
		}
	}
}

// checkAgain: who wishes the same again changes nothing of what was granted.
func checkAgain(t *testing.T, s *State, owner string, changes []object.Change, results []object.Result) {
	t.Helper()
	var granted []object.Change
	for i, r := range results {
		if changes[i].Delete == "" && (r.Outcome == object.Created || r.Outcome == object.Updated || r.Outcome == object.Unchanged) {
			granted = append(granted, changes[i])
		}
	}
	p, err := s.Plan(owner, granted, plain)
	if err != nil {
		t.Fatal(err)
	}
	if p.Command != nil {
		t.Errorf("the same wishes again change something: %s", p.Command)
	}
}

// generator makes wishes about few names.
type generator struct {
	t *testing.T
	*rand.Rand
}

func (g *generator) changes() []object.Change {
	seen := make(map[object.Key]bool)
	var out []object.Change
	for range 1 + g.IntN(6) {
		c := g.change()
		if !seen[c.Key] {
			seen[c.Key] = true
			out = append(out, c)
		}
	}
	return out
}

func (g *generator) change() object.Change {
	name := func(prefix string) string { return fmt.Sprintf("%s%d", prefix, g.IntN(3)) }
	host := name("v")
	var o object.Object
	var err error
	switch g.IntN(7) {
	case 0:
		o, err = object.New(object.KindVirtualHost, "", host, object.VirtualHostSpec{MaxQueues: g.IntN(4)})
	case 1:
		o, err = object.New(object.KindUser, "", name("u"), object.UserSpec{Password: name("p"), Tags: []string{object.Tags[g.IntN(2)]}})
	case 2:
		o, err = object.New(object.KindPermission, host, name("u"), object.PermissionSpec{Read: name("r")})
	case 3:
		o, err = object.New(object.KindTopicPolicy, host, name("t"), object.TopicPolicySpec{Filter: "#", Priority: g.IntN(2)})
	case 4:
		o, err = object.New(object.KindExchange, host, name("x"), object.ExchangeSpec{Type: "topic", Durable: g.IntN(4) > 0})
	case 5:
		o, err = object.New(object.KindQueue, host, name("q"), object.QueueSpec{Durable: g.IntN(4) > 0})
	case 6:
		spec := object.BindingSpec{Source: name("x"), DestinationType: object.DestinationQueue, Destination: name("q")}
		if g.IntN(2) == 0 {
			spec.DestinationType, spec.Destination = object.DestinationExchange, name("x")
		}
		o, err = object.New(object.KindBinding, host, spec.Name(), spec)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	c := object.Change{Object: o}
	if g.IntN(3) == 0 {
		c.Delete = []object.Deletion{object.DeleteAlways, object.DeleteIfEmpty, object.DeleteIfUnused}[g.IntN(3)]
	} else {
		c.Adopt = []object.Adoption{"", object.AdoptUnowned, object.AdoptAny}[g.IntN(3)]
	}
	return c
}
