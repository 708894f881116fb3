package hub_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// later publishes a message that is to wait.
func (p *publisher) later(wait time.Duration, exchange, key string, m message.Message) {
	p.Helper()
	p.Postpone(wait)
	if n := p.send(exchange, key, m); n != 1 {
		p.Fatalf("a delayed message goes to %d places", n)
	}
}

func (b *bench) close() {
	b.Helper()
	if err := b.hub.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}

func fleeting(body string) message.Message { return message.Message{Payload: []byte(body)} }

func TestDelayedMessagesComeInTheOrderOfTheirTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, vfs.NewMemory(), small())
		b.queue("q", object.QueueSpec{Durable: true})
		s := newSink()
		b.consume("q", s, hub.ConsumerOptions{NoAck: true})
		p := b.publisher(message.AMQP091)
		p.later(time.Hour, "", "q", durable("hour"))
		p.later(2*time.Second, "", "q", durable("two"))
		p.later(time.Second, "", "q", durable("one"))
		p.later(time.Second, "", "q", durable("one again"))
		p.later(3*time.Second, "", "q", fleeting("three"))
		p.send("", "q", durable("now"))
		if refused := p.settle(); len(refused) > 0 {
			t.Fatal(refused)
		}
		if n := b.hub.DelayedCount(); n != 5 {
			t.Errorf("%d messages wait", n)
		}
		s.expect(t, "now")
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		s.expect(t, "now")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		s.expect(t, "now", "one", "one again")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s.expect(t, "now", "one", "one again", "two", "three")
		time.Sleep(time.Hour)
		synctest.Wait()
		s.expect(t, "now", "one", "one again", "two", "three", "hour")
		if n := b.hub.DelayedCount(); n != 0 {
			t.Errorf("%d messages wait at the end", n)
		}
	})
}

func TestDelayedMessagesOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMemory()
		b := open(t, fs, small())
		for _, n := range txQueues { // in several shards
			b.queue(n, object.QueueSpec{Durable: true})
		}
		p := b.publisher(message.AMQP091)
		for i, n := range txQueues {
			p.later(time.Duration(i+1)*time.Minute, "", n, durable(n))
		}
		p.later(time.Minute, "", txQueues[0], fleeting("lost"))
		p.settle()
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		b.close()
		time.Sleep(time.Minute)
		b = open(t, fs, small())
		synctest.Wait()
		ready := func() (n []int) {
			for _, name := range txQueues {
				n = append(n, b.ready(name))
			}
			return n
		}
		if got := ready(); !slices.Equal(got, []int{1, 1, 0, 0, 0}) {
			t.Errorf("after two minutes there are %v", got)
		}
		if n := b.hub.DelayedCount(); n != 3 {
			t.Errorf("%d messages wait", n)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		b.close()
		b = open(t, fs, small())
		synctest.Wait()
		if got := ready(); !slices.Equal(got, []int{1, 1, 1, 1, 1}) || b.hub.DelayedCount() != 0 {
			t.Errorf("at last there are %v, and %d wait", got, b.hub.DelayedCount())
		}
	})
}

