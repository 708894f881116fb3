package amqp10_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// TestSessionErrors: what ends the session, and leaves the connection as it is.
// 2 §2.5.4, 2 §2.7.8, 2 §2.8.15/invalid-field, 2 §2.8.17/handle-in-use, 2 §2.8.17/unattached-handle
func TestSessionErrors(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	for name, x := range map[string]struct {
		send      func(*peer)
		condition frame.Condition
	}{
		"transfer without a link": {func(p *peer) { p.transfer(7, 0, data("x")) }, frame.UnattachedHandle},
		"flow without a link":     {func(p *peer) { p.credit(7, 0, 1, false) }, frame.UnattachedHandle},
		"detach without a link":   {func(p *peer) { p.send(0, &frame.Detach{Handle: 7}) }, frame.UnattachedHandle},
		"transfer to a sender":    {func(p *peer) { p.receiver(1, "/queues/q"); p.transfer(1, 0, data("x")) }, frame.NotAllowed},
		"handle in use": {func(p *peer) {
			p.receiver(1, "/queues/q")
			p.send(0, &frame.Attach{Name: "o", Handle: 1, Role: frame.Receiver})
		}, frame.HandleInUse},
		"flow of what was never sent": {func(p *peer) { p.send(0, &frame.Flow{NextIncomingID: frame.Some[uint32](5)}) }, frame.InvalidField},
		"disposition backwards": {func(p *peer) {
			p.send(0, &frame.Disposition{Role: frame.Receiver, First: 5, Last: frame.Some[uint32](4), Settled: true})
		}, frame.InvalidField},
		"declared as an outcome": {func(p *peer) {
			p.send(0, &frame.Disposition{Role: frame.Receiver, State: (&frame.Declared{TxnID: []byte("t")}).State()})
		}, frame.NotAllowed},
		"declared as an outcome in a transaction": {func(p *peer) {
			p.send(0, &frame.Disposition{Role: frame.Receiver, State: (&frame.TransactionalState{TxnID: []byte("t"), Outcome: (&frame.Declared{TxnID: []byte("t")}).State()}).State()})
		}, frame.NotAllowed},
		"attach without a name": {func(p *peer) { p.write([]byte{0, 0, 0, 14, 2, 0, 0, 0, 0, 0x53, 0x12, 0xc0, 1, 0}) }, frame.InvalidField},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.open()
			p.TB = t
			x.send(p)
			if e := expect[*frame.End](p); e.Error == nil || e.Error.Condition != x.condition || e.Error.Description == "" {
				t.Errorf("end %+v", e.Error)
			}
			p.transfer(3, 9, data("on its way")) // is passed over
			p.send(0, &frame.End{})
			p.send(0, &frame.Begin{IncomingWindow: 10, OutgoingWindow: 10, HandleMax: 10})
			expect[*frame.Begin](p)
			p.sender(0, "/queues/q")
		})
	}
}

// TestWindowViolation: the broker widens the window as it reads, so that a peer has to send very much at once to overrun it.
// 2 §2.5.6, 2 §2.8.17/window-violation
func TestWindowViolation(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	p := b.open()
	p.sender(1, "/queues/q")
	p.send(0, &frame.Transfer{Handle: 1, DeliveryID: frame.Some[uint32](0), DeliveryTag: []byte("t"), More: true})
	burst := []byte{}
	for range 2100 { // parts of one delivery, so that credit is not the limit
		burst, _ = frame.AppendFrame(burst, 0, &frame.Transfer{Handle: 1, More: true}, 1024)
	}
	ended := make(chan struct{})
	go func() { // ends when the session has
		for {
			select {
			case <-ended:
				return
			default:
				p.conn.Write(burst) //nolint:errcheck // a burst of which the broker reads only a part does no harm
			}
		}
	}()
	defer close(ended)
	for {
		_, perf, err := p.next()
		check(t, err)
		if e, ok := perf.(*frame.End); ok {
			if e.Error == nil || e.Error.Condition != frame.WindowViolation {
				t.Errorf("end %+v", e.Error)
			}
			return
		}
	}
}

