package amqp091_test

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// deaths reads x-death.
func deaths(t testing.TB, d amqp.Delivery) (all []amqp.Table) {
	t.Helper()
	list, ok := d.Headers["x-death"].([]any)
	if !ok {
		t.Fatalf("there is no x-death in %v", d.Headers)
	}
	for _, e := range list {
		all = append(all, e.(amqp.Table))
	}
	return all
}

// await gets a message that is on its way.
func await(t testing.TB, ch *amqp.Channel, queue string) amqp.Delivery {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		d, ok, err := ch.Get(queue, false)
		check(t, err)
		if ok {
			return d
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing came to queue %s", queue)
		}
	}
}

// TestDeathIsWrittenDown: where, why, when and how often a message died, the newest death first.
func TestDeathIsWrittenDown(t *testing.T) {
	p := start(t)
	_, ch := p.channel()
	check(t, ch.ExchangeDeclare("in", "topic", true, false, false, false, nil))
	declare(t, ch, "work", true, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "wait"})
	declare(t, ch, "wait", true, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work", "x-message-ttl": 1})
	check(t, ch.QueueBind("work", "order.#", "in", false, nil))
	began := time.Now().Add(-2 * time.Second)
	check(t, ch.PublishWithContext(t.Context(), "in", "order.new", false, false, amqp.Publishing{
		DeliveryMode: amqp.Persistent, Expiration: "60000", Headers: amqp.Table{"mine": "stays"}, Body: []byte("it"),
	}))
	for round := range 3 {
		d := await(t, ch, "work")
		if round > 0 {
			all := deaths(t, d)
			if len(all) != 2 || all[0]["queue"] != "wait" || all[0]["reason"] != "expired" || all[1]["queue"] != "work" || all[1]["reason"] != "rejected" {
				t.Fatalf("deaths %v", all)
			}
			if all[0]["count"] != int64(round) || all[1]["count"] != int64(round) {
				t.Errorf("counts %v and %v in round %d", all[0]["count"], all[1]["count"], round)
			}
			first := all[1]
			keys, _ := first["routing-keys"].([]any)
			if first["exchange"] != "in" || len(keys) != 1 || keys[0] != "order.new" || first["original-expiration"] != "60000" {
				t.Errorf("the first death is %v", first)
			}
			if at, ok := first["time"].(time.Time); !ok || at.Before(began) || at.After(time.Now().Add(time.Second)) {
				t.Errorf("it died at %v", first["time"])
			}
			for name, want := range map[string]any{
				"mine": "stays", "x-first-death-reason": "rejected", "x-first-death-queue": "work", "x-first-death-exchange": "in",
				"x-last-death-reason": "expired", "x-last-death-queue": "wait", "x-last-death-exchange": "",
			} {
				if d.Headers[name] != want {
					t.Errorf("header %s is %v, want %v", name, d.Headers[name], want)
				}
			}
			if d.Expiration != "" || d.DeliveryMode != amqp.Persistent || string(d.Body) != "it" {
				t.Errorf("the message came as %+v", d)
			}
		}
		check(t, d.Reject(false))
	}
}

// TestDeathsDoNotGoRoundForEver: a message that comes to a queue again, rejected by nobody, is dropped.
func TestDeathsDoNotGoRoundForEver(t *testing.T) {
	p := start(t)
	_, ch := p.channel()
	declare(t, ch, "one", true, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "two", "x-message-ttl": 1})
	declare(t, ch, "two", true, amqp.Table{"x-dead-letter-exchange": "deaths", "x-message-ttl": 1})
	check(t, ch.ExchangeDeclare("deaths", "fanout", true, false, false, false, nil))
	declare(t, ch, "grave", true, nil)
	for _, q := range []string{"one", "grave"} {
		check(t, ch.QueueBind(q, "", "deaths", false, nil))
	}
	check(t, ch.PublishWithContext(t.Context(), "", "one", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("it")}))
	d := await(t, ch, "grave") // the fanout sent it there and, had it not been a cycle, to the first queue
	if all := deaths(t, d); len(all) != 2 {
		t.Errorf("deaths %v", all)
	}
	check(t, d.Ack(false))
	for _, q := range []string{"one", "two", "grave"} {
		if n := count(t, ch, q); n != 0 {
			t.Errorf("queue %s has %d messages", q, n)
		}
	}
}

// TestDeliveryCount: a queue with a delivery limit says how often a message came back.
func TestDeliveryCount(t *testing.T) {
	p := start(t)
	_, ch := p.channel()
	declare(t, ch, "q", true, amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": 5})
	check(t, ch.PublishWithContext(t.Context(), "", "q", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("it")}))
	for i := range 3 {
		d := await(t, ch, "q")
		if got := d.Headers["x-delivery-count"]; i == 0 && got != nil || i > 0 && got != int64(i) {
			t.Errorf("x-delivery-count is %v after %d", got, i)
		}
		check(t, d.Nack(false, true))
	}
}
