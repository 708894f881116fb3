package amqp091_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func declare(t testing.TB, ch *amqp.Channel, name string, durable bool, arguments amqp.Table) string {
	t.Helper()
	q, err := ch.QueueDeclare(name, durable, false, false, false, arguments)
	check(t, err)
	return q.Name
}

func publish(t *testing.T, ch *amqp.Channel, exchange, key string, m amqp.Publishing) {
	t.Helper()
	confirm, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), exchange, key, false, false, m)
	check(t, err)
	if confirm != nil && !confirm.Wait() {
		t.Fatalf("message to %q %q was not confirmed", exchange, key)
	}
}

func get(t testing.TB, ch *amqp.Channel, queue string) amqp.Delivery {
	t.Helper()
	d, ok, err := ch.Get(queue, true)
	check(t, err)
	if !ok {
		t.Fatalf("queue %s is empty", queue)
	}
	return d
}

// TestConfirmedSurvivesKill: what was confirmed and not acknowledged is there after kill -9, in order, marked as
// redelivered or not; what was acknowledged is gone; what was not durable is gone.
func TestConfirmedSurvivesKill(t *testing.T) {
	p := start(t)
	_, ch := p.channel()
	check(t, ch.Confirm(false))
	queue := declare(t, ch, "orders", true, nil)
	declare(t, ch, "transient", false, nil)
	check(t, ch.ExchangeDeclare("trade", "topic", true, false, false, false, nil))
	check(t, ch.QueueBind(queue, "order.#", "trade", false, nil))
	for i := range 100 {
		publish(t, ch, "trade", "order.new", amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: fmt.Sprint(i), Headers: amqp.Table{"n": int32(i)}, Body: fmt.Appendf(nil, "order %d", i)})
	}
	for range 10 {
		d, ok, err := ch.Get(queue, false)
		check(t, err)
		if !ok {
			t.Fatal("queue is empty")
		}
		check(t, d.Ack(false))
	}
	publish(t, ch, "", queue, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("last")}) // after the acks
	p.restart()
	_, ch = p.channel()
	n := 0
	for i := 0; ; i++ {
		d, ok, err := ch.Get(queue, true)
		check(t, err)
		if !ok {
			break
		}
		if string(d.Body) == "last" {
			n++
			continue
		}
		var number int
		if _, err := fmt.Sscanf(string(d.Body), "order %d", &number); err != nil || d.MessageId != fmt.Sprint(number) || d.Headers["n"] != int32(number) || d.RoutingKey != "order.new" || d.Exchange != "trade" {
			t.Fatalf("got %+v", d)
		}
		if number >= 10 {
			n++
		}
	}
	if n != 91 {
		t.Errorf("%d of the 91 messages that were not acknowledged are there", n)
	}
	check(t, ch.Confirm(false))
	publish(t, ch, "trade", "order.new", amqp.Publishing{Body: []byte("bound")})
	if d := get(t, ch, queue); string(d.Body) != "bound" {
		t.Errorf("the binding routes %q", d.Body)
	}
	var e *amqp.Error
	if _, err := ch.QueueDeclarePassive("transient", false, false, false, false, nil); !errors.As(err, &e) || e.Code != amqp.NotFound {
		t.Errorf("the transient queue: %v", err)
	}
}

