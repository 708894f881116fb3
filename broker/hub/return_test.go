package hub_test

import (
	"context"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// TestDeliveryLimitOutlivesRestarts: how often a message came back is counted across restarts.
func TestDeliveryLimitOutlivesRestarts(t *testing.T) {
	fs := vfs.NewMemory()
	for life := range uint32(3) {
		b := open(t, fs, small())
		b.queue("poison", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-delivery-limit": 3}})
		p := b.publisher(message.AMQP091)
		if life == 0 {
			p.send("", "poison", durable("it"))
			p.settle()
		}
		s := newSink()
		c := b.consume("poison", s, hub.ConsumerOptions{Limit: 1})
		s.wait(t, "a delivery", func() bool { return len(s.got) == 1 })
		if d := s.got[0]; d.Count != life || d.Returned != (life > 0) {
			t.Errorf("in life %d the message came back %d times, returned %t", life, d.Count, d.Returned)
		}
		c.Settle(queue.Requeue, hub.Range{From: 1, To: 1})
		s.wait(t, "it again", func() bool { return len(s.got) == 2 && s.got[1].Count == life+1 })
		if life == 2 { // the fourth time is one too many
			c.Settle(queue.Requeue, hub.Range{From: 2, To: 2})
			c.Settle(queue.Requeue, hub.Range{From: 3, To: 3})
			if n := b.queue("poison", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-delivery-limit": 3}}).Count(); n.Ready+n.Unacked != 0 {
				t.Errorf("the message is still there: %+v", n)
			}
		}
		c.Close()
		if err := b.hub.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}
