package amqp10_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/Azure/go-amqp"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// acquire gives a link credit up to a count of deliveries, in a transaction.
func (c *controller) acquire(handle uint32, txn []byte, upTo uint32, drain bool) {
	c.Helper()
	c.flow(handle, upTo, drain, frame.Map(frame.AppendBinary(frame.AppendSymbol(nil, "txn-id"), txn)))
}

func (c *controller) flow(handle, upTo uint32, drain bool, properties frame.Map) {
	c.Helper()
	c.send(0, &frame.Flow{NextIncomingID: frame.Some[uint32](0), IncomingWindow: 1 << 20, OutgoingWindow: 1000,
		Handle: frame.Some(handle), DeliveryCount: frame.Some[uint32](0), LinkCredit: frame.Some(upTo), Drain: drain, Properties: properties})
}

// got reads a delivery, which must be acquired in a transaction; nil is in none.
func (c *controller) got(txn []byte, settled bool) (id uint32, m frame.Message) {
	c.Helper()
	t := expect[*frame.Transfer](c.peer)
	if t.Settled != settled || t.More || t.Aborted {
		c.Fatalf("transfer %+v", t)
	}
	c.stateIs(t, txn)
	check(c, m.Scan(t.Payload, frame.Limits{Depth: 10, Elements: 100}))
	return t.DeliveryID.Value, m
}

func (c *controller) stateIs(t *frame.Transfer, txn []byte) {
	c.Helper()
	if txn == nil {
		if t.State.Code != 0 {
			c.Fatalf("transfer in state %v", t.State.Code)
		}
		return
	}
	var ts frame.TransactionalState
	check(c, ts.Decode(t.State))
	if !bytes.Equal(ts.TxnID, txn) || ts.Outcome.Code != 0 {
		c.Fatalf("transfer in transaction %x, with outcome %v", ts.TxnID, ts.Outcome.Code)
	}
}

func bytesOf(v frame.Value) []byte {
	b, _ := v.Bytes()
	return b
}

// receiveSettled attaches a receiver that is sent settled deliveries.
func (c *controller) receiveSettled(handle uint32, address string) {
	c.Helper()
	c.attach(&frame.Attach{Name: fmt.Sprint("r", handle), Handle: handle, Role: frame.Receiver, SenderSettleMode: frame.SenderSettled,
		Source: &frame.Source{Address: address, ExpiryPolicy: frame.ExpireSessionEnd}})
}

// detachedWith reads the end of a link.
func (c *controller) detachedWith(handle uint32, condition frame.Condition) {
	c.Helper()
	if d := expect[*frame.Detach](c.peer); d.Handle != handle || d.Error == nil || d.Error.Condition != condition || d.Error.Description == "" {
		c.Fatalf("detach %+v, %+v", d, d.Error)
	}
}

// TestAcquisition: what is acquired in a transaction says so. A commit takes the outcomes and leaves the rest with the link, a
// rollback puts all of it back. 4 §4.4, 4 §4.4.3, 4 §4.4.4
func TestAcquisition(t *testing.T) {
	for _, fail := range []bool{false, true} {
		t.Run(fmt.Sprintf("fail=%t", fail), func(t *testing.T) {
			b := start(t, defaults())
			b.queue("q", nil)
			b.queue("out", nil)
			c := b.controller()
			c.sender(1, "/queues/q")
			c.sender(2, "/queues/out")
			for i := range 5 {
				c.publish(1, fmt.Sprint(i))
			}
			c.receiver(3, "/queues/q")
			txn := c.declare()
			c.acquire(3, txn, 7, true)
			for i := range 5 {
				if id, m := c.got(txn, false); id != uint32(i) || m.Header.DeliveryCount != 0 {
					t.Fatalf("delivery %d with header %+v", id, m.Header)
				}
			}
			f := expect[*frame.Flow](c.peer)
			if v, _ := f.Properties.Lookup("txn-id"); f.DeliveryCount.Value != 7 || f.LinkCredit.Value != 0 || string(bytesOf(v)) != string(txn) {
				t.Fatalf("flow %+v", f)
			}
			c.retire(0, 1, txn, frame.Accepted, false)
			c.retire(2, 2, txn, frame.Accepted, true)
			c.posted(2, txn, "result")
			b.are("before the discharge", map[string]int{"q": 0, "out": 0})
			c.discharge(txn, fail)
			if fail {
				c.settledBy(3, 4, frame.CodeModified)
				c.settledBy(0, 1, frame.CodeModified)
				c.accepted()
				b.are("after the rollback", map[string]int{"q": 5, "out": 0})
				c.flow(3, 12, false, nil)
				for i := range 5 {
					if id, m := c.got(nil, false); id != uint32(5+i) || m.Header.DeliveryCount != 1 {
						t.Fatalf("delivery %d with header %+v", id, m.Header)
					}
				}
				return
			}
			c.settledBy(0, 1, frame.CodeAccepted)
			c.accepted()
			b.are("after the commit", map[string]int{"q": 0, "out": 1})
			// What has no outcome is still acquired, in no transaction.
			c.send(0, &frame.Disposition{Role: frame.Receiver, First: 3, State: frame.Accepted})
			c.settledBy(3, 0, frame.CodeAccepted)
			c.send(0, &frame.Disposition{Role: frame.Receiver, First: 0, Last: frame.Some[uint32](4), Settled: true, State: frame.Released})
			c.handled()
			b.are("the last one is released", map[string]int{"q": 1})
		})
	}
}

