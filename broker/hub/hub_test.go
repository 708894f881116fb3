package hub_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/retain"
	"github.com/turnstone-mq/turnstone/broker/router"
	"github.com/turnstone-mq/turnstone/broker/session"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// bench is a hub in memory with one user.
type bench struct {
	*testing.T
	hub    *hub.Hub
	host   *hub.VirtualHost
	access *auth.Access
}

func small() config.Config {
	c := config.Default()
	c.Storage.Shards = 4
	c.Storage.SegmentBytes = 1 << 20
	c.Limits.MessageBytes = 256 << 10
	return c
}

func open(t *testing.T, fs vfs.FS, c config.Config) *bench {
	t.Helper()
	h, err := hub.Open(hub.Options{Config: c, FS: fs, Dir: "data", Incarnation: "test", Group: groupOfBody, Header: headerOfBody, Fatal: func(err error) { t.Errorf("journal: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	a, err := h.Authority().Authenticate(context.Background(), auth.Credentials{User: "guest", Password: "guest", Peer: netip.MustParseAddr("127.0.0.1"), VirtualHost: "/"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := h.VirtualHost("/")
	if err != nil {
		t.Fatal(err)
	}
	return &bench{T: t, hub: h, host: v, access: a}
}

func (b *bench) queue(name string, spec object.QueueSpec) *hub.Queue {
	b.Helper()
	q, err := b.host.DeclareQueue(context.Background(), b.access, hub.QueueDeclaration{Name: name, Spec: spec, Origin: 1})
	if err != nil {
		b.Fatal(err)
	}
	return q
}

// publisher publishes and remembers confirmations.
type publisher struct {
	*bench
	*hub.Publisher
	encoding message.Encoding
	token    uint64
	mu       sync.Mutex
	upTo     uint64
	refused  []hub.Refusal
	came     chan struct{}
}

func (b *bench) publisher(e message.Encoding) *publisher {
	p := &publisher{bench: b, encoding: e, came: make(chan struct{}, 1)}
	p.Publisher = b.host.NewPublisher(hub.PublisherOptions{Access: b.access, Origin: b.hub.NewOrigin(), Encoding: e, Confirmed: p.confirmed})
	return p
}

func (p *publisher) confirmed(c hub.Confirmation) {
	p.mu.Lock()
	p.upTo = c.UpTo
	p.refused = append(p.refused, c.Refused...)
	p.mu.Unlock()
	select {
	case p.came <- struct{}{}:
	default:
	}
}

func (p *publisher) send(exchange, key string, m message.Message) (routed int) {
	p.Helper()
	r, err := p.Route([]byte(exchange), []byte(key))
	if err != nil {
		p.Fatal(err)
	}
	m.Exchange, m.Key, m.Encoding = r.Exchange, r.Key, p.encoding
	p.token++
	routed, err = p.Publish(r, &m, nil, p.token)
	if err != nil {
		p.Fatal(err)
	}
	return routed
}

func durable(body string) message.Message {
	return message.Message{Durable: true, QoS: 1, Payload: []byte(body)}
}

// settle flushes and waits until everything is confirmed.
func (p *publisher) settle() []hub.Refusal {
	p.Helper()
	p.Flush()
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		done, refused := p.upTo == p.token, p.refused
		p.mu.Unlock()
		if done {
			return refused
		}
		select {
		case <-p.came:
		case <-deadline:
			p.Fatalf("confirmed up to %d of %d", p.upTo, p.token)
		}
	}
}

// sink collects deliveries.
type sink struct {
	mu        sync.Mutex
	got       []queue.Delivery
	bodies    []string
	cancelled bool
	displaced bool
	changed   chan struct{}
}

func newSink() *sink { return &sink{changed: make(chan struct{}, 1)} }

func (s *sink) Deliver(_ *hub.Consumer, ds []queue.Delivery) bool {
	s.mu.Lock()
	for _, d := range ds {
		s.bodies = append(s.bodies, string(d.Message.Payload))
		s.got = append(s.got, d)
	}
	s.mu.Unlock()
	s.signal()
	return true
}

func (s *sink) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *sink) Cancelled(*hub.Consumer) {
	s.mu.Lock()
	s.cancelled = true
	s.mu.Unlock()
	s.signal()
}

func (s *sink) Displaced() {
	s.mu.Lock()
	s.displaced = true
	s.mu.Unlock()
	s.signal()
}

// wait waits until a condition on what the sink holds is true.
func (s *sink) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		done := ok()
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-s.changed:
		case <-deadline:
			t.Fatalf("%s did not happen; got %q", what, s.bodies)
		}
	}
}