// TestRefusedLinks: an attach that cannot be is answered with one without a terminus, and a detach that says why.
// 2 §2.6.3, 2 §2.8.15/not-found
func TestRefusedLinks(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	b.queue("locked", nil)
	source := func(s frame.Source) frame.Attach { return frame.Attach{Role: frame.Receiver, Source: &s} }
	target := func(s frame.Target) frame.Attach { return frame.Attach{Role: frame.Sender, Target: &s} }
	address := func(a string) frame.Attach { return target(frame.Target{Address: a}) }
	for name, x := range map[string]struct {
		attach    frame.Attach
		condition frame.Condition
	}{
		"no queue":            {address("/queues/nothing"), frame.NotFound},
		"no queue to read":    {source(frame.Source{Address: "/amq/queue/nothing"}), frame.NotFound},
		"no exchange":         {address("/exchanges/nothing/k"), frame.NotFound},
		"no exchange to read": {source(frame.Source{Address: "/exchange/nothing/k"}), frame.NotFound},
		"bad address":         {address("/queues/a/b"), frame.InvalidField},
		"bad encoding":        {address("/queues/%zz"), frame.InvalidField},
		"no text":             {address("/queues/%ff"), frame.InvalidField},
		"no target":           {frame.Attach{Role: frame.Sender}, frame.InvalidField},
		"no source address":   {source(frame.Source{}), frame.InvalidField},
		"lifetime":            {target(frame.Target{Dynamic: true, DynamicNodeProperties: frame.Map(nil).WithLifetime(frame.CodeAccepted)}), frame.InvalidField},
		"priority":            {frame.Attach{Role: frame.Receiver, Source: &frame.Source{Address: "/queues/q"}, Properties: frame.AppendString(frame.AppendSymbol(nil, "rabbitmq:priority"), "1")}, frame.InvalidField},
		"no subscription":     {frame.Attach{Role: frame.Receiver}, frame.NotFound},
		"reserved queue":      {address("amq.mine"), frame.UnauthorizedAccess},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.open()
			p.TB = t
			x.attach.Name, x.attach.Handle = "l", 3
			if x.attach.Role == frame.Sender {
				x.attach.InitialDeliveryCount = frame.Some[uint32](0)
			}
			if x.attach.Source != nil && x.attach.Source.ExpiryPolicy == "" {
				x.attach.Source.ExpiryPolicy = frame.ExpireSessionEnd
			}
			if x.attach.Target != nil {
				x.attach.Target.ExpiryPolicy = frame.ExpireSessionEnd
			}
			p.send(0, &x.attach)
			a := expect[*frame.Attach](p)
			if a.Role == x.attach.Role || a.Name != "l" || a.Role == frame.Receiver && a.Target != nil || a.Role == frame.Sender && a.Source != nil {
				t.Errorf("attach %+v", a)
			}
			if d := expect[*frame.Detach](p); d.Error == nil || d.Error.Condition != x.condition || !d.Closed || d.Handle != 3 {
				t.Errorf("detach %+v, %+v", d, d.Error)
			}
			p.send(0, &frame.Detach{Handle: 3, Closed: true})
			p.sender(3, "/queues/q") // the session goes on, and the handle is free
		})
	}
}

// TestLinkErrors: what detaches the link, and leaves the session as it is.
// 2 §2.6.5, 2 §2.7.7, 2 §2.8.11, 2 §2.8.14, 2 §2.8.15/resource-limit-exceeded, 2 §2.8.18/transfer-limit-exceeded, 2 §2.8.18/message-size-exceeded, 4 §4.5.8/unknown-id
func TestLinkErrors(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	user := (&frame.Properties{UserID: []byte("somebody")}).Append(nil)
	for name, x := range map[string]struct {
		send      func(*peer)
		condition frame.Condition
	}{
		"no delivery-id": {func(p *peer) { p.send(0, &frame.Transfer{Handle: 1, Payload: data("x")}) }, frame.InvalidField},
		"other delivery-id": {func(p *peer) {
			p.send(0, &frame.Transfer{Handle: 1, DeliveryID: frame.Some[uint32](0), More: true})
			p.transfer(1, 1, data("x"))
		}, frame.InvalidField},
		"message-format": {func(p *peer) {
			p.send(0, &frame.Transfer{Handle: 1, DeliveryID: frame.Some[uint32](0), MessageFormat: frame.Some[uint32](9)})
		}, frame.NotImplemented},
		"resumed without a tag": {func(p *peer) { p.send(0, &frame.Transfer{Handle: 1, DeliveryID: frame.Some[uint32](0), Resume: true}) }, frame.InvalidField},
		"settled, in no transaction": {func(p *peer) {
			p.send(0, &frame.Transfer{Handle: 1, DeliveryID: frame.Some[uint32](0), Settled: true, Payload: data("x"), State: (&frame.TransactionalState{TxnID: []byte("t")}).State()})
		}, frame.UnknownTransaction},
		"two transactions": {func(p *peer) {
			p.send(0, &frame.Transfer{Handle: 1, DeliveryID: frame.Some[uint32](0), More: true, State: (&frame.TransactionalState{TxnID: []byte("t")}).State()})
			p.send(0, &frame.Transfer{Handle: 1, State: (&frame.TransactionalState{TxnID: []byte("u")}).State()})
		}, frame.InvalidField},
		"malformed message": {func(p *peer) { p.transfer(1, 0, []byte{0, 0x53, 0x75, 0xa0, 9}) }, frame.DecodeError},
		"no sections":       {func(p *peer) { p.transfer(1, 0, []byte("plain text")) }, frame.DecodeError},
		"deeply nested":     {func(p *peer) { p.transfer(1, 0, append([]byte{0, 0x53, 0x77}, nestedLists(50)...)) }, frame.ResourceLimitExceeded},
		"settled, not ours": {func(p *peer) {
			p.send(0, &frame.Transfer{Handle: 1, DeliveryID: frame.Some[uint32](0), Settled: true, Payload: append(user, data("x")...)})
		}, frame.UnauthorizedAccess},
		"too large":        {func(p *peer) { p.large(1, 0, 2<<20) }, frame.MessageSizeExceeded},
		"more than credit": {func(p *peer) { p.flood(1, 1001) }, frame.TransferLimitExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.open()
			p.TB = t
			p.sender(1, "/queues/q")
			x.send(p)
			for {
				_, perf, err := p.next()
				check(t, err)
				if d, ok := perf.(*frame.Detach); ok {
					if d.Error == nil || d.Error.Condition != x.condition || !d.Closed {
						t.Errorf("detach %+v", d.Error)
					}
					break
				}
			}
			p.transfer(1, 77, data("on its way")) // is passed over
			p.send(0, &frame.Detach{Handle: 1, Closed: true})
			p.sender(1, "/queues/q")
		})
	}
}

