package amqp10_test

import (
	"fmt"
	"testing"

	"github.com/Azure/go-amqp"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// manager asks the management node as RabbitMQ's client libraries do.
type manager struct {
	testing.TB
	sender   *amqp.Sender
	receiver *amqp.Receiver
	requests int
}

func (b *broker) manage(s *amqp.Session) *manager {
	b.Helper()
	paired := map[string]any{"paired": true}
	settled := amqp.SenderSettleModeSettled
	m := &manager{TB: b.TB}
	m.receiver = must(s.NewReceiver(soon(b), "/management", &amqp.ReceiverOptions{Name: "management-link-pair", Properties: paired, Credit: 100, RequestedSenderSettleMode: &settled}))
	m.sender = must(s.NewSender(soon(b), "/management", &amqp.SenderOptions{Name: "management-link-pair", Properties: paired}))
	return m
}

// ask sends a request and answers what comes of it.
func (m *manager) ask(status, verb, path string, body any) any {
	m.Helper()
	m.requests++
	me := "$me"
	id := fmt.Sprint("request ", m.requests)
	check(m, m.sender.Send(soon(m), &amqp.Message{Properties: &amqp.MessageProperties{MessageID: id, To: &path, Subject: &verb, ReplyTo: &me}, Value: body}, nil))
	answer := must(m.receiver.Receive(soon(m), nil))
	p := answer.Properties
	if p.CorrelationID != id || p.Subject == nil || answer.ApplicationProperties["http:response"] != "1.1" {
		m.Fatalf("%s %s: answer %+v", verb, path, p)
	}
	if *p.Subject != status {
		m.Errorf("%s %s: status %s, want %s: %v", verb, path, *p.Subject, status, answer.Value)
	}
	return answer.Value
}

func TestManagement(t *testing.T) {
	b := start(t, defaults())
	_, s := b.client()
	m := b.manage(s)
	queue := map[string]any{"durable": true, "arguments": map[string]any{"x-max-length": int64(10), "x-queue-type": "quorum"}}
	q, _ := m.ask("201", "PUT", "/queues/orders%2Fnew", queue).(map[string]any)
	if q["name"] != "orders/new" || q["durable"] != true || q["type"] != "quorum" || q["message_count"] != uint64(0) || q["vhost"] != "/" {
		t.Errorf("queue %v", q)
	}
	m.ask("200", "PUT", "/queues/orders%2Fnew", queue)
	m.ask("409", "PUT", "/queues/orders%2Fnew", map[string]any{"durable": false})
	m.ask("204", "PUT", "/exchanges/x", map[string]any{"type": "headers", "durable": true})
	m.ask("204", "PUT", "/exchanges/y", map[string]any{"type": "direct"})
	m.ask("400", "PUT", "/exchanges/z", map[string]any{"type": "strange"})
	if x, _ := m.ask("200", "GET", "/exchanges/x", nil).(map[string]any); x["type"] != "headers" || x["durable"] != true {
		t.Errorf("exchange %v", x)
	}
	m.ask("404", "GET", "/exchanges/none", nil)
	with := func(arguments map[string]any) map[string]any {
		return map[string]any{"source": "x", "destination_queue": "orders/new", "binding_key": "k;/", "arguments": arguments}
	}
	m.ask("204", "POST", "/bindings", with(map[string]any{"color": "red", "x-match": "all"}))
	m.ask("204", "POST", "/bindings", with(map[string]any{}))
	m.ask("204", "POST", "/bindings", map[string]any{"source": "y", "destination_exchange": "x", "binding_key": "go", "arguments": map[string]any{}})
	m.ask("404", "POST", "/bindings", map[string]any{"source": "none", "destination_queue": "orders/new", "binding_key": "", "arguments": map[string]any{}})
	m.ask("400", "POST", "/bindings", map[string]any{})
	list := func(path string) []any {
		t.Helper()
		l, _ := m.ask("200", "GET", path, nil).([]any)
		return l
	}
	bindings := list("/bindings?src=x&dstq=orders%2Fnew&key=k%3B%2F")
	if len(bindings) != 2 || len(list("/bindings?src=y&dste=x&key=go")) != 1 || len(list("/bindings?src=x&dstq=orders%2Fnew&key=other")) != 0 {
		t.Fatalf("bindings %v", bindings)
	}
	m.ask("204", "DELETE", "/bindings/src=x;dstq=orders%2Fnew;key=k%3B%2F;args=", nil)
	left := list("/bindings?src=x&dstq=orders%2Fnew")
	if len(left) != 1 {
		t.Fatalf("bindings %v", left)
	}
	location, _ := left[0].(map[string]any)["location"].(string)
	m.ask("204", "DELETE", location, nil)
	if l := list("/bindings?src=x&dstq=orders%2Fnew"); len(l) != 0 {
		t.Errorf("bindings %v", l)
	}
	sender := must(s.NewSender(soon(t), "/queues/orders%2Fnew", nil))
	for range 3 {
		check(t, sender.Send(soon(t), amqp.NewMessage(nil), nil))
	}
	if q, _ := m.ask("200", "GET", "/queues/orders%2Fnew", nil).(map[string]any); q["message_count"] != uint64(3) {
		t.Errorf("queue %v", q)
	}
	if n, _ := m.ask("200", "DELETE", "/queues/orders%2Fnew/messages", nil).(map[string]any); n["message_count"] != uint64(3) {
		t.Errorf("purged %v", n)
	}
	m.ask("200", "DELETE", "/queues/orders%2Fnew", nil)
	m.ask("404", "GET", "/queues/orders%2Fnew", nil)
	m.ask("204", "DELETE", "/exchanges/x", nil)
	for _, path := range []string{"", "none", "/", "/queues", "/queues/%zz", "/queues/a/b", "/exchanges", "/bindings?src=x", "/bindings?%zz"} {
		m.ask("400", "GET", path, nil)
	}
	m.ask("400", "PATCH", "/queues/q", nil)
	m.ask("400", "DELETE", "/bindings/nonsense", nil)
}

// TestBadRequests: what cannot be answered ends the link: there is no link for the answer, or no word of where it goes.
func TestBadRequests(t *testing.T) {
	b := start(t, defaults())
	for name, x := range map[string]struct {
		paired  bool
		request frame.Properties
	}{
		"no link for answers": {false, frame.Properties{ReplyTo: []byte("$me")}},
		"no reply-to":         {true, frame.Properties{}},
		"no message-id":       {true, frame.Properties{ReplyTo: []byte("$me")}},
	} {
		p := b.open()
		p.attach(&frame.Attach{Name: "pair", Handle: 1, Role: frame.Sender, Target: &frame.Target{Address: "/management", ExpiryPolicy: frame.ExpireSessionEnd}})
		if x.paired {
			p.attach(&frame.Attach{Name: "pair", Handle: 2, Role: frame.Receiver, Source: &frame.Source{Address: "/management", ExpiryPolicy: frame.ExpireSessionEnd}})
		}
		p.transfer(1, 0, append(x.request.Append(nil), data("")...))
		if d := expect[*frame.Detach](p); d.Handle != 1 || d.Error == nil || !d.Closed {
			t.Errorf("%s: detach %+v", name, d)
		}
	}
}
