package amqp091_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
)

func TestProtocolHeader(t *testing.T) {
	b := start(t, defaults())
	for _, header := range []string{"AMQP\x01\x01\x00\x0a", "AMQP\x00\x01\x00\x00", "GET / HTTP/1.1\r\n\r\n"} {
		p := b.dial()
		p.write([]byte(header))
		got := make([]byte, 8)
		if _, err := p.conn.Read(got); err != nil || string(got) != frame.ProtocolHeader {
			t.Errorf("%q is answered by %q, %v", header, got, err)
		}
	}
}

func TestHandshakeRefusals(t *testing.T) {
	for _, x := range []struct {
		name string
		do   func(p *peer)
		code frame.ReplyCode
		text string
	}{
		{"password", func(p *peer) { p.send(0, plain("guest", "wrong")) }, frame.AccessRefused, "Login was refused using authentication mechanism PLAIN"},
		{"mechanism", func(p *peer) { p.send(0, &frame.ConnectionStartOk{Mechanism: "CRAM-MD5"}) }, frame.CommandInvalid, "unknown authentication mechanism 'CRAM-MD5'; there are PLAIN, AMQPLAIN"},
		{"response", func(p *peer) { p.send(0, &frame.ConnectionStartOk{Mechanism: "PLAIN", Response: []byte("guest")}) }, frame.SyntaxError, "1 parts"},
		{"out of order", func(p *peer) { p.send(0, &frame.ConnectionOpen{VirtualHost: "/"}) }, frame.CommandInvalid, "connection.open is not expected now"},
		{"channel before open", func(p *peer) { p.send(1, &frame.ChannelOpen{}) }, frame.CommandInvalid, "before connection.open"},
		{"frame size before login", func(p *peer) { p.write([]byte("\x01\x00\x00\x00\x10\x00\x00")) }, frame.FrameError, "larger than the maximum of 16384"},
		{"channel_max", func(p *peer) { tune(p, 60000, 131072) }, frame.NotAllowed, "negotiated channel_max = 60000 is greater than the maximum allowed value (2047)"},
		{"small frame_max", func(p *peer) { tune(p, 0, 4095) }, frame.NotAllowed, "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)"},
		{"large frame_max", func(p *peer) { tune(p, 0, 131073) }, frame.NotAllowed, "greater than the maximum allowed value (131072)"},
		{"vhost", func(p *peer) {
			tune(p, 0, 0)
			p.send(0, &frame.ConnectionOpen{VirtualHost: "no"})
		}, frame.NotAllowed, "NOT_ALLOWED - access to vhost 'no' refused for user 'guest'"},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := start(t, defaults()).dial()
			p.write([]byte(frame.ProtocolHeader))
			expect[*frame.ConnectionStart](p)
			x.do(p)
			m := expect[*frame.ConnectionClose](p)
			if m.ReplyCode != uint16(x.code) || !strings.Contains(m.ReplyText, x.text) {
				t.Errorf("got %d %q, want %d %q", m.ReplyCode, m.ReplyText, x.code, x.text)
			}
		})
	}
}

func tune(p *peer, channels uint16, frameMax uint32) {
	p.send(0, plain("guest", "guest"))
	expect[*frame.ConnectionTune](p)
	p.send(0, &frame.ConnectionTuneOk{ChannelMax: channels, FrameMax: frameMax})
}

func TestAMQPLAIN(t *testing.T) {
	p := start(t, defaults()).dial()
	p.write([]byte(frame.ProtocolHeader))
	expect[*frame.ConnectionStart](p)
	p.send(0, &frame.ConnectionStartOk{Mechanism: "AMQPLAIN", Response: frame.NewTable(map[string]any{"LOGIN": "guest", "PASSWORD": "guest"})})
	expect[*frame.ConnectionTune](p)
}

// TestLoginRefusedSilently: a client that does not say that it understands is cut off without a word, as 0-9-1 has it.
func TestLoginRefusedSilently(t *testing.T) {
	p := start(t, defaults()).dial()
	p.write([]byte(frame.ProtocolHeader))
	expect[*frame.ConnectionStart](p)
	p.send(0, &frame.ConnectionStartOk{Mechanism: "PLAIN", Response: []byte("\x00guest\x00wrong")})
	p.gone()
}