func nestedLists(n int) []byte {
	l := frame.List(frame.AppendNull(nil))
	for range n {
		l = frame.List(frame.AppendList(nil, l))
	}
	return l
}

// large sends one delivery of size bytes in many frames.
func (p *peer) large(handle, id uint32, size int) {
	p.Helper()
	message := data(strings.Repeat("x", size))
	for at := 0; at < len(message); at += 4000 {
		end := min(at+4000, len(message))
		p.send(0, &frame.Transfer{Handle: handle, DeliveryID: frame.Some(id), DeliveryTag: []byte("t"), More: end < len(message), Payload: message[at:end]})
	}
}

// flood sends deliveries in one write, so that no credit can come in between.
func (p *peer) flood(handle uint32, n int) {
	p.Helper()
	var raw []byte
	for i := range n {
		raw, _ = frame.AppendFrame(raw, 0, &frame.Transfer{Handle: handle, DeliveryID: frame.Some(uint32(i)), DeliveryTag: []byte("t"), Settled: true, Payload: data("x")}, 1024)
	}
	p.write(raw)
}

// TestOutcomesOfTransfers: what a sender is told, in ranges. 2 §2.6.12, 2 §2.7.6, 3 §3.4.2, 3 §3.4.3, 3 §3.4.4
func TestOutcomesOfTransfers(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	b.queue("full", object.Arguments{"x-max-length": 2, "x-overflow": "reject-publish"})
	p := b.open()
	outcome := func(first, last uint32, code frame.Descriptor, settled bool) *frame.Disposition {
		t.Helper()
		d := expect[*frame.Disposition](p)
		if !d.Last.Present {
			d.Last.Value = d.First
		}
		if d.Role != frame.Receiver || d.First != first || d.Last.Value != last || d.State.Code != code || d.Settled != settled {
			t.Fatalf("disposition %+v", d)
		}
		return d
	}
	p.sender(1, "/queues/q")
	p.sender(2, "/exchanges/amq.direct/nothing")
	p.sender(3, "/queues/full")
	p.attach(&frame.Attach{Name: "second", Handle: 4, Role: frame.Sender, ReceiverSettleMode: frame.ReceiverSecond, Target: &frame.Target{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd}})
	p.sender(5, "")
	var raw []byte
	for i := range uint32(10) {
		raw, _ = frame.AppendFrame(raw, 0, &frame.Transfer{Handle: 1, DeliveryID: frame.Some(i), DeliveryTag: []byte("t"), Payload: data("x")}, 1024)
	}
	p.write(raw)
	outcome(0, 9, frame.CodeAccepted, true)
	p.transfer(2, 10, data("x"))
	outcome(10, 10, frame.CodeReleased, true)
	for i := range uint32(2) {
		p.transfer(3, 11+i, data("x"))
		outcome(11+i, 11+i, frame.CodeAccepted, true)
	}
	p.transfer(3, 13, data("x"))
	var r frame.Rejected
	check(t, r.Decode(outcome(13, 13, frame.CodeRejected, true).State))
	if r.Error == nil || r.Error.Condition != frame.ResourceLimitExceeded {
		t.Errorf("rejected with %+v", r.Error)
	}
	p.transfer(4, 14, data("x"))
	outcome(14, 14, frame.CodeAccepted, false)
	p.send(0, &frame.Disposition{Role: frame.Sender, First: 14, Settled: true, State: frame.Accepted})
	for i, to := range []string{"/queues/q", "/queues/nothing", "/exchanges/nothing", "", "no queue of that name", "q", "/exchanges/amq.direct/k"} {
		id := uint32(15 + i)
		p.transfer(5, id, append((&frame.Properties{To: []byte(to)}).Append(nil), data("x")...))
		code := frame.CodeRejected
		switch to {
		case "/queues/q", "q":
			code = frame.CodeAccepted
		case "/exchanges/amq.direct/k":
			code = frame.CodeReleased
		}
		outcome(id, id, code, true)
	}
	b.holds("q", 13)
}

