package amqp10_test

import (
	"testing"
	"time"

	"github.com/Azure/go-amqp"
)

// TestScheduledDelivery: what is to come later is overtaken by what is to come at once, and comes.
func TestScheduledDelivery(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.client()
	sender := must(s.NewSender(soon(t), "/queues/q", nil))
	in := func(d time.Duration) int64 { return time.Now().Add(d).UnixMilli() }
	for _, x := range []struct {
		body        string
		durable     bool
		annotations amqp.Annotations
	}{
		{"fourth", true, amqp.Annotations{"x-opt-delivery-delay": int64(900)}},
		{"third", false, amqp.Annotations{"x-opt-delivery-time": in(600 * time.Millisecond)}},
		{"second", true, amqp.Annotations{"x-opt-scheduled-enqueue-time": time.UnixMilli(in(300 * time.Millisecond))}},
		{"first", true, amqp.Annotations{"x-opt-delivery-delay": int32(-1), "x-opt-delivery-time": uint64(1)}},
	} {
		m := amqp.NewMessage([]byte(x.body))
		m.Header, m.Annotations = &amqp.MessageHeader{Durable: x.durable}, x.annotations
		check(t, sender.Send(soon(t), m, nil))
	}
	r := must(s.NewReceiver(soon(t), "/queues/q", nil))
	for _, want := range []string{"first", "second", "third", "fourth"} {
		m := must(r.Receive(soon(t), nil))
		if string(m.GetData()) != want {
			t.Errorf("got %s, want %s", m.GetData(), want)
		}
		check(t, r.AcceptMessage(soon(t), m))
	}
}
