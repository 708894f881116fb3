package amqp10_test

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/Azure/go-amqp"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

// as begins a session as a container, which keeps its name over connections.
func (b *broker) as(container string) *peer {
	b.Helper()
	p := b.opened(&frame.Open{ContainerID: container, MaxFrameSize: 4096, ChannelMax: 10})
	p.begin(0)
	return p
}

// TestContainersWithoutAnID: two connections that say nothing of who they are do not take one another's links.
func TestContainersWithoutAnID(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	first, second := b.as(""), b.as("")
	first.sender(1, "/queues/q")
	second.sender(1, "/queues/q")
	for _, p := range []*peer{first, second} {
		p.transfer(1, 0, data("x"))
		if d := expect[*frame.Disposition](p); d.State.Code != frame.CodeAccepted {
			t.Errorf("disposition %+v", d)
		}
	}
	a := first.attach(&frame.Attach{Name: "lasting", Handle: 2, Role: frame.Receiver, Source: &frame.Source{Address: "/queues/q", ExpiryPolicy: frame.ExpireNever}})
	if a.Source.ExpiryPolicy != frame.ExpireConnectionClose {
		t.Errorf("promised %s to a container that cannot come back", a.Source.ExpiryPolicy)
	}
}

// asUser is as for a user whose password is secret.
func (b *broker) asUser(user, container string) *peer {
	b.Helper()
	p := b.dial()
	p.sasl()
	p.send(0, &frame.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00" + user + "\x00secret")})
	if o := expect[*frame.SASLOutcome](p); o.Code != frame.SASLOk {
		p.Fatalf("outcome %v", o.Code)
	}
	p.header(frame.ProtocolAMQP)
	p.expectHeader(frame.ProtocolAMQP)
	p.send(0, &frame.Open{ContainerID: container, MaxFrameSize: 4096, ChannelMax: 10})
	expect[*frame.Open](p)
	p.begin(0)
	return p
}

func (p *peer) begin(channel uint16) {
	p.Helper()
	p.send(channel, &frame.Begin{IncomingWindow: 1000, OutgoingWindow: 1000, HandleMax: 100})
	expect[*frame.Begin](p)
}

// cut ends the connection without a word.
func (p *peer) cut() { check(p, p.conn.Close()) }

// lasting is a source that outlives connections by a minute.
func lasting(address string) *frame.Source {
	return &frame.Source{Address: address, ExpiryPolicy: frame.ExpireConnectionClose, Timeout: 60}
}

// entry is one of a map of what is unsettled.
type entry struct {
	tag   []byte
	state frame.State
}

// unsettledMap is one, which is not nil.
func unsettledMap(entries ...entry) frame.Map {
	m := frame.Map{}
	for _, e := range entries {
		m = e.state.Append(frame.AppendBinary(m, e.tag))
	}
	return m
}

func received(section uint32, offset uint64) frame.State {
	return (&frame.Received{SectionNumber: section, SectionOffset: offset}).State()
}

// tagsIn are those of a map, with what is said of each.
func tagsIn(m frame.Map) map[string]frame.Descriptor {
	tags := make(map[string]frame.Descriptor)
	for k, v := range m.All() {
		tag, _ := k.Bytes()
		state, err := frame.StateOf(v)
		if err != nil {
			panic(err)
		}
		tags[string(tag)] = state.Code
	}
	return tags
}

// attachTo attaches a receiver with a map of what it has not settled.
func (p *peer) attachTo(name string, handle uint32, source *frame.Source, second bool, unsettled frame.Map) *frame.Attach {
	p.Helper()
	a := &frame.Attach{Name: name, Handle: handle, Role: frame.Receiver, Source: source, Unsettled: unsettled}
	if second {
		a.ReceiverSettleMode = frame.ReceiverSecond
	}
	return p.attach(a)
}

// deliveries takes so many transfers that are whole.
func (p *peer) deliveries(n int) (list []*frame.Transfer) {
	p.Helper()
	for range n {
		list = append(list, expect[*frame.Transfer](p))
	}
	return list
}

// publish sends durable messages with go-amqp.
func (b *broker) publish(address string, bodies ...string) {
	b.Helper()
	conn, s := b.client()
	sender := must(s.NewSender(soon(b), address, nil))
	for _, text := range bodies {
		m := amqp.NewMessage([]byte(text))
		m.Header = &amqp.MessageHeader{Durable: true}
		check(b, sender.Send(soon(b), m, nil))
	}
	check(b, conn.Close())
}

func bodyOf(t testing.TB, message []byte) string {
	t.Helper()
	var m frame.Message
	check(t, m.Scan(message, frame.Limits{Depth: 100, Elements: 1000}))
	text := ""
	for rest := m.Sections.Body; len(rest) > 0; {
		v, n, err := frame.ReadValue(rest, frame.Limits{Depth: 100, Elements: 1000})
		check(t, err)
		part, _ := v.Bytes()
		text += string(part)
		rest = rest[n:]
	}
	return text
}

// TestResumeReceiver goes through the cases that there are where the broker sends. 2 §2.6.13
func TestResumeReceiver(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	b.publish("/queues/q", "zero", "one", "two", "three", "four", "five", "six")
	p := b.as("resuming")
	reply := p.attachTo("r", 0, lasting("/queues/q"), true, nil)
	if s := reply.Source; s.ExpiryPolicy != frame.ExpireConnectionClose || s.Timeout != 60 || s.Durable != frame.DurabilityNone || reply.Unsettled != nil {
		t.Errorf("attached with %+v, unsettled %x", s, reply.Unsettled)
	}
	p.credit(0, 0, 7, false)
	var tags [][]byte
	var whole [][]byte
	for _, d := range p.deliveries(7) {
		tags, whole = append(tags, d.DeliveryTag), append(whole, d.Payload)
	}
	p.cut()
	b.connections(0)
	if n := b.ready("q"); n != 0 {
		t.Errorf("%d messages are back while the link is suspended", n)
	}

	p = b.as("resuming")
	header := len(whole[2]) - len(data("two")) // the header and the annotations
	head := bytes.Index(whole[2][3:], []byte{0, 0x53}) + 3
	reply = p.attachTo("r", 3, lasting("/queues/q"), true, unsettledMap(
		entry{tag: tags[1]}, entry{tags[2], received(2, 3)}, entry{tags[3], frame.Accepted}, entry{tags[4], (&frame.Modified{DeliveryFailed: true}).State()},
		entry{tags[5], received(9, 9)}, entry{tags[6], received(0, 1)}, entry{tag: []byte("nobody's")},
	))
	known := tagsIn(reply.Unsettled)
	for i, tag := range tags {
		if _, ok := known[string(tag)]; ok != (i != 3 && i != 4) || known[string(tag)] != 0 {
			t.Errorf("delivery %d: in the broker's map: %t", i, ok)
		}
	}
	if len(known) != 5 || reply.IncompleteUnsettled {
		t.Errorf("the broker's map has %d deliveries", len(known))
	}
	p.credit(3, 0, 4, false) // resumed deliveries need credit like others
	list := p.deliveries(4)
	p.credit(3, 4, 10, false)
	list = append(list, p.deliveries(2)...)
	for i, want := range []struct {
		delivery int
		resume   bool
		state    frame.Optional[frame.Received]
		payload  []byte
	}{
		{0, false, frame.Optional[frame.Received]{}, whole[0]},
		{1, true, frame.Optional[frame.Received]{}, whole[1]},
		{2, true, frame.Some(frame.Received{SectionNumber: 2, SectionOffset: 3}), whole[2][header+3:]},
		{5, true, frame.Some(frame.Received{}), whole[5]}, // there is no such place
		{6, true, frame.Some(frame.Received{}), whole[6]}, // the header may be another
		{4, false, frame.Optional[frame.Received]{}, nil}, // it was given back, and is a new delivery
	} {
		d := list[i]
		if !bytes.Equal(d.DeliveryTag, tags[want.delivery]) || d.Resume != want.resume || d.Aborted || d.DeliveryID.Value != uint32(i) {
			t.Errorf("delivery %d comes as %+v", want.delivery, d)
		}
		if want.payload != nil && !bytes.Equal(d.Payload, want.payload) {
			t.Errorf("delivery %d: payload %x, want %x (sections begin at %d)", want.delivery, d.Payload, want.payload, head)
		}
		var r frame.Received
		if want.state.Present != (d.State.Code == frame.CodeReceived) || want.state.Present && (r.Decode(d.State) != nil || r != want.state.Value) {
			t.Errorf("delivery %d: state %+v", want.delivery, r)
		}
	}
	var m frame.Message
	check(t, m.Scan(list[5].Payload, frame.Limits{Depth: 10, Elements: 100}))
	if bodyOf(t, list[5].Payload) != "four" || m.Header.DeliveryCount != 1 {
		t.Errorf("what failed comes with header %+v", m.Header)
	}
	p.send(0, &frame.Disposition{Role: frame.Receiver, First: 0, Last: frame.Some[uint32](5), State: frame.Accepted})
	if d := expect[*frame.Disposition](p); !d.Settled || d.First != 0 || d.Last.Value != 5 {
		t.Errorf("disposition %+v", d)
	}
	p.send(0, &frame.Detach{Handle: 3, Closed: true})
	expect[*frame.Detach](p)
	if n := b.ready("q"); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

// TestIncompleteMap: a receiver that could not name all deliveries gets nothing new before it is attached again. 2 §2.7.3
func TestIncompleteMap(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	b.publish("/queues/q", "zero", "one", "two")
	p := b.as("resuming")
	p.attachTo("r", 0, lasting("/queues/q"), false, nil)
	p.credit(0, 0, 2, false)
	list := p.deliveries(2)
	p.cut()
	p = b.as("resuming")
	a := &frame.Attach{Name: "r", Role: frame.Receiver, Source: lasting("/queues/q"), Unsettled: unsettledMap(entry{tag: list[1].DeliveryTag}), IncompleteUnsettled: true}
	if reply := p.attach(a); len(tagsIn(reply.Unsettled)) != 2 {
		t.Errorf("the broker's map is %v", tagsIn(reply.Unsettled))
	}
	p.credit(0, 0, 10, true)
	if d := p.deliveries(1)[0]; !d.Resume || bodyOf(t, d.Payload) != "one" {
		t.Errorf("%+v", d)
	}
	if f := expect[*frame.Flow](p); f.DeliveryCount.Value != 10 || f.LinkCredit.Value != 0 {
		t.Errorf("drained with %+v", f)
	}
	p.send(0, &frame.Disposition{Role: frame.Receiver, First: 0, Settled: true, State: frame.Accepted})
	p.send(0, &frame.Detach{Handle: 0})
	expect[*frame.Detach](p)
	reply := p.attachTo("r", 1, lasting("/queues/q"), false, unsettledMap(entry{list[0].DeliveryTag, frame.Accepted}))
	if len(tagsIn(reply.Unsettled)) != 0 {
		t.Errorf("the broker's map is %v", tagsIn(reply.Unsettled))
	}
	p.credit(1, 0, 10, false)
	if d := p.deliveries(1)[0]; d.Resume || bodyOf(t, d.Payload) != "two" {
		t.Errorf("%+v", d)
	}
}

// TestMapLargerThanFrame: the broker names as many deliveries as fit, those of the receiver first.
func TestMapLargerThanFrame(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	var bodies []string
	for i := range 100 {
		bodies = append(bodies, fmt.Sprint(i))
	}
	b.publish("/queues/q", bodies...)
	p := b.as("resuming")
	p.attachTo("r", 0, lasting("/queues/q"), false, nil)
	p.credit(0, 0, 100, false)
	list := p.deliveries(100)
	p.cut()
	p = b.opened(&frame.Open{ContainerID: "resuming", MaxFrameSize: 512, ChannelMax: 10})
	p.begin(0)
	reply := p.attachTo("r", 0, lasting("/queues/q"), false, unsettledMap(entry{tag: list[99].DeliveryTag}))
	known := tagsIn(reply.Unsettled)
	if _, ok := known[string(list[99].DeliveryTag)]; !ok || !reply.IncompleteUnsettled || len(known) == 100 {
		t.Errorf("incomplete %t, with %d deliveries, the receiver's own among them: %t", reply.IncompleteUnsettled, len(known), ok)
	}
	p.credit(0, 0, 1000, true)
	if d := p.deliveries(1)[0]; !d.Resume || bodyOf(t, d.Payload) != "99" {
		t.Errorf("%+v", d)
	}
	expect[*frame.Flow](p)
}

// TestReattach: in its session, a detached link goes on: its deliveries have their ids still. 2 §2.6.5
func TestReattach(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	b.publish("/queues/q", "zero", "one", "two", "three")
	p := b.as("resuming")
	source := &frame.Source{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd}
	p.attachTo("r", 0, source, true, nil)
	p.credit(0, 0, 3, false)
	p.deliveries(3)
	p.send(0, &frame.Detach{Handle: 0})
	expect[*frame.Detach](p)
	p.send(0, &frame.Disposition{Role: frame.Receiver, First: 0, State: frame.Accepted}) // while it is detached
	expect[*frame.Disposition](p)
	if reply := p.attachTo("r", 5, source, true, nil); reply.Unsettled != nil {
		t.Errorf("reattached with a map: %x", reply.Unsettled)
	}
	p.send(0, &frame.Disposition{Role: frame.Receiver, First: 1, State: frame.Accepted})
	expect[*frame.Disposition](p)
	p.credit(5, 0, 10, false)
	if d := p.deliveries(1)[0]; d.Handle != 5 || d.DeliveryID.Value != 3 || bodyOf(t, d.Payload) != "three" {
		t.Errorf("%+v", d)
	}
	p.send(0, &frame.Detach{Handle: 5})
	expect[*frame.Detach](p)
	if n := b.ready("q"); n != 0 {
		t.Errorf("%d messages are back before the session ended", n)
	}
	p.begin(1)
	p.send(1, &frame.Attach{Name: "r", Role: frame.Receiver, Source: source, Target: &frame.Target{ExpiryPolicy: frame.ExpireSessionEnd}}) // in another session
	if reply := expect[*frame.Attach](p); len(tagsIn(reply.Unsettled)) != 2 {
		t.Errorf("the broker's map is %v", tagsIn(reply.Unsettled))
	}
	p.send(1, &frame.End{})
	expect[*frame.End](p)
	b.holds("q", 2)
}

// TestExpiryPolicies: a source goes with its link, its session, its connection, or later. 3 §3.5.6
func TestExpiryPolicies(t *testing.T) {
	detach := func(p *peer) { p.send(0, &frame.Detach{Handle: 0}); expect[*frame.Detach](p) }
	end := func(p *peer) { p.send(0, &frame.End{}); expect[*frame.End](p) }
	cut := func(p *peer) { p.cut() }
	for name, x := range map[string]struct {
		source frame.Source
		leave  []func(*peer)
		stays  int // how many of them it survives
	}{
		"link-detach":           {frame.Source{ExpiryPolicy: frame.ExpireLinkDetach}, []func(*peer){detach}, 0},
		"link-detach, later":    {frame.Source{ExpiryPolicy: frame.ExpireLinkDetach, Timeout: 1}, []func(*peer){detach}, 0},
		"session-end":           {frame.Source{ExpiryPolicy: frame.ExpireSessionEnd}, []func(*peer){detach, end}, 1},
		"session-end, later":    {frame.Source{ExpiryPolicy: frame.ExpireSessionEnd, Timeout: 1}, []func(*peer){end}, 0},
		"session-end, cut":      {frame.Source{ExpiryPolicy: frame.ExpireSessionEnd}, []func(*peer){cut}, 0},
		"connection-close":      {frame.Source{ExpiryPolicy: frame.ExpireConnectionClose}, []func(*peer){detach, end, cut}, 2},
		"connection-close, on":  {frame.Source{ExpiryPolicy: frame.ExpireConnectionClose, Timeout: 1}, []func(*peer){cut}, 0},
		"default outcome":       {frame.Source{ExpiryPolicy: frame.ExpireLinkDetach, DefaultOutcome: (&frame.Modified{DeliveryFailed: true}).State()}, []func(*peer){detach}, 0},
		"accepted is not taken": {frame.Source{ExpiryPolicy: frame.ExpireLinkDetach, DefaultOutcome: frame.Accepted}, []func(*peer){detach}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, defaults())
			b.queue("q", nil)
			b.publish("/queues/q", "x")
			p := b.as("c")
			source := x.source
			source.Address = "/queues/q"
			reply := p.attachTo("r", 0, &source, false, nil)
			if s := reply.Source; s.ExpiryPolicy != source.ExpiryPolicy || s.Timeout != source.Timeout {
				t.Errorf("source %+v", s)
			}
			p.credit(0, 0, 1, false)
			p.deliveries(1)
			for i, leave := range x.leave {
				leave(p)
				if i < x.stays && b.ready("q") != 0 {
					t.Errorf("it went with departure %d", i)
				}
			}
			_, s := b.client()
			m := must(must(s.NewReceiver(soon(t), "/queues/q", nil)).Receive(soon(t), nil))
			want := uint32(0)
			if strings.HasPrefix(name, "default") {
				want = 1
			}
			if m.Header.DeliveryCount != want || m.Header.FirstAcquirer {
				t.Errorf("it comes with %+v", m.Header)
			}
		})
	}
}

