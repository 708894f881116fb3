package amqp091_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestGlobalPrefetch: with global, the consumers of a channel hold so many deliveries together, and each settled one makes
// room for one more, of any queue.
func TestGlobalPrefetch(t *testing.T) {
	p := start(t)
	for _, durable := range []bool{false, true} {
		_, ch := p.channel()
		check(t, ch.Confirm(false))
		var queues []string
		var from []<-chan amqp.Delivery
		for _, name := range []string{"first", "second"} {
			q := declare(t, ch, fmt.Sprint(name, durable), durable, nil)
			queues = append(queues, q)
			for i := range 10 {
				publish(t, ch, "", q, amqp.Publishing{Body: fmt.Append(nil, q, i)})
			}
		}
		_, consumers := p.channel()
		check(t, consumers.Qos(3, 0, true))
		for _, q := range queues {
			deliveries, err := consumers.Consume(q, "", false, false, false, false, nil)
			check(t, err)
			from = append(from, deliveries)
		}
		next := func() amqp.Delivery {
			select {
			case d := <-from[0]:
				return d
			case d := <-from[1]:
				return d
			case <-t.Context().Done():
				panic("the test ended")
			}
		}
		waiting := func() int { return count(t, ch, queues[0]) + count(t, ch, queues[1]) }
		var held []amqp.Delivery
		for range 3 {
			held = append(held, next())
		}
		if n := waiting(); n != 17 {
			t.Fatalf("durable %v: %d of 20 wait with a global prefetch of 3", durable, n)
		}
		for n := 17; n > 0; n-- {
			check(t, held[0].Ack(false))
			held = append(held[1:], next())
			if got := waiting(); got != n-1 {
				t.Fatalf("durable %v: %d wait, not %d", durable, got, n-1)
			}
		}
		check(t, consumers.Qos(0, 0, true)) // no limit again
		for i := range 5 {
			publish(t, ch, "", queues[i%2], amqp.Publishing{})
			held = append(held, next())
		}
		check(t, held[len(held)-1].Ack(true))
	}
}

// TestFlow: a channel whose flow is off gets no deliveries, and gets them all when it is on again.
func TestFlow(t *testing.T) {
	p := start(t)
	_, other := p.channel()
	check(t, other.Confirm(false))
	for _, durable := range []bool{false, true} {
		_, ch := p.channel()
		q := declare(t, ch, fmt.Sprint("q", durable), durable, nil)
		deliveries, err := ch.Consume(q, "", true, false, false, false, nil)
		check(t, err)
		publish(t, other, "", q, amqp.Publishing{Body: []byte("before")})
		receive(t, "the delivery before", deliveries)
		check(t, ch.Flow(false))
		for range 5 {
			publish(t, other, "", q, amqp.Publishing{Body: []byte("held back")})
		}
		if n := count(t, other, q); n != 5 {
			t.Errorf("durable %v: %d of 5 wait while the flow is off", durable, n)
		}
		check(t, ch.Flow(true))
		for range 5 {
			receive(t, "a delivery held back", deliveries)
		}
	}
}

// TestCarbonCopies: CC and BCC name further routing keys; a message goes to each queue once, and BCC is not seen.
func TestCarbonCopies(t *testing.T) {
	p := start(t)
	_, ch := p.channel()
	for _, q := range []string{"to", "cc", "bcc", "other"} {
		declare(t, ch, q, true, nil)
	}
	check(t, ch.ExchangeDeclare("topics", "topic", false, false, false, false, nil))
	check(t, ch.QueueBind("to", "#", "topics", false, nil))
	check(t, ch.QueueBind("cc", "cc.*", "topics", false, nil))
	for exchange, keys := range map[string][3]string{"": {"to", "cc", "bcc"}, "topics": {"to.x", "cc.x", "bcc.x"}} {
		publish(t, ch, exchange, keys[0], amqp.Publishing{
			Headers: amqp.Table{"CC": []any{keys[1], keys[1], keys[0]}, "BCC": []any{keys[2]}, "kept": "yes"}, DeliveryMode: amqp.Persistent, MessageId: "m1", Body: []byte("x"),
		})
		for _, q := range []string{"to", "cc", "bcc"} {
			if q == "bcc" && exchange == "topics" {
				continue
			}
			d := get(t, ch, q)
			if d.RoutingKey != keys[0] || d.MessageId != "m1" || d.Headers["kept"] != "yes" || d.Headers["BCC"] != nil || fmt.Sprint(d.Headers["CC"]) != fmt.Sprint([]any{keys[1], keys[1], keys[0]}) {
				t.Errorf("queue %s got key %q, headers %v", q, d.RoutingKey, d.Headers)
			}
		}
		for _, q := range []string{"to", "cc", "bcc", "other"} {
			if n := count(t, ch, q); n != 0 {
				t.Errorf("queue %s has %d more", q, n)
			}
		}
	}
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	check(t, ch.PublishWithContext(t.Context(), "", "to", false, false, amqp.Publishing{Headers: amqp.Table{"CC": "to"}}))
	if err := receive(t, "the end of the channel", closed); err.Code != amqp.PreconditionFailed {
		t.Errorf("a CC that is no array: %v", err)
	}
}