// TestDelayedMessagesOutlivePowerLossOnce publishes messages that are due at once or soon, to queues in several shards at
// a time, while the power goes at any moment: each that was confirmed is in each of its queues once.
func TestDelayedMessagesOutlivePowerLossOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewCrash()
		loss := lossOf(disk)
		for round := range uint64(40) {
			rng := rand.New(rand.NewPCG(round, 9))
			b := open(t, disk, small())
			for _, n := range txQueues[:3] {
				b.queue(n, object.QueueSpec{Durable: true})
				b.bind("amq.fanout", n, "")
			}
			p := b.publisher(message.AMQP091)
			before := make(map[string]int)
			for _, n := range txQueues[:3] {
				before[n] = b.ready(n) + int(b.hub.DelayedCount())
			}
			loss.seed = rng.Uint64()
			loss.at.Store(1 + rng.Int64N(80))
			confirmed, sent := 0, 0
			var left *vfs.Crash
			for left == nil {
				for range 1 + rng.IntN(5) {
					p.later(time.Duration(rng.IntN(3))*time.Millisecond, "amq.fanout", fmt.Sprint("k", rng.IntN(9)), durable("x"))
					sent++
				}
				p.settle()
				time.Sleep(time.Duration(rng.IntN(2)) * time.Millisecond) // some are due now, and move while others come
				select {
				case left = <-loss.left:
				default:
					confirmed = sent
				}
			}
			b.close()
			disk, loss = left, lossOf(left)
			b = open(t, disk, small())
			b.drainDelayed()
			b.close() // and with it the transactions end
			b = open(t, disk, small())
			for _, n := range txQueues[:3] {
				if got, most := b.ready(n)-before[n], sent; got < confirmed || got > most {
					t.Fatalf("round %d: queue %s has %d of %d that were confirmed and %d that were sent", round, n, got, confirmed, most)
				}
			}
			if a, c := b.ready(txQueues[0]), b.ready(txQueues[2]); a != c {
				t.Fatalf("round %d: queues that get the same have %d and %d", round, a, c)
			}
			b.close()
		}
	})
}

// turnOver publishes so much to a queue, which keeps little of it, that the log turns over. It takes 50 seconds, and is for tests whose
// time is their own.
func (p *publisher) turnOver(queue string) {
	p.Helper()
	body := string(make([]byte, 8<<10))
	for range 50 {
		for range 20 {
			p.send("", queue, durable(body))
		}
		p.settle()
		time.Sleep(time.Second)
	}
}

// drainDelayed lets the time of all delayed messages come. It is for tests whose time is their own.
func (b *bench) drainDelayed() {
	b.Helper()
	time.Sleep(time.Second)
	synctest.Wait()
	if n := b.hub.DelayedCount(); n > 0 {
		b.Fatalf("%d messages still wait", n)
	}
}