// TestNeverExpires: a source that does not expire lets go of what it holds after the consumer timeout.
func TestNeverExpires(t *testing.T) {
	c := defaults()
	c.Limits.ConsumerTimeoutMillis = 1000
	b := start(t, c)
	b.queue("q", nil)
	b.publish("/queues/q", "x")
	p := b.as("c")
	p.attachTo("r", 0, &frame.Source{Address: "/queues/q", ExpiryPolicy: frame.ExpireNever}, false, nil)
	p.credit(0, 0, 1, false)
	p.deliveries(1)
	p.cut()
	_, s := b.client()
	must(must(s.NewReceiver(soon(t), "/queues/q", nil)).Receive(soon(t), nil)) // it is back
}

// TestStolenByAnotherConnection: a client whose connection hangs has its links back at once. Another user that says it is the
// same container has links of its own. 2 §2.6.1
func TestStolenByAnotherConnection(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	b.publish("/queues/q", "zero", "one")
	b.user("ann", "secret", everything)
	b.user("bob", "secret", everything)
	p := b.asUser("bob", "c") // it reads no more
	p.attachTo("r", 0, &frame.Source{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd}, false, nil)
	p.sender(1, "/queues/q")
	p.credit(0, 0, 1, false)
	first := p.deliveries(1)[0]

	stranger := must(amqp.Dial(soon(t), "amqp://"+b.address, &amqp.ConnOptions{ContainerID: "c", SASLType: amqp.SASLTypePlain("ann", "secret")}))
	t.Cleanup(func() { stranger.Close() }) //nolint:errcheck // may be closed
	s := must(stranger.NewSession(soon(t), nil))
	must(s.NewReceiver(soon(t), "/queues/q", &amqp.ReceiverOptions{Name: "r", Credit: -1}))
	must(s.NewSender(soon(t), "/queues/q", &amqp.SenderOptions{Name: "s1"}))
	p.transfer(1, 0, data("two"))
	if d := expect[*frame.Disposition](p); d.State.Code != frame.CodeAccepted {
		t.Fatalf("%+v: the link is another's", d)
	}

	thief := b.asUser("bob", "c")
	reply := thief.attachTo("r", 0, &frame.Source{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd}, false, unsettledMap(entry{tag: first.DeliveryTag}))
	if _, ok := tagsIn(reply.Unsettled)[string(first.DeliveryTag)]; !ok {
		t.Errorf("the broker's map is %v", tagsIn(reply.Unsettled))
	}
	thief.credit(0, 0, 1, false)
	if d := thief.deliveries(1)[0]; !d.Resume || bodyOf(t, d.Payload) != "zero" {
		t.Errorf("%+v", d)
	}
	thief.sender(1, "/queues/q")
	for handle := range uint32(2) {
		if d := expect[*frame.Detach](p); d.Handle != handle || d.Error == nil || d.Error.Condition != frame.Stolen {
			t.Errorf("detach %+v", d)
		}
	}
	p.receiver(7, "/queues/q") // the rest of the connection goes on
}