// TestMultiFrame: messages larger than frames, both ways, and one that is aborted. 2 §2.6.14, 2 §2.7.5
func TestMultiFrame(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	p := b.open()
	p.sender(1, "/queues/q")
	p.send(0, &frame.Transfer{Handle: 1, DeliveryID: frame.Some[uint32](0), DeliveryTag: []byte("a"), More: true, Payload: data("gone")[:3]})
	p.send(0, &frame.Transfer{Handle: 1, Aborted: true})
	p.large(1, 1, 500_000)
	if d := expect[*frame.Disposition](p); d.First != 1 || d.State.Code != frame.CodeAccepted {
		t.Fatalf("disposition %+v", d)
	}
	_, s := b.client()
	r := must(s.NewReceiver(soon(t), "/queues/q", nil))
	m := must(r.Receive(soon(t), nil))
	if len(m.GetData()) != 500_000 {
		t.Errorf("%d bytes", len(m.GetData()))
	}
	check(t, r.ReleaseMessage(soon(t), m))
	check(t, r.Close(soon(t)))
	p.receiver(2, "/queues/q")
	p.credit(2, 0, 1, false)
	var whole []byte
	for frames := 0; ; frames++ {
		x := expect[*frame.Transfer](p)
		if frames == 0 != x.DeliveryID.Present {
			t.Fatalf("frame %d: %+v", frames, x)
		}
		whole = append(whole, x.Payload...)
		if !x.More {
			break
		}
	}
	var sections frame.Message
	check(t, sections.Scan(whole, frame.Limits{Depth: 10, Elements: 100}))
	if !bytes.Equal(sections.Sections.Body, data(strings.Repeat("x", 500_000))) {
		t.Error("the body is another")
	}
}

// TestOutgoingWindow: no more frames are sent than the peer takes, whatever the credit, and deliveries go on where they
// stopped. 2 §2.5.6
func TestOutgoingWindow(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.client()
	sender := must(s.NewSender(soon(t), "/queues/q", nil))
	for i := range 20 {
		check(t, sender.Send(soon(t), amqp.NewMessage(bytes.Repeat([]byte{byte(i)}, 3000)), nil))
	}
	p := b.opened(&frame.Open{ContainerID: "c", MaxFrameSize: 1024, ChannelMax: 1})
	p.send(0, &frame.Begin{IncomingWindow: 2, OutgoingWindow: 10, HandleMax: 10})
	expect[*frame.Begin](p)
	p.receiver(0, "/queues/q")
	flow := func(next, window uint32, credit bool) {
		f := &frame.Flow{NextIncomingID: frame.Some(next), IncomingWindow: window, OutgoingWindow: 10}
		if credit {
			f.Handle, f.DeliveryCount, f.LinkCredit, f.Drain = frame.Some[uint32](0), frame.Some[uint32](0), frame.Some[uint32](100), true
		}
		p.send(0, f)
	}
	flow(0, 2, true)
	var got []byte
	next, messages := uint32(0), 0
	for messages < 20 {
		for range 2 {
			x := expect[*frame.Transfer](p)
			next++
			if got = append(got, x.Payload...); !x.More {
				var m frame.Message
				check(t, m.Scan(got, frame.Limits{Depth: 10, Elements: 100}))
				if want := data(string(bytes.Repeat([]byte{byte(messages)}, 3000))); !bytes.Equal(m.Sections.Body, want) {
					t.Fatalf("message %d is another", messages)
				}
				got = nil
				if messages++; messages == 20 {
					break
				}
			}
		}
		if messages < 20 {
			p.send(0, &frame.Flow{NextIncomingID: frame.Some(next), IncomingWindow: 2, OutgoingWindow: 10, Echo: true})
			if f := expectFlowOrNone(p); f != nil && f.Handle.Present {
				t.Fatalf("drained with %d of 20 messages: %+v", messages, f)
			}
		}
	}
	for { // the drain is answered when all is sent
		if f := expect[*frame.Flow](p); f.Handle.Present {
			if f.DeliveryCount.Value != 100 || f.LinkCredit.Value != 0 || !f.Drain {
				t.Errorf("flow %+v", f)
			}
			return
		}
	}
}