func TestConnectTimeout(t *testing.T) {
	c := defaults()
	c.Limits.ConnectTimeoutMillis = 50
	b := start(t, c)
	silent, half := b.dial(), b.dial()
	half.write([]byte("AMQP"))
	silent.gone()
	half.gone()
}

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	b := start(t, defaults())
	p := b.dial()
	p.login()
	p.send(0, &frame.ConnectionTuneOk{Heartbeat: 1})
	p.send(0, &frame.ConnectionOpen{VirtualHost: "/"})
	expect[*frame.ConnectionOpenOk](p)
	for range 2 {
		if f, err := p.next(); err != nil || f.Type != frame.TypeHeartbeat {
			t.Fatalf("got %+v, %v; want a heartbeat", f, err)
		}
		p.write(frame.AppendHeartbeat(nil))
	}
	for { // silent from here on
		if _, err := p.next(); err != nil {
			break
		}
	}
	if n := b.endpoint.Stats().TimedOut.Load(); n != 1 {
		t.Errorf("%d connections timed out", n)
	}
}

func TestShutdown(t *testing.T) {
	b := start(t, defaults())
	conn, _ := b.client()
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	if got := b.endpoint.Connections(); len(got) != 1 || got[0].User != "guest" || got[0].VirtualHost != "/" || got[0].Channels != 1 {
		t.Errorf("connections %+v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	check(t, b.endpoint.Shutdown(ctx))
	if e := receive(t, "close", closed); e.Code != 320 || !strings.HasPrefix(e.Reason, "CONNECTION_FORCED - ") {
		t.Errorf("closed with %v", e)
	}
	if got := b.endpoint.Connections(); len(got) != 0 {
		t.Errorf("connections %+v after shutdown", got)
	}
}

func TestExchangesAndBindings(t *testing.T) {
	b := start(t, defaults())
	_, ch := b.client()
	for _, kind := range []string{"direct", "topic", "fanout", "headers"} {
		check(t, ch.ExchangeDeclare("x."+kind, kind, kind == "topic", false, false, false, nil))
		check(t, ch.ExchangeDeclare("x."+kind, kind, kind == "topic", false, false, false, nil))
		check(t, ch.ExchangeDeclarePassive("x."+kind, kind, false, false, false, false, nil))
		q := must(ch.QueueDeclare("q."+kind, kind == "topic", false, false, false, nil))
		check(t, ch.QueueBind(q.Name, "plant.*.temp", "x."+kind, false, amqp.Table{"x-match": "any", "colour": "red", "size": int32(5)}))
	}
	send := func(exchange, key string, h amqp.Table) {
		t.Helper()
		check(t, ch.PublishWithContext(t.Context(), exchange, key, false, false, amqp.Publishing{Headers: h, Body: []byte(exchange)}))
	}
	count := func(queue string) int {
		t.Helper()
		n := 0
		for {
			_, ok, err := ch.Get(queue, true)
			check(t, err)
			if !ok {
				return n
			}
			n++
		}
	}
	send("x.direct", "plant.*.temp", nil)
	send("x.direct", "plant.1.temp", nil)
	send("x.topic", "plant.1.temp", nil)
	send("x.topic", "plant.1.humidity", nil)
	send("x.fanout", "", nil)
	send("x.headers", "", amqp.Table{"colour": "red"})
	send("x.headers", "", amqp.Table{"size": int64(5)})
	send("x.headers", "", amqp.Table{"colour": "blue"})
	for queue, want := range map[string]int{"q.direct": 1, "q.topic": 1, "q.fanout": 1, "q.headers": 2} {
		if n := count(queue); n != want {
			t.Errorf("%s has %d messages, want %d", queue, n, want)
		}
	}
	check(t, ch.ExchangeBind("x.fanout", "#", "x.topic", false, nil))
	send("x.topic", "anything", nil)
	if n := count("q.fanout"); n != 1 {
		t.Errorf("%d messages came through the exchange binding", n)
	}
	check(t, ch.ExchangeUnbind("x.fanout", "#", "x.topic", false, nil))
	check(t, ch.QueueUnbind("q.fanout", "plant.*.temp", "x.fanout", amqp.Table{"x-match": "any", "colour": "red", "size": int32(5)}))
	send("x.topic", "anything", nil)
	send("x.fanout", "", nil)
	if n := count("q.fanout"); n != 0 {
		t.Errorf("%d messages after unbinding", n)
	}
	expectClose(t, b, "exchange 'x.direct' in vhost '/' in use", 406, func(ch *amqp.Channel) error { return ch.ExchangeDelete("x.direct", true, false) })
	check(t, ch.ExchangeDelete("x.direct", false, false))
	expectClose(t, b, "no exchange 'x.direct'", 404, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive("x.direct", "direct", false, false, false, false, nil)
	})
}

// expectClose runs an operation that must close its channel.
func expectClose(t *testing.T, b *broker, text string, code int, do func(*amqp.Channel) error) {
	t.Helper()
	_, ch := b.client()
	var e *amqp.Error
	if err := do(ch); !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Reason, text) {
		t.Errorf("got %v, want %d %s", err, code, text)
	}
}