// TestStealFromDeaf: the old connection has not read for so long that nothing can be written to it.
func TestStealFromDeaf(t *testing.T) {
	c := defaults()
	c.Limits.OutboxBytes = 64 << 10
	b := start(t, c)
	b.queue("q", nil)
	bodies := make([]string, 200)
	for i := range bodies {
		bodies[i] = strings.Repeat("x", 100<<10)
	}
	b.publish("/queues/q", bodies...)
	p := b.as("c")
	check(t, p.conn.(*net.TCPConn).SetReadBuffer(64<<10)) // what the kernel takes is not enough for the messages
	p.attachTo("r", 0, &frame.Source{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd}, false, nil)
	p.credit(0, 0, 1000, false)
	expect[*frame.Transfer](p)
	if n := b.ready("q"); n == 0 || n == len(bodies) { // its outbox is full
		t.Fatalf("%d messages wait", n)
	}
	for range 1000 { // and its reader waits for room, with answers that nobody reads
		p.send(0, &frame.Flow{NextIncomingID: frame.Some[uint32](0), IncomingWindow: 1000, OutgoingWindow: 1000, Echo: true})
	}
	thief := b.as("c")
	thief.attachTo("r", 0, &frame.Source{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd}, false, frame.Map{})
	thief.credit(0, 0, 1, false)
	expect[*frame.Transfer](thief)
}

