package amqp091_test

import (
	"strings"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
)

func (p *process) mqtt() mqtt.Client {
	p.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + p.address("mqtt")).SetClientID("conformance").SetProtocolVersion(4).SetAutoReconnect(false))
	wait(p.T, c.Connect())
	p.Cleanup(func() { c.Disconnect(0) })
	return c
}

func wait(t *testing.T, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatal("MQTT answer did not come")
	}
	check(t, token.Error())
}

// TestFromMQTT: topic names become routing keys and come back, QoS becomes delivery-mode.
func TestFromMQTT(t *testing.T) {
	p := start(t)
	_, ch := p.channel()
	queue := declare(t, ch, "sensors", true, nil)
	check(t, ch.QueueBind(queue, "#", "amq.topic", false, nil))
	c := p.mqtt()
	long := strings.Repeat("level/", 60)
	for _, x := range []struct {
		topic, key string
		qos        byte
		mode       uint8
	}{
		{"plant/1/temp", "plant.1.temp", 0, amqp.Transient},
		{"plant/1/temp", "plant.1.temp", 1, amqp.Persistent},
		{"plant.1/temp", "plant/1.temp", 1, amqp.Persistent},
		{long, strings.ReplaceAll(long, "/", ".")[:255], 1, amqp.Persistent},
	} {
		wait(t, c.Publish(x.topic, x.qos, false, "21.5"))
		var d amqp.Delivery
		deliver(t, ch, queue, &d)
		if d.RoutingKey != x.key || d.Exchange != "amq.topic" || d.DeliveryMode != x.mode || string(d.Body) != "21.5" || d.Headers["x-mqtt-qos"] != x.qos {
			t.Errorf("%s with QoS %d came as %+v", x.topic, x.qos, d)
		}
		if got := d.Headers["x-mqtt-topic"]; got != x.topic {
			t.Errorf("%s: header x-mqtt-topic is %v", x.topic, got)
		}
	}
}

// deliver takes one message, which may still be on its way: a publish with QoS 0 is not acknowledged.
func deliver(t *testing.T, ch *amqp.Channel, queue string, d *amqp.Delivery) {
	t.Helper()
	from, err := ch.Consume(queue, "one", true, false, false, false, nil)
	check(t, err)
	*d = receive(t, "delivery", from)
	check(t, ch.Cancel("one", false))
}

func TestToMQTT(t *testing.T) {
	p := start(t)
	c := p.mqtt()
	got := make(chan mqtt.Message, 10)
	wait(t, c.Subscribe("plant/+/temp", 1, func(_ mqtt.Client, m mqtt.Message) { got <- m }))
	_, ch := p.channel()
	check(t, ch.Confirm(false))
	for _, mode := range []uint8{amqp.Transient, amqp.Persistent} {
		publish(t, ch, "amq.topic", "plant.7.temp", amqp.Publishing{DeliveryMode: mode, Body: []byte("22")})
		m := receive(t, "message", got)
		if m.Topic() != "plant/7/temp" || string(m.Payload()) != "22" || m.Qos() != mode-1 {
			t.Errorf("delivery mode %d came as %s %q QoS %d", mode, m.Topic(), m.Payload(), m.Qos())
		}
	}
}