// TestDirectReplyTo: a request finds its way back to the channel that sent it without a queue of the client's.
func TestDirectReplyTo(t *testing.T) {
	const replyTo = "amq.rabbitmq.reply-to"
	p := start(t)
	_, server := p.channel()
	declare(t, server, "requests", false, nil)
	requests, err := server.Consume("requests", "", true, false, false, false, nil)
	check(t, err)
	conn, ch := p.channel()
	refused := func(want string, do func(*amqp.Channel) error) {
		t.Helper()
		other, err := conn.Channel()
		check(t, err)
		closed := other.NotifyClose(make(chan *amqp.Error, 1))
		do(other) //nolint:errcheck // the notification tells
		if err := receive(t, "the end of the channel", closed); err.Code != amqp.PreconditionFailed || err.Reason != "PRECONDITION_FAILED - "+want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	refused("reply consumer cannot acknowledge", func(ch *amqp.Channel) error {
		_, err := ch.Consume(replyTo, "", false, false, false, false, nil)
		return err
	})
	refused("fast reply consumer does not exist", func(ch *amqp.Channel) error {
		return ch.PublishWithContext(t.Context(), "", "requests", false, false, amqp.Publishing{ReplyTo: replyTo})
	})
	refused("reply consumer already set", func(ch *amqp.Channel) error {
		for range 2 {
			if _, err := ch.Consume(replyTo, "", true, false, false, false, nil); err != nil {
				return err
			}
		}
		return nil
	})
	replies, err := ch.Consume(replyTo, "mine", true, false, false, false, nil)
	check(t, err)
	var address string
	for i := range 3 {
		check(t, ch.PublishWithContext(t.Context(), "", "requests", true, false, amqp.Publishing{ReplyTo: replyTo, CorrelationId: fmt.Sprint(i), Headers: amqp.Table{"h": "kept"}}))
		r := receive(t, "the request", requests)
		if address = r.ReplyTo; address == replyTo || r.Headers["h"] != "kept" || r.CorrelationId != fmt.Sprint(i) {
			t.Fatalf("request has reply_to %q, headers %v, correlation id %q", r.ReplyTo, r.Headers, r.CorrelationId)
		}
		if _, err := server.QueueDeclarePassive(address, false, true, false, false, nil); err != nil {
			t.Fatalf("the queue for replies is not seen: %v", err)
		}
		check(t, server.PublishWithContext(t.Context(), "", address, true, false, amqp.Publishing{CorrelationId: r.CorrelationId, Body: []byte("reply")}))
		if d := receive(t, "the reply", replies); d.CorrelationId != fmt.Sprint(i) || string(d.Body) != "reply" || d.ConsumerTag != "mine" {
			t.Errorf("reply %+v", d)
		}
	}
	check(t, ch.Close())
	returned := server.NotifyReturn(make(chan amqp.Return, 1))
	check(t, server.PublishWithContext(t.Context(), "", address, true, false, amqp.Publishing{Body: []byte("late")}))
	if r := receive(t, "the return of a late reply", returned); string(r.Body) != "late" {
		t.Errorf("returned %q", r.Body)
	}
}

// configured writes a configuration file and answers the arguments that name it.
func configured(t *testing.T, yaml string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "turnstone.yaml")
	check(t, os.WriteFile(file, []byte(yaml), 0o600))
	return []string{"--config", file}
}

// TestBlocked: who publishes more than the broker may hold is told so, and told when there is room again; who consumes
// goes on.
func TestBlocked(t *testing.T) {
	p := start(t, configured(t, "limits:\n  memoryBytes: 1000000\n")...)
	conn, ch := p.channel()
	_, other := p.channel()
	declare(t, ch, "q", false, nil)
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 10))
	go func() { // ends when there is room for all of it, or with the connection
		for range 30 {
			if ch.PublishWithContext(t.Context(), "", "q", false, false, amqp.Publishing{Body: make([]byte, 100_000)}) != nil {
				return
			}
		}
	}()
	if b := receive(t, "connection.blocked", blocked); !b.Active || b.Reason != "low on memory" {
		t.Errorf("told %+v", b)
	}
	deliveries, err := other.Consume("q", "", true, false, false, false, nil)
	check(t, err)
	for range 30 {
		receive(t, "a message", deliveries)
	}
	if b := receive(t, "connection.unblocked", blocked); b.Active {
		t.Errorf("told %+v", b)
	}
}

