package amqp10_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// controller is a peer with a coordinator link on handle 90 of channel 0.
type controller struct {
	*peer
	next uint32 // delivery-id
}

const coordinator = 90

func (b *broker) controller() *controller {
	b.Helper()
	c := &controller{peer: b.open()}
	c.coordinate(nil)
	return c
}

func (c *controller) coordinate(outcomes []string) {
	c.Helper()
	c.send(0, &frame.Attach{
		Name: "control", Handle: coordinator, Role: frame.Sender, InitialDeliveryCount: frame.Some[uint32](0),
		Source: &frame.Source{ExpiryPolicy: frame.ExpireSessionEnd, Outcomes: outcomes}, Coordinator: &frame.Coordinator{Capabilities: []string{frame.LocalTransactions}},
	})
	a := expect[*frame.Attach](c.peer)
	if a.Coordinator == nil || fmt.Sprint(a.Coordinator.Capabilities) != "[amqp:local-transactions amqp:multi-txns-per-ssn amqp:multi-ssns-per-txn]" {
		c.Fatalf("coordinator %+v", a.Coordinator)
	}
	expect[*frame.Flow](c.peer)
}

// request sends a request to the coordinator.
func (c *controller) request(value []byte) {
	c.Helper()
	c.transfer(coordinator, c.next, append([]byte{0, 0x53, 0x77}, value...))
	c.next++
}

// outcome reads the outcome of the newest delivery.
func (c *controller) outcome() frame.State {
	c.Helper()
	d := expect[*frame.Disposition](c.peer)
	if d.Role != frame.Receiver || d.First != c.next-1 || !d.Settled {
		c.Fatalf("disposition %+v", d)
	}
	return d.State
}

func (c *controller) accepted() {
	c.Helper()
	if s := c.outcome(); s.Code != frame.CodeAccepted {
		c.Fatalf("outcome %v %x", s.Code, s.Fields)
	}
}

// rejected reads an outcome that must be a rejection.
func (c *controller) rejected(condition frame.Condition) {
	c.Helper()
	c.rejectedIn(c.outcome(), condition)
}

func (c *controller) rejectedIn(s frame.State, condition frame.Condition) {
	c.Helper()
	var r frame.Rejected
	check(c, r.Decode(s))
	if r.Error == nil || r.Error.Condition != condition || r.Error.Description == "" {
		c.Fatalf("rejected with %+v, not %s", r.Error, condition)
	}
}

func (c *controller) declare() []byte {
	c.Helper()
	c.request((&frame.Declare{}).Append(nil))
	var d frame.Declared
	check(c, d.Decode(c.outcome()))
	return bytes.Clone(d.TxnID)
}

func (c *controller) discharge(txn []byte, fail bool) {
	c.Helper()
	c.request((&frame.Discharge{TxnID: txn, Fail: fail}).Append(nil))
}

func in(txn []byte, outcome frame.State) frame.State {
	return (&frame.TransactionalState{TxnID: txn, Outcome: outcome}).State()
}

// durable is a durable message.
func durable(body string) []byte {
	h := frame.NoHeader
	h.Durable = true
	return append(h.Append(nil), data(body)...)
}

// post sends a message in a transaction, and answers its provisional outcome.
func (c *controller) post(handle uint32, txn []byte, body string) frame.State {
	c.Helper()
	c.send(0, &frame.Transfer{Handle: handle, DeliveryID: frame.Some(c.next), DeliveryTag: []byte{1}, State: in(txn, frame.State{}), Payload: durable(body)})
	c.next++
	var ts frame.TransactionalState
	check(c, ts.Decode(c.outcome()))
	if !bytes.Equal(ts.TxnID, txn) {
		c.Fatalf("outcome in transaction %x, not %x", ts.TxnID, txn)
	}
	return ts.Outcome
}

func (c *controller) posted(handle uint32, txn []byte, body string) {
	c.Helper()
	if s := c.post(handle, txn, body); s.Code != frame.CodeAccepted {
		c.Fatalf("outcome %v", s.Code)
	}
}

