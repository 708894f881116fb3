package hub_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// adds makes a remark that adds a text to the note.
func adds(text string) queue.Remark {
	return func(old []byte) []byte { return append(old[:len(old):len(old)], text...) }
}

// noted takes the first message of a queue, which it holds, and answers it; none when the queue is empty.
func (b *bench) noted(name string) (d queue.Delivery, ok bool) {
	b.Helper()
	c := b.consume(name, newSink(), hub.ConsumerOptions{Passive: true})
	if d, _, ok = c.Get(); !ok {
		return d, false
	}
	c.Close()
	s := newSink()
	b.consume(name, s, hub.ConsumerOptions{Limit: 1})
	s.wait(b.T, "the message", func() bool { return len(s.got) == 1 })
	return s.got[0], true
}

// TestNotesOutlivePowerLoss: what consumers leave on a message is in the log together with the count of its returns, at
// every moment, and goes with the message when a transaction over several shards settles it.
func TestNotesOutlivePowerLoss(t *testing.T) {
	disk := &moments{Crash: vfs.NewCrash()}
	b := open(t, disk, small())
	for _, n := range txQueues {
		b.queue(n, object.QueueSpec{Durable: true})
	}
	p := b.publisher(message.AMQP091)
	p.send("", "tx-a", durable("it"))
	p.settle()
	s := newSink()
	c := b.consume("tx-a", s, hub.ConsumerOptions{Limit: 1})
	s.wait(t, "the message", func() bool { return len(s.got) == 1 })
	disk.watch()
	const returns = 3
	want := ""
	for n := range returns {
		tag := uint64(n + 1)
		c.SettleNoted(queue.Fail, hub.Range{From: tag, To: tag}, adds(fmt.Sprint(tag, ",")))
		want += fmt.Sprint(tag, ",")
		s.wait(t, "it again", func() bool { return len(s.got) == n+2 && string(s.got[n+1].Note) == want })
		p.send("", "tx-a", durable("behind"))
		p.settle() // the return is in the log before it
	}
	returned := disk.PowerLoss(1)
	for _, n := range txQueues[1:] {
		p.put(n, durable("result"))
	}
	if err := p.Commit([]hub.Settlement{{Consumer: c, Outcome: queue.Accept, Ranges: []hub.Range{{From: returns + 1, To: returns + 1}}}}); err != nil {
		t.Fatal(err)
	}
	committed := disk.PowerLoss(1)
	if err := b.hub.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	b = open(t, returned, small())
	if d, ok := b.noted("tx-a"); !ok || string(d.Note) != want || d.Count != returns || !d.Returned {
		t.Errorf("after the last return: %q, %d times, returned %t", d.Note, d.Count, d.Returned)
	}
	b = open(t, committed, small())
	if d, ok := b.noted("tx-a"); !ok || string(d.Message.Payload) != "behind" || d.Note != nil {
		t.Errorf("after the commit: %q with the note %q", d.Message.Payload, d.Note)
	}
	states := map[string]int{}
	for i, left := range disk.taken {
		b = open(t, left, small())
		d, ok := b.noted("tx-a")
		if !ok {
			t.Fatalf("loss %d: the queue is empty", i)
		}
		state := string(d.Message.Payload) + " " + string(d.Note)
		if states[state]++; string(d.Message.Payload) == "it" && (strings.Count(string(d.Note), ",") != int(d.Count) || !strings.HasPrefix(want, string(d.Note))) {
			t.Errorf("loss %d: it came back %d times, with the note %q", i, d.Count, d.Note)
		}
	}
	if states["it "+want] == 0 || states["behind "] == 0 {
		t.Errorf("after power losses: %v", states)
	}
}

