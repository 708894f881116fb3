package hub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/object"
)

func (b *bench) events(kinds ...object.EventKind) {
	b.Helper()
	o, err := object.New(object.KindVirtualHost, "", "/", object.VirtualHostSpec{Events: kinds})
	if err != nil {
		b.Fatal(err)
	}
	if r, err := b.hub.Apply(context.Background(), "", []object.Change{{Object: o}}, hub.ApplyOptions{}); err != nil || r[0].Outcome == object.Refused {
		b.Fatal(r, err)
	}
}

func (b *bench) bind(exchange, queue, key string) {
	b.Helper()
	if err := b.host.Bind(context.Background(), b.access, hub.Binding{Source: exchange, Destination: queue, Key: key, Origin: 1}); err != nil {
		b.Fatal(err)
	}
}

func connectedEvent(client string) hub.ClientEvent {
	return hub.ClientEvent{Kind: object.EventConnected, ClientID: client, Connected: &hub.Connected{CleanStart: true}}
}

// Queues of AMQP get events, and what is told before a stop has lower versions than what is told after it.
func TestEventsReachQueues(t *testing.T) {
	fs := vfs.NewMemory()
	b := open(t, fs, small())
	if b.host.Tells(object.EventConnected) {
		t.Error("events are on without being asked for")
	}
	b.events(object.EventConnected, object.EventSubscribed)
	if !b.host.Tells(object.EventConnected) || !b.host.Tells(object.EventSubscribed) || b.host.Tells(object.EventDisconnected) {
		t.Error("not those that were asked for are on")
	}
	b.queue("q", object.QueueSpec{Durable: true})
	b.bind("amq.topic", "q", "$events.clients.*.connected")
	version := int64(0)
	expect := func(s *sink, clients ...string) {
		t.Helper()
		s.wait(t, "delivery of events", func() bool { return len(s.bodies) >= len(clients) })
		for i, client := range clients {
			var e hub.ClientEvent
			if err := json.Unmarshal([]byte(s.bodies[i]), &e); err != nil {
				t.Fatal(err)
			}
			if e.ClientID != client || e.Version <= version || e.VirtualHost != "/" || e.Time.IsZero() || e.Connected == nil || !e.CleanStart {
				t.Errorf("%s after version %d, want one of %s", s.bodies[i], version, client)
			}
			version = e.Version
		}
	}
	s := newSink()
	b.consume("q", s, hub.ConsumerOptions{NoAck: true})
	for _, client := range []string{"a/b", "a", "b"} {
		b.host.Tell(connectedEvent(client))
	}
	expect(s, "a/b", "a", "b")
	if err := b.hub.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.host.Tell(connectedEvent("late")) // nobody is there to publish it
	if n := b.hub.Stats().EventsDropped.Load(); n != 1 {
		t.Errorf("%d events were dropped, want 1", n)
	}
	b = open(t, fs, small())
	if !b.host.Tells(object.EventConnected) {
		t.Error("events are off after a restart")
	}
	s = newSink()
	b.consume("q", s, hub.ConsumerOptions{NoAck: true})
	b.host.Tell(connectedEvent("c"))
	expect(s, "c")
}

// A hundred thousand events at once are published or dropped, and nobody waits for it.
func TestStormOfEvents(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	b.events(object.EventConnected)
	b.queue("q", object.QueueSpec{Arguments: object.Arguments{"x-max-length": int64(10)}})
	b.bind("amq.topic", "q", "$events.#")
	const storm = 100_000
	for i := range storm {
		b.host.Tell(connectedEvent(fmt.Sprint(i)))
	}
	if err := b.hub.Close(context.Background()); err != nil { // publishes what waits
		t.Fatal(err)
	}
	s := b.hub.Stats()
	if n := s.EventsPublished.Load() + s.EventsDropped.Load(); n != storm {
		t.Errorf("%d published and %d dropped of %d", s.EventsPublished.Load(), s.EventsDropped.Load(), storm)
	}
}
