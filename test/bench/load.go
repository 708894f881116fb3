package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/turnstone-mq/turnstone/test/bench/amqp"
	"github.com/turnstone-mq/turnstone/test/bench/check"
	"github.com/turnstone-mq/turnstone/test/bench/wire"
)

// load is publishers and consumers at work on one broker.
type load struct {
	work       work
	run        uint32
	ledger     *check.Ledger
	publishers []*publisher
	consumers  []*consumer
	undo       []func() error // deletes what was declared, the last first
	failed     chan error     // what ended a goroutine before its time
	halted     atomic.Bool    // schedules end
	sending    sync.WaitGroup
	running    sync.WaitGroup
}

// sender publishes on one connection.
type sender interface {
	Flush() error
	Interrupt() error
	Close() error
}

// publisher is one connection that publishes, by one goroutine.
type publisher struct {
	load     *load
	id       uint32
	conn     sender
	add      func(payload []byte, number uint64) // to what Flush writes
	confirm  func() (int, error)                 // nil without confirms
	window   *wire.Credit                        // nil when nothing bounds what is under way
	confirms *wire.Credit                        // nil without confirms
	sent     atomic.Uint64
	proven   atomic.Uint64 // confirmed
	arrived  atomic.Uint64 // of every copy
	most     uint64        // ends after so many; zero is no end
	payload  []byte
}

// consumer is one connection that consumes, by one goroutine.
type consumer struct {
	load    *load
	conn    interface{ Interrupt() error }
	close   func() error
	receive func(fn func([]byte)) error
	ack     func() error // nil without acknowledgement
	mu      sync.Mutex
	checker *check.Checker // guarded by mu
	counts  []int          // scratch: of one read, by publisher
}

// newLoad connects everybody. Nothing is sent yet; stop must be called also when it fails.
func newLoad(s *site, w work) (*load, error) {
	l := &load{work: w, run: s.nextRun(), failed: make(chan error, 2*(w.publishers+w.consumers)+1)}
	l.ledger = check.NewLedger(l.run, w.publishers)
	switch w.protocol {
	case "mqtt":
		return l, l.connectMQTT(s)
	case amqp10Protocol:
		return l, l.connectAMQP10(s)
	}
	return l, l.connectAMQP(s)
}

func (l *load) newPublisher(conn sender) *publisher {
	p := &publisher{load: l, id: uint32(len(l.publishers)), conn: conn, payload: make([]byte, max(l.work.size, check.Size))}
	if l.work.perSecond == 0 {
		p.window = wire.NewCredit(window)
	}
	l.publishers = append(l.publishers, p)
	return p
}

func (l *load) newConsumer(conn interface{ Interrupt() error }, closing func() error, receive func(func([]byte)) error) *consumer {
	ledger := l.ledger
	if l.work.fan {
		ledger = check.NewLedger(l.run, l.work.publishers)
	}
	c := &consumer{load: l, conn: conn, close: closing, receive: receive, checker: check.New(ledger), counts: make([]int, l.work.publishers)}
	l.consumers = append(l.consumers, c)
	return c
}

// name is unlike that of any other run's queue or topic.
func (l *load) name(n int) string { return fmt.Sprintf("bench-%08x-%d", l.run, n) }

func (l *load) connectMQTT(s *site) error {
	for n := range l.work.consumers {
		if err := l.subscribe(s, n); err != nil {
			return err
		}
	}
	if l.work.count > 0 { // the session has to be there before what it will have missed
		if err := l.subscribe(s, 0); err != nil {
			return err
		}
		away := l.consumers[0]
		l.consumers = nil
		if err := away.close(); err != nil {
			return err
		}
	}
	for n := range l.work.publishers {
		c, err := s.mqtt(l.name(n)+"-pub", true)
		if err != nil {
			return err
		}
		topic, qos := "bench/"+l.name(n%l.work.queues), l.work.qos
		p := l.newPublisher(c)
		p.add = func(b []byte, _ uint64) { c.Publish(topic, b, qos) }
		if qos > 0 {
			p.confirms, p.confirm = wire.NewCredit(cmp.Or(l.work.inFlight, unconfirmed)), c.Confirmed
		}
	}
	return nil
}

// resume connects the subscriber of a session that is there.
func (l *load) resume(s *site, n int) error { return l.attach(s, n, true) }

// subscribe connects a subscriber. A persistent session of its is ended with the load.
func (l *load) subscribe(s *site, n int) error { return l.attach(s, n, false) }

