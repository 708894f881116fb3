package hub_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// put publishes without handing over.
func (p *publisher) put(queue string, m message.Message) {
	p.Helper()
	r, err := p.Route([]byte(""), []byte(queue))
	if err != nil {
		p.Fatal(err)
	}
	m.Exchange, m.Key, m.Encoding = r.Exchange, r.Key, p.encoding
	if _, err := p.Publish(r, &m, nil, 0); err != nil {
		p.Fatal(err)
	}
}

// names of queues that lie in several shards.
var txQueues = []string{"tx-a", "tx-b", "tx-c", "tx-d", "tx-e"}

func (b *bench) ready(name string) int {
	b.Helper()
	q, err := b.host.DeclareQueue(context.Background(), b.access, hub.QueueDeclaration{Name: name, Passive: true, Origin: 1})
	if err != nil {
		b.Fatal(err)
	}
	return q.Count().Ready
}

func TestTransactionTakesEffectAsAWhole(t *testing.T) {
	fs := vfs.NewMemory()
	b := open(t, fs, small())
	for _, n := range txQueues {
		b.queue(n, object.QueueSpec{Durable: true})
	}
	b.queue("transient", object.QueueSpec{})
	p := b.publisher(message.AMQP091)
	p.send("", "tx-a", durable("work"))
	p.settle()
	s := newSink()
	c := b.consume("tx-a", s, hub.ConsumerOptions{Limit: 10})
	s.wait(t, "the work", func() bool { return len(s.got) == 1 })

	all := func() (n int) {
		for _, name := range append([]string{"transient"}, txQueues[1:]...) {
			n += b.ready(name)
		}
		return n
	}
	for _, name := range append([]string{"transient"}, txQueues[1:]...) {
		p.put(name, durable("result"))
	}
	if err := p.Hold(); err != nil {
		t.Fatal(err)
	}
	if n := all(); n != 0 {
		t.Errorf("%d messages are visible before the commit", n)
	}
	p.Rollback()
	if err := p.Commit(nil); err != nil || all() != 0 {
		t.Errorf("after the rollback: %v, %d messages", err, all())
	}
	for _, name := range append([]string{"transient"}, txQueues[1:]...) {
		p.put(name, durable("result"))
	}
	if err := p.Commit([]hub.Settlement{{Consumer: c, Outcome: queue.Accept, Ranges: []hub.Range{{From: 1, To: 1}}}}); err != nil {
		t.Fatal(err)
	}
	if n := all(); n != len(txQueues) {
		t.Errorf("%d messages are visible after the commit", n)
	}
	if st := b.queue("tx-a", object.QueueSpec{Durable: true}).Count(); st.Ready+st.Unacked != 0 {
		t.Errorf("the work is still there: %+v", st)
	}
	if err := b.hub.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	b = open(t, fs, small())
	for _, name := range txQueues[1:] {
		if n := b.ready(name); n != 1 {
			t.Errorf("after a restart queue %s has %d messages", name, n)
		}
	}
	if n := b.ready("tx-a"); n != 0 {
		t.Errorf("after a restart the work is there %d times", n)
	}
}

