package hub_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// TestDurabilityOfQueues: what only relaxed queues get is confirmed without an fsync; one queue that is not relaxed is
// enough to need one.
func TestDurabilityOfQueues(t *testing.T) {
	disk := vfs.NewCrash()
	var syncs atomic.Int64
	disk.Before = func(op vfs.Op, _ string) {
		if op == vfs.OpSync {
			syncs.Add(1)
		}
	}
	c := small()
	c.Storage.Durability = "none"
	b := open(t, disk, c)
	spec := func(durability string) object.QueueSpec {
		if durability == "" {
			return object.QueueSpec{Durable: true}
		}
		return object.QueueSpec{Durable: true, Arguments: object.Arguments{object.Durability: durability}}
	}
	for _, name := range []string{"", "none", "always"} {
		b.queue("q"+name, spec(name))
		check(t, bindTo(b, "q"+name))
	}
	p := b.publisher(message.AMQP091)
	confirm := func(exchange, key string) int64 {
		before := syncs.Load()
		for i := range 10 {
			p.send(exchange, key, durable(fmt.Sprint(i)))
			if refused := p.settle(); len(refused) > 0 {
				t.Fatal(refused)
			}
		}
		return syncs.Load() - before
	}
	for _, q := range []string{"q", "qnone"} {
		if n := confirm("", q); n != 0 {
			t.Errorf("10 messages to queue %s took %d fsyncs", q, n)
		}
	}
	if n := confirm("", "qalways"); n < 10 {
		t.Errorf("10 messages that are confirmed one by one after their fsync took %d", n)
	}
	if n := confirm("amq.fanout", ""); n < 10 {
		t.Errorf("10 messages to queues of which one is not relaxed took %d fsyncs", n)
	}
}

func bindTo(b *bench, queue string) error {
	return b.host.Bind(b.Context(), b.access, hub.Binding{Source: "amq.fanout", Destination: queue, Origin: 1})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