func (l *load) attach(s *site, n int, again bool) error {
	id := l.name(n) + "-sub"
	c, err := s.mqtt(id, !l.work.persistent)
	if err != nil {
		return err
	}
	l.newConsumer(c, c.Close, c.Receive)
	if l.work.persistent {
		l.undo = append(l.undo, func() error {
			c, err := s.mqtt(id, true)
			if err != nil {
				return err
			}
			return c.Close()
		})
	}
	if again {
		return nil
	}
	filter := "bench/" + l.name(n%l.work.queues)
	if l.work.shared {
		filter = "$share/bench/" + filter
	}
	return c.Subscribe(filter, l.work.qos)
}

func (l *load) connectAMQP(s *site) error {
	if err := l.declare(s); err != nil {
		return err
	}
	for n := range l.work.consumers {
		if err := l.consume(s, n); err != nil {
			return err
		}
	}
	for n := range l.work.publishers {
		if err := l.connectPublisher(s, n); err != nil {
			return err
		}
	}
	return nil
}

// declare makes queues, and the exchange with its bindings.
func (l *load) declare(s *site) error {
	c, err := s.amqp()
	if err != nil {
		return err
	}
	l.undo = append(l.undo, c.Close)
	for n := range l.work.queues {
		name := l.name(n)
		if err := c.Declare(name, l.work.persistent, l.work.kind); err != nil {
			return err
		}
		l.undo = append(l.undo, func() error { return c.Delete(name) })
	}
	if l.work.bindings == 0 {
		return nil
	}
	exchange := l.name(0)
	if err := c.DeclareTopic(exchange); err != nil {
		return err
	}
	l.undo = append(l.undo, func() error { return c.DeleteExchange(exchange) })
	for n := range l.work.bindings {
		if err := c.Bind(l.name(n%l.work.queues), exchange, fmt.Sprintf("plant.%d.*.temperature", n)); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) consume(s *site, n int) error {
	c, err := s.amqp()
	if err != nil {
		return err
	}
	taker := l.newConsumer(c, c.Close, c.Receive)
	limit := 0
	if l.work.persistent {
		limit, taker.ack = prefetch, c.Ack
	}
	return c.Consume(l.name(n%l.work.queues), limit)
}

func (l *load) connectPublisher(s *site, n int) error {
	c, err := s.amqp()
	if err != nil {
		return err
	}
	p := l.newPublisher(c)
	if l.work.persistent {
		if err := c.Confirm(); err != nil {
			return err
		}
		p.confirms, p.confirm = wire.NewCredit(unconfirmed), c.Confirmed
	}
	routes := []amqp.Route{amqp.NewRoute("", l.name(n%l.work.queues))}
	if l.work.bindings > 0 {
		routes = routes[:0]
		for i := range l.work.bindings {
			routes = append(routes, amqp.NewRoute(l.name(0), fmt.Sprintf("plant.%d.line.temperature", i)))
		}
	}
	persistent := l.work.persistent
	p.add = func(b []byte, number uint64) { c.Publish(routes[number%uint64(len(routes))], b, persistent) }
	return nil
}

// start starts the goroutines; they end with stop.
func (l *load) start() {
	for _, c := range l.consumers {
		l.running.Go(func() { l.failed <- c.run() })
	}
	for _, p := range l.publishers {
		l.sending.Go(func() { l.failed <- p.run() })
		if p.confirm != nil {
			l.running.Go(func() { l.failed <- p.confirmAll() })
		}
	}
}

func (p *publisher) run() error {
	if p.load.work.perSecond > 0 {
		return p.onSchedule()
	}
	for p.most == 0 || p.sent.Load() < p.most {
		n, ok := p.grant()
		if !ok {
			return nil
		}
		if err := p.send(n, time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// grant is how many messages may go now; false: none any more.
func (p *publisher) grant() (n int, ok bool) {
	n, ok = perWrite, true
	if p.most > 0 {
		n = int(min(uint64(n), p.most-p.sent.Load()))
	}
	if p.window != nil {
		if n, ok = p.window.Take(n); !ok {
			return 0, false
		}
	}
	if p.confirms == nil {
		return n, true
	}
	granted, ok := p.confirms.Take(n)
	if p.window != nil && granted < n {
		p.window.Give(n - granted)
	}
	return granted, ok
}

// send sends n messages that are due now, with one write.
func (p *publisher) send(n int, due time.Time) error {
	number := p.sent.Load()
	for range n {
		check.Mark(p.payload, p.load.run, p.id, number, due)
		p.add(p.payload, number)
		number++
	}
	p.sent.Store(number)
	return p.conn.Flush()
}

// onSchedule sends each message when it is due, and those that are overdue at once; their latency counts from when they
// were due.
func (p *publisher) onSchedule() error {
	runtime.LockOSThread() // the runtime's timers are a millisecond coarse
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("precise timers: %w", err)
	}
	every := time.Second / time.Duration(p.load.work.perSecond)
	for due := time.Now(); ; due = due.Add(every) {
		if wait := time.Until(due); wait > 0 {
			t := unix.NsecToTimespec(int64(wait))
			unix.Nanosleep(&t, nil) //nolint:errcheck // a signal cuts it short; the next message is due later
		}
		if p.confirms != nil {
			if _, ok := p.confirms.Take(1); !ok {
				return nil
			}
		} else if p.load.halted.Load() {
			return nil
		}
		if err := p.send(1, due); err != nil {
			return err
		}
	}
}

func (p *publisher) confirmAll() error {
	for {
		n, err := p.confirm()
		if err != nil {
			return err
		}
		p.proven.Add(uint64(n))
		p.confirms.Give(n)
	}
}

func (c *consumer) run() error {
	unacked := 0
	for {
		n, err := c.take()
		unacked += n
		if c.ack != nil && (unacked >= ackEvery || err != nil && unacked > 0) {
			unacked = 0
			if err := c.ack(); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// take handles what one read brings, and gives the publishers their windows back.
func (c *consumer) take() (n int, err error) {
	var now time.Time
	err = c.receive(func(b []byte) {
		if n == 0 {
			now = time.Now()
			c.mu.Lock()
		}
		n++
		if from, ok := c.checker.Take(b, now); ok {
			c.counts[from]++
		}
	})
	if n > 0 {
		c.mu.Unlock()
	}
	for from, count := range c.counts {
		if w := c.load.publishers[from].window; count > 0 && w != nil {
			w.Give(c.load.publishers[from].complete(count))
		}
		c.counts[from] = 0
	}
	return n, err
}

// complete is how many messages have come in all their copies with so many more.
func (p *publisher) complete(count int) int {
	copies := uint64(p.load.work.copies())
	now := p.arrived.Add(uint64(count))
	return int(now/copies - (now-uint64(count))/copies)
}

// expected is how many messages are to come.
func (l *load) expected() uint64 { return l.sent() * uint64(l.work.copies()) }

// received is how many messages have come.
func (l *load) received() (n uint64) {
	for _, c := range l.consumers {
		c.mu.Lock()
		n += c.checker.Received
		c.mu.Unlock()
	}
	return n
}

func (l *load) sent() (n uint64) {
	for _, p := range l.publishers {
		n += p.sent.Load()
	}
	return n
}

// begin forgets the latencies of the warm-up.
func (l *load) begin() {
	for _, c := range l.consumers {
		c.mu.Lock()
		c.checker.Latency = check.Histogram{}
		c.mu.Unlock()
	}
}

// drainTime is how long a broker may deliver nothing, when something is under way, before that counts as lost.
const drainTime = 10 * time.Second

// stopSending ends the publishers and waits for what is under way.
func (l *load) stopSending() {
	for _, p := range l.publishers {
		if p.window != nil {
			p.window.Close()
		}
		if p.confirms != nil {
			p.confirms.Close()
		}
	}
	l.sending.Wait()
}

// drain waits until everything that was sent has come.
func (l *load) drain() {
	last, since := l.received(), time.Now()
	for last < l.expected() && time.Since(since) < drainTime && l.broken() == nil {
		time.Sleep(time.Millisecond)
		if n := l.received(); n > last {
			last, since = n, time.Now()
		}
	}
}

// stop ends everything when what is under way has come, and says what was wrong. The checker answers what came in all.
func (l *load) stop() (*check.Checker, error) {
	l.halted.Store(true)
	l.stopSending()
	l.drain()
	err := l.end()
	all := check.New(l.ledger)
	for _, c := range l.consumers {
		all.Merge(c.checker)
	}
	return all, errors.Join(err, all.Err(l.expected()))
}

// end ends everything and deletes what was declared.
func (l *load) end() error {
	for _, c := range l.consumers {
		c.conn.Interrupt() //nolint:errcheck // it then ends by its own error
	}
	for _, p := range l.publishers {
		p.conn.Interrupt() //nolint:errcheck // likewise
	}
	l.running.Wait()
	err := l.broken()
	for _, p := range l.publishers {
		p.conn.Close() //nolint:errcheck // the load is over
	}
	for _, c := range l.consumers {
		c.close() //nolint:errcheck // the load is over
	}
	return cmp.Or(err, l.cleanUp())
}

// cleanUp deletes what was declared, the last first, and says what went wrong first.
func (l *load) cleanUp() (err error) {
	for i := len(l.undo) - 1; i >= 0; i-- {
		if undone := l.undo[i](); undone != nil && err == nil {
			err = fmt.Errorf("clean up: %w", undone)
		}
	}
	return err
}

// broken is what ended a goroutine before its time.
func (l *load) broken() error {
	for {
		select {
		case err := <-l.failed:
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
				l.failed <- err
				return err
			}
		default:
			return nil
		}
	}
}