// publish sends a message in no transaction.
func (c *controller) publish(handle uint32, body string) {
	c.Helper()
	c.transfer(handle, c.next, durable(body))
	c.next++
	c.accepted()
}

// retire gives deliveries an outcome in a transaction.
func (c *controller) retire(first, last uint32, txn []byte, outcome frame.State, settled bool) {
	c.Helper()
	c.send(0, &frame.Disposition{Role: frame.Receiver, First: first, Last: frame.Some(last), Settled: settled, State: in(txn, outcome)})
}

// receive reads a delivery: its id, its header and its body.
func (c *controller) receive() (id uint32, h frame.Header, body string) {
	c.Helper()
	t := expect[*frame.Transfer](c.peer)
	var m frame.Message
	check(c, m.Scan(t.Payload, frame.Limits{Depth: 10, Elements: 100}))
	content, _ := m.Sections.Body.Value().Bytes()
	return t.DeliveryID.Value, m.Header, string(content)
}

// settledBy reads the disposition by which the broker settles deliveries.
func (c *controller) settledBy(first, last uint32, code frame.Descriptor) {
	c.Helper()
	if d := expect[*frame.Disposition](c.peer); d.Role != frame.Sender || !d.Settled || d.First != first || d.Last.Value != last || d.State.Code != code {
		c.Fatalf("disposition %+v", d)
	}
}

// are compares how many messages are ready in queues.
func (b *broker) are(what string, ready map[string]int) {
	b.Helper()
	for q, n := range ready {
		if got := b.ready(q); got != n {
			b.Errorf("%s: %s has %d, want %d", what, q, got, n)
		}
	}
}

// TestTransactions: messages over two links to two queues are there after the commit, all of them or none.
// 4 §4.2, 4 §4.3, 4 §4.4.1, 4 §4.5, 4 §4.5.1, 4 §4.5.7
func TestTransactions(t *testing.T) {
	b := start(t, defaults())
	b.queue("a", nil)
	b.queue("b", nil)
	c := b.controller()
	c.sender(1, "/queues/a")
	c.sender(2, "/queues/b")
	c.sender(3, "/exchanges/amq.direct/nothing")
	for _, fail := range []bool{true, false} {
		txn := c.declare()
		c.posted(1, txn, "x")
		c.posted(2, txn, "y")
		c.posted(2, txn, "z")
		if s := c.post(3, txn, "nowhere"); s.Code != frame.CodeReleased {
			t.Errorf("outcome of what no queue takes: %v", s.Code)
		}
		c.publish(1, "at once")
		b.are("before the discharge", map[string]int{"b": 0})
		c.discharge(txn, fail)
		c.accepted()
		c.discharge(txn, false)
		c.rejected(frame.UnknownTransaction)
	}
	b.are("after the commit", map[string]int{"a": 3, "b": 2})
}

// TestRetirement: outcomes in a transaction take effect with its messages. After a rollback, deliveries that the peer has not
// settled are still its own, and others are back. 4 §4.4.2
func TestRetirement(t *testing.T) {
	b := start(t, defaults())
	b.queue("in", nil)
	b.queue("out", nil)
	c := b.controller()
	c.sender(1, "/queues/in")
	c.sender(2, "/queues/out")
	for i := range 4 {
		c.publish(1, fmt.Sprint(i))
	}
	c.receiver(3, "/queues/in")
	c.credit(3, 0, 4, false)
	for range 4 {
		c.receive()
	}
	txn := c.declare()
	c.posted(2, txn, "never")
	c.retire(0, 1, txn, frame.Accepted, false)
	c.retire(3, 3, txn, frame.Accepted, true)
	c.discharge(txn, true)
	c.accepted()
	b.are("after the rollback", map[string]int{"in": 1, "out": 0})

	c.credit(3, 4, 1, false)
	if id, h, body := c.receive(); id != 4 || h.DeliveryCount != 1 || body != "3" {
		t.Fatalf("delivery %d of %q with header %+v", id, body, h)
	}
	txn = c.declare()
	c.posted(2, txn, "done")
	c.retire(0, 1, txn, frame.Accepted, false)
	c.retire(2, 2, txn, frame.Released, true)
	c.retire(4, 4, txn, (&frame.Modified{DeliveryFailed: true, MessageAnnotations: frame.Map(frame.AppendString(frame.AppendSymbol(nil, "x-why"), "later"))}).State(), false)
	// Whatever else is said of a delivery does not count while the transaction is open; what lies beside it, does.
	c.send(0, &frame.Disposition{Role: frame.Receiver, First: 0, Last: frame.Some[uint32](4), Settled: true, State: frame.Released})
	b.are("before the commit", map[string]int{"in": 0, "out": 0})
	c.discharge(txn, false)
	c.accepted()
	b.are("after the commit", map[string]int{"in": 2, "out": 1})
	c.credit(3, 5, 2, false)
	if _, h, body := c.receive(); body != "2" || h.DeliveryCount != 0 {
		t.Errorf("got %q with header %+v", body, h)
	}
	tr := expect[*frame.Transfer](c.peer)
	if !bytes.Contains(tr.Payload, []byte("x-why")) || !bytes.Contains(tr.Payload, []byte("later")) {
		t.Errorf("annotation is lost: %q", tr.Payload)
	}
}

