package amqp091_test

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestAlternateExchange: what an exchange has no binding for goes to its alternate exchange, and on from there; only what
// that loses as well is returned.
func TestAlternateExchange(t *testing.T) {
	p := start(t)
	_, ch := p.channel()
	for _, durable := range []bool{true, false} {
		name := map[bool]string{true: "durable", false: "transient"}[durable]
		check(t, ch.ExchangeDeclare(name+"-last", "direct", durable, false, false, false, nil))
		check(t, ch.ExchangeDeclare(name+"-second", "direct", durable, false, false, false, amqp.Table{"alternate-exchange": name + "-last"}))
		check(t, ch.ExchangeDeclare(name+"-first", "direct", durable, false, false, false, amqp.Table{"alternate-exchange": name + "-second"}))
		for _, x := range []string{"-first", "-second", "-last"} {
			declare(t, ch, name+x, durable, nil)
			check(t, ch.QueueBind(name+x, x, name+x, false, nil))
		}
		returned := ch.NotifyReturn(make(chan amqp.Return, 10))
		for _, key := range []string{"-first", "-second", "-last", "nowhere"} {
			check(t, ch.PublishWithContext(t.Context(), name+"-first", key, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(key)}))
		}
		if r := receive(t, "the return", returned); string(r.Body) != "nowhere" || r.Exchange != name+"-first" {
			t.Errorf("%q of exchange %s was returned", r.Body, r.Exchange)
		}
		for _, x := range []string{"-first", "-second", "-last"} {
			if d := get(t, ch, name+x); string(d.Body) != x || d.Exchange != name+"-first" {
				t.Errorf("queue %s has %q of exchange %s", name+x, d.Body, d.Exchange)
			}
		}
	}
	p.restart()
	_, ch = p.channel()
	_, err := ch.QueuePurge("durable-last", false) // what was taken a moment before the kill may be back
	check(t, err)
	check(t, ch.PublishWithContext(t.Context(), "durable-first", "-last", false, false, amqp.Publishing{Body: []byte("again")}))
	if d := get(t, ch, "durable-last"); string(d.Body) != "again" {
		t.Errorf("after a restart: %q", d.Body)
	}
}