// TestTransactionOfALink: flows say in which transaction a link acquires, until that is discharged. Credit that is left is for
// deliveries in none. 4 §4.4.3
func TestTransactionOfALink(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	c := b.controller()
	c.sender(1, "/queues/q")
	c.receiver(3, "/queues/q")
	one, two := c.declare(), c.declare()
	next := func(txn []byte) {
		t.Helper()
		c.transfer(1, c.next, durable("x"))
		c.next++
		acceptedFirst, d := false, 0
		for range 2 { // they cross
			switch _, p, err := c.peer.next(); p := p.(type) {
			case *frame.Transfer:
				c.stateIs(p, txn)
				d++
			case *frame.Disposition:
				acceptedFirst = p.State.Code == frame.CodeAccepted
			default:
				t.Fatalf("%+v, %v", p, err)
			}
		}
		if !acceptedFirst || d != 1 {
			t.Fatal("a message was not accepted or not delivered")
		}
	}
	c.flow(3, 1, false, nil)
	next(nil)
	c.acquire(3, one, 2, false)
	next(one)
	c.flow(3, 3, false, nil) // says nothing of it
	next(one)
	c.acquire(3, two, 4, false)
	next(two)
	c.flow(3, 5, false, frame.Map{}) // says that it is in none
	next(nil)
	c.acquire(3, one, 6, false)
	next(one)
	c.flow(3, 7, false, frame.Map(frame.AppendNull(frame.AppendSymbol(nil, "txn-id"))))
	next(nil)
	c.acquire(3, two, 9, false)
	next(two)
	c.discharge(two, false)
	c.accepted()
	next(nil) // and with it the credit is used up
	c.discharge(one, true)
	c.settledBy(1, 2, frame.CodeModified)
	c.settledBy(5, 5, frame.CodeModified)
	c.accepted()
	c.flow(3, 10, false, nil)
	if id, m := c.got(nil, false); id != 9 || m.Header.DeliveryCount != 1 {
		t.Fatalf("delivery %d with header %+v", id, m.Header)
	}
	b.are("at last", map[string]int{"q": 2})
}

// TestSettledAcquisition: deliveries that are sent settled are taken at the commit, and back after a rollback, however that comes.
// 4 §4.4.4
func TestSettledAcquisition(t *testing.T) {
	for name, end := range map[string]func(*controller, []byte){
		"commit":   func(c *controller, txn []byte) { c.discharge(txn, false); c.accepted() },
		"rollback": func(c *controller, txn []byte) { c.discharge(txn, true); c.accepted() },
		"link": func(c *controller, _ []byte) {
			c.send(0, &frame.Detach{Handle: 3, Closed: true})
			expect[*frame.Detach](c.peer)
		},
		"disconnect": func(c *controller, _ []byte) { check(c, c.conn.Close()) },
	} {
		for _, durability := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s,durable=%t", name, durability), func(t *testing.T) {
				b := start(t, defaults())
				b.queue("q", nil)
				c := b.controller()
				c.sender(1, "/queues/q")
				for i := range 4 {
					m := data(fmt.Sprint(i))
					if durability {
						m = durable(fmt.Sprint(i))
					}
					c.transfer(1, c.next, m)
					c.next++
					c.accepted()
				}
				c.receiveSettled(3, "/queues/q")
				c.flow(3, 1, false, nil)
				c.got(nil, true)
				txn := c.declare()
				c.acquire(3, txn, 4, false)
				for range 3 {
					c.got(txn, true)
				}
				b.are("before the end", map[string]int{"q": 0})
				switch end(c, txn); name {
				case "commit":
					b.are("after the commit", map[string]int{"q": 0})
					c.send(0, &frame.Detach{Handle: 3, Closed: true})
					expect[*frame.Detach](c.peer)
					b.are("after the link is gone", map[string]int{"q": 0})
				case "rollback":
					b.are("after the rollback", map[string]int{"q": 3})
					c.flow(3, 7, false, nil)
					for range 3 {
						if _, m := c.got(nil, true); m.Header.DeliveryCount != 1 {
							t.Fatalf("header %+v", m.Header)
						}
					}
					c.send(0, &frame.Detach{Handle: 3, Closed: true})
					expect[*frame.Detach](c.peer)
					b.are("the hub is done with them", map[string]int{"q": 0})
				case "link":
					b.are("after the link is gone", map[string]int{"q": 3})
					c.discharge(txn, false)
					c.rejected(frame.TransactionRollback)
				default:
					b.connections(0)
					b.are("after the connection is gone", map[string]int{"q": 3})
				}
			})
		}
	}
}

