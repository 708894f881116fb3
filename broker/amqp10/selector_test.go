package amqp10_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	basic "github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/message"
)

// paint sends messages of which the body says what their properties are.
func paint(t *testing.T, s *amqp.Session, address string, colors ...string) {
	t.Helper()
	sender := must(s.NewSender(soon(t), address, nil))
	for i, color := range colors {
		m := amqp.NewMessage([]byte(fmt.Sprint(color, i)))
		m.Header = &amqp.MessageHeader{Durable: true, Priority: uint8(i)}
		subject, id := "paint."+color, any(fmt.Sprint("id", i))
		m.Properties = &amqp.MessageProperties{Subject: &subject, MessageID: id}
		m.ApplicationProperties = map[string]any{"color": color, "size": int32(i), "weight": float64(i) / 2, "even": i%2 == 0}
		check(t, sender.Send(soon(t), m, nil))
	}
	check(t, sender.Close(soon(t)))
}

// picked are the bodies that a receiver with a selector gets, each accepted.
func picked(t *testing.T, s *amqp.Session, address, selector string, n int) (bodies []string) {
	t.Helper()
	r := must(s.NewReceiver(soon(t), address, &amqp.ReceiverOptions{Credit: 3, Filters: []amqp.LinkFilter{amqp.NewSelectorFilter(selector)}}))
	for range n {
		m := must(r.Receive(soon(t), nil))
		check(t, r.AcceptMessage(soon(t), m))
		bodies = append(bodies, string(m.GetData()))
	}
	check(t, r.Close(soon(t)))
	return bodies
}

// TestSelector: a receiver gets what its selector matches, from anywhere in the queue, and the rest stays for others.
// 3 §3.5.8/selector
func TestSelector(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.client()
	paint(t, s, "/queues/q", "red", "blue", "red", "green", "red", "blue", "red")
	for _, x := range []struct {
		selector string
		want     string
	}{
		{"color = 'red' AND size > 3", "red4 red6"},
		{"JMSPriority = 1 OR amqp.subject LIKE 'paint.g%'", "blue1 green3"},
		{"weight BETWEEN 1 AND 2.5 AND NOT even", "blue5"},
		{"JMSMessageID = 'id0' AND JMSDeliveryMode = 'PERSISTENT' AND even AND JMSXDeliveryCount = 1", "red0"},
		{"", "red2"},
	} {
		want := strings.Fields(x.want)
		if got := picked(t, s, "/queues/q", x.selector, len(want)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", x.selector, got, want)
		}
	}
	handled(t, s)
	b.holds("q", 0)
}

// TestSelectorOverProtocols: what other protocols published is seen as a receiver of AMQP 1.0 would be given it.
func TestSelectorOverProtocols(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	host := must(b.hub.VirtualHost("/"))
	access := must(b.hub.Authority().Authenticate(context.Background(), auth.Credentials{User: "guest", Password: "guest", Peer: netip.MustParseAddr("127.0.0.1"), VirtualHost: "/"}))
	for i, color := range []string{"blue", "red"} {
		done := make(chan struct{})
		p := host.NewPublisher(hub.PublisherOptions{Access: access, Encoding: message.AMQP091, Confirmed: func(hub.Confirmation) { close(done) }})
		r := must(p.Route(nil, []byte("q")))
		properties := basic.Basic{Headers: basic.NewTable(map[string]any{"color": color, "size": int64(i)}), CorrelationID: []byte("c")}
		m := message.Message{Key: r.Key, Encoding: message.AMQP091, Durable: true, QoS: 1, Properties: properties.Append(nil), Payload: []byte(color)}
		must(p.Publish(r, &m, nil, 1))
		p.Flush()
		<-done
	}
	_, s := b.client()
	if got := picked(t, s, "/queues/q", "color = 'red' AND size = 1 AND JMSCorrelationID = 'c'", 1); got[0] != "red" {
		t.Errorf("got %q", got)
	}
}

// TestSelectorOfSubscription: what a subscription does not select does not wait for it.
func TestSelectorOfSubscription(t *testing.T) {
	b := start(t, defaults())
	_, s := b.client()
	r := must(s.NewReceiver(soon(t), "/exchanges/amq.topic/paint", &amqp.ReceiverOptions{
		Credit: 10, Durability: amqp.DurabilityUnsettledState, ExpiryPolicy: amqp.ExpiryPolicyNever, Name: "sub",
		Filters: []amqp.LinkFilter{amqp.NewSelectorFilter("color = 'red'")},
	}))
	paint(t, s, "/exchanges/amq.topic/paint", "blue", "red", "blue", "red", "blue")
	for _, want := range []string{"red1", "red3"} {
		m := must(r.Receive(soon(t), nil))
		if string(m.GetData()) != want {
			t.Errorf("got %s, want %s", m.GetData(), want)
		}
		check(t, r.AcceptMessage(soon(t), m))
	}
	host := must(b.hub.VirtualHost("/"))
	handled(t, s)
	for _, q := range host.Queues() {
		if n := q.Count(); n != (hub.QueueStats{Consumers: 1}) {
			t.Errorf("queue %s has %+v", q.Name(), n)
		}
	}
}

