package hub_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// groupOfBody is hub.Options.Group of the tests: what stands before a colon; an exclamation mark closes it.
func groupOfBody(m *message.Message) (id []byte, closes bool) {
	id, rest, ok := bytes.Cut(m.Payload, []byte(":"))
	if !ok {
		return nil, false
	}
	return id, bytes.HasSuffix(rest, []byte("!"))
}

// headerOfBody is hub.Options.Header of the tests: every header has the text before a colon.
func headerOfBody(m *message.Message, _ string) []byte {
	id, _ := groupOfBody(m)
	return id
}

func lastValues(durable bool, more ...any) object.QueueSpec {
	a := object.Arguments{"x-last-value-key": "k"}
	for i := 0; i < len(more); i += 2 {
		a[more[i].(string)] = more[i+1]
	}
	return object.QueueSpec{Durable: durable, Arguments: a}
}

// drain takes what waits in a queue.
func drain(t *testing.T, b *bench, name string) (bodies []string) {
	t.Helper()
	c := b.consume(name, newSink(), hub.ConsumerOptions{Passive: true, NoAck: true})
	defer c.Close()
	for d, _, ok := c.Get(); ok; d, _, ok = c.Get() {
		bodies = append(bodies, string(d.Message.Payload))
	}
	return bodies
}

// TestLastValues: of each key the newest message is there, by the queue's counts and by what consumers get, also when the
// power went while messages came, and when the log has a checkpoint and bodies on disk alone.
func TestLastValues(t *testing.T) {
	const keys = 40
	disk := vfs.NewCrash()
	rng := rand.New(rand.NewPCG(1, 2))
	c := small()
	c.Storage.SegmentBytes = 256 << 10
	c.Limits.BodyCacheBytes = 1000
	b := open(t, disk, c)
	b.queue("q", lastValues(true))
	confirmed := make([]int, keys) // the newest value of each key that is certain to be there, or a newer one
	value := 0
	for round := range 6 {
		p := b.publisher(message.AMQP091)
		for range 30 {
			sent := map[int]int{}
			for range 20 {
				value++
				key := rng.IntN(keys)
				sent[key] = value
				p.send("", "q", durable(fmt.Sprintf("%d:%d %0300d", key, value, 0)))
			}
			if refused := p.settle(); len(refused) > 0 {
				t.Fatal(refused)
			}
			for key, v := range sent {
				confirmed[key] = v
			}
		}
		q, err := b.host.Queue("q", 1)
		check(t, err)
		if s := q.Count(); s.Ready > keys {
			t.Errorf("round %d: %d messages of %d keys wait", round, s.Ready, keys)
		}
		last := 0
		for key, v := range confirmed {
			if v > confirmed[last] {
				last = key
			}
		}
		eye := newSink()
		looking := b.consume("q", eye, hub.ConsumerOptions{Browse: true})
		eye.wait(t, "all keys are seen", func() bool {
			return len(eye.bodies) > 0 && bytes.HasPrefix([]byte(eye.bodies[len(eye.bodies)-1]), fmt.Appendf(nil, "%d:%d ", last, confirmed[last]))
		})
		looking.Close()
		disk = disk.PowerLoss(uint64(round))
		b = open(t, disk, c)
		check(t, err)
		seen := 0
		cursor := newSink()
		looking = b.consume("q", cursor, hub.ConsumerOptions{Browse: true})
		present := 0
		for _, v := range confirmed {
			if v > 0 {
				present++
			}
		}
		cursor.wait(t, "what was confirmed is there", func() bool { return len(cursor.bodies) >= present })
		looking.Close()
		for _, body := range cursor.bodies {
			var key, v int
			fmt.Sscanf(body, "%d:%d", &key, &v)
			if v != confirmed[key] {
				t.Errorf("round %d: key %d has the value %d, want %d", round, key, v, confirmed[key])
			}
			seen++
		}
		if seen != present {
			t.Errorf("round %d: %d messages of %d keys", round, seen, present)
		}
	}
	if bodies := drain(t, b, "q"); len(bodies) != keys {
		t.Errorf("%d messages are left, want %d", len(bodies), keys)
	}
}

