package amqp091_test

import (
	"errors"
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestDelayedExchange publishes to exchanges that delay messages, of which those without a delay overtake the others, and
// those with a shorter one, too.
func TestDelayedExchange(t *testing.T) {
	for kind, durable := range map[string]bool{"direct": true, "topic": false, "headers": true} {
		t.Run(kind, func(t *testing.T) {
			b := start(t, defaults())
			_, ch := b.client()
			check(t, ch.ExchangeDeclare("later", "x-delayed-message", durable, false, false, false, amqp.Table{"x-delayed-type": kind}))
			must(ch.QueueDeclare("q", durable, false, false, false, nil))
			check(t, ch.QueueBind("q", "k", "later", false, amqp.Table{"color": "red"}))
			check(t, ch.Confirm(false))
			confirms := ch.NotifyPublish(make(chan amqp.Confirmation, 4))
			mode := amqp.Transient
			if durable {
				mode = amqp.Persistent
			}
			for _, p := range []struct {
				body  string
				delay any // of header x-delay
				color string
			}{{"last", int32(300), "red"}, {"second", int64(100), "red"}, {"first", nil, "red"}, {"none", "0", "red"}} {
				headers := amqp.Table{"color": p.color}
				if p.delay != nil {
					headers["x-delay"] = p.delay
				}
				check(t, ch.PublishWithContext(t.Context(), "later", "k", false, false, amqp.Publishing{Headers: headers, DeliveryMode: mode, Body: []byte(p.body)}))
			}
			for range 4 {
				if c := <-confirms; !c.Ack {
					t.Errorf("publish %d was refused", c.DeliveryTag)
				}
			}
			deliveries := must(ch.Consume("q", "", true, false, false, false, nil))
			for _, want := range []string{"first", "none", "second", "last"} {
				d := <-deliveries
				if string(d.Body) != want {
					t.Fatalf("got %q, want %q", d.Body, want)
				}
				if want == "last" && d.Headers["x-delay"] != int32(300) {
					t.Errorf("x-delay became %v", d.Headers["x-delay"])
				}
			}
		})
	}
}

// TestDelayedExchangeRefusals: what cannot be is said.
func TestDelayedExchangeRefusals(t *testing.T) {
	b := start(t, defaults())
	for _, args := range []amqp.Table{nil, {"x-delayed-type": "x-delayed-message"}, {"x-delayed-type": "rumour"}} {
		for _, durable := range []bool{true, false} {
			_, ch := b.client()
			var e *amqp.Error
			if err := ch.ExchangeDeclare("later", "x-delayed-message", durable, false, false, false, args); !errors.As(err, &e) || e.Code != 406 {
				t.Errorf("%v, durable %v: %v", args, durable, err)
			}
		}
	}
}

// TestDelayedExchangeInTransaction: what a transaction publishes waits from the commit on, and not after a rollback.
func TestDelayedExchangeInTransaction(t *testing.T) {
	b := start(t, defaults())
	_, ch := b.client()
	check(t, ch.ExchangeDeclare("later", "x-delayed-message", true, false, false, false, amqp.Table{"x-delayed-type": "fanout"}))
	_, err := ch.QueueDeclare("q", true, false, false, false, nil)
	check(t, err)
	check(t, ch.QueueBind("q", "", "later", false, nil))
	check(t, ch.Tx())
	put := func(body string, delay int, mode uint8) {
		t.Helper()
		check(t, ch.PublishWithContext(t.Context(), "later", "", false, false, amqp.Publishing{Headers: amqp.Table{"x-delay": delay}, DeliveryMode: mode, Body: []byte(body)}))
	}
	put("never", 1, amqp.Persistent)
	put("never", 1, amqp.Transient)
	check(t, ch.TxRollback())
	put("third", 400, amqp.Persistent)
	put("second", 200, amqp.Persistent)
	put("fleeting", 100, amqp.Transient)
	put("first", 0, amqp.Persistent)
	check(t, ch.TxCommit())
	deliveries, err := ch.Consume("q", "", true, false, false, false, nil)
	check(t, err)
	var got []string
	for range 4 {
		got = append(got, string((<-deliveries).Body))
	}
	if i := slices.Index(got, "fleeting"); i < 0 || !slices.Equal(slices.Delete(got, i, i+1), []string{"first", "second", "third"}) {
		t.Errorf("got %q", got)
	}
}