// TestNotesOutliveCheckpoints: a note is kept while the log turns over around it, whoever has the message meanwhile, also
// of one whose settlement is not in the log; it ends with the message.
func TestNotesOutliveCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMemory()
		b := open(t, fs, small())
		spec := object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": 10}}
		notes := object.QueueSpec{Durable: true}
		b.queue("notes", notes)
		b.queue("busy", spec)
		p := b.publisher(message.AMQP091)
		const count = 3000 // some of them are packed
		for i := range count {
			p.send("", "notes", durable(fmt.Sprint(i)))
		}
		p.settle()
		s := newSink()
		c := b.consume("notes", s, hub.ConsumerOptions{Limit: count})
		s.wait(t, "all", func() bool { return len(s.got) == count })
		for i := range uint64(count) {
			if i%3 == 0 {
				c.SettleNoted(queue.Release, hub.Range{From: i + 1, To: i + 1}, adds(fmt.Sprint("of ", i)))
			}
		}
		s.wait(t, "the third again", func() bool { return len(s.got) == count+count/3 })
		for range 2 {
			p.turnOver("busy")
			if n := b.hub.JournalSegments(); n > 12 {
				t.Errorf("%d segments", n)
			}
			if err := b.hub.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			b = open(t, fs, small())
			p = b.publisher(message.AMQP091)
			s = newSink()
			c = b.consume("notes", s, hub.ConsumerOptions{Limit: count})
			s.wait(t, "all", func() bool { return len(s.got) == count })
			for i, d := range s.got {
				want := ""
				if i%3 == 0 {
					want = fmt.Sprint("of ", i)
				}
				if string(d.Note) != want || i%3 == 0 && !d.Returned {
					t.Fatalf("message %d has the note %q, returned %t", i, d.Note, d.Returned)
				}
			}
		}
		if n := b.hub.MemoryBytes(); n == 0 {
			t.Error("the notes take no memory")
		}
		c.Settle(queue.Accept, hub.Range{From: 1, To: count})
		p.send("", "notes", durable("behind"))
		p.settle()
		s.wait(t, "what is behind", func() bool { return len(s.got) == count+1 })
		b.queue("notes", notes).Count() // behind the step that delivered it
		if n := b.hub.MemoryBytes(); n != 0 {
			t.Errorf("%d bytes are left", n)
		}
	})
}

// TestManyNotes: what is left on many messages at once is more than an entry should have, and is all there after a restart.
func TestManyNotes(t *testing.T) {
	fs := vfs.NewMemory()
	b := open(t, fs, small())
	b.queue("q", object.QueueSpec{Durable: true})
	p := b.publisher(message.AMQP091)
	const count = 60
	for i := range count {
		p.send("", "q", durable(fmt.Sprint(i)))
	}
	p.settle()
	s := newSink()
	c := b.consume("q", s, hub.ConsumerOptions{Limit: count})
	s.wait(t, "all", func() bool { return len(s.got) == count })
	text := func(i int) string { return strings.Repeat(fmt.Sprintf("%02d", i), 4000) }
	for i := range count { // notes that differ, and then what makes all of them longer at once
		c.SettleNoted(queue.Fail, hub.Range{From: uint64(i + 1), To: uint64(i + 1)}, adds(text(i)))
	}
	s.wait(t, "all again", func() bool { return len(s.got) == 2*count })
	c.SettleNoted(queue.Fail, hub.Range{From: count + 1, To: 2 * count}, adds("!"))
	s.wait(t, "all again", func() bool { return len(s.got) == 3*count })
	if err := b.hub.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	b = open(t, fs, small())
	s = newSink()
	b.consume("q", s, hub.ConsumerOptions{Limit: count})
	s.wait(t, "all", func() bool { return len(s.got) == count })
	for i, d := range s.got {
		if string(d.Note) != text(i)+"!" || d.Count != 2 {
			t.Errorf("message %d came back %d times, with a note of %d bytes", i, d.Count, len(d.Note))
		}
	}
}

// TestNotesOfRelaxedQueues: a note is as durable as what its queue has.
func TestNotesOfRelaxedQueues(t *testing.T) {
	disk := vfs.NewCrash()
	var syncs atomic.Int64
	disk.Before = func(op vfs.Op, _ string) {
		if op == vfs.OpSync {
			syncs.Add(1)
		}
	}
	b := open(t, disk, small())
	b.queue("q", object.QueueSpec{Durable: true, Arguments: object.Arguments{object.Durability: "none"}})
	p := b.publisher(message.AMQP091)
	p.send("", "q", durable("it"))
	p.settle()
	s := newSink()
	c := b.consume("q", s, hub.ConsumerOptions{Limit: 1})
	s.wait(t, "the message", func() bool { return len(s.got) == 1 })
	before := syncs.Load()
	c.SettleNoted(queue.Release, hub.Range{From: 1, To: 1}, adds("note"))
	p.send("", "q", durable("behind"))
	p.settle()
	if n := syncs.Load() - before; n != 0 {
		t.Errorf("%d fsyncs", n)
	}
	if err := b.hub.Close(context.Background()); err != nil { // the process ends, and not the power
		t.Fatal(err)
	}
	b = open(t, disk, small())
	if d, ok := b.noted("q"); !ok || string(d.Note) != "note" {
		t.Errorf("%t, note %q", ok, d.Note)
	}
}