// TestConsumerTimeout: who holds a delivery for too long loses the channel, and the message is somebody else's.
func TestConsumerTimeout(t *testing.T) {
	p := start(t, configured(t, "limits:\n  consumerTimeoutMillis: 2000\n")...)
	_, other := p.channel()
	declare(t, other, "patient", true, amqp.Table{"x-consumer-timeout": 0})
	publish(t, other, "", "patient", amqp.Publishing{Body: []byte("kept")})
	kept, err := other.Consume("patient", "", false, false, false, false, nil)
	check(t, err)
	receive(t, "the delivery of the patient queue", kept)
	for name, arguments := range map[string]amqp.Table{"broker's": nil, "queue's": {"x-consumer-timeout": 1000}} {
		want := map[string]string{"broker's": "2000", "queue's": "1000"}[name]
		_, ch := p.channel()
		declare(t, ch, name, true, arguments)
		publish(t, ch, "", name, amqp.Publishing{Body: []byte("slow")})
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		deliveries, err := ch.Consume(name, "", false, false, false, false, nil)
		check(t, err)
		receive(t, "the delivery", deliveries)
		text := "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: " + want + " ms. This timeout value can be configured, see consumers doc guide to learn more"
		if err := receive(t, "the end of the channel", closed); err.Code != amqp.PreconditionFailed || err.Reason != text {
			t.Errorf("%s timeout: %v", name, err)
		}
		if d := get(t, other, name); string(d.Body) != "slow" || !d.Redelivered {
			t.Errorf("%s timeout: got %q, redelivered %v", name, d.Body, d.Redelivered)
		}
	}
}

// TestHashAndRandomExchanges: one queue gets each message; with a hash it is the same one for the same key.
func TestHashAndRandomExchanges(t *testing.T) {
	p := start(t)
	_, ch := p.channel()
	check(t, ch.Confirm(false))
	queues := []string{"a", "b", "c"}
	for _, q := range queues {
		declare(t, ch, q, true, nil)
	}
	for kind, arguments := range map[string]amqp.Table{"x-consistent-hash": nil, "x-random": nil, "x-local-random": nil, "by header": {"hash-header": "device"}, "by property": {"hash-property": "message_id"}} {
		name, kind := kind, kind
		if arguments != nil {
			kind = "x-consistent-hash"
		}
		check(t, ch.ExchangeDeclare(name, kind, true, false, false, false, arguments))
		for _, q := range queues {
			check(t, ch.QueueBind(q, "1", name, false, nil))
		}
		for i := range 60 {
			id := fmt.Sprint(i % 30)
			m := amqp.Publishing{Headers: amqp.Table{"device": id}, MessageId: id, Body: []byte(id)}
			key := "same"
			if arguments == nil {
				key = id
			}
			publish(t, ch, name, key, m)
		}
		where, all := make(map[string]map[string]int), 0
		for _, q := range queues {
			n := count(t, ch, q)
			if n == 0 || n == 60 {
				t.Errorf("%s: queue %s got %d of 60", name, q, n)
			}
			for all += n; n > 0; n-- {
				body := string(get(t, ch, q).Body)
				if where[body] == nil {
					where[body] = make(map[string]int)
				}
				where[body][q]++
			}
		}
		if all != 60 {
			t.Errorf("%s: %d messages of 60", name, all)
		}
		for body, in := range where {
			if kind == "x-consistent-hash" && len(in) != 1 {
				t.Errorf("%s: %q went to %v", name, body, in)
			}
		}
	}
}

// TestDeadLettersToHeaders: a dead message is routed by its headers, and by the keys of CC.
func TestDeadLettersToHeaders(t *testing.T) {
	p := start(t)
	_, ch := p.channel()
	declare(t, ch, "red", true, nil)
	declare(t, ch, "copy", true, nil)
	check(t, ch.QueueBind("red", "", "amq.headers", false, amqp.Table{"x-match": "all", "colour": "red"}))
	declare(t, ch, "headers", true, amqp.Table{"x-dead-letter-exchange": "amq.headers", "x-max-length": 0})
	declare(t, ch, "keys", true, amqp.Table{"x-dead-letter-exchange": "", "x-max-length": 0})
	publish(t, ch, "", "headers", amqp.Publishing{Headers: amqp.Table{"colour": "red"}, Body: []byte("r")})
	if d := await(t, ch, "red"); string(d.Body) != "r" {
		t.Errorf("got %q", d.Body)
	}
	publish(t, ch, "", "keys", amqp.Publishing{Headers: amqp.Table{"CC": []any{"copy"}}, Body: []byte("c")})
	for range 2 { // once as published, once from the dead letters
		if d := await(t, ch, "copy"); string(d.Body) != "c" {
			t.Errorf("got %q", d.Body)
		} else if d.Headers["x-death"] != nil && fmt.Sprint(deaths(t, d)[0]["routing-keys"]) != "[keys copy]" {
			t.Errorf("died with the keys %v", deaths(t, d)[0]["routing-keys"])
		}
	}
}