func TestQueues(t *testing.T) {
	b := start(t, defaults())
	_, ch := b.client()
	named := must(ch.QueueDeclare("", false, true, true, false, nil))
	if !strings.HasPrefix(named.Name, "amq.gen-") {
		t.Errorf("made up the name %q", named.Name)
	}
	expectClose(t, b, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue", 405, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(named.Name, false, true, true, false, nil)
		return err
	})
	must(ch.QueueDeclare("d", true, false, false, false, amqp.Table{"x-max-length": int32(10)}))
	must(ch.QueueDeclare("d", true, false, false, false, amqp.Table{"x-max-length": int64(10)}))
	expectClose(t, b, "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'd' in vhost '/': received '11' but current is '10'", 406, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("d", true, false, false, false, amqp.Table{"x-max-length": int32(11)})
		return err
	})
	expectClose(t, b, "inequivalent arg 'durable' for queue 'd'", 406, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("d", false, false, false, false, nil)
		return err
	})
	for range 12 {
		check(t, ch.PublishWithContext(t.Context(), "", "d", false, false, amqp.Publishing{}))
	}
	must(ch.QueueDeclarePassive("d", true, false, false, false, nil)) // behind the publishes
	expectClose(t, b, "queue 'd' in vhost '/' not empty", 406, func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete("d", false, true, false)
		return err
	})
	if n := must(ch.QueuePurge("d", false)); n != 10 {
		t.Errorf("purged %d messages, want 10", n)
	}
	must(ch.Consume("d", "user", true, false, false, false, nil))
	expectClose(t, b, "queue 'd' in vhost '/' in use", 406, func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete("d", true, false, false)
		return err
	})
	expectClose(t, b, "ACCESS_REFUSED - queue 'd' in vhost '/' in exclusive use", 403, func(ch *amqp.Channel) error {
		_, err := ch.Consume("d", "", true, true, false, false, nil)
		return err
	})
	cancelled := ch.NotifyCancel(make(chan string, 1))
	_, other := b.client()
	must(other.QueueDelete("d", false, false, false))
	if tag := receive(t, "basic.cancel", cancelled); tag != "user" {
		t.Errorf("cancelled %q", tag)
	}
	must(other.QueueDelete("d", false, false, false)) // of none is no error
}

func TestGetAndSettle(t *testing.T) {
	b := start(t, defaults())
	_, ch := b.client()
	q := must(ch.QueueDeclare("q", false, false, false, false, nil)).Name
	for i := range 6 {
		check(t, ch.PublishWithContext(t.Context(), "", q, false, false, amqp.Publishing{Body: fmt.Append(nil, i)}))
	}
	get := func(noAck bool, body string, redelivered bool, left uint32) amqp.Delivery {
		t.Helper()
		d, ok, err := ch.Get(q, noAck)
		check(t, err)
		if !ok || string(d.Body) != body || d.Redelivered != redelivered || d.MessageCount != left {
			t.Fatalf("got %t %q redelivered=%t left=%d, want %q %t %d", ok, d.Body, d.Redelivered, d.MessageCount, body, redelivered, left)
		}
		return d
	}
	get(true, "0", false, 5)
	_, second, third := get(false, "1", false, 4), get(false, "2", false, 3), get(false, "3", false, 2)
	check(t, second.Ack(false))
	check(t, third.Nack(false, true)) // to its old place
	get(false, "3", true, 2)
	//lint:ignore SA1019 clients of today may still call it
	check(t, ch.Recover(true)) // 1 and 3
	check(t, get(false, "1", true, 3).Reject(false))
	check(t, get(false, "3", true, 2).Ack(false))
	last := []amqp.Delivery{get(false, "4", false, 1), get(false, "5", false, 0)}
	check(t, last[1].Nack(true, false))
	if _, ok, err := ch.Get(q, false); ok || err != nil {
		t.Errorf("more came: %v", err)
	}
	if got := must(ch.QueueDeclarePassive(q, false, false, false, false, nil)); got.Messages != 0 {
		t.Errorf("%+v", got)
	}
	expectClose(t, b, "unknown delivery tag 1", 406, func(ch *amqp.Channel) error {
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		check(t, ch.Ack(1, false))
		return receive(t, "close", closed)
	})
}

