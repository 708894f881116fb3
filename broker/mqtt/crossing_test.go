package mqtt_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// other is somebody of another protocol.
func (b *broker) other() (*hub.VirtualHost, *auth.Access) {
	b.Helper()
	a, err := b.hub.Authority().Authenticate(context.Background(), auth.Credentials{User: "guest", Password: "guest", Peer: netip.MustParseAddr("127.0.0.1"), VirtualHost: "/"})
	if err != nil {
		b.Fatal(err)
	}
	v, err := b.hub.VirtualHost("/")
	if err != nil {
		b.Fatal(err)
	}
	return v, a
}

// TestMessagesOfAMQP: a routing key arrives as the topic that it is; one that is no topic name is passed over, and
// the session goes on.
func TestMessagesOfAMQP(t *testing.T) {
	b := newBroker(t)
	s := b.connected("s", true)
	s.subscribe("#", 1)
	v, a := b.other()
	p := v.NewPublisher(hub.PublisherOptions{Access: a, Origin: b.hub.NewOrigin(), Encoding: message.AMQP091})
	for _, key := range []string{"plant.1.a/b", "not.#", "not.+", "", "not.\x00", "not.\xff", "last"} {
		for _, durable := range []bool{false, true} {
			r, err := p.Route([]byte("amq.topic"), []byte(key))
			if err != nil {
				t.Fatal(err)
			}
			m := message.Message{Exchange: r.Exchange, Key: r.Key, Encoding: message.AMQP091, Durable: durable, Payload: []byte("x")}
			if durable {
				m.QoS = 1
			}
			if _, err := p.Publish(r, &m, nil, 0); err != nil {
				t.Fatal(err)
			}
			p.Flush()
		}
	}
	s.expect(`publish plant/1/a.b "x"`)
	s.expect(`publish plant/1/a.b "x" qos=1 id=1`)
	s.expect(`publish last "x"`)
	s.expect(`publish last "x" qos=1 id=2`)
}

// TestRefusedMessage: a message that a full queue refuses is not acknowledged, nor is what follows it; what came before
// is, and the connection ends. [MQTT-4.8.0-2]
func TestRefusedMessage(t *testing.T) {
	b := newBroker(t)
	v, a := b.other()
	ctx := context.Background()
	full := object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": int64(2), "x-overflow": "reject-publish"}}
	if _, err := v.DeclareQueue(ctx, a, hub.QueueDeclaration{Name: "q", Spec: full}); err != nil {
		t.Fatal(err)
	}
	if err := v.Bind(ctx, a, hub.Binding{Source: "amq.topic", Destination: "q", Key: "t"}); err != nil {
		t.Fatal(err)
	}
	p := b.connected("p", true)
	var batch []byte
	for id := uint16(1); id <= 5; id++ {
		batch = (&packet.Publish{Topic: []byte("t"), QoS: 1, PacketID: id}).Append(batch, packet.V311)
	}
	p.write(batch)
	p.expect("puback 1")
	p.expect("puback 2")
	p.expect("closed")
}
