package catalog

import (
	"fmt"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// many are n queues, each with a binding.
func many(b *testing.B, n int) []object.Change {
	b.Helper()
	add := func(kind object.Kind, vhost, name string, spec any) object.Change {
		o, err := object.New(kind, vhost, name, spec)
		if err != nil {
			b.Fatal(err)
		}
		return object.Change{Object: o}
	}
	changes := []object.Change{add(object.KindVirtualHost, "", "/", object.VirtualHostSpec{})}
	for i := range n {
		name := fmt.Sprintf("queue-%d", i)
		spec := object.BindingSpec{Source: "amq.topic", DestinationType: object.DestinationQueue, Destination: name, RoutingKey: "a.b.c"}
		changes = append(changes,
			add(object.KindQueue, "/", name, object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": int64(1000)}}),
			add(object.KindBinding, "/", spec.Name(), spec))
	}
	return changes
}

func plan(b *testing.B, s *State, changes []object.Change) Plan {
	b.Helper()
	p, err := s.Plan("op", changes, plain)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// BenchmarkPlan: 5,000 queues and their bindings in one request, new and unchanged.
func BenchmarkPlan(b *testing.B) {
	changes := many(b, 5000)
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			plan(b, New(), changes)
		}
	})
	full := New()
	if _, err := full.Apply(plan(b, full, changes).Command); err != nil {
		b.Fatal(err)
	}
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			if p := plan(b, full, changes); p.Command != nil {
				b.Fatal("something changed")
			}
		}
	})
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			plan(b, full, changes[1:2])
		}
	})
}

func BenchmarkApply(b *testing.B) {
	command := plan(b, New(), many(b, 5000)).Command
	for b.Loop() {
		if _, err := New().Apply(command); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDigests(b *testing.B) {
	s := New()
	if _, err := s.Apply(plan(b, s, many(b, 5000)).Command); err != nil {
		b.Fatal(err)
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			s.digests.forget()
			if _, err := s.Digests("op"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Digests("op"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSnapshot(b *testing.B) {
	s := New()
	if _, err := s.Apply(plan(b, s, many(b, 5000)).Command); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := New().Restore(s.Snapshot()); err != nil {
			b.Fatal(err)
		}
	}
}
