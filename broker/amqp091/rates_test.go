package amqp091_test

import (
	"errors"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// limited makes a user, whose password is pw, with limits.
func (b *broker) limited(name string, l object.UserLimits) {
	b.Helper()
	b.apply(
		must(object.New(object.KindUser, "", name, object.UserSpec{Password: "pw", Limits: l})),
		must(object.New(object.KindPermission, "/", name, object.PermissionSpec{Configure: ".*", Write: ".*", Read: ".*"})),
	)
}

func (b *broker) dialAs(name string) (*amqp.Connection, error) {
	return amqp.Dial("amqp://" + name + ":pw@" + b.address + "/")
}

// send publishes so many messages of one byte to the queue q.
func send(t *testing.T, ch *amqp.Channel, n int) {
	t.Helper()
	for range n {
		check(t, ch.Publish("", "q", false, false, amqp.Publishing{Body: []byte("x")}))
	}
}

// depth is how many messages the queue q has, on a channel of a user without rates.
func depth(t *testing.T, b *broker) int {
	t.Helper()
	conn, err := b.dialAs("watcher")
	check(t, err)
	defer conn.Close() //nolint:errcheck // nothing depends on it
	ch, err := conn.Channel()
	check(t, err)
	q, err := ch.QueueDeclarePassive("q", true, false, false, false, nil)
	check(t, err)
	return q.Messages
}

// A rate of 0.01 lets the first message pass and the next one 100 seconds later.
func TestRatesOfPublishers(t *testing.T) {
	b := start(t, defaults())
	b.limited("watcher", object.UserLimits{})
	b.limited("lossy", object.UserLimits{Client: object.Rate{MessagesPerSecond: 0.01}, OnExcess: object.Drop})
	b.limited("slow", object.UserLimits{Client: object.Rate{MessagesPerSecond: 5}, OnExcess: object.Drop})
	b.limited("strict", object.UserLimits{User: object.Rate{MessagesPerSecond: 0.01}, OnExcess: object.Disconnect})
	b.apply(must(object.New(object.KindQueue, "/", "q", object.QueueSpec{Durable: true})))
	channel := func(user string) *amqp.Channel {
		t.Helper()
		conn, err := b.dialAs(user)
		check(t, err)
		t.Cleanup(func() { conn.Close() }) //nolint:errcheck // it may be gone
		ch, err := conn.Channel()
		check(t, err)
		return ch
	}
	want := 0
	expect := func(more int, what string) {
		t.Helper()
		want += more
		if n := depth(t, b); n != want {
			t.Fatalf("%s: the queue has %d messages, want %d", what, n, want)
		}
	}

	ch := channel("lossy")
	check(t, ch.Confirm(false))
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, 3))
	send(t, ch, 3)
	for i := range 3 {
		if c := <-confirms; c.DeliveryTag != uint64(i+1) || c.Ack != (i == 0) {
			t.Errorf("confirm %d: %+v, want an ack for the first alone", i, c)
		}
	}
	expect(1, "drop with confirms")

	ch = channel("lossy")
	send(t, ch, 3)
	_, err := ch.QueueDeclarePassive("q", true, false, false, false, nil) // what came before has been seen to
	check(t, err)
	expect(1, "drop without confirms")

	ch = channel("slow")
	began := time.Now()
	check(t, ch.Tx())
	send(t, ch, 6)
	check(t, ch.TxCommit())
	if took := time.Since(began); took < 100*time.Millisecond { // five at once, and one that is due within 200 ms
		t.Errorf("six messages took %v", took)
	}
	expect(6, "a transaction is slowed down instead")

	ch = channel("strict")
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	send(t, ch, 2)
	if e := <-closed; e == nil || e.Code != amqp.ConnectionForced || e.Reason != "CONNECTION_FORCED - user 'strict' publishes more than 0.01 messages per second" {
		t.Errorf("closed with %v", e)
	}
	expect(1, "disconnect")
}

func TestRatesAndBoundsOfConnections(t *testing.T) {
	b := start(t, defaults())
	b.limited("eager", object.UserLimits{User: object.Rate{ConnectsPerSecond: 0.01}})
	b.limited("single", object.UserLimits{MaxConnections: 1})
	for user, want := range map[string]amqp.Error{
		"eager":  {Code: amqp.ConnectionForced, Reason: "CONNECTION_FORCED - user 'eager' connects more than 0.01 times per second"},
		"single": {Code: amqp.NotAllowed, Reason: "NOT_ALLOWED - connection refused for user 'single': user connection limit (1) is reached"},
	} {
		conn, err := b.dialAs(user)
		check(t, err)
		defer conn.Close() //nolint:errcheck // at the end
		_, err = b.dialAs(user)
		var e *amqp.Error
		if !errors.As(err, &e) || e.Code != want.Code || e.Reason != want.Reason {
			t.Errorf("second connection of %s: %v, want %v", user, err, &want)
		}
	}
}