func TestPrefetchAndCancel(t *testing.T) {
	b := start(t, defaults())
	conn, ch := b.client()
	q := must(ch.QueueDeclare("q", true, false, false, false, nil)).Name
	check(t, ch.Qos(3, 0, false))
	deliveries := must(ch.Consume(q, "c", false, false, false, false, nil))
	for i := range 8 {
		check(t, ch.PublishWithContext(t.Context(), "", q, false, false, amqp.Publishing{DeliveryMode: 2, Body: fmt.Append(nil, i)}))
	}
	var got []amqp.Delivery
	for range 3 {
		got = append(got, receive(t, "delivery", deliveries))
	}
	if s := must(ch.QueueDeclarePassive(q, true, false, false, false, nil)); s.Messages != 5 || len(deliveries) > 0 {
		t.Fatalf("with prefetch 3 and none acknowledged %+v, %d more delivered", s, len(deliveries))
	}
	check(t, got[1].Ack(true))
	got = append(got, receive(t, "delivery", deliveries), receive(t, "delivery", deliveries))
	check(t, ch.Cancel("c", false))
	for range deliveries {
		t.Error("delivered after cancel-ok")
	}
	check(t, got[4].Ack(true)) // still may be
	if s := must(ch.QueueDeclarePassive(q, true, false, false, false, nil)); s.Messages != 3 || s.Consumers != 0 {
		t.Errorf("after cancel %+v", s)
	}
	_ = must(ch.Consume(q, "again", false, false, false, false, nil))
	check(t, conn.Close()) // what it held goes back
	_, other := b.client()
	for i := range 3 {
		d, ok, err := other.Get(q, true)
		if err != nil || !ok || string(d.Body) != fmt.Sprint(i+5) {
			t.Errorf("got %q %t %v, want %d", d.Body, ok, err, i+5)
		}
	}
}

func TestMandatoryReturnsBeforeConfirm(t *testing.T) {
	b := start(t, defaults())
	p := b.open()
	p.send(1, &frame.ConfirmSelect{})
	expect[*frame.ConfirmSelectOk](p)
	var raw []byte
	for range 3 {
		raw = frame.AppendPublish(raw, 1, &frame.BasicPublish{RoutingKey: []byte("nowhere"), Mandatory: true})
		raw = frame.AppendContent(raw, 1, nil, []byte("body"), frame.MinMax)
	}
	p.write(raw)
	for range 3 {
		m := expect[*frame.BasicReturn](p)
		if m.ReplyCode != 312 || m.ReplyText != "NO_ROUTE" || m.RoutingKey != "nowhere" {
			t.Errorf("returned %+v", m)
		}
		for _, want := range []frame.Type{frame.TypeHeader, frame.TypeBody} {
			if f, err := p.next(); err != nil || f.Type != want {
				t.Fatalf("%+v, %v", f, err)
			}
		}
	}
	if m := expect[*frame.BasicAck](p); m.DeliveryTag != 3 || !m.Multiple {
		t.Errorf("confirmed by %+v, want one for all three", m)
	}
}

func TestRefusedPublishIsNacked(t *testing.T) {
	b := start(t, defaults())
	_, ch := b.client()
	q := must(ch.QueueDeclare("q", true, false, false, false, amqp.Table{"x-max-length": int32(2), "x-overflow": "reject-publish"})).Name
	check(t, ch.Confirm(false))
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, 8))
	for range 4 {
		check(t, ch.PublishWithContext(t.Context(), "", q, false, false, amqp.Publishing{DeliveryMode: 2}))
	}
	for i := range 4 {
		if c := receive(t, "confirm", confirms); c.Ack != (i < 2) || c.DeliveryTag != uint64(i+1) {
			t.Errorf("confirm %+v of message %d", c, i+1)
		}
	}
}

