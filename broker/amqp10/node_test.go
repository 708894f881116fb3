package amqp10_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/Azure/go-amqp"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// TestAddresses: the same places in the spellings of several brokers. 3 §3.5.3, 3 §3.5.4
func TestAddresses(t *testing.T) {
	b := start(t, defaults())
	b.queue("orders/new", nil, "amq.topic", "a.b", "amq.direct", "a/b")
	b.queue("plain", nil)
	_, s := b.client()
	receivers := map[string]*amqp.Receiver{}
	for i, x := range []struct {
		address, subject string
		capabilities     []string
		queue            string // where it arrives; made if it does not exist
	}{
		{"/queues/orders%2Fnew", "", nil, "/queues/orders%2Fnew"},
		{"/queue/made-by-v1", "", nil, "/queues/made-by-v1"},
		{"/amq/queue/plain", "", nil, "/queues/plain"},
		{"/exchanges/amq.topic/a.b", "", nil, "/queues/orders%2Fnew"},
		{"/exchanges/amq.direct/a%2Fb", "", nil, "/queues/orders%2Fnew"},
		{"/exchange/amq.topic/a.b", "", nil, "/queues/orders%2Fnew"},
		{"/exchange/amq.topic", "a.b", nil, "/queues/orders%2Fnew"},
		{"/topic/a.b", "", nil, "/queues/orders%2Fnew"},
		{"plain", "", nil, "/queues/plain"},
		{"made", "", []string{"queue"}, "/queues/made"},
		{"queue://made", "", nil, "/queues/made"},
		{"a.b", "", []string{"topic"}, "/queues/orders%2Fnew"},
		{"topic://a.b", "", nil, "/queues/orders%2Fnew"},
		{"amq.topic", "a.b", nil, "/queues/orders%2Fnew"},
	} {
		sender, err := s.NewSender(soon(t), x.address, &amqp.SenderOptions{TargetCapabilities: x.capabilities})
		if err != nil {
			t.Errorf("%s: %v", x.address, err)
			continue
		}
		m := amqp.NewMessage(fmt.Append(nil, i))
		if x.subject != "" {
			m.Properties = &amqp.MessageProperties{Subject: &x.subject}
		}
		if err := sender.Send(soon(t), m, nil); err != nil {
			t.Errorf("%s: %v", x.address, err)
			continue
		}
		if receivers[x.queue] == nil {
			receivers[x.queue] = must(s.NewReceiver(soon(t), x.queue, nil))
		}
		got := must(receivers[x.queue].Receive(soon(t), nil))
		if string(got.GetData()) != fmt.Sprint(i) {
			t.Errorf("%s: got %q", x.address, got.GetData())
		}
		check(t, receivers[x.queue].AcceptMessage(soon(t), got))
		check(t, sender.Close(soon(t)))
	}
}

// TestAnonymousTerminus: each message says where it goes. 3 §3.5.4
func TestAnonymousTerminus(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil, "amq.topic", "t")
	_, s := b.client()
	sender := must(s.NewSender(soon(t), "", nil))
	for _, to := range []string{"/queues/q", "/exchanges/amq.topic/t", "q", "/queues/q"} {
		check(t, sender.Send(soon(t), &amqp.Message{Properties: &amqp.MessageProperties{To: &to}, Data: [][]byte{nil}}, nil))
	}
	topic := "t"
	check(t, sender.Send(soon(t), &amqp.Message{Annotations: amqp.Annotations{"x-opt-jms-dest": int8(1)}, Properties: &amqp.MessageProperties{To: &topic}}, nil))
	b.holds("q", 5)
}

// TestMoreKeys: the annotation x-cc names further keys.
func TestMoreKeys(t *testing.T) {
	b := start(t, defaults())
	b.queue("a", nil)
	b.queue("b", nil)
	_, s := b.client()
	sender := must(s.NewSender(soon(t), "/queues/a", nil))
	check(t, sender.Send(soon(t), &amqp.Message{Annotations: amqp.Annotations{"x-cc": []any{"a", "b", "none"}}, Data: [][]byte{nil}}, nil))
	b.holds("a", 1)
	b.holds("b", 1)
	if err := sender.Send(soon(t), &amqp.Message{Annotations: amqp.Annotations{"x-cc": "b"}, Data: [][]byte{nil}}, nil); err == nil || !strings.Contains(err.Error(), "x-cc") {
		t.Errorf("x-cc that is no list: %v", err)
	}
}

