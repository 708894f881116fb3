package amqp10_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/turnstone-mq/turnstone/broker/amqp10"
	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// broker is an endpoint on loopback over a hub in memory.
type broker struct {
	testing.TB
	hub      *hub.Hub
	endpoint *amqp10.Endpoint
	address  string

	mu      sync.Mutex
	clients int           // guarded by mu; connections that were accepted and have not ended, with all that they had
	left    chan struct{} // guarded by mu; closed and replaced when a connection has ended
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
	return startOn(t, c, vfs.NewMemory())
}

// startOn starts a broker with what a file system has.
func startOn(t testing.TB, c config.Config, fs vfs.FS) *broker {
	t.Helper()
	h, err := hub.Open(hub.Options{
		Config: c, FS: fs, Dir: "data", Incarnation: "test", JSONProperties: mapping.JSONProperties,
		DeadLetter: amqp10.DeadLetter, Attributes: amqp10.Attributes, Fatal: func(err error) { t.Errorf("journal: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{TB: t, hub: h, endpoint: amqp10.New(h, slog.New(slog.DiscardHandler), "test"), address: l.Addr().String(), left: make(chan struct{})}
	var serving sync.WaitGroup
	serving.Go(func() { // ends when the listener is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { b.serve(conn) }) // ends with Shutdown
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

// serve serves a connection.
func (b *broker) serve(conn net.Conn) {
	b.mu.Lock()
	b.clients++
	b.mu.Unlock()
	b.endpoint.Serve(conn, b.hasLeft)
}

// hasLeft is called when a connection has ended, with all that it had.
func (b *broker) hasLeft() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clients--
	close(b.left)
	b.left = make(chan struct{})
}

// connections waits until so many are left.
func (b *broker) connections(n int) {
	b.Helper()
	for deadline := time.After(patience); ; {
		b.mu.Lock()
		clients, left := b.clients, b.left
		b.mu.Unlock()
		if clients == n {
			return
		}
		select {
		case <-left:
		case <-deadline:
			b.Fatalf("there are %d connections, want %d", clients, n)
		}
	}
}

// soon is a context that ends when a test has waited for too long.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (b *broker) apply(kind object.Kind, host, name string, spec any) {
	b.Helper()
	o, err := object.New(kind, host, name, spec)
	check(b, err)
	results, err := b.hub.Apply(context.Background(), "test", []object.Change{{Object: o}}, hub.ApplyOptions{})
	check(b, err)
	if results[0].Outcome == object.Refused {
		b.Fatalf("%s %s: %s", kind, name, results[0].Message)
	}
}

// queue declares a durable queue, bound to exchanges by keys that are named by turns.
func (b *broker) queue(name string, arguments object.Arguments, bindings ...string) {
	b.Helper()
	b.apply(object.KindQueue, "/", name, object.QueueSpec{Durable: true, Arguments: arguments})
	for i := 0; i < len(bindings); i += 2 {
		s := object.BindingSpec{Source: bindings[i], DestinationType: object.DestinationQueue, Destination: name, RoutingKey: bindings[i+1]}
		b.apply(object.KindBinding, "/", s.Name(), s)
	}
}

// counts is what a queue holds, behind all that was done with it.
func (b *broker) counts(name string) hub.QueueStats {
	b.Helper()
	host, err := b.hub.VirtualHost("/")
	check(b, err)
	q, err := host.Queue(name, 0)
	check(b, err)
	return q.Count()
}

// ready is how many messages wait in a queue.
func (b *broker) ready(name string) int {
	b.Helper()
	return b.counts(name).Ready
}

// holds fails unless so many messages wait in a queue.
func (b *broker) holds(name string, n int) {
	b.Helper()
	if got := b.ready(name); got != n {
		b.Fatalf("%d messages wait in %s, want %d", got, name, n)
	}
}

// handled returns when the broker has handled what was sent in a session, in which nothing is answered.
func handled(t testing.TB, s *amqp.Session) {
	t.Helper()
	check(t, must(s.NewSender(soon(t), "", nil)).Close(soon(t)))
}

// handled returns when the broker has handled what was sent in session 0, in which nothing is answered: it hands over what it has
// read before it reads the next flow.
func (p *peer) handled() {
	p.Helper()
	for range 2 {
		p.send(0, &frame.Flow{NextIncomingID: frame.Some[uint32](0), IncomingWindow: 1000, OutgoingWindow: 1000, Echo: true})
		expect[*frame.Flow](p)
	}
}

// leaving does what ends so many connections, and returns when they have ended.
func (b *broker) leaving(n int, leave func()) {
	b.Helper()
	b.mu.Lock()
	n = b.clients - n
	b.mu.Unlock()
	leave()
	b.connections(n)
}

// watcher is a consumer that takes nothing, and learns that its queue is gone.
type watcher struct{ gone chan struct{} }

func (w *watcher) Deliver(*hub.Consumer, []queue.Delivery) bool { return true }
func (w *watcher) Credit(*hub.Consumer, queue.Credit)           {}
func (w *watcher) Cancelled(*hub.Consumer)                      { close(w.gone) }

// watch joins a queue with a consumer that takes nothing; nil: there is no queue any more.
func (b *broker) watch(name string) (*watcher, *hub.Consumer) {
	b.Helper()
	access, err := b.hub.Authority().Authenticate(soon(b), auth.Credentials{User: "guest", Password: "guest", Peer: netip.MustParseAddr("127.0.0.1"), VirtualHost: "/"})
	check(b, err)
	w := &watcher{gone: make(chan struct{})}
	c, err := must(b.hub.VirtualHost("/")).Consume(access, name, hub.ConsumerOptions{Sink: w, Credited: true})
	if hub.CodeOf(err) == hub.NotFound {
		return nil, nil
	}
	check(b, err)
	return w, c
}

// removed returns when a queue is gone that does not stay for its consumers.
func (b *broker) removed(name string) {
	b.Helper()
	w, _ := b.watch(name)
	if w == nil {
		return
	}
	select {
	case <-w.gone:
	case <-time.After(patience):
		b.Fatalf("queue %s is there after %v", name, patience)
	}
}

// ended returns when a queue is gone that goes with its last consumer, which has left: who joins it waits for what comes of that,
// and is the last consumer when it came before.
func (b *broker) ended(name string) {
	b.Helper()
	for deadline := time.Now().Add(patience); ; {
		_, c := b.watch(name)
		if c == nil {
			return
		}
		c.Close()
		if time.Now().After(deadline) {
			b.Fatalf("queue %s is there after %v", name, patience)
		}
	}
}

// client connects with go-amqp, as guest, and begins a session.
func (b *broker) client() (*amqp.Conn, *amqp.Session) {
	b.Helper()
	return b.clientWith(&amqp.ConnOptions{SASLType: amqp.SASLTypePlain("guest", "guest")})
}

func (b *broker) clientWith(o *amqp.ConnOptions) (*amqp.Conn, *amqp.Session) {
	b.Helper()
	conn, err := amqp.Dial(soon(b), "amqp://"+b.address, o)
	check(b, err)
	b.Cleanup(func() { conn.Close() }) //nolint:errcheck // may be closed
	s, err := conn.NewSession(soon(b), nil)
	check(b, err)
	return conn, s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
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
	check(b, err)
	b.Cleanup(func() { conn.Close() }) //nolint:errcheck // at the end
	check(b, conn.SetDeadline(time.Now().Add(patience)))
	return &peer{TB: b.TB, conn: conn}
}

func (p *peer) write(raw []byte) {
	p.Helper()
	if _, err := p.conn.Write(raw); err != nil {
		p.Fatalf("write: %v", err)
	}
}

func (p *peer) header(id frame.ProtocolID) { p.write(frame.Version10(id).Append(nil)) }

func (p *peer) send(channel uint16, perf frame.Performative) {
	p.Helper()
	raw, err := frame.AppendFrame(nil, channel, perf, 1<<20)
	check(p, err)
	p.write(raw)
}

func (p *peer) fill() error {
	chunk := make([]byte, 64<<10)
	n, err := p.conn.Read(chunk)
	p.buf = append(p.buf, chunk[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// expectHeader reads a protocol header.
func (p *peer) expectHeader(id frame.ProtocolID) {
	p.Helper()
	for len(p.buf) < frame.ProtocolHeaderSize {
		if err := p.fill(); err != nil {
			p.Fatalf("read header: %v", err)
		}
	}
	h, n, err := frame.ReadProtocolHeader(p.buf)
	if err != nil || h != frame.Version10(id) {
		p.Fatalf("header %+v, %v; want %v", h, err, id)
	}
	p.buf = p.buf[n:]
}

// next reads a performative, past empty frames.
func (p *peer) next() (uint16, frame.Performative, error) {
	for {
		f, n, err := frame.Read(p.buf, 1<<20)
		if err != nil {
			return 0, nil, err
		}
		if n == 0 {
			if err := p.fill(); err != nil {
				return 0, nil, err
			}
			continue
		}
		f.Body = append([]byte(nil), f.Body...)
		p.buf = p.buf[n:]
		if len(f.Body) == 0 {
			continue
		}
		d, err := f.Performative()
		if err != nil {
			return 0, nil, err
		}
		perf := frame.New(d)
		return f.Channel, perf, perf.Decode(f.Body, frame.Limits{Depth: 100, Elements: 10000})
	}
}

// expect reads a performative that must be of type P.
func expect[P frame.Performative](p *peer) P {
	p.Helper()
	_, perf, err := p.next()
	if err != nil {
		p.Fatalf("read: %v", err)
	}
	want, ok := perf.(P)
	if !ok {
		p.Fatalf("got %v %+v, want %T", perf.Descriptor(), perf, want)
	}
	return want
}

// gone expects the end of the connection.
func (p *peer) gone() {
	p.Helper()
	if _, perf, err := p.next(); err != io.EOF {
		p.Fatalf("got %+v, %v; want the end", perf, err)
	}
}

// open goes as far as a session on channel 0.
func (b *broker) open() *peer {
	b.Helper()
	p := b.opened(&frame.Open{ContainerID: "test", MaxFrameSize: 4096, ChannelMax: 10})
	p.send(0, &frame.Begin{IncomingWindow: 1000, OutgoingWindow: 1000, HandleMax: 100})
	expect[*frame.Begin](p)
	return p
}

// opened goes as far as open.
func (b *broker) opened(o *frame.Open) *peer {
	b.Helper()
	p := b.dial()
	p.header(frame.ProtocolAMQP)
	p.expectHeader(frame.ProtocolAMQP)
	p.send(0, o)
	expect[*frame.Open](p)
	return p
}

// attach attaches a link that must not be refused.
func (p *peer) attach(a *frame.Attach) *frame.Attach {
	p.Helper()
	if a.Role == frame.Sender {
		a.InitialDeliveryCount = frame.Some[uint32](0)
	}
	if a.Source == nil {
		a.Source = &frame.Source{ExpiryPolicy: frame.ExpireSessionEnd}
	}
	if a.Target == nil {
		a.Target = &frame.Target{ExpiryPolicy: frame.ExpireSessionEnd}
	}
	p.send(0, a)
	reply := expect[*frame.Attach](p)
	if a.Role == frame.Sender {
		if f := expect[*frame.Flow](p); f.LinkCredit.Value == 0 {
			p.Fatalf("no credit: %+v", f)
		}
	}
	return reply
}

func (p *peer) sender(handle uint32, address string) *frame.Attach {
	p.Helper()
	return p.attach(&frame.Attach{Name: fmt.Sprint("s", handle), Handle: handle, Role: frame.Sender, Target: &frame.Target{Address: address, ExpiryPolicy: frame.ExpireSessionEnd}})
}

func (p *peer) receiver(handle uint32, address string) *frame.Attach {
	p.Helper()
	return p.attach(&frame.Attach{Name: fmt.Sprint("r", handle), Handle: handle, Role: frame.Receiver, Source: &frame.Source{Address: address, ExpiryPolicy: frame.ExpireSessionEnd}})
}

func (p *peer) credit(handle, count, credit uint32, drain bool) {
	p.Helper()
	p.send(0, &frame.Flow{NextIncomingID: frame.Some[uint32](0), IncomingWindow: 1000, OutgoingWindow: 1000,
		Handle: frame.Some(handle), DeliveryCount: frame.Some(count), LinkCredit: frame.Some(credit), Drain: drain})
}

// data is a message with a body.
func data(body string) []byte { return frame.AppendData(nil, []byte(body)) }

func (p *peer) transfer(handle, id uint32, message []byte) {
	p.Helper()
	p.send(0, &frame.Transfer{Handle: handle, DeliveryID: frame.Some(id), DeliveryTag: []byte{byte(id)}, MessageFormat: frame.Some[uint32](0), Payload: message})
}

// TestPublishAndConsume: 2 §2.8.2, 2 §2.8.1
func TestPublishAndConsume(t *testing.T) {
	for _, durable := range []bool{false, true} {
		for _, settled := range []bool{false, true} {
			t.Run(fmt.Sprintf("durable=%t,settled=%t", durable, settled), func(t *testing.T) {
				b := start(t, defaults())
				b.queue("orders", nil)
				_, s := b.client()
				mode := amqp.SenderSettleModeUnsettled
				if settled {
					mode = amqp.SenderSettleModeSettled
				}
				sender := must(s.NewSender(soon(t), "/queues/orders", &amqp.SenderOptions{SettlementMode: &mode}))
				receiver := must(s.NewReceiver(soon(t), "/queues/orders", &amqp.ReceiverOptions{Credit: 50, RequestedSenderSettleMode: &mode}))
				const messages = 3000
				sent := make(chan error, 1)
				go func() { // ends when all is sent
					for i := range messages {
						m := amqp.NewMessage(fmt.Appendf(nil, "m%d", i))
						m.Header = &amqp.MessageHeader{Durable: durable, Priority: 4}
						m.ApplicationProperties = map[string]any{"n": int32(i)}
						if err := sender.Send(soon(t), m, nil); err != nil {
							sent <- err
							return
						}
					}
					sent <- nil
				}()
				for i := range messages {
					m, err := receiver.Receive(soon(t), nil)
					check(t, err)
					if string(m.GetData()) != fmt.Sprintf("m%d", i) || m.ApplicationProperties["n"] != int32(i) || m.Header.Durable != durable || !m.Header.FirstAcquirer ||
						m.Annotations["x-exchange"] != "" || m.Annotations["x-routing-key"] != "orders" {
						t.Fatalf("message %d is %+v, header %+v", i, m, m.Header)
					}
					check(t, receiver.AcceptMessage(soon(t), m))
				}
				check(t, <-sent)
				handled(t, s)
				b.holds("orders", 0)
			})
		}
	}
}