// TestLastValueWithConsumer: what a consumer has is not replaced, and is not put before a newer one when it comes back.
func TestLastValueWithConsumer(t *testing.T) {
	for name, stored := range map[string]bool{"durable": true, "transient": false} {
		t.Run(name, func(t *testing.T) {
			b := open(t, vfs.NewMemory(), small())
			b.queue("q", lastValues(stored))
			p := b.publisher(message.MQTT)
			s := newSink()
			c := b.consume("q", s, hub.ConsumerOptions{Limit: 1})
			for _, body := range []string{"a:1", "a:2", "b:1", "a:3"} {
				p.send("", "q", durable(body))
				p.settle()
			}
			s.expect(t, "a:1")
			q, err := b.host.Queue("q", 1)
			check(t, err)
			if n := q.Count(); n.Ready != 2 || n.Unacked != 1 {
				t.Errorf("%+v wait", n)
			}
			c.Settle(queue.Release, hub.Range{From: 1, To: 1})
			s.expect(t, "a:1", "b:1")
			c.Settle(queue.Accept, hub.Range{From: 2, To: 2})
			s.expect(t, "a:1", "b:1", "a:3")
		})
	}
}

// TestFullQueueTakesLastValues: what takes the place of another needs no room.
func TestFullQueueTakesLastValues(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	b.queue("q", lastValues(true, "x-max-length", int64(2), "x-overflow", "reject-publish"))
	p := b.publisher(message.AMQP091)
	for _, body := range []string{"a:1", "b:1", "a:2", "c:1", "b:2"} {
		p.send("", "q", durable(body))
		p.settle()
	}
	if len(p.refused) != 1 || p.refused[0].Token != 4 {
		t.Errorf("refused %v, want the fourth", p.refused)
	}
	if err := p.Hold(); err != nil {
		t.Fatal(err)
	}
	p.token = 0
	tx := b.publisher(message.AMQP091)
	tx.send("", "q", durable("a:3"))
	check(t, tx.Commit(nil))
	if got := fmt.Sprint(drain(t, b, "q")); got != "[b:2 a:3]" {
		t.Errorf("%s waits", got)
	}
}

// TestLastValueOfTopics: the routing key is the key where the queue says so.
func TestLastValueOfTopics(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	b.queue("q", object.QueueSpec{Arguments: object.Arguments{"x-last-value-key": hub.RoutingKeyAsKey}})
	check(t, b.host.Bind(b.Context(), b.access, hub.Binding{Source: "amq.topic", Destination: "q", Key: "#", Origin: 1}))
	p := b.publisher(message.AMQP091)
	for i, key := range []string{"a.b", "a.c", "a.b", "a.c", "a"} {
		p.send("amq.topic", key, durable(fmt.Sprint(i)))
	}
	p.settle()
	if got := fmt.Sprint(drain(t, b, "q")); got != "[2 3 4]" {
		t.Errorf("%s waits", got)
	}
}

// TestGroups: messages of a group go to one consumer, in order, also those that the log alone has after a restart.
func TestGroups(t *testing.T) {
	const groups, each = 7, 300
	for name, restart := range map[string]bool{"at once": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMemory()
			c := small()
			c.Limits.BodyCacheBytes = 1000
			b := open(t, fs, c)
			b.queue("q", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-group-buckets": int64(100)}})
			publish := func() {
				p := b.publisher(message.AMQP091)
				for i := range groups * each {
					p.send("", "q", durable(fmt.Sprintf("%d:%05d %0400d", i%groups, i, 0)))
				}
				if refused := p.settle(); len(refused) > 0 {
					t.Fatal(refused)
				}
			}
			if restart {
				publish()
				b.close()
				b = open(t, fs, c)
			}
			sinks, consumers := make([]*sink, 3), make([]*hub.Consumer, 3)
			for i := range sinks {
				sinks[i] = newSink()
				consumers[i] = b.consume("q", sinks[i], hub.ConsumerOptions{Limit: 50, NoAck: false})
			}
			if !restart {
				publish()
			}
			settled := make([]int, len(sinks))
			total := 0
			for total < groups*each {
				select {
				case <-sinks[0].changed:
				case <-sinks[1].changed:
				case <-sinks[2].changed:
				case <-time.After(patience):
					t.Fatalf("%d of %d messages came", total, groups*each)
				}
				for i, s := range sinks {
					s.mu.Lock()
					n := len(s.bodies)
					s.mu.Unlock()
					if n > settled[i] {
						consumers[i].Settle(queue.Accept, hub.Range{From: uint64(settled[i] + 1), To: uint64(n)})
						total += n - settled[i]
						settled[i] = n
					}
				}
			}
			for _, s := range sinks {
				newest := map[string]string{}
				for _, body := range s.bodies {
					g, rest, _ := bytes.Cut([]byte(body), []byte(":"))
					if newest[string(g)] >= string(rest) {
						t.Errorf("group %s: %.5s after %.5s", g, rest, newest[string(g)])
					}
					newest[string(g)] = string(rest)
				}
				if len(newest) == 0 {
					t.Error("a consumer got nothing")
				}
			}
		})
	}
}
