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
	_, v, a := benchHubOn(b, vfs.NewMemory(), "data")
	return v, a
}

func benchHubOn(b *testing.B, fs vfs.FS, dir string) (*hub.Hub, *hub.VirtualHost, *auth.Access) {
	h, err := hub.Open(hub.Options{Config: small(), FS: fs, Dir: dir})
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
	return h, v, a
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
	st, _, err := v.OpenSession(context.Background(), hub.SessionOptions{ClientID: "c", Access: a, Sink: s, Limit: 100})
	if err != nil {
		b.Fatal(err)
	}
	st.Resume()
	if _, err := st.Subscribe(context.Background(), []hub.Subscription{subscription("a/b", 0)}); err != nil {
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

// BenchmarkDurable is the hub's share of a persistent message: a batch of 100 is published, becomes durable, is delivered
// and settled, and then the next one comes. The journal is in memory.
func BenchmarkDurable(b *testing.B) {
	v, a := benchHub(b)
	if _, err := v.DeclareQueue(context.Background(), a, hub.QueueDeclaration{Name: "q", Spec: object.QueueSpec{Durable: true}}); err != nil {
		b.Fatal(err)
	}
	s := &counting{hit: make(chan int, 1000)}
	c, err := v.Consume(a, "q", hub.ConsumerOptions{Tag: "c", Sink: s, Limit: 500})
	if err != nil {
		b.Fatal(err)
	}
	c.Resume()
	confirmed := make(chan hub.Confirmation, 1000)
	p := v.NewPublisher(hub.PublisherOptions{Access: a, Encoding: message.AMQP091, Confirmed: func(c hub.Confirmation) { confirmed <- c }})
	const batch = 100
	payload, token, tag := make([]byte, 256), uint64(0), uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		for range batch {
			r, err := p.Route([]byte(""), []byte("q"))
			if err != nil {
				b.Fatal(err)
			}
			token++
			m := message.Message{Exchange: r.Exchange, Key: r.Key, Encoding: message.AMQP091, Durable: true, QoS: 1, Payload: payload}
			if _, err := p.Publish(r, &m, nil, token); err != nil {
				b.Fatal(err)
			}
		}
		p.Flush()
		for c := range confirmed {
			if c.UpTo == token {
				break
			}
		}
		for n := 0; n < batch; {
			n += <-s.hit
		}
		c.Settle(queue.Accept, hub.Range{From: tag + 1, To: tag + batch})
		tag += batch
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/msg")
}