// TestSettledAtCommit: deliveries that the peer has not settled are settled when the transaction is.
func TestSettledAtCommit(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	c := b.controller()
	c.sender(1, "/queues/q")
	for i := range 4 {
		c.publish(1, fmt.Sprint(i))
	}
	c.receiver(2, "/queues/q")
	c.credit(2, 0, 4, false)
	for range 4 {
		c.receive()
	}
	txn := c.declare()
	c.retire(0, 2, txn, frame.Accepted, false)
	c.send(0, &frame.Disposition{Role: frame.Receiver, First: 0, Last: frame.Some[uint32](3), State: frame.Accepted}) // 3 alone is free
	c.settledBy(3, 3, frame.CodeAccepted)
	c.discharge(txn, false)
	c.settledBy(0, 2, frame.CodeAccepted)
	c.accepted()
	b.are("after the commit", map[string]int{"q": 0})
	c.send(0, &frame.Detach{Handle: 2, Closed: true})
	expect[*frame.Detach](c.peer)
	b.are("after the link is gone", map[string]int{"q": 0})
}

// TestInterleavedTransactions: several at a time, over the same links and over sessions.
func TestInterleavedTransactions(t *testing.T) {
	b := start(t, defaults())
	b.queue("a", nil)
	b.queue("b", nil)
	c := b.controller()
	c.sender(1, "/queues/a")
	c.sender(2, "/queues/b")
	one, two := c.declare(), c.declare()
	c.posted(1, one, "1")
	c.posted(1, two, "2")
	c.posted(2, two, "2")
	c.posted(2, one, "1")
	c.posted(1, one, "1")
	c.discharge(two, false)
	c.accepted()
	b.are("after the second's commit", map[string]int{"a": 1, "b": 1})
	c.send(1, &frame.Begin{IncomingWindow: 10, OutgoingWindow: 10, HandleMax: 10})
	expect[*frame.Begin](c.peer)
	c.send(1, &frame.Attach{Name: "other", Role: frame.Sender, InitialDeliveryCount: frame.Some[uint32](0),
		Source: &frame.Source{ExpiryPolicy: frame.ExpireSessionEnd}, Target: &frame.Target{Address: "/queues/b", ExpiryPolicy: frame.ExpireSessionEnd}})
	expect[*frame.Attach](c.peer)
	expect[*frame.Flow](c.peer)
	c.send(1, &frame.Transfer{DeliveryID: frame.Some[uint32](0), DeliveryTag: []byte{1}, State: in(one, frame.State{}), Payload: durable("1")})
	if d := expect[*frame.Disposition](c.peer); d.State.Code != frame.CodeTransactionalState {
		t.Errorf("disposition %+v", d)
	}
	c.send(1, &frame.End{})
	expect[*frame.End](c.peer)
	c.discharge(one, false)
	c.accepted()
	b.are("after both commits", map[string]int{"a": 3, "b": 3})
}