// TestPartialAcquisition: a delivery that was sent in part when its transaction is discharged goes on after a commit. A rollback aborts
// it, and is answered after that. 4 §4.4.3
func TestPartialAcquisition(t *testing.T) {
	for _, fail := range []bool{false, true} {
		for _, settled := range []bool{false, true} {
			t.Run(fmt.Sprintf("fail=%t,settled=%t", fail, settled), func(t *testing.T) {
				b := start(t, defaults())
				b.queue("q", nil)
				c := b.controller()
				c.sender(1, "/queues/q")
				c.large(1, 0, 10_000)
				c.next++
				c.accepted()
				if settled {
					c.receiveSettled(3, "/queues/q")
				} else {
					c.receiver(3, "/queues/q")
				}
				txn := c.declare()
				window := func(next, size uint32) {
					c.send(0, &frame.Flow{NextIncomingID: frame.Some(next), IncomingWindow: size, OutgoingWindow: 1000})
				}
				window(0, 1)
				c.send(0, &frame.Flow{NextIncomingID: frame.Some[uint32](0), IncomingWindow: 1, OutgoingWindow: 1000, Handle: frame.Some[uint32](3), LinkCredit: frame.Some[uint32](1),
					Properties: frame.Map(frame.AppendBinary(frame.AppendSymbol(nil, "txn-id"), txn))})
				first := expect[*frame.Transfer](c.peer)
				c.stateIs(first, txn)
				if !first.More {
					t.Fatal("the message came in one frame")
				}
				c.discharge(txn, fail)
				if !fail {
					c.accepted()
					window(1, 10)
					size := len(first.Payload)
					for more := true; more; {
						rest := expect[*frame.Transfer](c.peer)
						c.stateIs(rest, nil)
						size, more = size+len(rest.Payload), rest.More
					}
					if size < 10_000 {
						t.Errorf("%d bytes came", size)
					}
					if !settled {
						c.send(0, &frame.Disposition{Role: frame.Receiver, State: frame.Accepted})
						c.settledBy(0, 0, frame.CodeAccepted)
					}
					c.send(0, &frame.Detach{Handle: 3, Closed: true})
					expect[*frame.Detach](c.peer)
					b.are("after the commit", map[string]int{"q": 0})
					return
				}
				c.send(0, &frame.Flow{NextIncomingID: frame.Some[uint32](1), IncomingWindow: 0, OutgoingWindow: 1000, Echo: true})
				expect[*frame.Flow](c.peer) // and no answer to the discharge before it
				window(1, 10)
				if a := expect[*frame.Transfer](c.peer); !a.Aborted || a.More || len(a.Payload) > 0 {
					t.Fatalf("transfer %+v", a)
				}
				c.accepted()
				b.are("after the rollback", map[string]int{"q": 1})
			})
		}
	}
}