// TestMutualTheft: two connections that take one another's links at the same time both get on.
func TestMutualTheft(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	p, o := b.as("c"), b.as("c")
	p.sender(0, "/queues/q")
	o.sender(1, "/queues/q")
	for round := range 20 {
		for i, x := range []*peer{p, o} {
			x.send(0, &frame.Attach{Name: fmt.Sprint("s", (round+1+i)%2), Handle: uint32(10 + round), Role: frame.Sender, InitialDeliveryCount: frame.Some[uint32](0), Target: &frame.Target{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd}})
		}
		for _, x := range []*peer{p, o} {
			for attached := false; !attached; {
				_, perf, err := x.next()
				check(t, err)
				switch perf := perf.(type) {
				case *frame.Attach:
					attached = perf.Target != nil
				case *frame.Detach:
					x.send(0, &frame.Detach{Handle: perf.Handle, Closed: true})
				}
			}
		}
	}
}

// TestSuspendedLinksAreBounded: per user, and per virtual host.
func TestSuspendedLinksAreBounded(t *testing.T) {
	c := defaults()
	c.Limits.SuspendedLinksPerUser = 2
	b := start(t, c)
	b.queue("q", nil)
	p := b.as("c")
	for i := range uint32(2) {
		p.attachTo(fmt.Sprint("r", i), i, lasting("/queues/q"), false, nil)
	}
	p.send(0, &frame.Attach{Name: "more", Handle: 9, Role: frame.Receiver, Source: lasting("/queues/q"), Target: &frame.Target{ExpiryPolicy: frame.ExpireSessionEnd}})
	expect[*frame.Attach](p)
	if d := expect[*frame.Detach](p); d.Error == nil || d.Error.Condition != frame.ResourceLimitExceeded || !strings.Contains(d.Error.Description, "limits.suspendedLinksPerUser") {
		t.Errorf("%+v", d.Error)
	}
	p.send(0, &frame.Detach{Handle: 9, Closed: true})
	p.receiver(8, "/queues/q") // one that does not last is no matter
	p.send(0, &frame.Detach{Handle: 0, Closed: true})
	expect[*frame.Detach](p)
	p.attachTo("more", 9, lasting("/queues/q"), false, nil)
}