// TestSelectorRefusals: what is wrong is said with its place. 3 §3.5.8, 2 §2.8.15/invalid-field
func TestSelectorRefusals(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.client()
	for text, want := range map[string]string{
		"color = ":                   "position",
		"color = 'red' AND":          "position",
		"JMSColour = 'red'":          "JMSColour",
		strings.Repeat("(", 100_000): "bytes",
	} {
		_, err := s.NewReceiver(soon(t), "/queues/q", &amqp.ReceiverOptions{Filters: []amqp.LinkFilter{amqp.NewSelectorFilter(text)}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "amqp:invalid-field") {
			t.Errorf("%.20s: %v, want %s", text, err, want)
		}
	}
}

// TestBrowse: with distribution-mode copy a receiver is shown what waits, settles it as it likes, and takes nothing.
// 3 §3.5.7
func TestBrowse(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.client()
	paint(t, s, "/queues/q", "red", "blue", "red")
	selector := frame.AppendString(frame.AppendSymbolDescriptor(frame.AppendSymbol(nil, "s"), "apache.org:selector-filter:string"), "color = 'red'")
	p := b.open()
	a := p.attach(&frame.Attach{Name: "eye", Handle: 1, Role: frame.Receiver, Source: &frame.Source{
		Address: "/queues/q", DistributionMode: frame.DistributionCopy, ExpiryPolicy: frame.ExpireSessionEnd, Filter: selector,
	}})
	if a.Source.DistributionMode != frame.DistributionCopy || string(a.Source.Filter) != string(selector) {
		t.Errorf("source %+v", a.Source)
	}
	p.credit(1, 0, 10, true)
	for range 2 {
		x := expect[*frame.Transfer](p)
		p.send(0, &frame.Disposition{Role: frame.Receiver, First: x.DeliveryID.Value, Settled: true, State: (&frame.Rejected{}).State()})
	}
	if f := expect[*frame.Flow](p); f.LinkCredit.Value != 0 || f.DeliveryCount.Value != 10 || !f.Drain {
		t.Errorf("flow %+v", f)
	}
	p.send(0, &frame.Detach{Handle: 1, Closed: true})
	expect[*frame.Detach](p)
	if n := b.ready("q"); n != 3 {
		t.Errorf("%d messages wait, want 3", n)
	}
}

// BenchmarkSelector examines a backlog of which a tenth is red and large enough. The figure is for one message.
func BenchmarkSelector(b *testing.B) {
	x := start(b, defaults())
	x.queue("q", nil)
	_, s := x.client()
	sender := must(s.NewSender(soon(b), "/queues/q", &amqp.SenderOptions{SettlementMode: amqp.SenderSettleModeSettled.Ptr()}))
	const messages = 100_000
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i := range messages {
		m := amqp.NewMessage(make([]byte, 64))
		m.Header = &amqp.MessageHeader{Durable: true}
		m.ApplicationProperties = map[string]any{"color": []string{"blue", "red"}[i%2], "size": int32(i % 10)}
		check(b, sender.Send(ctx, m, nil))
	}
	x.holds("q", messages)
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= messages {
		p := x.open()
		selector := frame.AppendString(frame.AppendSymbolDescriptor(frame.AppendSymbol(nil, "s"), "apache.org:selector-filter:string"), "color = 'red' AND size > 8")
		p.attach(&frame.Attach{Name: "eye", Handle: 1, Role: frame.Receiver, SenderSettleMode: frame.SenderSettled, Source: &frame.Source{
			Address: "/queues/q", DistributionMode: frame.DistributionCopy, ExpiryPolicy: frame.ExpireSessionEnd, Filter: selector,
		}})
		p.send(0, &frame.Flow{NextIncomingID: frame.Some[uint32](0), IncomingWindow: 1 << 30, OutgoingWindow: 1000,
			Handle: frame.Some[uint32](1), DeliveryCount: frame.Some[uint32](0), LinkCredit: frame.Some[uint32](messages)})
		for range messages / 10 {
			expect[*frame.Transfer](p)
		}
		check(b, p.conn.Close())
	}
}