// TestTransactionErrors: each is told where it belongs, and the session goes on.
// 4 §4.5.8/unknown-id, 4 §4.5.8/rollback
func TestTransactionErrors(t *testing.T) {
	config := defaults()
	config.Limits.MessageBytes = 4096
	b := start(t, config)
	b.queue("q", nil)
	b.queue("full", object.Arguments{"x-max-length": 1, "x-overflow": "reject-publish"})
	detached := func(c *controller, handle uint32, condition frame.Condition) {
		c.Helper()
		if d := expect[*frame.Detach](c.peer); d.Handle != handle || d.Error == nil || d.Error.Condition != condition {
			c.Fatalf("detach %+v, %+v", d, d.Error)
		}
	}
	for name, run := range map[string]func(*testing.T, *controller){
		"post in none": func(_ *testing.T, c *controller) {
			c.rejectedIn(c.post(1, []byte("none"), "x"), frame.UnknownTransaction)
		},
		"outcome in none": func(_ *testing.T, c *controller) {
			c.publish(1, "x")
			c.receiver(2, "/queues/q")
			c.credit(2, 0, 1, false)
			c.receive()
			c.retire(0, 0, []byte("none"), frame.Accepted, true)
			detached(c, 2, frame.UnknownTransaction)
			b.are("the message is back", map[string]int{"q": 1})
		},
		"discharge of none": func(_ *testing.T, c *controller) {
			c.discharge([]byte("none"), false)
			c.rejected(frame.UnknownTransaction)
		},
		"neither declare nor discharge": func(_ *testing.T, c *controller) { c.request([]byte{0x40}); detached(c, coordinator, frame.NotAllowed) },
		"no txn-id": func(_ *testing.T, c *controller) {
			c.request([]byte{0, 0x53, 0x32, 0x45})
			detached(c, coordinator, frame.InvalidField)
		},
		"settled declare": func(_ *testing.T, c *controller) {
			c.send(0, &frame.Transfer{Handle: coordinator, DeliveryID: frame.Some(c.next), Settled: true, Payload: append([]byte{0, 0x53, 0x77}, (&frame.Declare{}).Append(nil)...)})
			detached(c, coordinator, frame.NotAllowed)
		},
		"declare in a transaction": func(_ *testing.T, c *controller) {
			c.send(0, &frame.Transfer{Handle: coordinator, DeliveryID: frame.Some(c.next), State: in([]byte("t"), frame.State{}), Payload: data("x")})
			detached(c, coordinator, frame.NotAllowed)
		},
		"too many": func(_ *testing.T, c *controller) {
			var first []byte
			for i := range 64 {
				if txn := c.declare(); i == 0 {
					first = txn
				}
			}
			c.request((&frame.Declare{}).Append(nil))
			c.rejected(frame.ResourceLimitExceeded)
			c.discharge(first, true)
			c.accepted()
			c.declare()
		},
		"too large": func(_ *testing.T, c *controller) {
			one, two := c.declare(), c.declare()
			for range 5 {
				c.posted(1, one, string(make([]byte, 100)))
				c.posted(1, two, string(make([]byte, 50)))
			}
			c.rejectedIn(c.post(1, one, string(make([]byte, 2000))), frame.TransactionRollback)
			c.rejectedIn(c.post(1, one, "y"), frame.TransactionRollback)
			c.discharge(one, false)
			c.rejected(frame.TransactionRollback)
			c.posted(1, two, string(make([]byte, 1000))) // there is room again
			c.discharge(two, true)
			c.accepted()
			b.are("nothing was committed", map[string]int{"q": 0})
		},
		"full queue": func(_ *testing.T, c *controller) {
			c.sender(2, "/queues/full")
			c.publish(2, "first")
			c.publish(1, "source")
			c.receiver(3, "/queues/q")
			c.credit(3, 0, 1, false)
			c.receive()
			txn := c.declare()
			c.posted(1, txn, "x")
			c.posted(2, txn, "x")
			c.retire(0, 0, txn, frame.Accepted, false)
			c.discharge(txn, false)
			c.settledBy(0, 0, frame.CodeModified)
			c.rejected(frame.TransactionRollback)
			b.are("nothing of it happened", map[string]int{"q": 1, "full": 1})
		},
		"message that is not allowed": func(_ *testing.T, c *controller) {
			txn := c.declare()
			c.send(0, &frame.Transfer{Handle: 1, DeliveryID: frame.Some(c.next), Settled: true, State: in(txn, frame.State{}),
				Payload: append((&frame.Properties{UserID: []byte("somebody")}).Append(nil), data("x")...)})
			c.next++
			c.discharge(txn, false)
			c.rejected(frame.TransactionRollback)
		},
		"delivery that is not complete": func(_ *testing.T, c *controller) {
			for _, fail := range []bool{true, false} {
				txn := c.declare()
				c.posted(1, txn, "x")
				c.send(0, &frame.Transfer{Handle: 1, DeliveryID: frame.Some(c.next), DeliveryTag: []byte{1}, More: true, State: in(txn, frame.State{}), Payload: durable("x")[:3]})
				c.next++
				c.discharge(txn, fail)
				if fail {
					c.accepted()
					c.send(0, &frame.Transfer{Handle: 1, Aborted: true})
				}
			}
			detached(c, coordinator, frame.TransactionRollback)
			b.are("nothing was committed", map[string]int{"q": 0})
		},
		"link with deliveries ends": func(_ *testing.T, c *controller) {
			c.publish(1, "x")
			c.receiver(2, "/queues/q")
			c.credit(2, 0, 1, false)
			c.receive()
			txn := c.declare()
			c.posted(1, txn, "y")
			c.retire(0, 0, txn, frame.Accepted, true)
			c.send(0, &frame.Detach{Handle: 2, Closed: true})
			expect[*frame.Detach](c.peer)
			c.discharge(txn, false)
			c.rejected(frame.TransactionRollback)
			b.are("the delivery is back", map[string]int{"q": 1})
		},
		"two transactions for one delivery": func(_ *testing.T, c *controller) {
			c.publish(1, "x")
			c.receiver(2, "/queues/q")
			c.credit(2, 0, 1, false)
			c.receive()
			one, two := c.declare(), c.declare()
			c.retire(0, 0, one, frame.Accepted, false)
			c.retire(0, 0, two, frame.Accepted, true)
			detached(c, coordinator, frame.TransactionRollback)
		},
		"source that does not take rejections": func(_ *testing.T, c *controller) {
			c.send(0, &frame.Detach{Handle: coordinator, Closed: true})
			expect[*frame.Detach](c.peer)
			c.coordinate([]string{"amqp:declared:list", "amqp:accepted:list"})
			c.discharge([]byte("none"), false)
			detached(c, coordinator, frame.UnknownTransaction)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, q := range []string{"q", "full"} {
				b.empties(q)
			}
			c := b.controller()
			c.TB = t
			c.sender(1, "/queues/q")
			run(t, c)
			c.send(0, &frame.End{})
			expect[*frame.End](c.peer)
		})
	}
}

