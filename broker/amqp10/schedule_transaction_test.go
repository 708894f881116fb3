package amqp10_test

import (
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// postRaw sends a message in a transaction, and answers its provisional outcome.
func (c *controller) postRaw(handle uint32, txn, message []byte) frame.State {
	c.Helper()
	c.send(0, &frame.Transfer{Handle: handle, DeliveryID: frame.Some(c.next), DeliveryTag: []byte{1}, State: in(txn, frame.State{}), Payload: message})
	c.next++
	var ts frame.TransactionalState
	check(c, ts.Decode(c.outcome()))
	return ts.Outcome
}

// waiting is a durable message that is to wait, by an annotation or for an exchange that delays.
func waiting(body string, annotation, property time.Duration) []byte {
	h := frame.NoHeader
	h.Durable = true
	dst := h.Append(nil)
	if annotation > 0 {
		dst = append(dst, 0, 0x53, 0x72)
		dst = frame.AppendMap(dst, frame.Map(frame.AppendLong(frame.AppendSymbol(nil, "x-opt-delivery-delay"), annotation.Milliseconds())))
	}
	if property > 0 {
		dst = append(dst, 0, 0x53, 0x74)
		dst = frame.AppendMap(dst, frame.Map(frame.AppendLong(frame.AppendString(nil, "x-delay"), property.Milliseconds())))
	}
	return append(dst, data(body)...)
}

// TestScheduledInTransaction: messages that are to wait, in a transaction, do so from its commit on; not after a rollback. Of
// several, the places that limits.delayedMessages has are taken by the commit. 4 §4.4.1
func TestScheduledInTransaction(t *testing.T) {
	config := defaults()
	config.Limits.DelayedMessages = 3
	b := start(t, config)
	b.queue("q", nil)
	b.apply(object.KindExchange, "/", "later", object.ExchangeSpec{Type: object.ExchangeDelayed, Durable: true, Arguments: object.Arguments{"x-delayed-type": "direct"}})
	binding := object.BindingSpec{Source: "later", Destination: "q", DestinationType: object.DestinationQueue, RoutingKey: "k"}
	b.apply(object.KindBinding, "/", binding.Name(), binding)
	c := b.controller()
	c.sender(1, "/queues/q")
	c.sender(2, "/exchanges/later/k")
	accepted := func(s frame.State) {
		t.Helper()
		if s.Code != frame.CodeAccepted {
			t.Fatalf("outcome %v %q", s.Code, s.Fields)
		}
	}
	for _, fail := range []bool{true, false} {
		txn := c.declare()
		accepted(c.postRaw(1, txn, waiting("x", time.Hour, 0)))
		accepted(c.postRaw(1, txn, waiting("x", 20*time.Millisecond, 0)))
		accepted(c.postRaw(2, txn, waiting("x", 0, 10*time.Millisecond)))
		accepted(c.postRaw(2, txn, waiting("x", 0, 0)))
		if n := b.hub.DelayedCount(); n != 0 {
			t.Errorf("%d messages wait before the discharge", n)
		}
		c.discharge(txn, fail)
		c.accepted()
	}
	c.receiver(3, "/queues/q")
	c.credit(3, 0, 4, false)
	for range 3 { // at once, and after 10 and 20 ms
		c.receive()
	}

	// One waits for an hour, and has its place; the others give theirs back soon after they have come.
	commits := func(n int) bool {
		txn := c.declare()
		for range n {
			accepted(c.postRaw(1, txn, waiting("x", time.Hour, 0)))
		}
		c.discharge(txn, false)
		return c.outcome().Code == frame.CodeAccepted
	}
	if commits(3) {
		t.Error("four messages wait")
	}
	for deadline := time.Now().Add(patience); !commits(2); {
		if time.Now().After(deadline) {
			t.Fatal("places are not given back")
		}
	}
	c.rejectedIn(c.postRaw(1, c.declare(), waiting("x", time.Hour, 0)), frame.ResourceLimitExceeded)
	if n := b.hub.DelayedCount(); n != 3 {
		t.Errorf("%d messages wait", n)
	}
}
