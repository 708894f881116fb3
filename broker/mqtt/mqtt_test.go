package mqtt_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/mqtt"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// broker is a hub in memory with an MQTT endpoint.
type broker struct {
	testing.TB
	fs       vfs.FS
	config   config.Config
	hub      *hub.Hub
	endpoint *mqtt.Endpoint
	listener net.Listener
	accepted sync.WaitGroup
	ended    sync.Map // address of a peer -> chan struct{}, closed when the broker has done with the connection
}

func newBroker(t testing.TB) *broker {
	c := config.Default()
	c.Storage.Shards = 4
	c.Storage.SegmentBytes = 8 << 20
	c.Limits.Subscriptions = 4
	c.Limits.TopicLevels = 8
	c.Limits.InFlight = 16
	c.Limits.PacketBytes = 1 << 20
	c.Limits.MessageBytes = 1 << 20
	b := &broker{TB: t, fs: vfs.NewMemory(), config: c}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() {
	b.Helper()
	logger := slog.New(slog.NewTextHandler(b.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	h, err := hub.Open(hub.Options{Config: b.config, FS: b.fs, Dir: "data", Incarnation: "test", Logger: logger, JSONProperties: mapping.JSONProperties, Fatal: func(err error) { b.Errorf("journal: %v", err) }})
	if err != nil {
		b.Fatal(err)
	}
	b.hub, b.endpoint = h, mqtt.New(h, logger)
}

// listen accepts on the loopback interface, unless it does already. A test that owns the time cannot: it uses pipe.
func (b *broker) listen() {
	b.Helper()
	if b.listener != nil {
		return
	}
	var err error
	if b.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		b.Fatal(err)
	}
	l, e := b.listener, b.endpoint
	b.accepted.Go(func() { // ends when the listener is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			ended := make(chan struct{})
			b.ended.Store(conn.RemoteAddr().String(), ended)                 // ports are used again
			b.accepted.Go(func() { e.Serve(conn, func() { close(ended) }) }) // ends with the connection
		}
	})
}

// drop closes a peer's connection without DISCONNECT, and returns when the broker, which has answered it, has seen that.
func (b *broker) drop(p *peer) {
	b.Helper()
	ended, ok := b.ended.Load(p.LocalAddr().String())
	if !ok {
		b.Fatalf("%s: the broker has not accepted the connection", p.name)
	}
	p.Close() //nolint:errcheck // that is the point
	select {
	case <-ended.(chan struct{}):
	case <-time.After(patience):
		b.Fatalf("%s: the broker did not see that the connection ended", p.name)
	}
}

func (b *broker) stop() {
	b.Helper()
	if b.listener != nil {
		b.listener.Close() //nolint:errcheck // it was open
		b.listener = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.endpoint.Shutdown(ctx); err != nil {
		b.Errorf("shutdown: %v", err)
	}
	b.accepted.Wait()
	if err := b.hub.Close(ctx); err != nil {
		b.Errorf("close: %v", err)
	}
}

// apply makes objects, each as kind and spec.
func (b *broker) apply(objects ...object.Object) {
	b.Helper()
	var changes []object.Change
	for _, o := range objects {
		changes = append(changes, object.Change{Object: o})
	}
	results, err := b.hub.Apply(context.Background(), "", changes, hub.ApplyOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range results {
		if r.Outcome == object.Refused {
			b.Fatalf("apply: %+v", r)
		}
	}
}

// peer is a client that speaks packets.
type peer struct {
	testing.TB
	net.Conn
	name    string
	version packet.Version
	buf     []byte
	scram   *scram.ClientConversation // the exchange at hand
	message string                    // its next message

	patience time.Duration // with one packet; zero is that of all tests
}

func (b *broker) dial(name string) *peer {
	b.Helper()
	b.listen()
	conn, err := net.Dial("tcp", b.listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() }) //nolint:errcheck // mostly closed already
	return &peer{TB: b, Conn: conn, name: name, version: packet.V311}
}

// read waits for a packet; io.EOF when the broker closed the connection.
func (p *peer) read() (packet.Packet, error) {
	err := p.SetReadDeadline(time.Now().Add(max(p.patience, patience)))
	if err != nil && !errors.Is(err, io.ErrClosedPipe) { // a net.Pipe says so when the other end is closed; then the read does, too
		return nil, err
	}
	for {
		size, err := packet.Next(p.buf, 1<<28)
		if err != nil {
			return nil, err
		}
		if size > 0 && size <= len(p.buf) {
			q := packet.New(packet.TypeOf(p.buf))
			err := q.Decode(p.buf[:size:size], p.version)
			p.buf = p.buf[size:]
			return q, err
		}
		chunk := make([]byte, 4096)
		n, err := p.Conn.Read(chunk)
		p.buf = append(p.buf, chunk[:n]...)
		if n == 0 {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, err
			}
			return nil, io.EOF
		}
	}
}

func (p *peer) send(q packet.Packet) {
	p.Helper()
	p.write(q.Append(nil, p.version))
}

func (p *peer) write(b []byte) {
	p.Helper()
	if _, err := p.Conn.Write(b); err != nil && p.TB != nil {
		p.Logf("%s: write: %v", p.name, err) // the broker may have closed already; a read tells
	}
}

func (p *peer) expect(want string) {
	p.Helper()
	q, err := p.read()
	got := "closed"
	if err == nil {
		got = p.scramDescribed(q, describe(q))
	} else if err != io.EOF {
		got = err.Error()
	}
	if got != want {
		p.Fatalf("%s: got %s, want %s", p.name, got, want)
	}
}

// settle returns when what was sent before has been handed over, and nothing came for it but what is expected.
func (p *peer) settle() {
	p.Helper()
	for range 2 { // the second PINGREQ comes with another read than what is before the first
		p.send(&packet.Pingreq{})
		p.expect("pingresp")
	}
}

func (b *broker) queue(name, filter string) {
	b.Helper()
	q, err := object.New(object.KindQueue, "/", name, object.QueueSpec{Durable: true})
	if err != nil {
		b.Fatal(err)
	}
	binding := object.BindingSpec{Source: "amq.topic", Destination: name, DestinationType: "queue", RoutingKey: topic.Swap(filter)}
	o, err := object.New(object.KindBinding, "/", binding.Name(), binding)
	if err != nil {
		b.Fatal(err)
	}
	b.apply(q, o)
}

// events has events of these kinds published in the virtual host "/".
func (b *broker) events(kinds []string) {
	b.Helper()
	var spec object.VirtualHostSpec
	for _, k := range kinds {
		spec.Events = append(spec.Events, object.EventKind(k))
	}
	o, err := object.New(object.KindVirtualHost, "", "/", spec)
	if err != nil {
		b.Fatal(err)
	}
	b.apply(o)
}

func (b *broker) user(name string, limits object.UserLimits) {
	b.Helper()
	b.allow(name, object.UserSpec{Password: name, Limits: limits})
}

func (b *broker) hashed(name string) {
	b.Helper()
	hash, err := auth.Hash(name)
	if err != nil {
		b.Fatal(err)
	}
	b.allow(name, object.UserSpec{PasswordHash: hash})
}

func (b *broker) allow(name string, spec object.UserSpec) {
	b.Helper()
	user, err := object.New(object.KindUser, "", name, spec)
	if err != nil {
		b.Fatal(err)
	}
	permission, err := object.New(object.KindPermission, "/", name, object.PermissionSpec{
		Configure: ".*", Write: ".*", Read: ".*",
		Topics: []object.TopicRule{{Filter: "ok/#", Publish: true, Subscribe: true}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.apply(user, permission)
}