func TestTransactionIsRefusedAsAWhole(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	for _, n := range txQueues {
		b.queue(n, object.QueueSpec{Durable: true})
	}
	b.queue("full", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": 1, "x-overflow": "reject-publish"}})
	p := b.publisher(message.AMQP091)
	p.send("", "full", durable("it"))
	p.send("", "tx-a", durable("work"))
	p.settle()
	s := newSink()
	c := b.consume("tx-a", s, hub.ConsumerOptions{Limit: 10})
	s.wait(t, "the work", func() bool { return len(s.got) == 1 })
	for _, n := range append([]string{"full"}, txQueues[1:]...) {
		p.put(n, durable("result"))
	}
	err := p.Commit([]hub.Settlement{{Consumer: c, Outcome: queue.Accept, Ranges: []hub.Range{{From: 1, To: 1}}}})
	if hub.CodeOf(err) != hub.Precondition {
		t.Errorf("a full queue gives %v", err)
	}
	for _, n := range txQueues[1:] {
		if b.ready(n) != 0 {
			t.Errorf("queue %s has a message of the refused transaction", n)
		}
	}
	c.Close()
	again := newSink()
	b.consume("tx-a", again, hub.ConsumerOptions{Limit: 10})
	again.wait(t, "the work again", func() bool { return len(again.got) == 1 && again.got[0].Returned })
}

// TestKeep: a consumer that is given messages for good holds those that it is to keep, until they are settled or it ends.
func TestKeep(t *testing.T) {
	for _, spec := range []object.QueueSpec{{Durable: true}, {}} {
		b := open(t, vfs.NewMemory(), small())
		b.queue("q", spec)
		p := b.publisher(message.AMQP091)
		s := newSink()
		c := b.consume("q", s, hub.ConsumerOptions{NoAck: true})
		give := func(body string, tag uint64) {
			t.Helper()
			n := len(s.got)
			p.send("", "q", durable(body))
			p.settle()
			s.wait(t, body, func() bool { return len(s.got) == n+1 && s.got[n].Tag == tag })
		}
		give("for good", 0)
		between := 0
		if !c.Keep(true, func() { between++ }) {
			t.Fatal("the queue is gone")
		}
		give("accepted", 1)
		give("failed", 2)
		c.Keep(false, func() { between++ })
		give("for good, too", 0)
		if between != 2 {
			t.Errorf("%d calls in between", between)
		}
		c.Settle(queue.Accept, hub.Range{From: 1, To: 1})
		c.Close()
		again := newSink()
		b.consume("q", again, hub.ConsumerOptions{NoAck: true})
		again.wait(t, "what was kept", func() bool { return len(again.got) == 1 && again.bodies[0] == "failed" && again.got[0].Returned })
	}
}

// TestTransactionsOutlivePowerLossAsAWhole moves messages from queue to queue in transactions while the power goes at any
// moment: there must be exactly as many as ever.
func TestTransactionsOutlivePowerLossAsAWhole(t *testing.T) {
	const messages = 20
	disk := vfs.NewCrash()
	loss := lossOf(disk)
	b := open(t, disk, small())
	for _, n := range txQueues {
		b.queue(n, object.QueueSpec{Durable: true})
	}
	p := b.publisher(message.AMQP091)
	for i := range messages {
		p.send("", txQueues[i%len(txQueues)], durable(fmt.Sprint(i)))
	}
	p.settle()
	for round := range uint64(40) {
		rng := rand.New(rand.NewPCG(round, 8))
		left := moveUntilLoss(b, loss, rng)
		if err := b.hub.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		disk, loss = left, lossOf(left)
		b = open(t, disk, small())
		total, each := 0, make(map[string]int)
		for _, n := range txQueues {
			each[n] = b.ready(n)
			total += each[n]
		}
		if total != messages {
			t.Fatalf("round %d: there are %d messages instead of %d: %v", round, total, messages, each)
		}
	}
}

// powerLoss takes the power away at an operation of a disk that is to be chosen.
type powerLoss struct {
	at   atomic.Int64 // operations until then
	seed uint64
	left chan *vfs.Crash
}

func lossOf(disk *vfs.Crash) *powerLoss {
	l := &powerLoss{left: make(chan *vfs.Crash, 1)}
	disk.Before = func(vfs.Op, string) {
		if l.at.Add(-1) == 0 {
			l.left <- disk.PowerLoss(l.seed)
		}
	}
	return l
}

// moveUntilLoss moves messages in transactions, and answers what a power loss leaves at a moment that may lie in the
// middle of one.
func moveUntilLoss(b *bench, loss *powerLoss, rng *rand.Rand) *vfs.Crash {
	b.Helper()
	p := b.publisher(message.AMQP091)
	loss.seed = rng.Uint64()
	loss.at.Store(1 + rng.Int64N(60))
	getters := make(map[string]*hub.Consumer)
	for _, n := range txQueues {
		getters[n] = b.consume(n, newSink(), hub.ConsumerOptions{Passive: true})
	}
	for {
		select {
		case left := <-loss.left:
			return left
		default:
		}
		var settled []hub.Settlement
		for range 1 + rng.IntN(3) {
			from := getters[txQueues[rng.IntN(len(txQueues))]]
			d, _, ok := from.Get()
			if !ok {
				continue
			}
			settled = append(settled, hub.Settlement{Consumer: from, Outcome: queue.Accept, Ranges: []hub.Range{{From: d.Tag, To: d.Tag}}})
			p.put(txQueues[rng.IntN(len(txQueues))], durable(string(d.Message.Payload)))
		}
		if err := p.Commit(settled); err != nil {
			b.Fatal(err)
		}
	}
}