// empties purges a queue, of which nobody holds a message.
func (b *broker) empties(name string) {
	b.Helper()
	if n := b.counts(name).Unacked; n != 0 {
		b.Fatalf("%d messages of %s are not settled", n, name)
	}
	must(must(b.hub.VirtualHost("/")).Queue(name, 0)).Purge()
}

// TestCoordinatorEnds: a transaction is rolled back with the link that declared it, however that ends.
func TestCoordinatorEnds(t *testing.T) {
	for name, end := range map[string]func(*controller){
		"detach":     func(c *controller) { c.send(0, &frame.Detach{Handle: coordinator}); expect[*frame.Detach](c.peer) },
		"end":        func(c *controller) { c.send(0, &frame.End{}); expect[*frame.End](c.peer) },
		"close":      func(c *controller) { c.send(0, &frame.Close{}); expect[*frame.Close](c.peer) },
		"disconnect": func(c *controller) { check(c, c.conn.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, defaults())
			b.queue("q", nil)
			c := b.controller()
			c.sender(1, "/queues/q")
			c.publish(1, "x")
			c.receiver(2, "/queues/q")
			c.credit(2, 0, 1, false)
			c.receive()
			txn := c.declare()
			c.posted(1, txn, "y")
			c.retire(0, 0, txn, frame.Accepted, true)
			if name == "disconnect" {
				b.leaving(1, func() { end(c) })
			} else {
				end(c)
			}
			b.are("the delivery is back", map[string]int{"q": 1})
			if name == "detach" {
				c.rejectedIn(c.post(1, txn, "z"), frame.UnknownTransaction)
			}
		})
	}
}

