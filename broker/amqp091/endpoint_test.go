package amqp091_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/turnstone-mq/turnstone/broker/amqp091"
	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/mapping"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// broker is an endpoint on loopback over a hub in memory.
type broker struct {
	testing.TB
	hub      *hub.Hub
	endpoint *amqp091.Endpoint
	address  string
}

func defaults() config.Config {
	c := config.Default()
	c.Storage.Shards = 4
	c.Storage.SegmentBytes = 4 << 20
	c.Limits.MessageBytes = 1 << 20
	return c
}

func start(t testing.TB, c config.Config) *broker {
	t.Helper()
	h, err := hub.Open(hub.Options{Config: c, FS: vfs.NewMemory(), Dir: "data", Incarnation: "test", JSONProperties: mapping.JSONProperties, Attributes: amqp091.Attributes, Fatal: func(err error) { t.Errorf("journal: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{TB: t, hub: h, endpoint: amqp091.New(h, slog.New(slog.DiscardHandler), "test"), address: l.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() { // ends when the listener is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { b.endpoint.Serve(conn, func() {}) }) // ends with Shutdown
		}
	})
	t.Cleanup(func() {
		l.Close() //nolint:errcheck // wakes the loop
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.endpoint.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		serving.Wait()
		if err := h.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

// peer is a client that speaks in frames.
type peer struct {
	testing.TB
	conn net.Conn
	buf  []byte
}

func (b *broker) dial() *peer {
	b.Helper()
	conn, err := net.Dial("tcp", b.address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() }) //nolint:errcheck // at the end
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		b.Fatal(err)
	}
	return &peer{TB: b.TB, conn: conn}
}

func (p *peer) write(raw []byte) {
	p.Helper()
	if _, err := p.conn.Write(raw); err != nil {
		p.Fatalf("write: %v", err)
	}
}

func (p *peer) send(channel uint16, m frame.Method) {
	p.Helper()
	p.write(frame.AppendMethod(nil, channel, m))
}

// next reads a frame; it is valid until the next call.
func (p *peer) next() (frame.Frame, error) {
	for {
		f, n, err := frame.Read(p.buf, 1<<20)
		if err != nil {
			return f, err
		}
		if n > 0 {
			f.Payload = append([]byte(nil), f.Payload...)
			p.buf = p.buf[n:]
			return f, nil
		}
		chunk := make([]byte, 64<<10)
		n, err = p.conn.Read(chunk)
		if err != nil {
			return f, err
		}
		p.buf = append(p.buf, chunk[:n]...)
	}
}

// method reads the next method, past heartbeats.
func (p *peer) method() (uint16, frame.Method) {
	p.Helper()
	for {
		f, err := p.next()
		if err != nil {
			p.Fatalf("read: %v", err)
		}
		if f.Type == frame.TypeHeartbeat {
			continue
		}
		if f.Type != frame.TypeMethod {
			p.Fatalf("%s frame where a method was expected", f.Type)
		}
		id, args, err := frame.CutID(f.Payload)
		if err != nil {
			p.Fatal(err)
		}
		m := id.New()
		if err := m.Decode(args); err != nil {
			p.Fatal(err)
		}
		return f.Channel, m
	}
}

// expect reads a method that must be of type M.
func expect[M frame.Method](p *peer) M {
	p.Helper()
	_, m := p.method()
	want, ok := m.(M)
	if !ok {
		p.Fatalf("got %v %+v, want %T", m.ID(), m, want)
	}
	return want
}

// gone expects the end of the connection.
func (p *peer) gone() {
	p.Helper()
	if f, err := p.next(); err != io.EOF {
		p.Fatalf("got %+v, %v; want the end", f, err)
	}
}

func plain(user, password string) *frame.ConnectionStartOk {
	return &frame.ConnectionStartOk{
		ClientProperties: frame.NewTable(map[string]any{"capabilities": map[string]any{"authentication_failure_close": true, "consumer_cancel_notify": true}}),
		Mechanism:        "PLAIN", Response: []byte("\x00" + user + "\x00" + password), Locale: "en_US",
	}
}

// login goes as far as connection.tune.
func (p *peer) login() *frame.ConnectionTune {
	p.Helper()
	p.write([]byte(frame.ProtocolHeader))
	expect[*frame.ConnectionStart](p)
	p.send(0, plain("guest", "guest"))
	return expect[*frame.ConnectionTune](p)
}

// open goes as far as connection.open-ok, and opens channel 1.
func (b *broker) open() *peer {
	b.Helper()
	p := b.dial()
	tune := p.login()
	p.send(0, &frame.ConnectionTuneOk{ChannelMax: tune.ChannelMax, FrameMax: tune.FrameMax})
	p.send(0, &frame.ConnectionOpen{VirtualHost: "/"})
	expect[*frame.ConnectionOpenOk](p)
	p.send(1, &frame.ChannelOpen{})
	expect[*frame.ChannelOpenOk](p)
	return p
}

// client connects with RabbitMQ's own client.
func (b *broker) client() (*amqp.Connection, *amqp.Channel) {
	b.Helper()
	conn, err := amqp.Dial("amqp://guest:guest@" + b.address + "/")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() }) //nolint:errcheck // may be closed
	ch, err := conn.Channel()
	if err != nil {
		b.Fatal(err)
	}
	return conn, ch
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-from:
		if !ok {
			t.Fatalf("%s: closed", what)
		}
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
	}
	panic("unreachable")
}

func TestPublishAndConsume(t *testing.T) {
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("durable=%t", durable), func(t *testing.T) {
			b := start(t, defaults())
			_, ch := b.client()
			q, err := ch.QueueDeclare("orders", durable, false, false, false, nil)
			check(t, err)
			check(t, ch.Qos(50, 0, false))
			deliveries, err := ch.Consume(q.Name, "c1", false, false, false, false, nil)
			check(t, err)
			check(t, ch.Confirm(false))
			confirms := ch.NotifyPublish(make(chan amqp.Confirmation, 200))
			for i := range 200 {
				check(t, ch.PublishWithContext(t.Context(), "", q.Name, true, false, amqp.Publishing{DeliveryMode: 2, ContentType: "text/plain", Headers: amqp.Table{"n": int32(i)}, Body: fmt.Appendf(nil, "m%d", i)}))
			}
			for i := range 200 {
				c := receive(t, "confirm", confirms)
				if c.DeliveryTag != uint64(i+1) || !c.Ack {
					t.Fatalf("confirm %+v, want %d", c, i+1)
				}
			}
			for i := range 200 {
				d := receive(t, "delivery", deliveries)
				if string(d.Body) != fmt.Sprintf("m%d", i) || d.Headers["n"] != int32(i) || d.ContentType != "text/plain" || d.DeliveryTag != uint64(i+1) || d.ConsumerTag != "c1" || d.RoutingKey != "orders" {
					t.Fatalf("delivery %d is %+v", i, d)
				}
				check(t, d.Ack(i%3 == 0))
			}
			inspected, err := ch.QueueDeclarePassive(q.Name, durable, false, false, false, nil)
			if err != nil || inspected.Messages != 0 || inspected.Consumers != 1 {
				t.Errorf("queue is %+v, %v", inspected, err)
			}
		})
	}
}