// TestAcquisitionErrors: each is told where it belongs, and the session goes on. 4 §4.4.2, 4 §4.4.3, 4 §4.4.4, 4 §4.5.4,
// 4 §4.5.8/unknown-id
func TestAcquisitionErrors(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	one := func(c *controller) []byte { // one delivery, acquired in a transaction
		c.publish(1, "x")
		c.receiver(2, "/queues/q")
		txn := c.declare()
		c.acquire(2, txn, 1, false)
		c.got(txn, false)
		return txn
	}
	for name, run := range map[string]func(*testing.T, *controller){
		"unknown transaction": func(_ *testing.T, c *controller) {
			c.publish(1, "x")
			c.receiver(2, "/queues/q")
			c.acquire(2, []byte("none"), 1, false)
			c.detachedWith(2, frame.UnknownTransaction)
			b.are("nothing was acquired", map[string]int{"q": 1})
		},
		"discharged transaction": func(_ *testing.T, c *controller) {
			txn := one(c)
			c.discharge(txn, false)
			c.accepted()
			c.acquire(2, txn, 2, false)
			c.detachedWith(2, frame.UnknownTransaction)
		},
		"no binary": func(_ *testing.T, c *controller) {
			c.receiver(2, "/queues/q")
			c.flow(2, 1, false, frame.Map(frame.AppendString(frame.AppendSymbol(nil, "txn-id"), "t")))
			c.detachedWith(2, frame.InvalidField)
		},
		"copies": func(_ *testing.T, c *controller) {
			c.attach(&frame.Attach{Name: "copies", Handle: 2, Role: frame.Receiver,
				Source: &frame.Source{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd, DistributionMode: frame.DistributionCopy}})
			c.acquire(2, c.declare(), 1, false)
			c.detachedWith(2, frame.NotImplemented)
		},
		"answers of the management": func(_ *testing.T, c *controller) {
			c.receiver(2, "/management")
			c.acquire(2, c.declare(), 1, false)
			c.detachedWith(2, frame.NotImplemented)
		},
		"outcome outside": func(_ *testing.T, c *controller) {
			txn := one(c)
			c.posted(1, txn, "y")
			c.send(0, &frame.Disposition{Role: frame.Receiver, Settled: true, State: frame.Accepted})
			c.settledBy(0, 0, frame.CodeModified)
			c.discharge(txn, false)
			c.rejected(frame.TransactionRollback)
			b.are("nothing of it happened", map[string]int{"q": 1})
		},
		"outcome in another transaction": func(_ *testing.T, c *controller) {
			one(c)
			other := c.declare()
			c.retire(0, 0, other, frame.Accepted, false)
			c.settledBy(0, 0, frame.CodeModified)
			c.detachedWith(coordinator, frame.TransactionRollback)
			b.are("it is back", map[string]int{"q": 1})
		},
		"link ends": func(_ *testing.T, c *controller) {
			txn := one(c)
			c.posted(1, txn, "y")
			c.send(0, &frame.Detach{Handle: 2})
			c.settledBy(0, 0, frame.CodeModified)
			expect[*frame.Detach](c.peer)
			c.discharge(txn, false)
			c.rejected(frame.TransactionRollback)
			b.are("nothing of it happened", map[string]int{"q": 1})
		},
		"link without deliveries ends": func(_ *testing.T, c *controller) {
			c.receiver(2, "/queues/q")
			txn := c.declare()
			c.acquire(2, txn, 1, false)
			c.send(0, &frame.Detach{Handle: 2, Closed: true})
			expect[*frame.Detach](c.peer)
			c.posted(1, txn, "y")
			c.discharge(txn, false)
			c.accepted()
			b.are("the transaction did not need it", map[string]int{"q": 1})
		},
		"coordinator ends": func(_ *testing.T, c *controller) {
			one(c)
			c.send(0, &frame.Detach{Handle: coordinator, Closed: true})
			c.settledBy(0, 0, frame.CodeModified)
			expect[*frame.Detach](c.peer)
			b.are("it is back", map[string]int{"q": 1})
			c.flow(2, 2, false, nil)
			c.got(nil, false)
		},
		"after a failure": func(_ *testing.T, c *controller) {
			txn := one(c)
			c.receiveSettled(3, "/queues/q")
			c.acquire(3, txn, 1, false)
			c.sender(4, "/queues/q")
			c.send(0, &frame.Transfer{Handle: 4, DeliveryID: frame.Some(c.next), Settled: true, State: in(txn, frame.State{}),
				Payload: append((&frame.Properties{UserID: []byte("somebody")}).Append(nil), data("x")...)})
			c.next++
			c.settledBy(0, 0, frame.CodeModified)
			c.detachedWith(3, frame.TransactionRollback)
			// What the other link acquires until the discharge comes back then.
			c.acquire(2, txn, 2, false)
			if _, m := c.got(txn, false); m.Header.DeliveryCount != 1 {
				c.Fatalf("header %+v", m.Header)
			}
			c.receiveSettled(5, "/queues/q")
			c.acquire(5, txn, 1, false)
			c.detachedWith(5, frame.TransactionRollback)
			c.discharge(txn, false)
			c.settledBy(1, 1, frame.CodeModified)
			c.rejected(frame.TransactionRollback)
			b.are("it is back", map[string]int{"q": 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			b.empties("q")
			c := b.controller()
			c.TB = t
			c.sender(1, "/queues/q")
			run(t, c)
			c.send(0, &frame.End{})
			expect[*frame.End](c.peer)
		})
	}
}

// TestResumedIsNotAcquired: what a link had before it acquires in a transaction is not of that, though it is sent again.
func TestResumedIsNotAcquired(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	c := b.controller()
	c.sender(1, "/queues/q")
	c.publish(1, "old")
	c.attach(&frame.Attach{Name: "r", Handle: 2, Role: frame.Receiver, Source: lasting("/queues/q")})
	c.flow(2, 1, false, nil)
	old := expect[*frame.Transfer](c.peer)
	c.send(0, &frame.Detach{Handle: 2})
	expect[*frame.Detach](c.peer)
	c.publish(1, "new")
	c.attach(&frame.Attach{Name: "r", Handle: 2, Role: frame.Receiver, Source: lasting("/queues/q"), Unsettled: unsettledMap(entry{tag: old.DeliveryTag})})
	txn := c.declare()
	c.acquire(2, txn, 2, false)
	if resumed := expect[*frame.Transfer](c.peer); !resumed.Resume || resumed.State.Code == frame.CodeTransactionalState || !bytes.Equal(resumed.DeliveryTag, old.DeliveryTag) {
		t.Fatalf("transfer %+v", resumed)
	}
	id, _ := c.got(txn, false)
	c.discharge(txn, true)
	c.settledBy(id, id, frame.CodeModified)
	c.accepted()
	b.are("the new one is back", map[string]int{"q": 1})
}

// TestAcquisitionIsBounded: a session that has acquired too much in transactions cannot commit it.
func TestAcquisitionIsBounded(t *testing.T) {
	const most = 100_000
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.client()
	mode := amqp.SenderSettleModeSettled
	sender := must(s.NewSender(soon(t), "/queues/q", &amqp.SenderOptions{SettlementMode: &mode}))
	for range most + 1 {
		check(t, sender.Send(t.Context(), amqp.NewMessage(nil), nil))
	}
	handled(t, s)
	b.are("all are there", map[string]int{"q": most + 1})
	c := b.controller()
	c.receiveSettled(3, "/queues/q")
	txn := c.declare()
	c.acquire(3, txn, most+1, false)
	for range most + 1 {
		c.got(txn, true)
	}
	c.discharge(txn, false)
	_, p, err := c.peer.next()
	if d, is := p.(*frame.Detach); is && d.Handle == 3 && d.Error.Condition == frame.TransactionRollback { // it was found out before
		_, p, err = c.peer.next()
	}
	d, is := p.(*frame.Disposition)
	if !is {
		t.Fatalf("%+v, %v", p, err)
	}
	c.rejectedIn(d.State, frame.TransactionRollback)
	b.are("all are back", map[string]int{"q": most + 1})
}

// TestAcquisitionsOutlivePowerLoss: at every moment of a commit, the disk has all of it or nothing, with what was sent settled.
func TestAcquisitionsOutlivePowerLoss(t *testing.T) {
	disk := newLosses()
	queues := []string{"in", "other", "a", "b"} // in several shards
	b := startOn(t, defaults(), disk.Crash)
	for _, q := range queues {
		b.queue(q, nil)
	}
	c := b.controller()
	for i, q := range queues {
		c.sender(uint32(i), "/queues/"+q)
	}
	c.publish(0, "x")
	c.publish(1, "x")
	c.receiver(8, "/queues/in")
	c.receiveSettled(9, "/queues/other")
	txn := c.declare()
	c.acquire(8, txn, 1, false)
	c.got(txn, false)
	c.acquire(9, txn, 1, false)
	c.got(txn, true)
	c.posted(2, txn, "y")
	c.posted(3, txn, "y")
	c.retire(0, 0, txn, frame.Accepted, true)
	disk.commits(c, txn, queues, "1100", "0011")
}
