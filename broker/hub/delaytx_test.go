package hub_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// putLater is put of a message that is to wait.
func (p *publisher) putLater(wait time.Duration, queue string, m message.Message) {
	p.Helper()
	p.Postpone(wait)
	p.put(queue, m)
}

// TestTransactionsWithDelays: what a transaction sends to wait does so from its commit on, until the time that was said when it
// was sent; a rollback leaves nothing.
func TestTransactionsWithDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMemory()
		b := open(t, fs, small())
		for _, n := range txQueues {
			b.queue(n, object.QueueSpec{Durable: true})
		}
		p := b.publisher(message.AMQP091)
		used := b.hub.MemoryBytes()
		fill := func() {
			for _, n := range txQueues {
				p.putLater(time.Minute, n, durable(n))
			}
			p.putLater(time.Minute, txQueues[0], fleeting("in memory"))
			p.putLater(time.Second, txQueues[1], durable("before the commit"))
			p.put(txQueues[0], durable("at once"))
			if err := p.Hold(); err != nil {
				t.Fatal(err)
			}
			if p.Held() < 8*128 {
				t.Errorf("%d bytes are held", p.Held())
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if n := b.hub.DelayedCount(); n != 0 || b.ready(txQueues[0]) != 0 || b.ready(txQueues[1]) != 0 {
				t.Errorf("%d messages wait before the commit", n)
			}
		}
		fill()
		p.Rollback()
		if err := p.Commit(nil); err != nil {
			t.Fatal(err)
		}
		if n := b.hub.DelayedCount(); n != 0 || b.hub.MemoryBytes() != used {
			t.Errorf("%d messages wait after the rollback", n)
		}
		fill()
		if err := p.Commit(nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := b.hub.DelayedCount(); n != 6 || b.ready(txQueues[0]) != 1 || b.ready(txQueues[1]) != 1 {
			t.Errorf("%d messages wait after the commit, %d and %d do not", n, b.ready(txQueues[0]), b.ready(txQueues[1]))
		}
		time.Sleep(50*time.Second - time.Millisecond)
		synctest.Wait()
		if n := b.hub.DelayedCount(); n != 6 {
			t.Errorf("%d messages wait before their time", n)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		for i, n := range txQueues {
			if got, want := b.ready(n), []int{3, 2, 1, 1, 1}[i]; got != want {
				t.Errorf("queue %s has %d messages, wanted %d", n, got, want)
			}
		}
		if n := b.hub.DelayedCount(); n != 0 || b.hub.MemoryBytes() <= used {
			t.Errorf("%d messages wait at last", n)
		}
		b.close()
		b = open(t, fs, small())
		for i, n := range txQueues {
			if got, want := b.ready(n), []int{2, 2, 1, 1, 1}[i]; got != want {
				t.Errorf("after a restart queue %s has %d messages, wanted %d", n, got, want)
			}
		}
	})
}