func (s *sink) expect(t *testing.T, bodies ...string) {
	t.Helper()
	s.wait(t, fmt.Sprintf("delivery of %q", bodies), func() bool { return len(s.bodies) >= len(bodies) })
	s.mu.Lock() // more may come
	defer s.mu.Unlock()
	if !slices.Equal(s.bodies, bodies) {
		t.Fatalf("got %q, want %q", s.bodies, bodies)
	}
}

func (b *bench) consume(name string, s *sink, o hub.ConsumerOptions) *hub.Consumer {
	b.Helper()
	o.Sink, o.Origin = s, 1
	c, err := b.host.Consume(b.access, name, o)
	if err != nil {
		b.Fatal(err)
	}
	c.Resume()
	return c
}

func TestPublishConsumeSettle(t *testing.T) {
	for name, spec := range map[string]object.QueueSpec{"durable": {Durable: true}, "transient": {}} {
		t.Run(name, func(t *testing.T) {
			b := open(t, vfs.NewMemory(), small())
			q := b.queue("q", spec)
			p := b.publisher(message.AMQP091)
			for _, body := range []string{"a", "b", "c"} {
				if n := p.send("", "q", durable(body)); n != 1 {
					t.Fatalf("routed to %d queues", n)
				}
			}
			p.settle()
			if n := p.send("", "nobody", durable("x")); n != 0 {
				t.Errorf("a key without a queue went to %d", n)
			}
			p.settle()
			s := newSink()
			c := b.consume("q", s, hub.ConsumerOptions{Limit: 2})
			s.expect(t, "a", "b")
			c.Settle(queue.Accept, hub.Range{From: 1, To: 1})
			s.expect(t, "a", "b", "c")
			c.Close()
			if st := q.Stats(); st.Ready != 2 || st.Unacked != 0 {
				t.Errorf("after the consumer left: %+v", st)
			}
			again := newSink()
			b.consume("q", again, hub.ConsumerOptions{NoAck: true})
			again.expect(t, "b", "c")
			if !again.got[0].Returned {
				t.Error("a redelivery does not say so")
			}
		})
	}
}

func TestRestartKeepsWhatWasConfirmedAndNotSettled(t *testing.T) {
	fs := vfs.NewMemory()
	const count = 5000
	func() {
		b := open(t, fs, small())
		b.queue("q", object.QueueSpec{Durable: true})
		p := b.publisher(message.AMQP091)
		for i := range count {
			p.send("", "q", durable(fmt.Sprint(i)))
			if i%100 == 99 {
				p.Flush()
			}
		}
		m := durable("transient")
		m.Durable = false
		p.send("", "q", m)
		p.settle()
		s := newSink()
		c := b.consume("q", s, hub.ConsumerOptions{Limit: 10})
		s.wait(t, "ten deliveries", func() bool { return len(s.got) == 10 })
		c.Settle(queue.Accept, hub.Range{From: 1, To: 5}, hub.Range{From: 7, To: 7})
		s.wait(t, "more", func() bool { return len(s.got) == 16 })
		if err := b.hub.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}()
	b := open(t, fs, small())
	s := newSink()
	b.consume("q", s, hub.ConsumerOptions{NoAck: true})
	s.wait(t, "the backlog", func() bool { return len(s.bodies) >= count-6 })
	want := []string{"5"}
	for i := 7; i < count; i++ {
		want = append(want, fmt.Sprint(i))
	}
	if !slices.Equal(s.bodies, want) {
		t.Errorf("%d bodies, first %q, want %d, first %q", len(s.bodies), s.bodies[:3], len(want), want[:3])
	}
}

