package hub_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

var (
	lossSeed   = flag.Uint64("loss.seed", 1, "first seed of TestPowerLoss")
	lossLying  = flag.Bool("loss.lying", false, "TestPowerLoss on disks whose fsync does nothing, which must fail")
	lossRounds = flag.Int("loss.rounds", 40, "power losses of TestPowerLoss")
)

// ledger is what clients know of one queue at one moment.
type ledger struct {
	name string

	mu        sync.Mutex
	confirmed map[int]bool // must be there
	unsure    map[int]bool // published and not confirmed, or settled a moment ago: may be there
	settled   map[int]bool // settled, and a later publish to the queue was confirmed: must not be there
	settling  []int        // settled since the newest confirm: they are among the unsure
	next      int          // message
}

// copy is the ledger as a client keeps it that lost its broker.
func (l *ledger) copy() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &ledger{name: l.name, confirmed: maps.Clone(l.confirmed), unsure: maps.Clone(l.unsure), settled: maps.Clone(l.settled), next: l.next}
}

// publish takes so many new messages into account, and answers how many were settled before.
func (l *ledger) publish(n int) (sent []int, before int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		sent = append(sent, l.next)
		l.unsure[l.next] = true
		l.next++
	}
	return sent, len(l.settling)
}

// confirm takes note of messages that are durable, and with them of what was settled before they were published.
func (l *ledger) confirm(sent []int, before int, gone map[int]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range sent {
		if !gone[n] && l.unsure[n] {
			delete(l.unsure, n)
			l.confirmed[n] = true
		}
	}
	for _, n := range l.settling[:before] {
		l.settled[n] = true
		delete(l.unsure, n)
	}
	l.settling = l.settling[before:]
}

// lossSink settles what it is given, most of the time.
type lossSink struct {
	*ledger
	consumer *hub.Consumer
	given    chan []queue.Delivery
	gone     map[int]bool // settled by this consumer; guarded by ledger.mu
}

func (s *lossSink) Deliver(_ *hub.Consumer, ds []queue.Delivery) bool {
	s.given <- slices.Clone(ds)
	return true
}
func (s *lossSink) Cancelled(*hub.Consumer) {}

// run settles deliveries until the channel is closed.
func (s *lossSink) run(t *testing.T, rng *rand.Rand) {
	last := -1
	for ds := range s.given {
		for _, d := range ds {
			n, err := strconv.Atoi(string(d.Message.Payload[:8]))
			if err != nil {
				t.Errorf("queue %s delivers %q", s.name, d.Message.Payload)
				continue
			}
			s.mu.Lock()
			if s.settled[n] {
				t.Errorf("queue %s delivers message %d, which was settled", s.name, n)
			}
			if n <= last {
				t.Errorf("queue %s delivers message %d after message %d", s.name, n, last)
			}
			last = n
			keep := rng.IntN(10) == 0
			if !keep {
				delete(s.confirmed, n)
				s.unsure[n], s.gone[n] = true, true
			}
			s.mu.Unlock()
			if !keep {
				s.consumer.Settle(queue.Accept, hub.Range{From: d.Tag, To: d.Tag})
				s.mu.Lock()
				s.settling = append(s.settling, n)
				s.mu.Unlock()
			}
		}
	}
}

// TestPowerLoss takes the power away under load again and again; what the disk kept of unsynced writes is for the seed to
// decide. Whatever was confirmed and not settled is there afterwards, in order; what was settled before a publish that
// was confirmed does not come back.
func TestPowerLoss(t *testing.T) {
	disk, ledgers := vfs.NewCrash(), []*ledger{}
	for i := range 3 {
		ledgers = append(ledgers, &ledger{name: fmt.Sprint("q", i), confirmed: make(map[int]bool), unsure: make(map[int]bool), settled: make(map[int]bool)})
	}
	for round := range *lossRounds {
		seed := *lossSeed + uint64(round)
		disk, ledgers = lossRound(t, disk, ledgers, rand.New(rand.NewPCG(seed, 5)))
		if t.Failed() {
			t.Fatalf("seed %d, loss %d", *lossSeed, round)
		}
		if round%20 == 19 {
			checkDrained(t, disk.PowerLoss(0), ledgers)
		}
	}
	checkDrained(t, disk, ledgers)
}