// TestErrors is what a client does wrong and what it is told, with RabbitMQ's words.
func TestErrors(t *testing.T) {
	p := start(t)
	setup, ch := p.channel()
	declare(t, ch, "q", true, nil)
	_, err := ch.QueueDeclare("mine", false, false, true, false, nil)
	check(t, err)
	for _, x := range []struct {
		name string
		do   func(ch *amqp.Channel) error
		code int
		text string
	}{
		{"no queue", func(ch *amqp.Channel) error {
			_, err := ch.Consume("no", "", true, false, false, false, nil)
			return err
		}, 404, "NOT_FOUND - no queue 'no' in vhost '/'"},
		{"no exchange", func(ch *amqp.Channel) error { return ch.QueueBind("q", "", "no", false, nil) }, 404, "NOT_FOUND - no exchange 'no' in vhost '/'"},
		{"another connection's queue", func(ch *amqp.Channel) error { _, err := ch.QueuePurge("mine", false); return err }, 405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'"},
		{"durable or not", func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("q", false, false, false, false, nil)
			return err
		}, 406, "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'"},
		{"type of an exchange", func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare("amq.fanout", "topic", true, false, false, false, nil)
		}, 406, "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.fanout' in vhost '/': received 'topic' but current is 'fanout'"},
		{"reserved name", func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("amq.q", true, false, false, false, nil)
			return err
		}, 403, "ACCESS_REFUSED - queue name 'amq.q' contains reserved prefix 'amq.*'"},
		{"type that does not exist", func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare("x", "x-recent-history", true, false, false, false, nil)
		}, 503, "COMMAND_INVALID - invalid exchange type 'x-recent-history'"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, ch := p.channel()
			var e *amqp.Error
			if err := x.do(ch); !errors.As(err, &e) || e.Code != x.code || !strings.HasPrefix(e.Reason, x.text) {
				t.Errorf("got %v, want %d %s", err, x.code, x.text)
			}
		})
	}
	if setup.IsClosed() {
		t.Error("a connection that did nothing wrong was closed")
	}
}

func TestWrongPassword(t *testing.T) {
	p := start(t, "--user", "admin:secret")
	for _, user := range []string{"admin:wrong", "guest:guest", "nobody:secret"} {
		var e *amqp.Error
		if _, err := amqp.Dial("amqp://" + user + "@" + p.address("amqp") + "/"); !errors.As(err, &e) || e.Code != 403 {
			t.Errorf("%s: %v", user, err)
		}
	}
	conn, err := amqp.Dial("amqp://admin:secret@" + p.address("amqp") + "/")
	check(t, err)
	check(t, conn.Close())
}

// TestGracefulStop: SIGTERM tells every client why, and ends with success.
func TestGracefulStop(t *testing.T) {
	p := start(t)
	conn, ch := p.channel()
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	check(t, ch.Confirm(false))
	declare(t, ch, "q", true, nil)
	publish(t, ch, "", "q", amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("kept")})
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if e := receive(t, "connection.close", closed); e.Code != amqp.ConnectionForced || !strings.HasPrefix(e.Reason, "CONNECTION_FORCED - ") {
		t.Errorf("closed with %v", e)
	}
	p.Begin()
	_, ch = p.channel()
	if d := get(t, ch, "q"); string(d.Body) != "kept" {
		t.Errorf("got %q", d.Body)
	}
}

// TestBacklogDrains: several consumers with prefetch share a backlog; each message comes once.
func TestBacklogDrains(t *testing.T) {
	p := start(t)
	_, ch := p.channel()
	check(t, ch.Confirm(false))
	queue := declare(t, ch, "work", true, nil)
	const count = 5000
	var last *amqp.DeferredConfirmation
	for i := range count {
		var err error
		last, err = ch.PublishWithDeferredConfirmWithContext(t.Context(), "", queue, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Append(nil, i)})
		check(t, err)
	}
	if !last.Wait() {
		t.Fatal("not confirmed")
	}
	deliveries := make(chan amqp.Delivery, count)
	for range 3 {
		_, ch := p.channel()
		check(t, ch.Qos(50, 0, false))
		from, err := ch.Consume(queue, "", false, false, false, false, nil)
		check(t, err)
		go func() { // ends with the connection
			for n := 1; ; n++ {
				d, ok := <-from
				if !ok {
					return
				}
				deliveries <- d
				if n%10 == 0 && d.Ack(true) != nil {
					return
				}
			}
		}()
	}
	seen := make(map[string]bool, count)
	for range count - 3*9 { // each consumer may sit on nine that it did not acknowledge, delivered all the same
		d := receive(t, "delivery", deliveries)
		if seen[string(d.Body)] {
			t.Fatalf("message %s came twice", d.Body)
		}
		seen[string(d.Body)] = true
	}
}