// target is one whose sender is remembered in the log.
func target(address string) *frame.Target {
	return &frame.Target{Address: address, Durable: frame.DurabilityUnsettledState, ExpiryPolicy: frame.ExpireNever}
}

// senderOf attaches a sender that settles second, with a map of what it has not settled.
func (p *peer) senderOf(name string, t *frame.Target, unsettled frame.Map) *frame.Attach {
	p.Helper()
	return p.attach(&frame.Attach{Name: name, Handle: 0, Role: frame.Sender, ReceiverSettleMode: frame.ReceiverSecond, Target: t, Unsettled: unsettled})
}

// durably is a message that is.
func durably(body string) []byte {
	return append((&frame.Header{Durable: true, Priority: frame.DefaultPriority}).Append(nil), data(body)...)
}

func (p *peer) deliver(id uint32, tag string, message []byte, more func(*frame.Transfer)) {
	p.Helper()
	t := &frame.Transfer{DeliveryID: frame.Some(id), DeliveryTag: []byte(tag), MessageFormat: frame.Some[uint32](0), Payload: message}
	if more != nil {
		more(t)
	}
	p.send(0, t)
}

func resumed(t *frame.Transfer) { t.Resume = true }

// told expects an outcome of a delivery, which is not settled.
func (p *peer) told(id uint32, code frame.Descriptor) {
	p.Helper()
	if d := expect[*frame.Disposition](p); d.First != id || d.State.Code != code || d.Settled || d.Role != frame.Receiver {
		p.Fatalf("delivery %d is told %+v", id, d)
	}
}

// TestResumeSender goes through the cases that there are where the broker receives: after a loss of the connection, and after
// one of power.
func TestResumeSender(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint("crash=", crash), func(t *testing.T) {
			disk := vfs.NewCrash()
			b := startOn(t, defaults(), disk)
			b.queue("q", nil, "amq.direct", "both")
			b.queue("other", nil, "amq.direct", "both")
			p := b.as("c")
			reply := p.senderOf("s", target("/exchanges/amq.direct/both"), nil)
			if reply.Target.Durable != frame.DurabilityUnsettledState || reply.Target.ExpiryPolicy != frame.ExpireNever || reply.ReceiverSettleMode != frame.ReceiverSecond {
				t.Errorf("target %+v", reply.Target)
			}
			for i := range uint32(4) {
				p.deliver(i, fmt.Sprint("t", i), durably(fmt.Sprint(i)), nil)
				p.told(i, frame.CodeAccepted)
			}
			p.send(0, &frame.Disposition{Role: frame.Sender, First: 0, Settled: true, State: frame.Accepted})
			p.deliver(4, "t4", durably("4"), nil) // behind what was settled
			p.told(4, frame.CodeAccepted)
			if crash {
				b = startOn(t, defaults(), disk.PowerLoss(7))
			} else {
				p.cut()
			}

			p = b.as("c")
			reply = p.senderOf("s", target("/exchanges/amq.direct/both"), unsettledMap(
				entry{tag: []byte("t1")}, entry{[]byte("t2"), frame.Accepted}, entry{tag: []byte("t4")}, entry{tag: []byte("never sent")}))
			known := tagsIn(reply.Unsettled)
			if len(known) != 3 || known["t1"] != frame.CodeAccepted || known["t2"] != frame.CodeAccepted || known["t4"] != frame.CodeAccepted {
				t.Errorf("the broker's map is %v", known)
			}
			p.deliver(0, "t1", durably("1"), resumed) // it need not, and it is not published again
			p.told(0, frame.CodeAccepted)
			p.deliver(1, "t2", nil, func(t *frame.Transfer) { t.Resume, t.Settled, t.State = true, true, frame.Accepted })
			p.deliver(2, "t4", nil, func(t *frame.Transfer) { t.Resume, t.State = true, frame.Released }) // the sender's counts
			if d := expect[*frame.Disposition](p); d.First != 2 || !d.Settled || d.State.Code != frame.CodeReleased {
				t.Errorf("disposition %+v", d)
			}
			p.deliver(3, "unknown", durably("x"), resumed) // is passed over
			p.deliver(4, "never sent", durably("5"), nil)
			p.told(4, frame.CodeAccepted)
			b.are("when all is sent", map[string]int{"q": 6, "other": 6})
			p.send(0, &frame.Detach{Handle: 0})
			expect[*frame.Detach](p)
			reply = p.senderOf("s", target("/exchanges/amq.direct/both"), unsettledMap(entry{tag: []byte("t1")}, entry{tag: []byte("t2")}))
			if known := tagsIn(reply.Unsettled); len(known) != 1 || known["t1"] != frame.CodeAccepted {
				t.Errorf("then the broker's map is %v", known)
			}
			p.send(0, &frame.Detach{Handle: 0, Closed: true}) // which forgets it
			expect[*frame.Detach](p)
			if known := tagsIn(p.senderOf("s", target("/queues/q"), unsettledMap(entry{tag: []byte("t1")})).Unsettled); len(known) != 0 {
				t.Errorf("in the end the broker's map is %v", known)
			}
		})
	}
}

