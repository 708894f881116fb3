package amqp091_test

import (
	"io"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
)

// TestNoAllocations: what is published and delivered allocates nothing for each message.
func TestNoAllocations(t *testing.T) {
	const batch = 1000
	b := start(t, defaults())
	consumer, publisher := b.open(), b.open()
	consumer.send(1, &frame.QueueDeclare{Queue: "q"})
	expect[*frame.QueueDeclareOk](consumer)
	consumer.send(1, &frame.BasicConsume{Queue: "q", ConsumerTag: "c", NoAck: true})
	expect[*frame.BasicConsumeOk](consumer)
	body := make([]byte, 64)
	var raw []byte
	for range batch {
		raw = frame.AppendPublish(raw, 1, &frame.BasicPublish{RoutingKey: []byte("q")})
		raw = frame.AppendContent(raw, 1, nil, body, frame.MinMax)
	}
	one := len(frame.AppendContent(frame.AppendDeliver(nil, 1, &frame.BasicDeliver{ConsumerTag: "c", RoutingKey: "q"}), 1, nil, body, frame.MinMax))
	received := make([]byte, one*batch)
	got := testing.AllocsPerRun(20, func() {
		publisher.write(raw)
		if _, err := io.ReadFull(consumer.conn, received); err != nil {
			t.Fatal(err)
		}
	})
	if got > batch/10 {
		t.Errorf("%v allocations for %d messages", got, batch)
	}
}
