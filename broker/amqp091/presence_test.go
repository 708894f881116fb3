package amqp091_test

import (
	"encoding/json"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
)

func TestEventsOfConnections(t *testing.T) {
	b := start(t, defaults())
	b.limited("watcher", object.UserLimits{})
	b.limited("ann", object.UserLimits{Client: object.Rate{MessagesPerSecond: 0.01}, OnExcess: object.Disconnect})
	conn, err := b.dialAs("watcher")
	check(t, err)
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // at the end
	ch, err := conn.Channel()
	check(t, err)
	q, err := ch.QueueDeclare("", false, false, true, false, nil)
	check(t, err)
	check(t, ch.QueueBind(q.Name, "$events.clients.#", "amq.topic", false, nil))
	events, err := ch.Consume(q.Name, "", true, false, false, false, nil)
	check(t, err)
	b.apply(must(object.New(object.KindVirtualHost, "", "/", object.VirtualHostSpec{Events: []object.EventKind{object.EventConnected, object.EventDisconnected}})))
	next := func() (e hub.ClientEvent) {
		t.Helper()
		d := receive(t, "event", events)
		check(t, json.Unmarshal(d.Body, &e))
		if d.ContentType != "application/json" || d.DeliveryMode != amqp.Transient {
			t.Errorf("content type %q, delivery mode %d", d.ContentType, d.DeliveryMode)
		}
		return e
	}
	for end, want := range map[string]hub.Disconnected{
		"close": {Reason: hub.ByClient, Code: 200, Text: "kthxbai"},
		"cut":   {Reason: hub.ConnectionLost},
		"break": {Reason: hub.ProtocolError, Code: 503, Text: "connection.tune-ok is not expected now"},
		"rate":  {Reason: hub.OverRate, Code: 320, Text: "the client publishes more than 0.01 messages per second"},
	} {
		p := b.dial()
		p.write([]byte(frame.ProtocolHeader))
		expect[*frame.ConnectionStart](p)
		p.send(0, plain("ann", "pw"))
		tune := expect[*frame.ConnectionTune](p)
		tuned := &frame.ConnectionTuneOk{ChannelMax: tune.ChannelMax, FrameMax: tune.FrameMax}
		p.send(0, tuned)
		p.send(0, &frame.ConnectionOpen{VirtualHost: "/"})
		expect[*frame.ConnectionOpenOk](p)
		came := next()
		if came.Kind != object.EventConnected || came.User != "ann" || came.Address != p.conn.LocalAddr().String() ||
			came.ClientID != "amqp-"+came.Address || came.Protocol != "AMQP 0-9-1" {
			t.Errorf("came: %+v", came)
		}
		switch end {
		case "close":
			p.send(0, &frame.ConnectionClose{ReplyCode: 200, ReplyText: "kthxbai"})
		case "cut":
			p.conn.Close() //nolint:errcheck // that is the point
		case "break":
			p.send(0, tuned)
		case "rate":
			p.send(1, &frame.ChannelOpen{})
			for range 2 {
				raw := frame.AppendPublish(nil, 1, &frame.BasicPublish{Exchange: []byte("amq.topic"), RoutingKey: []byte("x")})
				p.write(frame.AppendContent(raw, 1, frame.Properties{0, 0}, []byte("x"), 1<<16))
			}
		}
		if end == "break" || end == "rate" {
			p.send(0, &frame.ConnectionCloseOk{})
		}
		went := next()
		if went.Kind != object.EventDisconnected || went.Connection != came.Connection || went.Version <= came.Version || went.Disconnected == nil || *went.Disconnected != want {
			t.Errorf("%s: %+v %+v, want %+v", end, went, went.Disconnected, want)
		}
	}
}
