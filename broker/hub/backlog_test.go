package hub_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// TestBacklogOutlivesCheckpointsAndCleaning fills queues far beyond what they hold unpacked, in segments so small that
// checkpoints, releases and moves happen all the time, and restarts in between. Each queue must give back exactly what is
// left, in its order.
func TestBacklogOutlivesCheckpointsAndCleaning(t *testing.T) {
	const messages, rounds = 6000, 3
	fs, c := vfs.NewMemory(), small()
	names := []string{"one", "two", "priority"}
	pad := strings.Repeat("x", 600)
	taken := make(map[string]int) // in the order of the queue
	published := 0
	for round := range rounds {
		b := open(t, fs, c)
		if round == 0 {
			for _, n := range names {
				spec := object.QueueSpec{Durable: true}
				if n == "priority" {
					spec.Arguments = object.Arguments{"x-max-priority": 2}
				}
				b.queue(n, spec)
			}
		}
		p := b.publisher(message.AMQP091)
		for i := range messages {
			for _, n := range names {
				m := durable(fmt.Sprintf("%d:%s", published, pad))
				m.Priority = 1
				p.send("", n, m)
			}
			published++
			if i%200 == 199 {
				p.settle()
			}
		}
		p.settle()
		for _, n := range names {
			taken[n] = takeSome(b, n, taken[n], messages*2/3)
		}
		waitForFewSegments(b, p, 10+published*len(names)*700/(1<<20))
		if err := b.hub.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, fs, c)
	for _, n := range names {
		if left := takeSome(b, n, taken[n], published-taken[n]); left != published {
			t.Errorf("queue %s ended at %d of %d", n, left, published)
		}
	}
	p := b.publisher(message.AMQP091)
	waitForFewSegments(b, p, 8)
}

// takeSome settles n messages of a queue, from the next one on, and answers which one is next then.
func takeSome(b *bench, name string, next, n int) int {
	b.Helper()
	s := newSink()
	consumer := b.consume(name, s, hub.ConsumerOptions{Limit: 400})
	done, tag := 0, uint64(0)
	for done < n {
		s.wait(b.T, "a delivery of "+name, func() bool { return len(s.got) > done })
		s.mu.Lock()
		got := s.bodies[done:]
		s.mu.Unlock()
		got = got[:min(len(got), n-done)]
		for i, body := range got {
			if want := fmt.Sprintf("%d:x", next+i); !strings.HasPrefix(body, want) {
				b.Fatalf("queue %s gave %.12q instead of %q", name, body, want)
			}
		}
		consumer.Settle(queue.Accept, hub.Range{From: tag + 1, To: tag + uint64(len(got))})
		tag += uint64(len(got))
		next, done = next+len(got), done+len(got)
	}
	consumer.Close()
	return next
}

// waitForFewSegments publishes a little now and then until the log is small.
func waitForFewSegments(b *bench, p *publisher, most int) {
	b.Helper()
	b.queue("tick", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": 1}})
	deadline := time.Now().Add(patience)
	for b.hub.JournalSegments() > most {
		if time.Now().After(deadline) {
			b.Fatalf("%d segments are left, want %d", b.hub.JournalSegments(), most)
		}
		p.send("", "tick", durable("tick"))
		p.settle()
	}
}
