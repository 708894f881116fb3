package amqp10_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/Azure/go-amqp"
	"github.com/coder/websocket"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	amqp091 "github.com/rabbitmq/amqp091-go"
)

// TestDurable: what was accepted is there after a crash, in its order, with all its sections; what was not durable is gone.
func TestDurable(t *testing.T) {
	p := start(t)
	_, s := p.session()
	sender := must(s.NewSender(p.soon(), "/queue/orders", nil))
	for i := range 100 {
		m := amqp.NewMessage(fmt.Appendf(nil, "%d", i))
		m.Header = &amqp.MessageHeader{Durable: i%2 == 0, Priority: 7}
		m.Annotations = amqp.Annotations{"x-own": int32(i)}
		m.ApplicationProperties = map[string]any{"n": int64(i)}
		m.Footer = amqp.Annotations{"x-foot": "note"}
		check(t, sender.Send(p.soon(), m, nil))
	}
	p.restart()
	_, s = p.session()
	r := must(s.NewReceiver(p.soon(), "/queues/orders", &amqp.ReceiverOptions{Credit: 100}))
	for i := 0; i < 100; i += 2 {
		m := must(r.Receive(p.soon(), nil))
		if string(m.GetData()) != fmt.Sprint(i) || m.Annotations["x-own"] != int32(i) || m.ApplicationProperties["n"] != int64(i) || m.Footer["x-foot"] != "note" || !m.Header.Durable || m.Header.Priority != 7 {
			t.Fatalf("message %d is %+v", i, m)
		}
		check(t, r.AcceptMessage(p.soon(), m))
	}
}

// TestWebSocket: AMQP 1.0 over WebSocket with the subprotocol amqp.
func TestWebSocket(t *testing.T) {
	p := start(t)
	ws, _, err := websocket.Dial(p.soon(), "ws://"+p.address("ws"), &websocket.DialOptions{Subprotocols: []string{"amqp"}})
	check(t, err)
	conn := must(amqp.NewConn(p.soon(), websocket.NetConn(context.Background(), ws, websocket.MessageBinary), &amqp.ConnOptions{SASLType: amqp.SASLTypePlain("guest", "guest")}))
	defer conn.Close() //nolint:errcheck // at the end
	s := must(conn.NewSession(p.soon(), nil))
	check(t, must(s.NewSender(p.soon(), "/queue/q", nil)).Send(p.soon(), amqp.NewMessage([]byte("over WebSocket")), nil))
	if m := must(must(s.NewReceiver(p.soon(), "/queues/q", nil)).Receive(p.soon(), nil)); string(m.GetData()) != "over WebSocket" {
		t.Errorf("got %q", m.GetData())
	}
}

// party is a client of one protocol, that publishes to a topic and receives from it.
type party struct {
	name    string
	publish func(text string)
	receive func() string
}

// TestEveryDirection: between each two of MQTT, AMQP 0-9-1 and AMQP 1.0, and to themselves.
func TestEveryDirection(t *testing.T) {
	p := start(t)
	parties := []party{p.mqttParty(), p.amqp091Party(), p.amqp10Party()}
	for _, from := range parties {
		text := "from " + from.name
		from.publish(text)
		for _, to := range parties {
			if got := to.receive(); got != text {
				t.Errorf("%s to %s: got %q", from.name, to.name, got)
			}
		}
	}
}

func (p *process) mqttParty() party {
	p.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + p.address("mqtt")).SetClientID("conformance").SetAutoReconnect(false))
	done := func(token mqtt.Token) {
		p.Helper()
		if !token.WaitTimeout(patience) {
			p.Fatal("MQTT answer did not come")
		}
		check(p, token.Error())
	}
	done(c.Connect())
	p.Cleanup(func() { c.Disconnect(0) })
	got := make(chan string, 10)
	done(c.Subscribe("plant/1/temp", 1, func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) }))
	return party{"MQTT", func(text string) { done(c.Publish("plant/1/temp", 1, false, text)) }, func() string { return receive(p, "message over MQTT", got) }}
}

func (p *process) amqp091Party() party {
	p.Helper()
	conn, err := amqp091.Dial("amqp://guest:guest@" + p.address("amqp") + "/")
	check(p, err)
	p.Cleanup(func() { conn.Close() }) //nolint:errcheck // at the end
	ch := must(conn.Channel())
	q := must(ch.QueueDeclare("", false, true, true, false, nil))
	check(p, ch.QueueBind(q.Name, "plant.1.temp", "amq.topic", false, nil))
	got := must(ch.Consume(q.Name, "", true, false, false, false, nil))
	return party{"AMQP 0-9-1", func(text string) {
		check(p, ch.PublishWithContext(p.soon(), "amq.topic", "plant.1.temp", false, false, amqp091.Publishing{DeliveryMode: 2, Body: []byte(text)}))
	}, func() string { return string(receive(p, "message over AMQP 0-9-1", got).Body) }}
}

func (p *process) amqp10Party() party {
	p.Helper()
	_, s := p.session()
	topic := []string{"topic"}
	r := must(s.NewReceiver(p.soon(), "plant.1.temp", &amqp.ReceiverOptions{SourceCapabilities: topic, Credit: 10}))
	sender := must(s.NewSender(p.soon(), "plant.1.temp", &amqp.SenderOptions{TargetCapabilities: topic}))
	return party{"AMQP 1.0", func(text string) {
		m := amqp.NewMessage([]byte(text))
		m.Header = &amqp.MessageHeader{Durable: true}
		check(p, sender.Send(p.soon(), m, nil))
	}, func() string {
		m := must(r.Receive(p.soon(), nil))
		check(p, r.AcceptMessage(p.soon(), m))
		return string(m.GetData())
	}}
}