// expectFlowOrNone reads a flow if that is what comes next.
func expectFlowOrNone(p *peer) *frame.Flow {
	p.Helper()
	for {
		f, n, err := frame.Read(p.buf, 1<<20)
		check(p, err)
		if n == 0 {
			check(p, p.fill())
			continue
		}
		if d, err := f.Performative(); err != nil || d != frame.CodeFlow {
			return nil
		}
		return expect[*frame.Flow](p)
	}
}

// TestCreditAndDrain: a receiver gets what it has credit for; what it drains comes back as used. 2 §2.6.7, 2 §2.6.10, 2 §2.7.4
func TestCreditAndDrain(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.client()
	sender := must(s.NewSender(soon(t), "/queues/q", nil))
	for range 5 {
		check(t, sender.Send(soon(t), amqp.NewMessage(nil), nil))
	}
	p := b.open()
	p.receiver(1, "/queues/q")
	p.credit(1, 0, 2, false)
	expect[*frame.Transfer](p)
	expect[*frame.Transfer](p)
	p.send(0, &frame.Flow{NextIncomingID: frame.Some[uint32](0), IncomingWindow: 1000, Handle: frame.Some[uint32](1), DeliveryCount: frame.Some[uint32](2), LinkCredit: frame.Some[uint32](0), Echo: true})
	if f := expect[*frame.Flow](p); f.Handle.Value != 1 || f.DeliveryCount.Value != 2 || f.LinkCredit.Value != 0 || f.Available.Value != 3 {
		t.Errorf("flow %+v", f)
	}
	p.credit(1, 2, 10, true)
	for range 3 {
		expect[*frame.Transfer](p)
	}
	if f := expect[*frame.Flow](p); f.DeliveryCount.Value != 12 || f.LinkCredit.Value != 0 || !f.Drain || f.Available.Value != 0 {
		t.Errorf("flow %+v", f)
	}
	check(t, sender.Send(soon(t), amqp.NewMessage(nil), nil))
	p.send(0, &frame.Flow{NextIncomingID: frame.Some[uint32](0), IncomingWindow: 1000, Echo: true})
	if f := expect[*frame.Flow](p); f.Handle.Present || f.NextOutgoingID != 5 {
		t.Errorf("flow %+v", f)
	}
}

