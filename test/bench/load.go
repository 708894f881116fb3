package main

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/test/bench/amqp"
	"github.com/turnstone-mq/turnstone/test/bench/check"
	"github.com/turnstone-mq/turnstone/test/bench/mqtt"
)

// work is one scenario.
type work struct {
	name, protocol string
	pairs, size    int
	persistent     bool // AMQP: durable queue, persistent messages, confirms, manual acknowledgement
}

// The sizes of a closed loop, the same for every broker.
const (
	window      = 1000 // messages of a pair between publish and receive
	perWrite    = 100  // messages of one write, at most
	unconfirmed = 100  // persistent work: messages that wait for their confirm
	prefetch    = 500  // persistent work
	ackEvery    = 100  // persistent work: one acknowledgement for so many
)

var works = []work{
	{name: "mqtt-qos0-64B", protocol: "mqtt", pairs: 4, size: 64},
	{name: "mqtt-qos0-1KB", protocol: "mqtt", pairs: 4, size: 1024},
	{name: "amqp-transient-64B", protocol: "amqp", pairs: 1, size: 64},
	{name: "amqp-transient-1KB", protocol: "amqp", pairs: 1, size: 1024},
	{name: "amqp-durable-256B", protocol: "amqp", pairs: 1, size: 256, persistent: true},
}

// credit is a count that one side takes from and the other gives to. Closed, it takes nothing more.
type credit struct {
	mu     sync.Mutex
	more   sync.Cond
	n      int
	closed bool
}

func newCredit(n int) *credit {
	c := &credit{n: n}
	c.more.L = &c.mu
	return c
}

// take waits for at least one and takes at most most; false when it was closed.
func (c *credit) take(most int) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.n == 0 && !c.closed {
		c.more.Wait()
	}
	n := min(c.n, most)
	c.n -= n
	return n, !c.closed
}

func (c *credit) give(n int) {
	c.mu.Lock()
	c.n += n
	c.mu.Unlock()
	c.more.Signal()
}

func (c *credit) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.more.Broadcast()
}

// pair is one publisher and one receiver. The receiver's goroutine owns received; it is read when the pair has ended.
type pair struct {
	work     work
	id       uint32
	sent     uint64
	window   *credit
	confirms *credit // nil without confirms
	received *check.Checker
	mu       sync.Mutex // guards received while the load runs
	publish  func(payload []byte)
	flush    func() error
	receive  func(fn func([]byte)) error
	ack      func() error // nil without acknowledgement
	confirm  func() (int, error)
	close    func()
	sending  sync.WaitGroup
	running  sync.WaitGroup
	failed   chan error
}

func (w work) connect(address string, n int) (*pair, error) {
	p := &pair{work: w, id: uint32(n), window: newCredit(window), received: check.New(), failed: make(chan error, 4)}
	name := fmt.Sprintf("bench-%s-%d", w.name, n)
	if w.protocol == "mqtt" {
		return p, p.connectMQTT(address, name)
	}
	return p, p.connectAMQP(address, name)
}

func (p *pair) connectMQTT(address, name string) error {
	topic := "bench/" + name
	receiver, err := mqtt.Dial(address, name+"-sub")
	if err != nil {
		return err
	}
	if err := receiver.Subscribe(topic); err != nil {
		return err
	}
	sender, err := mqtt.Dial(address, name+"-pub")
	if err != nil {
		return err
	}
	p.publish, p.flush, p.receive = func(b []byte) { sender.Publish(topic, b) }, sender.Flush, receiver.Receive
	p.close = func() { sender.Close(); receiver.Close() } //nolint:errcheck // the load is over
	return nil
}

func (p *pair) connectAMQP(address, queue string) error {
	receiver, err := amqp.Dial(address)
	if err != nil {
		return err
	}
	sender, err := amqp.Dial(address)
	if err != nil {
		return err
	}
	persistent, limit := p.work.persistent, 0
	if persistent {
		limit = prefetch
	}
	if err := errors.Join(receiver.Declare(queue, persistent), receiver.Consume(queue, limit)); err != nil {
		return err
	}
	if persistent {
		if err := sender.Confirm(); err != nil {
			return err
		}
		p.confirms, p.confirm, p.ack = newCredit(unconfirmed), sender.Confirmed, receiver.Ack
	}
	p.publish, p.flush, p.receive = func(b []byte) { sender.Publish(queue, b, persistent) }, sender.Flush, receiver.Receive
	p.close = func() { sender.Close(); receiver.Close() } //nolint:errcheck // the load is over
	return nil
}

// run starts the pair's goroutines; they end with stop.
func (p *pair) run() {
	p.sending.Go(func() { p.failed <- p.sendAll() })
	p.running.Go(func() { p.failed <- p.receiveAll() })
	if p.confirm != nil {
		p.running.Go(func() { p.failed <- p.confirmAll() })
	}
}

func (p *pair) sendAll() error {
	payload := make([]byte, p.work.size)
	for {
		n, ok := p.window.take(perWrite)
		if !ok {
			return nil
		}
		if p.confirms != nil {
			granted, ok := p.confirms.take(n)
			if !ok {
				return nil
			}
			p.window.give(n - granted)
			n = granted
		}
		now := time.Now()
		for range n {
			check.Mark(payload, p.id, p.sent, now)
			p.sent++
			p.publish(payload)
		}
		if err := p.flush(); err != nil {
			return err
		}
	}
}

func (p *pair) receiveAll() error {
	unacked := 0
	for {
		n, now := 0, time.Now()
		err := p.receive(func(b []byte) {
			if n == 0 {
				now = time.Now()
				p.mu.Lock()
			}
			p.received.Take(b, now)
			n++
		})
		if n > 0 {
			p.mu.Unlock()
		}
		if err != nil {
			return err
		}
		if unacked += n; p.ack != nil && unacked >= ackEvery {
			unacked = 0
			if err := p.ack(); err != nil {
				return err
			}
		}
		p.window.give(n)
	}
}

func (p *pair) confirmAll() error {
	for {
		n, err := p.confirm()
		if err != nil {
			return err
		}
		p.confirms.give(n)
	}
}

// count is how many messages have been received.
func (p *pair) count() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.received.Received
}

// begin forgets the latencies of the warm-up.
func (p *pair) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.received.Latency = check.Histogram{}
}

// drainTime is how long a broker has to deliver what it took.
const drainTime = 10 * time.Second

// stop ends the publisher, waits for what is under way, ends the rest, and says what was wrong. That the connections were
// closed is not.
func (p *pair) stop() error {
	p.window.close()
	if p.confirms != nil {
		p.confirms.close()
	}
	p.sending.Wait()
	for deadline := time.Now().Add(drainTime); p.count() < p.sent && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	p.close()
	p.running.Wait()
	close(p.failed)
	for err := range p.failed {
		if err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	return p.received.Err(p.sent)
}