// TestHeadersExchange: application properties and annotations are what a headers exchange compares.
func TestHeadersExchange(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	s := object.BindingSpec{Source: "amq.headers", DestinationType: object.DestinationQueue, Destination: "q", Arguments: object.Arguments{"x-match": "all", "color": "red", "size": int64(3)}}
	b.apply(object.KindBinding, "/", s.Name(), s)
	_, session := b.client()
	sender := must(session.NewSender(soon(t), "/exchanges/amq.headers", nil))
	send := func(properties map[string]any) error {
		return sender.Send(soon(t), &amqp.Message{ApplicationProperties: properties, Data: [][]byte{nil}}, nil)
	}
	check(t, send(map[string]any{"color": "red", "size": int8(3)}))
	send(map[string]any{"color": "red", "size": 4.0}) //nolint:errcheck // it matches nothing, and is released
	b.holds("q", 1)
}

// TestDynamicNodes: queues that the broker names and that go with the link that made them.
// 3 §3.5.9, 3 §3.5.10, 2 §2.8.15/resource-locked
func TestDynamicNodes(t *testing.T) {
	b := start(t, defaults())
	_, server := b.client()
	_, client := b.client()
	requests := must(server.NewReceiver(soon(t), "/queue/requests", nil))
	replies := must(client.NewReceiver(soon(t), "", &amqp.ReceiverOptions{DynamicAddress: true}))
	to := replies.Address()
	if !strings.HasPrefix(to, "/queues/amq.gen-") {
		t.Fatalf("address %q", to)
	}
	check(t, must(client.NewSender(soon(t), "/queues/requests", nil)).Send(soon(t), &amqp.Message{Properties: &amqp.MessageProperties{ReplyTo: &to}, Data: [][]byte{nil}}, nil))
	m := must(requests.Receive(soon(t), nil))
	check(t, requests.AcceptMessage(soon(t), m))
	answers := must(server.NewSender(soon(t), *m.Properties.ReplyTo, nil)) // from another connection
	check(t, answers.Send(soon(t), amqp.NewMessage([]byte("answer")), nil))
	if got := must(replies.Receive(soon(t), nil)); string(got.GetData()) != "answer" {
		t.Errorf("answer %q", got.GetData())
	}
	if _, err := server.NewReceiver(soon(t), to, nil); err == nil || !strings.Contains(err.Error(), string(frame.ResourceLocked)) {
		t.Errorf("another connection consumes: %v", err)
	}
	check(t, replies.Close(soon(t)))
	if _, err := server.NewSender(soon(t), to, nil); err == nil || !strings.Contains(err.Error(), string(frame.NotFound)) {
		t.Errorf("the queue is there after its link: %v", err)
	}
	p := b.open()
	a := p.attach(&frame.Attach{Name: "temporary", Handle: 1, Role: frame.Sender, Target: &frame.Target{Dynamic: true, ExpiryPolicy: frame.ExpireSessionEnd}})
	p.transfer(1, 0, data("x"))
	expect[*frame.Disposition](p)
	p.receiver(2, a.Target.Address)
	p.credit(2, 0, 1, false)
	expect[*frame.Transfer](p)
}

// TestTopics: subscriptions are queues of their own on the topic exchange; a durable one stays until it is closed.
// 2 §2.6.6, 3 §3.5.5, 3 §3.5.6
func TestTopics(t *testing.T) {
	b := start(t, defaults())
	topic := &amqp.ReceiverOptions{SourceCapabilities: []string{"topic"}, Credit: 10}
	durable := &amqp.ReceiverOptions{SourceCapabilities: []string{"topic"}, Name: "sub", SourceDurability: amqp.DurabilityUnsettledState, SourceExpiryPolicy: amqp.ExpiryPolicyNever, Credit: 10}
	conn, s := b.clientWith(&amqp.ConnOptions{ContainerID: "client"})
	_, other := b.client()
	sender := must(other.NewSender(soon(t), "news.de", &amqp.SenderOptions{TargetCapabilities: []string{"topic"}}))
	first, second := must(s.NewReceiver(soon(t), "news.*", topic)), must(s.NewReceiver(soon(t), "news.de", durable))
	send := func(text string) {
		t.Helper()
		m := amqp.NewMessage([]byte(text))
		m.Header = &amqp.MessageHeader{Durable: true}
		check(t, sender.Send(soon(t), m, nil))
	}
	receive := func(r *amqp.Receiver, want string) {
		t.Helper()
		m := must(r.Receive(soon(t), nil))
		if string(m.GetData()) != want || m.Annotations["x-routing-key"] != "news.de" {
			t.Fatalf("got %q, want %q", m.GetData(), want)
		}
		check(t, r.AcceptMessage(soon(t), m))
	}
	send("one")
	receive(first, "one")
	receive(second, "one")
	if _, err := must(conn.NewSession(soon(t), nil)).NewReceiver(soon(t), "news.de", &amqp.ReceiverOptions{Name: "x"}); err != nil {
		t.Errorf("a queue of the topic's name: %v", err)
	}
	leave := func() { // the client does not wait for the broker
		t.Helper()
		b.leaving(1, func() { check(t, conn.Close()) })
	}
	leave()
	send("two")
	conn, s = b.clientWith(&amqp.ConnOptions{ContainerID: "client"})
	second = must(s.NewReceiver(soon(t), "news.de", durable))
	receive(second, "two")
	leave()
	_, s = b.clientWith(&amqp.ConnOptions{ContainerID: "client"})
	second = must(s.NewReceiver(soon(t), "news.fr", durable)) // another topic now
	send("not wanted any more")
	check(t, second.Close(soon(t))) // which ends the subscription
	if _, err := must(b.hub.VirtualHost("/")).Queue("amqp-subscription/client/sub", 0); err == nil {
		t.Error("the subscription is there after it was closed")
	}
}