func TestSpaceIsGivenBack(t *testing.T) {
	fs := vfs.NewMemory()
	c := small()
	b := open(t, fs, c)
	b.queue("keeps", object.QueueSpec{Durable: true})
	b.queue("busy", object.QueueSpec{Durable: true})
	p := b.publisher(message.AMQP091)
	body := string(make([]byte, 8<<10))
	for i := range 20 {
		p.send("", "keeps", durable(fmt.Sprint("kept", i)))
	}
	s := newSink()
	consumer := b.consume("busy", s, hub.ConsumerOptions{NoAck: true})
	for range 4000 { // 32 MiB through a journal of 1 MiB segments
		p.send("", "busy", durable(body))
		p.settle()
	}
	deadline := time.Now().Add(patience)
	for b.hub.JournalSegments() > 8 {
		if time.Now().After(deadline) {
			t.Fatalf("%d segments are left", b.hub.JournalSegments())
		}
		p.send("", "busy", durable("tick"))
		p.settle()
	}
	consumer.Close()
	if err := b.hub.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	b = open(t, fs, c)
	kept := newSink()
	b.consume("keeps", kept, hub.ConsumerOptions{NoAck: true})
	kept.wait(t, "kept messages", func() bool { return len(kept.bodies) >= 20 })
	for i, got := range kept.bodies {
		if got != fmt.Sprint("kept", i) {
			t.Fatalf("message %d is %q", i, got)
		}
	}
}

func (b *bench) session(client string, clean bool, s *sink) (*hub.Session, bool) {
	b.Helper()
	expiry := uint32(session.Never)
	if clean {
		expiry = 0
	}
	st, present, err := b.host.OpenSession(context.Background(), hub.SessionOptions{ClientID: client, Clean: clean, Expiry: expiry, Access: b.access, Sink: s, Origin: b.hub.NewOrigin(), Limit: 100})
	if err != nil {
		b.Fatal(err)
	}
	st.Resume()
	return st, present
}

func subscription(filter string, qos uint8) hub.Subscription {
	return hub.Subscription{Filter: filter, Options: router.Options{QoS: qos}}
}

func TestPersistentSession(t *testing.T) {
	fs := vfs.NewMemory()
	ctx := context.Background()
	func() {
		b := open(t, fs, small())
		s := newSink()
		st, present := b.session("client", false, s)
		if present {
			t.Error("a new session is present")
		}
		if _, err := st.Subscribe(ctx, []hub.Subscription{subscription("plant/+/temp", 1), subscription("news/#", 0)}); err != nil {
			t.Fatal(err)
		}
		p := b.publisher(message.MQTT)
		p.send("amq.topic", "plant/1/temp", durable("online"))
		p.settle()
		s.expect(t, "online")
		st.Settle(queue.Accept, hub.Range{From: 1, To: 1})
		if err := st.Close(ctx); err != nil {
			t.Fatal(err)
		}
		p.send("amq.topic", "plant/2/temp", durable("offline"))
		p.send("amq.topic", "news/today", durable("not kept: QoS 0"))
		p.settle()
		if err := b.hub.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}()
	b := open(t, fs, small())
	p := b.publisher(message.MQTT)
	p.send("amq.topic", "plant/3/temp", durable("after the restart"))
	p.settle()
	s := newSink()
	st, present := b.session("client", false, s)
	if !present || len(st.Subscriptions()) != 2 {
		t.Errorf("present %v, subscriptions %v", present, st.Subscriptions())
	}
	s.expect(t, "offline", "after the restart")

	// Another connection takes the session over; what was not acknowledged comes again.
	second := newSink()
	taken, _ := b.session("client", false, second)
	second.expect(t, "offline", "after the restart")
	s.wait(t, "displacement", func() bool { return s.displaced })
	if _, err := st.Subscribe(ctx, []hub.Subscription{subscription("x", 0)}); err == nil {
		t.Error("a displaced connection may subscribe")
	}
	if err := taken.Close(ctx); err != nil {
		t.Fatal(err)
	}

	// A clean start ends it.
	third := newSink()
	if _, present := b.session("client", true, third); present {
		t.Error("a clean session is present")
	}
	p.send("amq.topic", "plant/4/temp", durable("nobody"))
	p.settle()
	if len(third.bodies) != 0 {
		t.Errorf("a clean session has %q", third.bodies)
	}
}

