package amqp091_test

import (
	"fmt"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func count(t testing.TB, ch *amqp.Channel, queue string) int {
	t.Helper()
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	check(t, err)
	return q.Messages
}

// TestTransaction moves messages between queues of all kinds: nothing is seen before the commit, everything after it, and
// nothing at all after a rollback.
func TestTransaction(t *testing.T) {
	p := start(t)
	_, ch := p.channel()
	_, other := p.channel()
	queues := []string{"in"}
	declare(t, ch, "in", true, nil)
	for i := range 6 {
		queues = append(queues, declare(t, ch, fmt.Sprint("out-", i), i < 5, nil))
	}
	seen := func() (n int) {
		for i, q := range queues[1:] {
			state, err := other.QueueDeclarePassive(q, i < 5, false, false, false, nil)
			check(t, err)
			n += state.Messages
		}
		return n
	}
	work := func(body string) {
		t.Helper()
		for _, q := range queues[1:] {
			check(t, ch.PublishWithContext(t.Context(), "", q, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)}))
		}
	}
	check(t, other.Confirm(false))
	publish(t, other, "", "in", amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("work")})
	check(t, ch.Tx())
	d, ok, err := ch.Get("in", false)
	check(t, err)
	if !ok {
		t.Fatal("no work")
	}

	work("undone")
	check(t, d.Ack(false))
	if n := seen(); n != 0 {
		t.Errorf("%d messages are seen before the commit", n)
	}
	check(t, ch.TxRollback())
	check(t, ch.TxCommit()) // of nothing
	if n := seen(); n != 0 {
		t.Errorf("%d messages are seen after the rollback", n)
	}

	work("done")
	check(t, d.Ack(false)) // the rollback took the first one back
	check(t, ch.TxCommit())
	if n := seen(); n != len(queues)-1 {
		t.Errorf("%d messages are seen after the commit", n)
	}
	p.restart()
	_, ch = p.channel()
	for _, q := range queues[1:6] {
		if d := get(t, ch, q); string(d.Body) != "done" {
			t.Errorf("queue %s has %q", q, d.Body)
		}
	}
	if n := count(t, ch, "in"); n != 0 {
		t.Errorf("%d messages of work are left", n)
	}
}

// TestTransactionEndsWithItsChannel: what was not committed never happened, and is delivered again.
func TestTransactionEndsWithItsChannel(t *testing.T) {
	p := start(t)
	_, ch := p.channel()
	declare(t, ch, "in", true, nil)
	check(t, ch.Confirm(false))
	publish(t, ch, "", "in", amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("work")})
	_, tx := p.channel()
	check(t, tx.Tx())
	d, _, err := tx.Get("in", false)
	check(t, err)
	check(t, d.Ack(false))
	check(t, tx.PublishWithContext(t.Context(), "", "in", false, false, amqp.Publishing{Body: []byte("lost")}))
	check(t, tx.Close())
	if d := get(t, ch, "in"); string(d.Body) != "work" || !d.Redelivered {
		t.Errorf("got %q, redelivered %t", d.Body, d.Redelivered)
	}
	if n := count(t, ch, "in"); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}
