package e2e_test

import (
	"context"
	"fmt"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// ledger is what clients were promised: the messages whose publishing was confirmed to them.
type ledger struct {
	mu        sync.Mutex
	confirmed map[string]bool // by body, which is like no other
	ways      map[string]int  // how many by each way of publishing
	failed    []string        // publishes that were not confirmed, the first few
}

func newLedger() *ledger {
	return &ledger{confirmed: make(map[string]bool), ways: make(map[string]int)}
}

func (l *ledger) confirm(way, body string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.confirmed[body] = true
	l.ways[way]++
}

func (l *ledger) fail(way string, err error) {
	const enough = 10
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failed) < enough {
		l.failed = append(l.failed, fmt.Sprintf("%s: %v", way, err))
	}
}

func (l *ledger) failures() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.failed...)
}

// count is how many were confirmed by the way that has the fewest, of so many ways.
func (l *ledger) count(ways int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ways) < ways {
		return 0
	}
	least := -1
	for _, n := range l.ways {
		if least < 0 || n < least {
			least = n
		}
	}
	return least
}

// received is what came out of a queue, and how often.
type received map[string]int

// take consumes from a queue until everything that was promised has come, or until ctx ends; each is acknowledged.
func (l *ledger) take(ctx context.Context, conn *amqp.Connection, queue string) (received, error) {
	const prefetch = 500
	channel, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	defer channel.Close() //nolint:errcheck // it only reads
	if err := channel.Qos(prefetch, 0, false); err != nil {
		return nil, err
	}
	deliveries, err := channel.ConsumeWithContext(ctx, queue, "", false, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	got := received{}
	for missing := len(l.confirmed); missing > 0; {
		d, ok := <-deliveries // closed when ctx ends, or the connection
		if !ok {
			break
		}
		if got[string(d.Body)]++; got[string(d.Body)] == 1 && l.confirmed[string(d.Body)] {
			missing--
		}
		if err := d.Ack(false); err != nil {
			return got, err
		}
	}
	return got, nil
}

// lost lists what was promised and did not come, the first few.
func (l *ledger) lost(got received) (lost []string) {
	const enough = 10
	for body := range l.confirmed {
		if got[body] == 0 && len(lost) < enough {
			lost = append(lost, body)
		}
	}
	return lost
}

// repeated lists what came more than once.
func (got received) repeated() (twice []string) {
	for body, n := range got {
		if n > 1 {
			twice = append(twice, fmt.Sprintf("%s: %d times", body, n))
		}
	}
	return twice
}