func TestQoSZeroGoesAround(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	s := newSink()
	st, _ := b.session("c", true, s)
	if _, err := st.Subscribe(context.Background(), []hub.Subscription{subscription("a/#", 1), subscription("a/b", 0)}); err != nil {
		t.Fatal(err)
	}
	p := b.publisher(message.MQTT)
	p.send("amq.topic", "a/b", message.Message{Payload: []byte("zero")})
	p.send("amq.topic", "a/b", durable("one"))
	p.send("amq.topic", "a", durable("parent"))
	p.settle()
	s.expect(t, "zero", "one", "parent")
	if s.got[0].Tag != 0 || s.got[1].Tag != 1 || s.got[1].QoS != 1 {
		t.Errorf("deliveries %+v", s.got)
	}
}

func TestRetainedMessages(t *testing.T) {
	fs := vfs.NewMemory()
	func() {
		b := open(t, fs, small())
		p := b.publisher(message.MQTT)
		for _, topic := range []string{"a/1", "a/2", "b"} {
			m := durable("value of " + topic)
			m.Retain = true
			p.send("amq.topic", topic, m)
		}
		cleared := durable("")
		cleared.Retain = true
		p.send("amq.topic", "a/1", cleared)
		p.settle()
		if err := b.hub.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}()
	b := open(t, fs, small())
	st, _ := b.session("c", true, newSink())
	page, _, more := st.Retained("#", retain.Cursor{}, 10)
	var got []string
	for _, m := range page {
		got = append(got, string(m.Payload))
	}
	slices.Sort(got)
	if more || !slices.Equal(got, []string{"value of a/2", "value of b"}) {
		t.Errorf("retained %q, more %v", got, more)
	}
}