// TestRefusedDeliveriesAreRemembered: a sender learns of these outcomes, too, and that they are of no delivery in the log.
func TestRefusedDeliveriesAreRemembered(t *testing.T) {
	disk := vfs.NewCrash()
	b := startOn(t, defaults(), disk)
	b.queue("full", map[string]any{"x-max-length": 1, "x-overflow": "reject-publish"}, "amq.direct", "full")
	p := b.as("c")
	p.senderOf("s", target("/exchanges/amq.direct/full"), nil)
	p.deliver(0, "a", durably("taken"), nil)
	p.told(0, frame.CodeAccepted)
	p.deliver(1, "b", durably("refused"), nil)
	p.told(1, frame.CodeRejected)
	p.cut()
	lost := disk.PowerLoss(3)
	maps := unsettledMap(entry{tag: []byte("a")}, entry{tag: []byte("b")})
	p = b.as("c")
	if known := tagsIn(p.senderOf("s", target("/exchanges/amq.direct/full"), maps).Unsettled); len(known) != 2 || known["a"] != frame.CodeAccepted || known["b"] != frame.CodeRejected {
		t.Errorf("the broker's map is %v", known)
	}
	p = startOn(t, defaults(), lost).as("c")
	if known := tagsIn(p.senderOf("s", target("/exchanges/amq.direct/full"), maps).Unsettled); len(known) != 1 || known["a"] != frame.CodeAccepted {
		t.Errorf("after the loss of power the broker's map is %v", known)
	}
}

// TestResumePart: a delivery whose link was lost in the middle of it goes on where it was, or is sent anew, or aborted.
func TestResumePart(t *testing.T) {
	whole := append(durably(strings.Repeat("a", 100)), data(strings.Repeat("b", 100))...)
	first := len(durably(strings.Repeat("a", 100)))
	for name, x := range map[string]struct {
		second bool
		resume func(*peer)
		lost   bool
	}{
		"where the broker says": {false, func(p *peer) { p.deliver(0, "t", whole[150:], resumed) }, false},
		"settles second":        {true, func(p *peer) { p.deliver(0, "t", whole[150:], resumed) }, false},
		"from before that": {false, func(p *peer) {
			p.deliver(0, "t", whole[first:], func(t *frame.Transfer) { t.Resume, t.State = true, received(2, 0) })
		}, false},
		"in two frames": {false, func(p *peer) {
			p.deliver(0, "t", whole[150:160], func(t *frame.Transfer) { t.Resume, t.More = true, true })
			p.send(0, &frame.Transfer{Payload: whole[160:]})
		}, false},
		"anew": {false, func(p *peer) { p.deliver(0, "t", whole, nil) }, false},
		"aborted": {false, func(p *peer) {
			p.deliver(0, "t", nil, func(t *frame.Transfer) { t.Resume, t.Aborted = true, true })
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, defaults())
			b.queue("q", nil)
			attach := func(p *peer, unsettled frame.Map) *frame.Attach {
				a := &frame.Attach{Name: "s", Role: frame.Sender, Unsettled: unsettled, Target: &frame.Target{Address: "/queues/q", ExpiryPolicy: frame.ExpireConnectionClose, Timeout: 60}}
				if x.second {
					a.ReceiverSettleMode = frame.ReceiverSecond
				}
				return p.attach(a)
			}
			p := b.as("c")
			attach(p, nil)
			p.deliver(0, "t", whole[:150], func(t *frame.Transfer) { t.More = true })
			p.send(0, &frame.Flow{NextIncomingID: frame.Some[uint32](0), IncomingWindow: 1000, OutgoingWindow: 1000, Echo: true})
			expect[*frame.Flow](p) // the broker has it
			p.cut()
			p = b.as("c")
			reply := attach(p, unsettledMap(entry{tag: []byte("t")}))
			var r frame.Received
			for _, v := range reply.Unsettled.All() {
				check(t, r.Decode(must(frame.StateOf(v))))
			}
			if r.SectionNumber != 2 || r.SectionOffset != uint64(150-first) {
				t.Errorf("the broker says it has %+v", r)
			}
			x.resume(p)
			if x.lost {
				p.deliver(1, "u", data("next"), nil)
			}
			expect[*frame.Disposition](p)
			_, s := b.client()
			m := must(must(s.NewReceiver(soon(t), "/queues/q", nil)).Receive(soon(t), nil))
			if got, want := string(bytes.Join(m.Data, nil)), strings.Repeat("a", 100)+strings.Repeat("b", 100); !x.lost && got != want {
				t.Errorf("got %q", got)
			} else if x.lost && got != "next" {
				t.Errorf("got %q, but the first delivery was aborted", got)
			}
		})
	}
}