// TestDelayedMessagesOutliveCheckpointsAndCleaning lets messages wait while the log turns over many times around them.
func TestDelayedMessagesOutliveCheckpointsAndCleaning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMemory()
		b := open(t, fs, small())
		b.queue("q", object.QueueSpec{Durable: true})
		b.queue("busy", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": 10}})
		body := strings.Repeat("x", 8<<10)
		const count = 300
		p := b.publisher(message.AMQP091)
		for i := range count {
			p.later(time.Duration(i%2)*time.Hour+time.Hour, "", "q", durable(fmt.Sprint(i)))
			for range 4 {
				p.send("", "busy", durable(body))
			}
			if i%10 == 9 {
				p.settle()
			}
		}
		for round := range 3 {
			p.turnOver("busy")
			if n := b.hub.JournalSegments(); n > 12 {
				t.Errorf("round %d: %d segments", round, n)
			}
			b.close()
			b = open(t, fs, small())
			p = b.publisher(message.AMQP091)
			if n := b.hub.DelayedCount(); n != count {
				t.Fatalf("round %d: %d messages wait", round, n)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := b.ready("q"); n != count/2 {
			t.Errorf("%d messages came in the first hour", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		s := newSink()
		b.consume("q", s, hub.ConsumerOptions{NoAck: true})
		s.wait(t, "all", func() bool { return len(s.bodies) == count })
		for i, body := range s.bodies {
			if want := fmt.Sprint(2*i%count + 2*i/count); body != want {
				t.Fatalf("message %d is %q, wanted %q", i, body, want)
			}
		}
	})
}

func TestDelayedMessagesAreBounded(t *testing.T) {
	c := small()
	c.Limits.DelayedMessages = 3
	b := open(t, vfs.NewMemory(), c)
	p := b.publisher(message.AMQP091)
	for range 2 {
		p.later(time.Hour, "", "q", durable("x"))
	}
	p.later(time.Hour, "", "q", fleeting("x"))
	r, _ := p.Route(nil, []byte("q"))
	m := durable("x")
	p.Postpone(time.Hour)
	if _, err := p.Publish(r, &m, nil, 0); hub.CodeOf(err) != hub.TooMany {
		t.Errorf("one too many: %v", err)
	}
	if n := p.send("", "q", durable("x")); n != 0 {
		t.Errorf("the next message was delayed, too: %d", n)
	}
	p.settle()
	if n := b.hub.DelayedCount(); n != 3 {
		t.Errorf("%d messages wait", n)
	}
}

func TestDelayedMessagesGoWithTheirVirtualHost(t *testing.T) {
	fs := vfs.NewMemory()
	b := open(t, fs, small())
	host := func(d object.Deletion) {
		t.Helper()
		o, err := object.New(object.KindVirtualHost, "", "tenant", object.VirtualHostSpec{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.hub.Apply(context.Background(), "", []object.Change{{Object: o, Delete: d}}, hub.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	host("")
	tenant, err := b.hub.VirtualHost("tenant")
	if err != nil {
		t.Fatal(err)
	}
	p := &publisher{bench: b, encoding: message.AMQP091, came: make(chan struct{}, 1)}
	p.Publisher = tenant.NewPublisher(hub.PublisherOptions{Access: b.access, Encoding: message.AMQP091, Confirmed: p.confirmed})
	for i := range 50 {
		p.later(time.Hour, "", fmt.Sprint(i), durable("x"))
		p.later(time.Hour, "", fmt.Sprint(i), fleeting("x"))
	}
	p.settle()
	used := b.hub.MemoryBytes()
	host(object.DeleteAlways)
	for deadline := time.Now().Add(patience); b.hub.MemoryBytes() == used; {
		if time.Now().After(deadline) {
			t.Fatal("the memory is still taken")
		}
	}
	host("")
	b.close()
	b = open(t, fs, small())
	if n := b.hub.DelayedCount(); n != 0 {
		t.Errorf("another virtual host of that name has %d delayed messages", n)
	}
}

func TestDelayedMessagesMeetWhatIsThereThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, vfs.NewMemory(), small())
		b.queue("full", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": 1, "x-overflow": "reject-publish"}})
		b.queue("free", object.QueueSpec{Durable: true})
		b.queue("transient", object.QueueSpec{})
		for _, n := range []string{"full", "free", "transient"} {
			b.bind("amq.fanout", n, "")
		}
		p := b.publisher(message.AMQP091)
		for range 3 {
			p.later(time.Minute, "amq.fanout", "k", durable("x"))
		}
		expired := durable("old")
		expired.Expiry = time.Now().Add(time.Second).UnixMilli()
		p.later(time.Minute, "amq.fanout", "k", expired)
		spec := object.ExchangeSpec{Type: "fanout", Durable: true}
		if err := b.host.DeclareExchange(t.Context(), b.access, hub.ExchangeDeclaration{Name: "gone", Spec: spec}); err != nil {
			t.Fatal(err)
		}
		p.later(time.Minute, "gone", "k", durable("x"))
		p.settle()
		if err := b.host.DeleteExchange(t.Context(), b.access, "gone", false); err != nil {
			t.Fatal(err)
		}
		b.queue("new", object.QueueSpec{Durable: true})
		b.bind("amq.fanout", "new", "")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		for name, want := range map[string]int{"full": 1, "free": 3, "transient": 3, "new": 3} {
			if got := b.ready(name); got != want {
				t.Errorf("queue %s has %d messages, wanted %d", name, got, want)
			}
		}
		if n := b.hub.DelayedCount(); n != 0 {
			t.Errorf("%d messages wait", n)
		}
	})
}

func TestDelayedMessagesAreRetainedWhenTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMemory()
		b := open(t, fs, small())
		p := b.publisher(message.MQTT)
		m := durable("x")
		m.Retain = true
		p.later(time.Minute, "amq.topic", "a/b", m)
		p.settle()
		if n := b.hub.RetainedCount(); n != 0 {
			t.Errorf("%d retained messages before the time", n)
		}
		b.close()
		b = open(t, fs, small())
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := b.hub.RetainedCount(); n != 1 || b.hub.DelayedCount() != 0 {
			t.Errorf("%d retained messages, %d wait", n, b.hub.DelayedCount())
		}
	})
}
