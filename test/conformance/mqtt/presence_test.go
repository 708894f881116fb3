package mqtt

import (
	"encoding/json"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	api "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// apply brings objects about through the admin API.
func (b *broker) apply(user string, objects ...object.Object) {
	b.t.Helper()
	admin, err := api.New(api.Options{URL: "http://" + b.addresses["http"], User: user, Password: user})
	if err != nil {
		b.t.Fatal(err)
	}
	defer admin.Close()
	var r api.ApplyRequest
	for _, o := range objects {
		r.Changes = append(r.Changes, object.Change{Object: o})
	}
	answer, err := admin.Apply(b.t.Context(), r)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, result := range answer.Results {
		if result.Outcome == object.Refused {
			b.t.Fatal(result.Message)
		}
	}
}

func (b *broker) object(kind object.Kind, vhost, name string, spec any) object.Object {
	b.t.Helper()
	o, err := object.New(kind, vhost, name, spec)
	if err != nil {
		b.t.Fatal(err)
	}
	return o
}

// presence is an event as its documentation has it.
type presence struct {
	Event, ClientID, Protocol, Reason string
	ReasonCode                        int
	Version                           int64
}

func (c *client5) presence() (p presence) {
	c.t.Helper()
	m := c.next()
	if err := json.Unmarshal(m.Payload, &p); err != nil {
		c.t.Fatal(err)
	}
	if want := "$events/clients/" + p.ClientID + "/" + p.Event; m.Topic != want || m.Properties.ContentType != "application/json" || m.Retain {
		c.t.Errorf("event %+v came as %+v, want topic %s", p, m, want)
	}
	return p
}

// TestPresence: who watches sees a client of each kind come and go, with versions that grow over a kill of the broker.
func TestPresence(t *testing.T) {
	b := start(t)
	b.apply("guest", b.object(object.KindVirtualHost, "", "/", object.VirtualHostSpec{Events: []object.EventKind{object.EventConnected, object.EventDisconnected}}))
	version := int64(0)
	for round := range 2 {
		w := b.connect5(t, "watcher", nil)
		w.subscribe(paho.SubscribeOptions{Topic: "$events/clients/device-1/+"}, 0)
		expect := func(want presence) {
			t.Helper()
			got := w.presence()
			if got.Version <= version {
				t.Errorf("version %d after %d", got.Version, version)
			}
			version, got.Version = got.Version, 0
			want.ClientID = "device-1"
			if got != want {
				t.Errorf("round %d: %+v, want %+v", round, got, want)
			}
		}
		c := b.connect5(t, "device-1", nil)
		expect(presence{Event: "connected", Protocol: "MQTT 5.0"})
		b.connect5(t, "another", nil)
		if err := c.Disconnect(&paho.Disconnect{ReasonCode: 4}); err != nil {
			t.Fatal(err)
		}
		expect(presence{Event: "disconnected", Protocol: "MQTT 5.0", Reason: "client", ReasonCode: 4})
		b.connect5(t, "device-1", nil)
		expect(presence{Event: "connected", Protocol: "MQTT 5.0"})
		b.connect5(t, "device-1", nil)
		expect(presence{Event: "disconnected", Protocol: "MQTT 5.0", Reason: "taken-over", ReasonCode: 0x8e})
		expect(presence{Event: "connected", Protocol: "MQTT 5.0"})
		b.kill()
		b.start()
	}
}

// TestRates: paho's clients of a user with rates, and its reason codes. A rate of 0.01 lets one message pass.
func TestRates(t *testing.T) {
	b := start(t)
	user := func(by, name string, tags []string, l object.UserLimits) {
		t.Helper()
		b.apply(by,
			b.object(object.KindUser, "", name, object.UserSpec{Password: name, Tags: tags, Limits: l}),
			b.object(object.KindPermission, "/", name, object.PermissionSpec{Configure: ".*", Write: ".*", Read: ".*"}))
	}
	as := func(name string) func(*paho.Connect, *paho.ClientConfig) {
		return func(c *paho.Connect, _ *paho.ClientConfig) {
			c.Username, c.UsernameFlag, c.Password, c.PasswordFlag = name, true, []byte(name), true
		}
	}
	user("guest", "root", []string{"administrator"}, object.UserLimits{})
	user("root", "lossy", nil, object.UserLimits{Client: object.Rate{MessagesPerSecond: 0.01}, OnExcess: object.Drop})
	user("root", "strict", nil, object.UserLimits{User: object.Rate{BytesPerSecond: 0.01}, OnExcess: object.Disconnect})
	user("root", "eager", nil, object.UserLimits{Client: object.Rate{ConnectsPerSecond: 0.01}, MaxConnections: 1})

	w := b.connect5(t, "watcher", as("root"))
	w.subscribe(paho.SubscribeOptions{Topic: "t", QoS: 1}, 0)
	c := b.connect5(t, "lossy", as("lossy"))
	for i, want := range []byte{0, 0x97} {
		if got := c.publish(&paho.Publish{Topic: "t", QoS: 1, Payload: []byte("lossy")}); got != want {
			t.Errorf("message %d: reason code %#x, want %#x", i, got, want)
		}
	}
	if m := w.next(); string(m.Payload) != "lossy" {
		t.Errorf("got %q", m.Payload)
	}

	c = b.connect5(t, "strict", as("strict"))
	for range 2 {
		c.publish(&paho.Publish{Topic: "t", Payload: []byte("strict")})
	}
	if d := <-c.ended; d.ReasonCode != 0x96 {
		t.Errorf("reason code of DISCONNECT is %#x, want 0x96", d.ReasonCode)
	}
	if m := w.next(); string(m.Payload) != "strict" {
		t.Errorf("got %q", m.Payload)
	}

	b.connect5(t, "eager", as("eager"))
	for id, want := range map[string]byte{"eager": 0x9f, "other": 0x97} {
		c, err := b.tryConnect5(t, id, as("eager"))
		if err == nil || c.ack == nil || c.ack.ReasonCode != want {
			t.Errorf("another connection of %s: %+v, %v, want reason code %#x", id, c.ack, err, want)
		}
	}
}