// TestBodies: bodies of every size around the borders of frames and reads arrive whole, also when they come in pieces.
func TestBodies(t *testing.T) {
	b := start(t, defaults())
	p := b.open()
	p.send(1, &frame.QueueDeclare{Queue: "q"})
	expect[*frame.QueueDeclareOk](p)
	p.send(1, &frame.BasicConsume{Queue: "q", NoAck: true})
	expect[*frame.BasicConsumeOk](p)
	properties := (&frame.Basic{ContentType: []byte("x"), Headers: frame.NewTable(map[string]any{"k": "v"})}).Append(nil)
	for _, size := range []int{0, 1, 4087, 4088, 4089, 65536, 131064, 131065, 200_000, 1 << 20} {
		body := bytes.Repeat([]byte{byte(size), 1, 2, 3, 4}, size/5+1)[:size]
		raw := frame.AppendPublish(nil, 1, &frame.BasicPublish{RoutingKey: []byte("q")})
		raw = frame.AppendContent(raw, 1, properties, body, 4096+size%3*60_000)
		for step := max(len(raw)/7, 1); len(raw) > 0; raw = raw[min(step, len(raw)):] {
			p.write(raw[:min(step, len(raw))])
		}
		if m := expect[*frame.BasicDeliver](p); m.RoutingKey != "q" {
			t.Errorf("delivered %+v", m)
		}
		f, err := p.next()
		check(t, err)
		var h frame.ContentHeader
		check(t, h.Decode(f.Payload))
		if !bytes.Equal(h.Properties, properties) || h.BodySize != uint64(size) {
			t.Errorf("header %+v of a body of %d", h, size)
		}
		var got []byte
		for len(got) < size {
			f, err := p.next()
			check(t, err)
			if len(f.Payload)+frame.Overhead > 131072 {
				t.Fatalf("frame of %d bytes", len(f.Payload))
			}
			got = append(got, f.Payload...)
		}
		if !bytes.Equal(got, body) {
			t.Errorf("body of %d bytes came as another of %d", size, len(got))
		}
	}
}

// TestLargeMessagesWait: bodies of several frames that no consumer takes at once are kept whole.
func TestLargeMessagesWait(t *testing.T) {
	b := start(t, defaults())
	_, ch := b.client()
	for _, durable := range []bool{false, true} {
		q := must(ch.QueueDeclare(fmt.Sprintf("q-%t", durable), durable, false, false, false, nil)).Name
		for i := range 4 {
			check(t, ch.PublishWithContext(t.Context(), "", q, false, false, amqp.Publishing{DeliveryMode: 2, MessageId: fmt.Sprint(i), Body: bytes.Repeat([]byte{byte('a' + i)}, 150_000*(i+1))}))
		}
		for i := range 4 {
			d, ok, err := ch.Get(q, true)
			if err != nil || !ok || d.MessageId != fmt.Sprint(i) || !bytes.Equal(d.Body, bytes.Repeat([]byte{byte('a' + i)}, 150_000*(i+1))) {
				t.Errorf("durable=%t: message %d came as %q with %d bytes, %t, %v", durable, i, d.MessageId, len(d.Body), ok, err)
			}
		}
	}
}

// TestOneByteAtATime: the parser does not care how the stream is cut.
func TestOneByteAtATime(t *testing.T) {
	b := start(t, defaults())
	p := b.open()
	p.send(1, &frame.QueueDeclare{Queue: "q"})
	expect[*frame.QueueDeclareOk](p)
	raw := frame.AppendPublish(nil, 1, &frame.BasicPublish{RoutingKey: []byte("q")})
	raw = frame.AppendContent(raw, 1, (&frame.Basic{MessageID: []byte("id")}).Append(nil), []byte("hello"), frame.MinMax)
	raw = frame.AppendMethod(raw, 1, &frame.BasicGet{Queue: "q", NoAck: true})
	for i := range raw {
		p.write(raw[i : i+1])
	}
	if m := expect[*frame.BasicGetOk](p); m.RoutingKey != "q" {
		t.Errorf("got %+v", m)
	}
}

// TestSlowConsumer: a consumer that does not read holds back its queue, not the broker, and gets everything in the end.
func TestSlowConsumer(t *testing.T) {
	c := defaults()
	c.Limits.OutboxBytes = 64 << 10
	b := start(t, c)
	p := b.open()
	p.send(1, &frame.QueueDeclare{Queue: "q"})
	expect[*frame.QueueDeclareOk](p)
	p.send(1, &frame.BasicConsume{Queue: "q", NoAck: true})
	expect[*frame.BasicConsumeOk](p)
	_, ch := b.client()
	check(t, ch.Confirm(false))
	const count, size = 300, 64 << 10
	for range count {
		confirm := must(ch.PublishWithDeferredConfirmWithContext(t.Context(), "", "q", false, false, amqp.Publishing{Body: make([]byte, size)}))
		if !confirm.Wait() {
			t.Fatal("not confirmed")
		}
	}
	if s := must(ch.QueueDeclarePassive("q", false, false, false, false, nil)); s.Messages == 0 {
		t.Error("everything was taken for a consumer that does not read")
	}
	for range count {
		expect[*frame.BasicDeliver](p)
		for got := -1; got < size; {
			f, err := p.next()
			check(t, err)
			if f.Type == frame.TypeHeader {
				got = 0
				continue
			}
			got += len(f.Payload)
		}
	}
}