// TestWrongMaps: bad input, each told on its link or session.
func TestWrongMaps(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	tag := []byte("t")
	for name, x := range map[string]struct {
		sender    bool
		unsettled frame.Map
		condition frame.Condition
	}{
		"a key that is no tag":      {false, frame.AppendNull(frame.AppendString(nil, "t")), frame.DecodeError},
		"a state that is none":      {false, frame.AppendString(frame.AppendBinary(nil, tag), "x"), frame.InvalidField},
		"declared":                  {false, unsettledMap(entry{tag, (&frame.Declared{TxnID: []byte("x")}).State()}), frame.InvalidField},
		"received without a place":  {false, unsettledMap(entry{tag, frame.State{Code: frame.CodeReceived}}), frame.InvalidField},
		"a tag that is too long":    {true, unsettledMap(entry{tag: bytes.Repeat(tag, 33)}), frame.InvalidField},
		"an empty tag":              {true, unsettledMap(entry{}), frame.InvalidField},
		"received, of a sender":     {true, unsettledMap(entry{tag, frame.State{Code: frame.CodeReceived}}), frame.InvalidField},
		"a tag twice":               {true, unsettledMap(entry{tag: tag}, entry{tag: tag}), frame.DecodeError},
		"more tags than the limits": {true, manyTags(3000), frame.ResourceLimitExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.as("c" + name)
			p.TB = t
			a := &frame.Attach{Name: "l", Role: frame.Receiver, Unsettled: x.unsettled, Source: lasting("/queues/q"), Target: &frame.Target{ExpiryPolicy: frame.ExpireSessionEnd}}
			if x.sender {
				a.Role, a.InitialDeliveryCount, a.Target, a.Source = frame.Sender, frame.Some[uint32](0), target("/queues/q"), &frame.Source{ExpiryPolicy: frame.ExpireSessionEnd}
				a.ReceiverSettleMode = frame.ReceiverSecond
			}
			p.send(0, a)
			for {
				_, perf, err := p.next()
				check(t, err)
				var e *frame.Error
				switch perf := perf.(type) {
				case *frame.Detach:
					e = perf.Error
				case *frame.End:
					e = perf.Error
				default:
					continue
				}
				if e == nil || e.Condition != x.condition {
					t.Errorf("told %+v", e)
				}
				return
			}
		})
	}
}

func manyTags(n int) frame.Map {
	m := frame.Map{}
	for i := range n {
		m = frame.AppendNull(frame.AppendBinary(m, fmt.Appendf(nil, "%d", i)))
	}
	return m
}

// TestBadResumptions: what ends the link of a sender.
func TestBadResumptions(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	for name, send := range map[string]func(*peer){
		"behind what the broker has": func(p *peer) {
			p.deliver(0, "t", data("x"), func(t *frame.Transfer) { t.Resume, t.State = true, received(1, 1000) })
		},
		"without a tag": func(p *peer) { p.deliver(0, "", data("x"), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			p := b.as("c" + name)
			p.TB = t
			p.senderOf("s", target("/queues/q"), nil)
			p.deliver(0, "t", durably(strings.Repeat("x", 100))[:50], func(t *frame.Transfer) { t.More = true })
			p.send(0, &frame.Detach{Handle: 0})
			expect[*frame.Detach](p)
			p.senderOf("s", target("/queues/q"), unsettledMap(entry{tag: []byte("t")}))
			send(p)
			if d := expect[*frame.Detach](p); d.Error == nil || d.Error.Condition != frame.InvalidField {
				t.Errorf("%+v", d.Error)
			}
		})
	}
}

// TestUnsettledIsBounded: a sender that settles nothing has no credit in the end, and goes on when it does.
func TestUnsettledIsBounded(t *testing.T) {
	c := defaults()
	c.Limits.UnsettledPerLink = 3
	b := start(t, c)
	b.queue("q", nil)
	p := b.as("c")
	p.send(0, &frame.Attach{Name: "s", Role: frame.Sender, ReceiverSettleMode: frame.ReceiverSecond, Target: target("/queues/q"), InitialDeliveryCount: frame.Some[uint32](0)})
	expect[*frame.Attach](p)
	if f := expect[*frame.Flow](p); f.LinkCredit.Value != 3 {
		t.Errorf("credit %d", f.LinkCredit.Value)
	}
	outcomes := 0
	for i := range uint32(3) {
		p.deliver(i, fmt.Sprint(i), durably("x"), nil)
	}
	for outcomes < 3 {
		_, perf, err := p.next()
		check(t, err)
		switch perf := perf.(type) {
		case *frame.Disposition:
			outcomes += int(max(perf.Last.Value, perf.First)-perf.First) + 1
		case *frame.Flow:
			if perf.DeliveryCount.Value+perf.LinkCredit.Value > 3 {
				t.Fatalf("more credit: %+v", perf)
			}
		}
	}
	p.send(0, &frame.Disposition{Role: frame.Sender, First: 0, Last: frame.Some[uint32](1), Settled: true})
	for {
		_, perf, err := p.next()
		check(t, err)
		if f, ok := perf.(*frame.Flow); ok && f.LinkCredit.Value == 2 {
			return
		}
	}
}