// TestTransactionTimeout: what is not discharged in time is rolled back, and its discharge says so. 4 §4.5.8/timeout
func TestTransactionTimeout(t *testing.T) {
	config := defaults()
	config.Limits.ConsumerTimeoutMillis = 1000
	b := start(t, config)
	b.queue("q", object.Arguments{"x-consumer-timeout": 600_000})
	c := b.controller()
	c.sender(1, "/queues/q")
	c.publish(1, "x")
	c.receiver(2, "/queues/q")
	c.credit(2, 0, 1, false)
	c.receive()
	b.are("the delivery is with the receiver", map[string]int{"q": 0})
	txn := c.declare()
	c.posted(1, txn, "y")
	c.retire(0, 0, txn, frame.Accepted, true)
	conn, s := b.client()
	must(must(s.NewReceiver(soon(t), "/queues/q", nil)).Receive(soon(t), nil)) // the delivery is back
	b.leaving(1, func() { check(t, conn.Close()) })
	c.rejectedIn(c.post(1, txn, "z"), frame.TransactionTimeout)
	c.discharge(txn, false)
	c.rejected(frame.TransactionTimeout)
	other := c.declare()
	c.posted(1, other, "y")
	c.discharge(other, false)
	c.accepted()
	b.are("another one is committed", map[string]int{"q": 2})
}

// TestTransactionsOutlivePowerLoss: at every moment of a commit, all of it is on the disk or none, and all of it once it
// was accepted.
func TestTransactionsOutlivePowerLoss(t *testing.T) {
	disk := newLosses()
	queues := []string{"in", "a", "b", "c"} // in several shards
	b := startOn(t, defaults(), disk.Crash)
	for _, q := range queues {
		b.queue(q, nil)
	}
	c := b.controller()
	for i, q := range queues {
		c.sender(uint32(i), "/queues/"+q)
	}
	c.publish(0, "x")
	c.receiver(9, "/queues/in")
	c.credit(9, 0, 1, false)
	c.receive()
	txn := c.declare()
	for i := range queues[1:] {
		c.posted(uint32(i+1), txn, "y")
	}
	c.retire(0, 0, txn, frame.Accepted, true)
	disk.commits(c, txn, queues, "1000", "0111")
}

// TestRateInTransaction: where a rate drops messages, it slows down a transaction instead.
func TestRateInTransaction(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	b.apply(object.KindUser, "", "ann", object.UserSpec{Password: "pw", Limits: object.UserLimits{Client: object.Rate{MessagesPerSecond: 5}, OnExcess: object.Drop}})
	b.apply(object.KindPermission, "/", "ann", object.PermissionSpec{Configure: ".*", Write: ".*", Read: ".*"})
	p := b.dial()
	p.sasl()
	p.send(0, &frame.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00ann\x00pw")})
	expect[*frame.SASLOutcome](p)
	p.header(frame.ProtocolAMQP)
	p.expectHeader(frame.ProtocolAMQP)
	p.send(0, &frame.Open{ContainerID: "test", MaxFrameSize: 4096, ChannelMax: 10})
	expect[*frame.Open](p)
	p.send(0, &frame.Begin{IncomingWindow: 1000, OutgoingWindow: 1000, HandleMax: 100})
	expect[*frame.Begin](p)
	c := &controller{peer: p}
	c.coordinate(nil)
	c.sender(1, "/queues/q")
	began := time.Now()
	txn := c.declare()
	for range 7 {
		c.posted(1, txn, "x")
	}
	c.discharge(txn, false)
	c.accepted()
	if took := time.Since(began); took < 200*time.Millisecond { // five at once, and two that are due within 400 ms
		t.Errorf("seven messages took %v", took)
	}
	b.are("all is there", map[string]int{"q": 7})
}