// TestAnnotationsOutliveRestart: what modified outcomes put into a durable message is there after a loss of power, of a name
// the last one alone, and goes to the dead-letter exchange with it. 3 §3.4.5
func TestAnnotationsOutliveRestart(t *testing.T) {
	disk := vfs.NewCrash()
	b := startOn(t, defaults(), disk)
	b.queue("dead", nil)
	b.queue("q", object.Arguments{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
	_, s := b.client()
	sender := must(s.NewSender(soon(t), "/queues/q", nil))
	send := func(body string) {
		t.Helper()
		check(t, sender.Send(soon(t), &amqp.Message{Header: &amqp.MessageHeader{Durable: true}, Data: [][]byte{[]byte(body)}, Annotations: amqp.Annotations{"x-own": "kept"}}, nil))
	}
	send("a")
	r := must(s.NewReceiver(soon(t), "/queues/q", &amqp.ReceiverOptions{Credit: 1}))
	modify := func(failed bool, tried string) {
		t.Helper()
		m := must(r.Receive(soon(t), nil))
		check(t, r.ModifyMessage(soon(t), m, &amqp.ModifyMessageOptions{DeliveryFailed: failed, Annotations: amqp.Annotations{"x-tried": tried}}))
	}
	for range 200 { // more in all than a message keeps
		modify(true, strings.Repeat("x", 200))
	}
	modify(false, "once more")
	must(r.Receive(soon(t), nil)) // the outcome has come
	send("b")                     // accepted when it and what came before is durable
	b = startOn(t, defaults(), disk.PowerLoss(1))
	_, s = b.client()
	r = must(s.NewReceiver(soon(t), "/queues/q", &amqp.ReceiverOptions{Credit: 1}))
	m := must(r.Receive(soon(t), nil))
	if m.Annotations["x-tried"] != "once more" || m.Annotations["x-own"] != "kept" || m.Header.DeliveryCount != 200 || m.Header.FirstAcquirer {
		t.Errorf("%+v, annotations %v", m.Header, m.Annotations)
	}
	check(t, r.RejectMessage(soon(t), m, nil))
	m = must(must(s.NewReceiver(soon(t), "/queues/dead", nil)).Receive(soon(t), nil))
	if m.Annotations["x-tried"] != "once more" || string(m.GetData()) != "a" {
		t.Errorf("%q, annotations %v", m.GetData(), m.Annotations)
	}
	m = must(r.Receive(soon(t), nil))
	if _, ok := m.Annotations["x-tried"]; ok || string(m.GetData()) != "b" {
		t.Errorf("%q, annotations %v", m.GetData(), m.Annotations)
	}
}

// TestOutcomesOfDeliveries: what a receiver says of deliveries, and what the queue makes of it. 3 §3.4, 3 §3.4.5, 3 §3.2.1
func TestOutcomesOfDeliveries(t *testing.T) {
	b := start(t, defaults())
	b.queue("dead", nil)
	b.queue("q", object.Arguments{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
	_, s := b.client()
	sender := must(s.NewSender(soon(t), "/queues/q", nil))
	r := must(s.NewReceiver(soon(t), "/queues/q", &amqp.ReceiverOptions{Credit: 1}))
	check(t, sender.Send(soon(t), &amqp.Message{Header: &amqp.MessageHeader{Durable: true}, Data: [][]byte{[]byte("a")}, Annotations: amqp.Annotations{"x-own": "kept"}}, nil))
	next := func(count uint32, first bool) *amqp.Message {
		t.Helper()
		m := must(r.Receive(soon(t), nil))
		if m.Header.DeliveryCount != count || m.Header.FirstAcquirer != first {
			t.Errorf("delivery-count %d, first-acquirer %t; want %d, %t", m.Header.DeliveryCount, m.Header.FirstAcquirer, count, first)
		}
		return m
	}
	check(t, r.ReleaseMessage(soon(t), next(0, true)))
	check(t, r.ModifyMessage(soon(t), next(0, false), &amqp.ModifyMessageOptions{Annotations: amqp.Annotations{"x-tried": "once", "x-by": "me"}}))
	m := next(0, false)
	if m.Annotations["x-tried"] != "once" || m.Annotations["x-by"] != "me" || m.Annotations["x-own"] != "kept" {
		t.Errorf("annotations %v", m.Annotations)
	}
	check(t, r.ModifyMessage(soon(t), m, &amqp.ModifyMessageOptions{DeliveryFailed: true, Annotations: amqp.Annotations{"x-tried": "twice", "x-own": "changed"}}))
	check(t, r.ModifyMessage(soon(t), next(1, false), &amqp.ModifyMessageOptions{DeliveryFailed: true}))
	check(t, r.RejectMessage(soon(t), next(2, false), nil))
	dead := must(s.NewReceiver(soon(t), "/queues/dead", nil))
	m = must(dead.Receive(soon(t), nil))
	deaths, _ := m.Annotations["x-opt-deaths"].([]any)
	if len(deaths) != 1 || m.Annotations["x-first-death-queue"] != "q" || m.Annotations["x-last-death-reason"] != "rejected" || m.Annotations["x-own"] != "changed" || m.Annotations["x-tried"] != "twice" || string(m.GetData()) != "a" {
		t.Errorf("dead message %+v", m.Annotations)
	}
	check(t, dead.AcceptMessage(soon(t), m))
	check(t, sender.Send(soon(t), amqp.NewMessage([]byte("b")), nil))
	check(t, r.ModifyMessage(soon(t), next(0, true), &amqp.ModifyMessageOptions{UndeliverableHere: true}))
	if m := must(dead.Receive(soon(t), nil)); string(m.GetData()) != "b" {
		t.Errorf("dead message %q", m.GetData())
	}
	check(t, sender.Send(soon(t), amqp.NewMessage([]byte("c")), nil))
	check(t, r.AcceptMessage(soon(t), next(0, true)))
	handled(t, s)
	b.holds("q", 0)
}

// TestReceiverSettlesSecond: the broker settles what the receiver tells the outcome of. 2 §2.8.3
func TestReceiverSettlesSecond(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.client()
	sender := must(s.NewSender(soon(t), "/queues/q", nil))
	mode := amqp.ReceiverSettleModeSecond
	r := must(s.NewReceiver(soon(t), "/queues/q", &amqp.ReceiverOptions{SettlementMode: &mode}))
	for range 3 {
		check(t, sender.Send(soon(t), amqp.NewMessage(nil), nil))
		check(t, r.AcceptMessage(soon(t), must(r.Receive(soon(t), nil))))
	}
	check(t, r.Close(soon(t)))
	p := b.open()
	p.receiver(1, "/queues/q")
	p.credit(1, 0, 3, false)
	for range 3 {
		check(t, sender.Send(soon(t), amqp.NewMessage(nil), nil))
		expect[*frame.Transfer](p)
	}
	p.send(0, &frame.Disposition{Role: frame.Receiver, First: 0, Last: frame.Some[uint32](2), State: frame.Accepted})
	if d := expect[*frame.Disposition](p); d.Role != frame.Sender || !d.Settled || d.First != 0 || d.Last.Value != 2 || d.State.Code != frame.CodeAccepted {
		t.Errorf("disposition %+v", d)
	}
	p.send(0, &frame.Disposition{Role: frame.Receiver, First: 0, Last: frame.Some[uint32](2), State: frame.Accepted}) // again: nothing is left
	p.send(0, &frame.Detach{Handle: 1, Closed: true})
	expect[*frame.Detach](p)
	if n := b.ready("q"); n != 0 {
		t.Errorf("%d messages are back", n)
	}
}

// TestUnsettledComesBack: what a link held is in its queue again, in its place, when the link is closed, or the session or the
// connection ends. 2 §2.6.5, 2 §2.6.6, 2 §2.5.4
func TestUnsettledComesBack(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.client()
	sender := must(s.NewSender(soon(t), "/queues/q", nil))
	for i := range 4 {
		check(t, sender.Send(soon(t), amqp.NewMessage([]byte{byte(i)}), nil))
	}
	for name, end := range map[string]func(*peer){
		"detach":  func(p *peer) { p.send(0, &frame.Detach{Handle: 1, Closed: true}); expect[*frame.Detach](p) },
		"end":     func(p *peer) { p.send(0, &frame.End{}); expect[*frame.End](p) },
		"close":   func(p *peer) { p.send(0, &frame.Close{}); expect[*frame.Close](p) },
		"nothing": func(p *peer) { check(p, p.conn.Close()) },
	} {
		p := b.open()
		p.receiver(1, "/queues/q")
		p.credit(1, 0, 4, false)
		for range 4 {
			expect[*frame.Transfer](p)
		}
		if name == "close" || name == "nothing" {
			b.leaving(1, func() { end(p) })
		} else {
			end(p)
		}
		b.holds("q", 4)
	}
	r := must(s.NewReceiver(soon(t), "/queues/q", &amqp.ReceiverOptions{Credit: 4}))
	for i := range 4 {
		m := must(r.Receive(soon(t), nil))
		if m.GetData()[0] != byte(i) || m.Header.DeliveryCount != 0 || m.Header.FirstAcquirer {
			t.Errorf("message %v, %+v", m.GetData(), m.Header)
		}
	}
}

// TestStolenLink: a link that is attached again ends where it was. 2 §2.6.1, 2 §2.8.18/stolen
func TestStolenLink(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	p := b.open()
	p.sender(1, "/queues/q")
	p.send(0, &frame.Attach{Name: "s1", Handle: 2, Role: frame.Sender, InitialDeliveryCount: frame.Some[uint32](0), Target: &frame.Target{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd}})
	if d := expect[*frame.Detach](p); d.Handle != 1 || d.Error == nil || d.Error.Condition != frame.Stolen {
		t.Errorf("detach %+v", d.Error)
	}
	expect[*frame.Attach](p)
	expect[*frame.Flow](p)
	p.receiver(3, "/queues/q")
	p.send(0, &frame.Attach{Name: "r3", Handle: 4, Role: frame.Receiver, Source: &frame.Source{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd}})
	if d := expect[*frame.Detach](p); d.Handle != 3 || d.Error == nil || d.Error.Condition != frame.Stolen {
		t.Errorf("detach %+v", d.Error)
	}
	expect[*frame.Attach](p)
}

// TestQueueDeleted: links from it end. 2 §2.8.15/resource-deleted
func TestQueueDeleted(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	p := b.open()
	p.receiver(1, "/queues/q")
	o := must(object.New(object.KindQueue, "/", "q", object.QueueSpec{}))
	must(b.hub.Apply(t.Context(), "test", []object.Change{{Object: o, Delete: object.DeleteAlways}}, hub.ApplyOptions{}))
	if d := expect[*frame.Detach](p); d.Error == nil || d.Error.Condition != frame.ResourceDeleted || !d.Closed {
		t.Errorf("detach %+v", d.Error)
	}
	p.send(0, &frame.Detach{Handle: 1, Closed: true})
	b.queue("q", nil)
	p.receiver(1, "/queues/q")
}

// TestMaxMessageSize: a receiver is not sent what it does not take. 2 §2.7.3, 2 §2.8.18/message-size-exceeded
func TestMaxMessageSize(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.client()
	sender := must(s.NewSender(soon(t), "/queues/q", nil))
	check(t, sender.Send(soon(t), amqp.NewMessage([]byte("small")), nil))
	check(t, sender.Send(soon(t), amqp.NewMessage(make([]byte, 1000)), nil))
	p := b.open()
	p.attach(&frame.Attach{Name: "r", Handle: 1, Role: frame.Receiver, MaxMessageSize: 500, Source: &frame.Source{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd}})
	p.credit(1, 0, 10, false)
	expect[*frame.Transfer](p)
	if d := expect[*frame.Detach](p); d.Error == nil || d.Error.Condition != frame.MessageSizeExceeded {
		t.Errorf("detach %+v", d.Error)
	}
	p.send(0, &frame.Detach{Handle: 1, Closed: true})
	p.sender(2, "/queues/q") // behind the detach
	b.holds("q", 2)
}

// TestExpiry: ttl and absolute-expiry-time end a message's life, and a consumer is told what is left. 3 §3.2.1, 3 §3.2.4
func TestExpiry(t *testing.T) {
	b := start(t, defaults())
	b.queue("dead", nil)
	b.queue("q", object.Arguments{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
	_, s := b.client()
	sender := must(s.NewSender(soon(t), "/queues/q", nil))
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for i, m := range []*amqp.Message{
		{Header: &amqp.MessageHeader{TTL: time.Millisecond}, Properties: &amqp.MessageProperties{AbsoluteExpiryTime: &future}},
		{Properties: &amqp.MessageProperties{AbsoluteExpiryTime: &past}},
		{Header: &amqp.MessageHeader{TTL: time.Hour}},
		{Properties: &amqp.MessageProperties{AbsoluteExpiryTime: &future}},
	} {
		m.Data = [][]byte{fmt.Append(nil, i)}
		check(t, sender.Send(soon(t), m, nil))
	}
	gone := must(s.NewReceiver(soon(t), "/queues/dead", &amqp.ReceiverOptions{Credit: 2}))
	for range 2 {
		must(gone.Receive(soon(t), nil))
	}
	b.holds("q", 2)
	r := must(s.NewReceiver(soon(t), "/queues/q", &amqp.ReceiverOptions{Credit: 4}))
	for _, want := range []string{"2", "3"} {
		m := must(r.Receive(soon(t), nil))
		if string(m.GetData()) != want || m.Header.TTL > time.Hour || m.Header.TTL < 59*time.Minute {
			t.Errorf("%q, %+v", m.GetData(), m.Header)
		}
	}
}

// TestConsumerTimeout: a link that holds a delivery for longer than its queue allows is detached, and the message is back.
// 2 §2.8.18/detach-forced
func TestConsumerTimeout(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", object.Arguments{"x-consumer-timeout": 1000})
	p := b.open()
	p.sender(1, "/queues/q")
	p.transfer(1, 0, data("x"))
	expect[*frame.Disposition](p)
	p.receiver(2, "/queues/q")
	p.credit(2, 0, 1, false)
	expect[*frame.Transfer](p)
	if d := expect[*frame.Detach](p); d.Handle != 2 || d.Error == nil || d.Error.Condition != frame.DetachForced {
		t.Errorf("detach %+v", d)
	}
	b.holds("q", 1)
	p.transfer(1, 1, data("y")) // the session goes on
	expect[*frame.Disposition](p)
}

// TestReceiversMakeRoom: while transient messages fill the memory, senders wait, and receivers are heard: whoever accepts one
// message at a time empties the queue.
func TestReceiversMakeRoom(t *testing.T) {
	c := defaults()
	c.Limits.MemoryBytes = 1000
	b := start(t, c)
	b.queue("q", nil)
	_, s := b.client()
	receiver, err := s.NewReceiver(soon(t), "/queues/q", &amqp.ReceiverOptions{Credit: 1})
	check(t, err)
	const messages = 3
	for range messages { // each on a connection of its own, which waits afterwards
		_, s := b.client()
		sender, err := s.NewSender(soon(t), "/queues/q", nil)
		check(t, err)
		check(t, sender.Send(soon(t), amqp.NewMessage(make([]byte, 2000)), nil))
	}
	for range messages {
		m, err := receiver.Receive(soon(t), nil)
		check(t, err)
		check(t, receiver.AcceptMessage(soon(t), m))
	}
}
