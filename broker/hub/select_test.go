package hub_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// has is a filter for bodies that contain a text.
func has(text string) queue.Filter {
	return func(it *queue.Item) bool { return bytes.Contains(it.Message.Payload, []byte(text)) }
}

// TestSelectAndBrowse looks through a backlog whose bodies the log alone has, and through one in memory.
func TestSelectAndBrowse(t *testing.T) {
	const messages = 9000
	for name, stored := range map[string]bool{"durable": true, "transient": false} {
		t.Run(name, func(t *testing.T) {
			c := small()
			c.Limits.BodyCacheBytes = 1000
			b := open(t, vfs.NewMemory(), c)
			b.queue("q", object.QueueSpec{Durable: stored})
			p := b.publisher(message.AMQP091)
			var red []string
			for i := range messages {
				m := durable(fmt.Sprintf("%d grey", i))
				if i%100 == 99 {
					m = durable(fmt.Sprintf("%d red", i))
					red = append(red, string(m.Payload))
				}
				p.send("", "q", m)
			}
			p.settle()

			eye, picker := newSink(), newSink()
			looking := b.consume("q", eye, hub.ConsumerOptions{Browse: true, Select: has("red")})
			eye.expect(t, red...)
			looking.Close()
			consumer := b.consume("q", picker, hub.ConsumerOptions{Limit: 10, Select: has("red")})
			for i := 0; i < len(red); i += 10 {
				picker.expect(t, red[:i+10]...)
				consumer.Settle(queue.Accept, hub.Range{From: uint64(i + 1), To: uint64(i + 10)})
			}
			p.send("", "q", durable("more red"))
			p.settle()
			picker.expect(t, append(red, "more red")...)
			consumer.Close()
			q, err := b.host.Queue("q", 1)
			if err != nil {
				t.Fatal(err)
			}
			if n := q.Purge(); n != messages-len(red)+1 {
				t.Errorf("%d messages are left, want %d", n, messages-len(red)+1)
			}
		})
	}
}

// BenchmarkSelect looks at a backlog on disk of which a tenth is wanted. The figure is for one message that is examined.
func BenchmarkSelect(b *testing.B) {
	_, v, a := benchHubOn(b, vfs.OS, b.TempDir())
	if _, err := v.DeclareQueue(b.Context(), a, hub.QueueDeclaration{Name: "q", Spec: object.QueueSpec{Durable: true}}); err != nil {
		b.Fatal(err)
	}
	confirmed := make(chan uint64, 1000)
	p := v.NewPublisher(hub.PublisherOptions{Access: a, Encoding: message.AMQP091, Confirmed: func(c hub.Confirmation) { confirmed <- c.UpTo }})
	r, err := p.Route(nil, []byte("q"))
	if err != nil {
		b.Fatal(err)
	}
	const messages = 100_000
	for i := range messages {
		body := []byte(fmt.Sprintf("%d grey %0200d", i, 0))
		if i%10 == 0 {
			body = []byte(fmt.Sprintf("%d red %0200d", i, 0))
		}
		if _, err := p.Publish(r, &message.Message{Key: r.Key, Encoding: message.AMQP091, Durable: true, Payload: body}, nil, uint64(i+1)); err != nil {
			b.Fatal(err)
		}
		if i%1000 == 999 {
			p.Flush()
		}
	}
	for <-confirmed < messages {
	}
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= messages {
		s := &counting{hit: make(chan int, messages)}
		c, err := v.Consume(a, "q", hub.ConsumerOptions{Sink: s, Browse: true, Select: has("red")})
		if err != nil {
			b.Fatal(err)
		}
		c.Resume()
		for n := 0; n < messages/10; {
			n += <-s.hit
		}
		c.Close()
	}
}
