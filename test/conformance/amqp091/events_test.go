package amqp091_test

import (
	"encoding/json"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// TestEventsOfClients: a queue of AMQP that is bound to events sees clients of MQTT, and those of AMQP.
func TestEventsOfClients(t *testing.T) {
	p := start(t, "--listen", "http://127.0.0.1:0")
	admin, err := client.New(client.Options{URL: "http://" + p.address("http"), User: "guest", Password: "guest"})
	check(t, err)
	t.Cleanup(admin.Close)
	_, ch := p.channel()
	queue := declare(t, ch, "presence", true, nil)
	check(t, ch.QueueBind(queue, "$events.clients.*.connected", "amq.topic", false, nil))
	host, err := object.New(object.KindVirtualHost, "", "/", object.VirtualHostSpec{Events: object.EventKinds})
	check(t, err)
	answer, err := admin.Apply(t.Context(), client.ApplyRequest{Changes: []object.Change{{Object: host}}})
	check(t, err)
	if answer.Results[0].Outcome != object.Updated {
		t.Fatalf("%+v", answer.Results)
	}
	events, err := ch.Consume(queue, "", true, false, false, false, nil)
	check(t, err)
	for protocol, connect := range map[string]func(){
		"MQTT 3.1.1": func() { p.mqtt() },
		"AMQP 0-9-1": func() { p.channel() },
	} {
		connect()
		d := receive(t, "event of "+protocol, events)
		var e struct{ Event, ClientID, Protocol, User, Address string }
		check(t, json.Unmarshal(d.Body, &e))
		if e.Event != "connected" || e.Protocol != protocol || e.ClientID == "" || e.Address == "" || d.ContentType != "application/json" || d.DeliveryMode != amqp.Transient {
			t.Errorf("event of %s: %s as %+v", protocol, d.Body, d)
		}
	}
	check(t, ch.Publish("amq.topic", "$events.clients.me.connected", false, false, amqp.Publishing{}))
	if _, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil); err == nil {
		t.Error("a client may publish events")
	}
}