// TestDurableSubscriptionResumes: a receiver learns after a loss of power what became of its deliveries, and gets each of them
// once.
func TestDurableSubscriptionResumes(t *testing.T) {
	disk := vfs.NewCrash()
	b := startOn(t, defaults(), disk)
	source := &frame.Source{Address: "news", Durable: frame.DurabilityUnsettledState, ExpiryPolicy: frame.ExpireNever, Capabilities: []string{"topic"}}
	p := b.as("c")
	if s := p.attachTo("sub", 0, source, true, nil).Source; s.Durable != frame.DurabilityUnsettledState || s.ExpiryPolicy != frame.ExpireNever {
		t.Errorf("source %+v", s)
	}
	b.publish("/topic/news", "zero", "one", "two", "three")
	p.credit(0, 0, 3, false)
	list := p.deliveries(3)
	p.send(0, &frame.Disposition{Role: frame.Receiver, First: 0, State: frame.Accepted})
	if d := expect[*frame.Disposition](p); !d.Settled { // it forgets the delivery now
		t.Errorf("%+v", d)
	}
	b = startOn(t, defaults(), disk.PowerLoss(11))
	p = b.as("c")
	reply := p.attachTo("sub", 0, source, true, unsettledMap(entry{list[1].DeliveryTag, frame.Accepted}, entry{tag: list[2].DeliveryTag}, entry{tag: list[0].DeliveryTag}))
	known := tagsIn(reply.Unsettled)
	if _, ok := known[string(list[2].DeliveryTag)]; !ok || len(known) != 1 {
		t.Errorf("the broker's map is %v", known)
	}
	p.credit(0, 0, 10, false)
	again := p.deliveries(2)
	if !again[0].Resume || bodyOf(t, again[0].Payload) != "two" || again[1].Resume || bodyOf(t, again[1].Payload) != "three" {
		t.Errorf("%+v and %+v", again[0], again[1])
	}
	p.send(0, &frame.Detach{Handle: 0, Closed: true})
	expect[*frame.Detach](p)
	if _, err := must(b.hub.VirtualHost("/")).Queue("amqp-subscription/c/sub", 0); err == nil {
		t.Error("the subscription is there after it was closed")
	}
}

// TestSubscriptionWithATimeout: a subscription that is not durable outlives its connection for as long as was asked.
func TestSubscriptionWithATimeout(t *testing.T) {
	b := start(t, defaults())
	source := &frame.Source{Address: "news", ExpiryPolicy: frame.ExpireConnectionClose, Timeout: 2, Capabilities: []string{"topic"}}
	p := b.as("c")
	if s := p.attachTo("sub", 0, source, false, nil).Source; s.Timeout != 2 || s.Durable != frame.DurabilityNone {
		t.Errorf("source %+v", s)
	}
	p.cut()
	b.connections(0)
	b.publish("/topic/news", "meanwhile")
	p = b.as("c")
	p.attachTo("sub", 0, source, false, nil)
	p.credit(0, 0, 10, false)
	if d := p.deliveries(1)[0]; bodyOf(t, d.Payload) != "meanwhile" {
		t.Errorf("%+v", d)
	}
	p.cut()
	b.connections(0)
	b.removed("amqp-subscription/c/sub")
}

// TestSendersOutlivePowerLoss: whatever the disk has of a message that goes to queues in several shards, its sender brings it to
// each of them once.
func TestSendersOutlivePowerLoss(t *testing.T) {
	disk := newLosses()
	queues := []string{"a", "b", "c", "d"} // in several shards
	b := startOn(t, defaults(), disk.Crash)
	for _, q := range queues {
		b.queue(q, nil, "amq.fanout", "")
	}
	p := b.as("c")
	everywhere := target("/exchanges/amq.fanout/")
	p.senderOf("s", everywhere, nil)
	p.deliver(0, "first", durably("first"), nil)
	p.told(0, frame.CodeAccepted)
	disk.record(true)
	p.deliver(1, "second", durably("second"), nil)
	p.told(1, frame.CodeAccepted)
	p.send(0, &frame.Disposition{Role: frame.Sender, First: 0, Settled: true})
	p.deliver(2, "third", durably("third"), nil)
	p.told(2, frame.CodeAccepted)
	disk.record(false)
	seen := make(map[string]int)
	for i, d := range append(disk.left, disk.PowerLoss(1)) {
		after := startOn(t, defaults(), d)
		p := after.as("c")
		known := tagsIn(p.senderOf("s", everywhere, unsettledMap(entry{tag: []byte("second")}, entry{tag: []byte("third")})).Unsettled)
		id := uint32(0)
		for _, tag := range []string{"second", "third"} {
			state, there := known[tag]
			switch {
			case state == frame.CodeAccepted:
				seen["accepted"]++
				continue
			case there:
				seen["in some queues"]++
			default:
				seen["nowhere"]++
			}
			p.deliver(id, tag, durably(tag), func(t *frame.Transfer) { t.Resume = there })
			p.told(id, frame.CodeAccepted)
			id++
		}
		after.are(fmt.Sprintf("power loss %d of %d, after the sender was done, having found %v", i, len(disk.left), known), map[string]int{"a": 3, "b": 3, "c": 3, "d": 3})
		check(t, p.conn.Close())
	}
	if len(disk.left) == 0 || seen["accepted"] == 0 { // whether one is ever in some queues alone is for the journal: shards may share a write
		t.Errorf("%d power losses left messages %v", len(disk.left), seen)
	}
}

// TestTransactionsAreNotRemembered: what a sender sends in a transaction is no part of its map.
func TestTransactionsAreNotRemembered(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	c := b.controller()
	c.attach(&frame.Attach{Name: "s", Handle: 7, Role: frame.Sender, ReceiverSettleMode: frame.ReceiverSecond, Target: target("/queues/q")})
	txn := c.declare()
	c.send(0, &frame.Transfer{Handle: 7, DeliveryID: frame.Some(c.next), DeliveryTag: []byte("t"), State: in(txn, frame.State{}), Payload: data("x")})
	c.next++
	if d := expect[*frame.Disposition](c.peer); d.State.Code != frame.CodeTransactionalState {
		t.Errorf("%+v", d)
	}
	c.send(0, &frame.Detach{Handle: 7})
	expect[*frame.Detach](c.peer)
	reply := c.attach(&frame.Attach{Name: "s", Handle: 7, Role: frame.Sender, ReceiverSettleMode: frame.ReceiverSecond, Target: target("/queues/q"), Unsettled: frame.Map{}})
	if known := tagsIn(reply.Unsettled); len(known) != 0 {
		t.Errorf("the broker's map is %v", known)
	}
	c.discharge(txn, false)
	c.accepted()
	b.are("after the commit", map[string]int{"q": 1})
}