// TestBacklogStaysInQueue: a consumer that joins a backlog is given what its connection has room for, not everything.
func TestBacklogStaysInQueue(t *testing.T) {
	for _, durable := range []bool{false, true} {
		b := start(t, defaults())
		_, ch := b.client()
		q := must(ch.QueueDeclare("q", durable, false, false, false, nil)).Name
		const count = 640
		for range count {
			check(t, ch.PublishWithContext(t.Context(), "", q, false, false, amqp.Publishing{DeliveryMode: 2, Body: make([]byte, 50_000)}))
		}
		p := b.open()
		p.send(1, &frame.BasicConsume{Queue: q, NoAck: true})
		expect[*frame.BasicConsumeOk](p)
		if n := must(ch.QueueDeclarePassive(q, durable, false, false, false, nil)).Messages; n < count/2 {
			t.Errorf("durable=%t: of %d messages %d are still in the queue", durable, count, n)
		}
		for range count {
			expect[*frame.BasicDeliver](p)
			for left := 2; left > 0; left-- {
				if _, err := p.next(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func TestConsumerTagReuse(t *testing.T) {
	b := start(t, defaults())
	conn, ch := b.client()
	q := must(ch.QueueDeclare("q", false, false, false, false, nil)).Name
	must(ch.Consume(q, "tag", true, false, false, false, nil))
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	p := b.open()
	p.send(1, &frame.BasicConsume{Queue: q, ConsumerTag: "t"})
	p.send(1, &frame.BasicConsume{Queue: q, ConsumerTag: "t"})
	expect[*frame.BasicConsumeOk](p)
	if m := expect[*frame.ConnectionClose](p); m.ReplyCode != 530 || m.ReplyText != "NOT_ALLOWED - attempt to reuse consumer tag 't'" {
		t.Errorf("got %+v", m)
	}
	if len(closed) > 0 {
		t.Error("another connection was closed too")
	}
}

func TestUpdateSecret(t *testing.T) {
	b := start(t, defaults())
	conn, _ := b.client()
	check(t, conn.UpdateSecret("guest", "rotation"))
	if err := conn.UpdateSecret("wrong", "rotation"); err == nil {
		t.Error("a wrong secret was taken")
	}
}

// TestManyChannels opens as many as may be.
func TestManyChannels(t *testing.T) {
	b := start(t, defaults())
	p := b.open()
	var raw []byte
	for n := uint16(2); n <= 2047; n++ {
		raw = frame.AppendMethod(raw, n, &frame.ChannelOpen{})
	}
	p.write(raw)
	for range 2046 {
		expect[*frame.ChannelOpenOk](p)
	}
	if got := b.endpoint.Connections(); len(got) != 1 || got[0].Channels != 2047 {
		t.Errorf("%+v", got)
	}
}

// TestConsumersMakeRoom: while transient messages fill the memory, publishers wait, and consumers are heard: whoever
// acknowledges one message at a time empties the queue.
func TestConsumersMakeRoom(t *testing.T) {
	c := defaults()
	c.Limits.MemoryBytes = 1000
	b := start(t, c)
	_, consumer := b.client()
	_, err := consumer.QueueDeclare("q", false, false, false, false, nil)
	check(t, err)
	const messages = 3
	for range messages { // each on a connection of its own, which waits afterwards
		_, publisher := b.client()
		check(t, publisher.PublishWithContext(t.Context(), "", "q", false, false, amqp.Publishing{Body: make([]byte, 2000)}))
	}
	check(t, consumer.Qos(1, 0, false))
	deliveries, err := consumer.Consume("q", "", false, false, false, false, nil)
	check(t, err)
	for n := range messages {
		select {
		case d := <-deliveries:
			check(t, d.Ack(false))
		case <-time.After(patience):
			t.Fatalf("%d messages came, not %d: acknowledgements are not read", n, messages)
		}
	}
}