// TestPowerLossNoticesALyingDisk is the control: it runs TestPowerLoss in a process of its own, where it must fail.
func TestPowerLossNoticesALyingDisk(t *testing.T) {
	if *lossLying {
		return // it is that process
	}
	out, err := exec.Command(os.Args[0], "-test.run=^TestPowerLoss$", "-loss.lying", "-loss.rounds=30").CombinedOutput()
	if err == nil {
		t.Errorf("nothing was noticed:\n%s", out)
	}
}

// lossRound loads a broker for a while and answers what a power loss at some moment leaves, and what its clients know
// then. Afterwards that broker is stopped; what it still did does not count.
func lossRound(t *testing.T, disk *vfs.Crash, ledgers []*ledger, rng *rand.Rand) (left *vfs.Crash, known []*ledger) {
	t.Helper()
	disk.Lying = *lossLying
	b := open(t, disk, small())
	var settlers sync.WaitGroup
	var sinks []*lossSink
	for _, l := range ledgers {
		b.queue(l.name, object.QueueSpec{Durable: true})
		s := &lossSink{ledger: l, given: make(chan []queue.Delivery, 1<<16), gone: make(map[int]bool)}
		consumer, err := b.host.Consume(b.access, l.name, hub.ConsumerOptions{Tag: "c", Sink: s, Limit: 50 + rng.IntN(2000)})
		if err != nil {
			t.Fatal(err)
		}
		s.consumer = consumer
		chance := rand.New(rand.NewPCG(rng.Uint64(), 6))
		settlers.Go(func() { s.run(t, chance) })
		sinks = append(sinks, s)
		if rng.IntN(3) > 0 { // else a backlog grows
			consumer.Resume()
		}
	}
	left, known = underLoad(b, disk, sinks, rng)
	if err := b.hub.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, s := range sinks {
		close(s.given)
	}
	settlers.Wait()
	return left, known
}

// underLoad publishes to all queues and takes the power away at some moment, sometimes with messages on their way.
func underLoad(b *bench, disk *vfs.Crash, sinks []*lossSink, rng *rand.Rand) (left *vfs.Crash, known []*ledger) {
	publishers := make([]*publisher, len(sinks))
	for i := range publishers {
		publishers[i] = b.publisher(message.AMQP091)
	}
	for batches := rng.IntN(60); ; batches-- {
		for k, s := range sinks {
			p := publishers[k]
			sent, before := s.publish(1 + rng.IntN(20))
			for _, n := range sent {
				p.send("", s.name, durable(fmt.Sprintf("%08d%s", n, make([]byte, rng.IntN(2000)))))
			}
			if batches <= 0 && rng.IntN(2) == 0 {
				p.Flush()
				continue
			}
			p.settle()
			s.confirm(sent, before, s.gone)
		}
		if batches > 0 {
			continue
		}
		left = disk.PowerLoss(rng.Uint64())
		for _, s := range sinks {
			known = append(known, s.copy())
		}
		return left, known
	}
}

func checkDrained(t *testing.T, disk *vfs.Crash, ledgers []*ledger) {
	t.Helper()
	b := open(t, disk, small())
	for _, l := range ledgers {
		b.queue(l.name, object.QueueSpec{Durable: true})
		drained(b, l)
	}
	if err := b.hub.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// drained takes everything out of a queue and compares it with what clients know.
func drained(b *bench, l *ledger) {
	b.Helper()
	s := newSink()
	consumer := b.consume(l.name, s, hub.ConsumerOptions{NoAck: true})
	deadline := time.Now().Add(patience)
	want := len(l.confirmed)
	seen := make(map[int]bool)
	for {
		s.mu.Lock()
		for _, body := range s.bodies[len(seen):] {
			n, err := strconv.Atoi(body[:8])
			if err != nil || seen[n] {
				b.Fatalf("queue %s delivers %.8q, %v", l.name, body, err)
			}
			seen[n] = true
		}
		s.mu.Unlock()
		have := 0
		for n := range l.confirmed {
			if seen[n] {
				have++
			}
		}
		if have == want {
			break
		}
		if time.Now().After(deadline) {
			b.Fatalf("queue %s gave %d of %d confirmed messages", l.name, have, want)
		}
	}
	consumer.Close()
	for n := range seen {
		if l.settled[n] {
			b.Errorf("queue %s gave message %d, which was settled", l.name, n)
		}
		if !l.confirmed[n] && !l.unsure[n] {
			b.Errorf("queue %s gave message %d, which was never published or was settled", l.name, n)
		}
	}
}
