package mqtt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// watch connects a client that sees all events but its own.
func (b *broker) watch(kinds ...string) *peer {
	b.Helper()
	p := b.dial("watcher")
	p.send(&packet.Connect{Version: packet.V311, ClientID: "watcher", CleanStart: true})
	p.expect("connack 00")
	p.send(&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "$events/#"}}})
	p.expect("suback 1 00")
	b.events(kinds)
	return p
}

// event reads the next event.
func (p *peer) event() (e hub.ClientEvent) {
	p.Helper()
	q, err := p.read()
	if err != nil {
		p.Fatal(err)
	}
	if err := json.Unmarshal(q.(*packet.Publish).Payload, &e); err != nil {
		p.Fatal(err)
	}
	return e
}

func TestReasonsOfEvents(t *testing.T) {
	b := newBroker(t)
	b.config.Limits.Rates.Client.MessagesPerSecond, b.config.Limits.Rates.OnExcess = 0.01, object.Disconnect
	b.hub.Reconfigure(b.config)
	b.hub.Authority().Refresh()
	w := b.watch("disconnected")
	for _, c := range []struct {
		name string
		end  func(p *peer)
		want hub.Disconnected
	}{
		{"bye", func(p *peer) { p.send(&packet.Disconnect{}) }, hub.Disconnected{Reason: hub.ByClient}},
		{"lost", func(p *peer) { p.Close() }, hub.Disconnected{Reason: hub.ConnectionLost, Code: 0x80}}, //nolint:errcheck // that is the point
		{"wrong", func(p *peer) { p.send(&packet.Connect{Version: packet.V5}) }, hub.Disconnected{Reason: hub.ProtocolError, Code: 0x82, Text: "a second CONNECT"}},
		{"malformed", func(p *peer) { p.write([]byte{0x82, 1, 0}) }, hub.Disconnected{Reason: hub.ProtocolError, Code: 0x81, Text: "packet is cut short"}},
		{"fast", func(p *peer) {
			for range 2 {
				p.send(&packet.Publish{Topic: []byte("t")})
			}
		}, hub.Disconnected{Reason: hub.OverRate, Code: 0x96, Text: "the client publishes more than 0.01 messages per second"}},
	} {
		p := b.dial(c.name)
		p.version = packet.V5
		p.send(&packet.Connect{Version: packet.V5, ClientID: c.name, CleanStart: true})
		p.expect("connack 00")
		c.end(p)
		e := w.event()
		if e.ClientID != c.name || e.Disconnected == nil || *e.Disconnected != c.want || e.Address != p.LocalAddr().String() {
			t.Errorf("%s: %+v %+v, want %+v of %s", c.name, e, e.Disconnected, c.want, p.LocalAddr())
		}
	}
}

func TestStopIsTold(t *testing.T) {
	b := newBroker(t)
	b.queue("seen", "$events/#")
	b.events([]string{"disconnected"})
	p := b.dial("a")
	p.send(&packet.Connect{Version: packet.V311, ClientID: "a", CleanStart: true})
	p.expect("connack 00")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.endpoint.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.hub.Close(ctx); err != nil { // publishes what waits
		t.Fatal(err)
	}
	if n := b.hub.Stats().EventsPublished.Load(); n != 1 {
		t.Errorf("%d events were published, want 1", n)
	}
}

func TestKeepAliveIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		b.events([]string{"disconnected"})
		w, p := b.pipe("w"), b.pipe("p")
		w.send(&packet.Connect{Version: packet.V311, ClientID: "w", CleanStart: true})
		w.expect("connack 00")
		w.send(&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "$events/clients/p/disconnected"}}})
		w.expect("suback 1 00")
		p.send(&packet.Connect{Version: packet.V311, ClientID: "p", CleanStart: true, KeepAlive: 10})
		p.expect("connack 00")
		began := time.Now()
		if e := w.event(); e.Disconnected == nil || e.Reason != hub.KeepAlive || e.Code != 0x8d || time.Since(began) < 15*time.Second {
			t.Errorf("%+v %+v after %v", e, e.Disconnected, time.Since(began))
		}
		w.Close() //nolint:errcheck // done with it
		p.Close() //nolint:errcheck // done with it
	})
}

// Clients that connect again and again, some under one name, are seen in an order in which the last thing told is true.
func TestPresenceIsInOrder(t *testing.T) {
	b := newBroker(t)
	w := b.watch("connected", "disconnected")
	const rounds, clients = 50, 3
	done := make(chan struct{})
	go func() { // ends after the last round
		defer close(done)
		for i := range rounds {
			p := b.dial("again")
			p.send(&packet.Connect{Version: packet.V311, ClientID: fmt.Sprint("c", i%clients), CleanStart: true})
			if _, err := p.read(); err != nil {
				t.Error(err)
			}
		}
	}()
	there := map[string]uint64{}
	version := int64(0)
	for range rounds + rounds - clients { // all but the last of each were taken over
		e := w.event()
		if e.Version <= version {
			t.Fatalf("version %d after %d", e.Version, version)
		}
		version = e.Version
		switch {
		case e.Kind == object.EventConnected && there[e.ClientID] == 0:
			there[e.ClientID] = e.Connection
		case e.Kind == object.EventDisconnected && there[e.ClientID] == e.Connection:
			there[e.ClientID] = 0
		default:
			t.Fatalf("%s of connection %d of %s, of which connection %d is there", e.Kind, e.Connection, e.ClientID, there[e.ClientID])
		}
	}
	<-done
	for i := range clients {
		if there[fmt.Sprint("c", i)] == 0 {
			t.Errorf("client c%d is there, and was not told so", i)
		}
	}
}