func TestDeadLetters(t *testing.T) {
	fs := vfs.NewMemory()
	b := open(t, fs, small())
	b.queue("dead", object.QueueSpec{Durable: true})
	b.queue("q", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead", "x-max-length": int64(2)}})
	p := b.publisher(message.AMQP091)
	for _, body := range []string{"pushed out", "expired", "rejected"} {
		m := durable(body)
		if body == "expired" {
			m.Expiry = 1
		}
		p.send("", "q", m)
	}
	p.settle()
	s := newSink()
	b.consume("dead", s, hub.ConsumerOptions{NoAck: true})
	live := newSink()
	c := b.consume("q", live, hub.ConsumerOptions{})
	live.wait(t, "live deliveries", func() bool { return len(live.got) == 2 })
	c.Settle(queue.Reject, hub.Range{From: 1, To: 2})
	s.wait(t, "dead letters", func() bool { return len(s.bodies) == 3 })
}

func TestRefusedWhenFull(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	b.queue("q", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": int64(2), "x-overflow": "reject-publish"}})
	p := b.publisher(message.AMQP091)
	for range 5 {
		p.send("", "q", durable("x"))
	}
	refused := p.settle()
	var tokens []uint64
	for _, r := range refused {
		tokens = append(tokens, r.Token)
	}
	if !slices.Equal(tokens, []uint64{3, 4, 5}) {
		t.Errorf("refused %v, want the last three", tokens)
	}
}

func TestDeleteQueue(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	ctx := context.Background()
	b.queue("q", object.QueueSpec{Durable: true})
	p := b.publisher(message.AMQP091)
	p.send("", "q", durable("x"))
	p.settle()
	if _, err := b.host.DeleteQueue(ctx, b.access, "q", 1, false, true); hub.CodeOf(err) != hub.Precondition {
		t.Errorf("a queue with a message was deleted if-empty: %v", err)
	}
	s := newSink()
	b.consume("q", s, hub.ConsumerOptions{})
	if _, err := b.host.DeleteQueue(ctx, b.access, "q", 1, true, false); hub.CodeOf(err) != hub.Precondition {
		t.Errorf("a queue with a consumer was deleted if-unused: %v", err)
	}
	if _, err := b.host.DeleteQueue(ctx, b.access, "q", 1, false, false); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "cancellation", func() bool { return s.cancelled })
	if n := p.send("", "q", durable("y")); n != 0 {
		t.Error("a deleted queue is routed to")
	}
	p.settle()
}

func TestAutoDeleteAndExclusive(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	ctx := context.Background()
	b.queue("auto", object.QueueSpec{AutoDelete: true})
	s := newSink()
	c := b.consume("auto", s, hub.ConsumerOptions{})
	c.Close()
	deadline := time.Now().Add(patience)
	for {
		if _, err := b.host.Queue("auto", 1); hub.CodeOf(err) == hub.NotFound {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("an auto-delete queue outlives its consumer")
		}
	}
	if _, err := b.host.DeclareQueue(ctx, b.access, hub.QueueDeclaration{Name: "mine", Exclusive: true, Origin: 7}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.host.Queue("mine", 8); hub.CodeOf(err) != hub.Locked {
		t.Errorf("another connection may use an exclusive queue: %v", err)
	}
	b.host.EndOrigin(7)
	if _, err := b.host.Queue("mine", 7); hub.CodeOf(err) != hub.NotFound {
		t.Errorf("an exclusive queue outlives its connection: %v", err)
	}
}

func TestChangeStream(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	_, revision := b.hub.Objects("", "")
	b.queue("q", object.QueueSpec{Durable: true})
	changes, err := b.hub.Changes(context.Background(), revision)
	if err != nil || len(changes) != 1 || changes[0].After.Name != "q" {
		t.Errorf("changes %+v, %v", changes, err)
	}
}

func TestPublishersWaitForMemory(t *testing.T) {
	c := small()
	c.Limits.MemoryBytes = 1000
	b := open(t, vfs.NewMemory(), c)
	b.queue("transient", object.QueueSpec{})
	b.queue("durable", object.QueueSpec{Durable: true})
	p := b.publisher(message.AMQP091)
	done := make(chan struct{})
	go func() { // ends when there was room for everything
		defer close(done)
		for range 50 {
			for _, q := range []string{"transient", "durable"} {
				r, err := p.Route(nil, []byte(q))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := p.Publish(r, &message.Message{Key: r.Key, Encoding: message.AMQP091, Payload: make([]byte, 100)}, nil, 0); err != nil {
					t.Error(err)
				}
				p.Flush()
			}
		}
	}()
	sinks := map[string]*sink{}
	for _, q := range []string{"transient", "durable"} {
		sinks[q] = newSink()
		b.consume(q, sinks[q], hub.ConsumerOptions{NoAck: true})
	}
	for _, s := range sinks {
		s.wait(t, "fifty messages", func() bool { return len(s.got) == 50 })
	}
	<-done
	deadline := time.Now().Add(patience)
	for b.hub.MemoryBytes() != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are still counted", b.hub.MemoryBytes())
		}
	}

	// A connection that goes must not wait.
	b.queue("nobody-takes", object.QueueSpec{})
	stuck, ended := make(chan struct{}), make(chan struct{})
	p.Publisher = b.host.NewPublisher(hub.PublisherOptions{Access: b.access, Encoding: message.AMQP091, Ended: ended})
	go func() { // ends when the connection does
		defer close(stuck)
		r, err := p.Route(nil, []byte("nobody-takes"))
		if err != nil {
			t.Error(err)
		}
		if _, err := p.Publish(r, &message.Message{Key: r.Key, Encoding: message.AMQP091, Payload: make([]byte, 10_000)}, nil, 0); err != nil {
			t.Error(err)
		}
		p.Flush()
	}()
	close(ended)
	<-stuck
}

func TestDurableAutoDeleteExchange(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	ctx := context.Background()
	declare := func() {
		t.Helper()
		x := hub.ExchangeDeclaration{Name: "x", Spec: object.ExchangeSpec{Type: "fanout", Durable: true, AutoDelete: true}}
		if err := b.host.DeclareExchange(ctx, b.access, x); err != nil {
			t.Fatal(err)
		}
	}
	declare()
	b.queue("q", object.QueueSpec{Durable: true})
	if err := b.host.Bind(ctx, b.access, hub.Binding{Source: "x", Destination: "q", Origin: 1}); err != nil {
		t.Fatal(err)
	}
	if err := b.host.Unbind(ctx, b.access, hub.Binding{Source: "x", Destination: "q", Origin: 1}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for {
		if objects, _ := b.hub.Objects("", object.KindExchange); len(objects) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("an auto-delete exchange outlives its last binding")
		}
	}
	declare()
	p := b.publisher(message.AMQP091)
	p.send("x", "", durable("routable again"))
	p.settle()
}