// TestDelaysInTransactionsAreBounded: a commit for which there are not places enough is refused as a whole, and takes none.
func TestDelaysInTransactionsAreBounded(t *testing.T) {
	c := small()
	c.Limits.DelayedMessages = 3
	b := open(t, vfs.NewMemory(), c)
	b.queue("q", object.QueueSpec{Durable: true})
	b.queue("full", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": 1, "x-overflow": "reject-publish"}})
	p := b.publisher(message.AMQP091)
	hold := func() {
		t.Helper()
		if err := p.Hold(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		p.putLater(time.Hour, "q", durable("x"))
		hold()
	}
	p.putLater(time.Hour, "q", fleeting("x"))
	p.put("q", durable("x"))
	hold()
	if err := p.Commit(nil); hub.CodeOf(err) != hub.TooMany {
		t.Errorf("four messages: %v", err)
	}
	if n := b.hub.DelayedCount(); n != 0 || b.ready("q") != 0 {
		t.Errorf("of a transaction that was refused %d wait and %d are there", n, b.ready("q"))
	}
	p.send("", "full", durable("x"))
	p.settle()
	p.putLater(time.Hour, "q", durable("x"))
	p.putLater(time.Hour, "q", fleeting("x"))
	p.put("full", durable("x"))
	if err := p.Commit(nil); hub.CodeOf(err) != hub.Precondition || b.hub.DelayedCount() != 0 {
		t.Errorf("a full queue: %v, %d wait", err, b.hub.DelayedCount())
	}
	for range 3 {
		p.putLater(time.Hour, "q", durable("x"))
		hold()
	}
	if err := p.Commit(nil); err != nil || b.hub.DelayedCount() != 3 {
		t.Errorf("three messages: %v, %d wait", err, b.hub.DelayedCount())
	}
	r, _ := p.Route(nil, []byte("q"))
	m := durable("x")
	p.Postpone(time.Hour)
	if _, err := p.Publish(r, &m, nil, 0); hub.CodeOf(err) != hub.TooMany {
		t.Errorf("when there is no place: %v", err)
	}
}

// TestDelaysInTransactionsOutlivePowerLoss: before and after every fsync of a commit, the disk has all of it or nothing: what it
// takes, what it brings, and what it lets wait in several shards. After the commit it has all.
func TestDelaysInTransactionsOutlivePowerLoss(t *testing.T) {
	for _, queues := range [][]string{{"tx-a"}, txQueues} { // one entry, and two steps
		disk := &moments{Crash: vfs.NewCrash(), each: 4}
		b := open(t, disk, small())
		for _, n := range txQueues {
			b.queue(n, object.QueueSpec{Durable: true})
		}
		p := b.publisher(message.AMQP091)
		p.send("", "tx-a", durable("work"))
		p.settle()
		s := newSink()
		c := b.consume("tx-a", s, hub.ConsumerOptions{Limit: 10})
		s.wait(t, "the work", func() bool { return len(s.got) == 1 })
		for _, n := range queues {
			p.putLater(time.Hour, n, durable("later"))
			p.putLater(2*time.Hour, n, durable("later still"))
		}
		p.put(queues[len(queues)-1], durable("result"))
		disk.watch()
		if err := p.Commit([]hub.Settlement{{Consumer: c, Outcome: queue.Accept, Ranges: []hub.Range{{From: 1, To: 1}}}}); err != nil {
			t.Fatal(err)
		}
		disk.take()
		b.close() // nothing writes to the disk any more
		disk.take()
		states := make(map[string]int)
		for i, at := range disk.taken {
			for range 2 { // the second time, what the first one ended is in the log
				b := open(t, at, small())
				state := fmt.Sprint(b.hub.DelayedCount())
				for _, n := range txQueues {
					state += fmt.Sprint(" ", b.ready(n))
				}
				states[state]++
				none, all := "0 1 0 0 0 0", "2 1 0 0 0 0" // "tx-a" takes the result, too
				if len(queues) > 1 {
					all = "10 0 0 0 0 1"
				}
				if state != none && state != all || i >= len(disk.taken)-disk.each && state != all {
					t.Errorf("%d queues, moment %d of %d: %s", len(queues), i, len(disk.taken), state)
				}
				b.close()
			}
		}
		if len(states) != 2 {
			t.Errorf("%d queues: states %v", len(queues), states)
		}
	}
}

// TestDelaysInTransactionsGoWithTheirVirtualHost: a transaction that is committed when the virtual host is gone leaves nothing
// for another one of its name.
func TestDelaysInTransactionsGoWithTheirVirtualHost(t *testing.T) {
	fs := vfs.NewMemory()
	b := open(t, fs, small())
	b.tenant("")
	v, err := b.hub.VirtualHost("tenant")
	if err != nil {
		t.Fatal(err)
	}
	p := &publisher{bench: b, encoding: message.AMQP091, came: make(chan struct{}, 1)}
	p.Publisher = v.NewPublisher(hub.PublisherOptions{Access: b.access, Encoding: message.AMQP091, Confirmed: p.confirmed})
	for _, n := range txQueues {
		p.putLater(time.Hour, n, durable("x"))
	}
	if err := p.Commit(nil); err != nil || b.hub.DelayedCount() != int64(len(txQueues)) {
		t.Fatal(err, b.hub.DelayedCount())
	}
	for _, n := range txQueues {
		p.putLater(time.Hour, n, durable("x"))
	}
	if err := p.Hold(); err != nil {
		t.Fatal(err)
	}
	b.tenant(object.DeleteAlways)
	if err := p.Commit(nil); err != nil {
		t.Fatal(err)
	}
	b.tenant("")
	for range 2 {
		if n := b.hub.DelayedCount(); n != 0 {
			t.Errorf("another virtual host of that name has %d delayed messages", n)
		}
		if err := b.hub.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		b = open(t, fs, small())
	}
}
