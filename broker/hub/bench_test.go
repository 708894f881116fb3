package hub_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// counting is a sink that encodes as an endpoint would, and counts.
type counting struct {
	buf []byte
	n   int
	hit chan int
}

func (s *counting) Deliver(_ *hub.Consumer, ds []queue.Delivery) bool {
	s.buf = s.buf[:0]
	for i := range ds {
		s.buf = append(s.buf, ds[i].Message.Payload...)
	}
	s.n += len(ds)
	if s.hit != nil {
		s.hit <- len(ds)
	}
	return true
}
func (s *counting) Cancelled(*hub.Consumer) {}
func (s *counting) Displaced()              {}

func benchHub(b *testing.B) (*hub.VirtualHost, *auth.Access) {
	h, err := hub.Open(hub.Options{Config: small(), FS: vfs.NewMemory(), Dir: "data"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Close(context.Background()) }) //nolint:errcheck // nothing is kept
	a, err := h.Authority().Authenticate(context.Background(), auth.Credentials{User: "guest", Password: "guest", Peer: netip.MustParseAddr("127.0.0.1"), VirtualHost: "/"})
	if err != nil {
		b.Fatal(err)
	}
	v, err := h.VirtualHost("/")
	if err != nil {
		b.Fatal(err)
	}
	return v, a
}

// BenchmarkTransient is the hub's share of a transient message: route, enqueue, deliver to a waiting consumer.
func BenchmarkTransient(b *testing.B) {
	v, a := benchHub(b)
	if _, err := v.DeclareQueue(context.Background(), a, hub.QueueDeclaration{Name: "q", Spec: object.QueueSpec{}}); err != nil {
		b.Fatal(err)
	}
	s := &counting{}
	c, err := v.Consume(a, "q", hub.ConsumerOptions{Sink: s, NoAck: true})
	if err != nil {
		b.Fatal(err)
	}
	c.Resume()
	p := v.NewPublisher(hub.PublisherOptions{Access: a, Encoding: message.AMQP091})
	run(b, p, "", "q", message.Message{Payload: make([]byte, 64)})
	if s.n != b.N/100*100 {
		b.Fatalf("%d of %d messages came", s.n, b.N)
	}
}

// BenchmarkQoS0 is the same for MQTT.
func BenchmarkQoS0(b *testing.B) {
	v, a := benchHub(b)
	s := &counting{}
	st, _, err := v.OpenSession(context.Background(), hub.SessionOptions{ClientID: "c", Clean: true, Access: a, Sink: s, Limit: 100})
	if err != nil {
		b.Fatal(err)
	}
	st.Resume()
	if err := st.Subscribe(context.Background(), []hub.Subscription{subscription("a/b", 0)}); err != nil {
		b.Fatal(err)
	}
	p := v.NewPublisher(hub.PublisherOptions{Access: a, Encoding: message.MQTT})
	run(b, p, "amq.topic", "a/b", message.Message{Payload: make([]byte, 64)})
}

func run(b *testing.B, p *hub.Publisher, exchange, key string, m message.Message) {
	x, k := []byte(exchange), []byte(key)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N / 100 * 100 {
		r, err := p.Route(x, k)
		if err != nil {
			b.Fatal(err)
		}
		m.Exchange, m.Key = r.Exchange, r.Key
		if _, err := p.Publish(r, &m, nil, 0); err != nil {
			b.Fatal(err)
		}
		if i%100 == 99 {
			p.Flush()
		}
	}
}