// TestUnsubscribe: a JMS client ends a durable subscription by a link without a source.
func TestUnsubscribe(t *testing.T) {
	b := start(t, defaults())
	p := b.open()
	p.attach(&frame.Attach{Name: "sub", Handle: 1, Role: frame.Receiver, Source: &frame.Source{Address: "a.b", Durable: frame.DurabilityUnsettledState, ExpiryPolicy: frame.ExpireNever, Capabilities: []string{"topic"}}})
	p.send(0, &frame.Detach{Handle: 1})
	if d := expect[*frame.Detach](p); d.Closed {
		t.Error("closed")
	}
	p.send(0, &frame.Attach{Name: "sub", Handle: 1, Role: frame.Receiver, Target: &frame.Target{ExpiryPolicy: frame.ExpireSessionEnd}})
	if a := expect[*frame.Attach](p); a.Source == nil || a.Source.Address != "a.b" || a.Source.Durable == frame.DurabilityNone {
		t.Errorf("source %+v", a.Source)
	}
	p.send(0, &frame.Detach{Handle: 1, Closed: true})
	expect[*frame.Detach](p)
	if _, err := must(b.hub.VirtualHost("/")).Queue("amqp-subscription/test/sub", 0); err == nil {
		t.Error("the subscription is still there")
	}
}

// TestPermissions: links need what the other protocols need for the same. 3 §3.2.4, 2 §2.8.15/unauthorized-access
func TestPermissions(t *testing.T) {
	b := start(t, defaults())
	b.queue("mine", nil)
	b.queue("yours", nil)
	b.user("ann", "secret", object.PermissionSpec{Configure: "^mine", Write: "^(mine|amq.default)", Read: "^mine"})
	_, s := b.clientWith(&amqp.ConnOptions{SASLType: amqp.SASLTypePlain("ann", "secret")})
	for address, allowed := range map[string]bool{"/queues/mine": true, "/queues/yours": false, "/queue/mine-too": true, "/queue/not-mine": false, "/topic/a": false} {
		if _, err := s.NewReceiver(soon(t), address, nil); err == nil != allowed || err != nil && !strings.Contains(err.Error(), string(frame.UnauthorizedAccess)) {
			t.Errorf("receive from %s: %v", address, err)
		}
	}
	for address, allowed := range map[string]bool{"/queues/mine": true, "/exchanges/amq.direct/k": false, "/queue/other": false, "/topic/a": false} {
		if _, err := s.NewSender(soon(t), address, nil); err == nil != allowed || err != nil && !strings.Contains(err.Error(), string(frame.UnauthorizedAccess)) {
			t.Errorf("send to %s: %v", address, err)
		}
	}
	sender := must(s.NewSender(soon(t), "/queues/mine", nil))
	check(t, sender.Send(soon(t), &amqp.Message{Properties: &amqp.MessageProperties{UserID: []byte("ann")}, Data: [][]byte{nil}}, nil))
	if err := sender.Send(soon(t), &amqp.Message{Properties: &amqp.MessageProperties{UserID: []byte("bob")}, Data: [][]byte{nil}}, nil); err == nil || !strings.Contains(err.Error(), string(frame.UnauthorizedAccess)) {
		t.Errorf("with another's user-id: %v", err)
	}
}
