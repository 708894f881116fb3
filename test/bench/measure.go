package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/turnstone-mq/turnstone/test/bench/amqp"
	"github.com/turnstone-mq/turnstone/test/bench/check"
	"github.com/turnstone-mq/turnstone/test/bench/mqtt"
	"github.com/turnstone-mq/turnstone/test/bench/peer"
)

// figure is one number of a result, with its unit.
type figure string

// The figures.
const (
	rate      figure = "messages/s"
	cpu       figure = "CPU s per million"
	clientCPU figure = "client CPU s per million"
	p50       figure = "p50 ms"
	p99       figure = "p99 ms"
	p999      figure = "p99.9 ms"
	peak      figure = "peak MB"
	written   figure = "bytes written per message"
	declared  figure = "queues/s"
	perQueue  figure = "KB per queue"
	filled    figure = "fill messages/s"
	drained   figure = "drain messages/s"
	fillCPU   figure = "fill CPU s per million"
	drainCPU  figure = "drain CPU s per million"
	restarted figure = "s from kill -9 to the first delivery"

	connections     figure = "connections"
	connected       figure = "connects/s"
	perConnection   figure = "KB per connection"
	subscribes      figure = "subscribes/s"
	unsubscribes    figure = "unsubscribes/s"
	perSubscription figure = "bytes per subscription"
	routedAmong     figure = "µs per publish, each to another topic with one subscriber"
	routedNowhere   figure = "µs per publish, each to another topic without subscribers"
	stored          figure = "retained messages/s stored"
	perRetained     figure = "bytes per retained message beyond topic and payload"
	replayed        figure = "retained messages/s to a new subscriber"
	examined        figure = "messages examined/s"
	examinedCPU     figure = "CPU s per million examined"
)

// order is that of the table.
var order = []figure{rate, declared, filled, drained, connections, connected, subscribes, unsubscribes, stored, replayed, examined, routedNowhere, routedAmong, cpu, examinedCPU, fillCPU, drainCPU, p50, p99, p999, peak, perQueue, perConnection, perSubscription, perRetained, written, restarted, clientCPU}

type figures map[figure]float64

// site is a broker to load: one that was started here, or one at an address.
type site struct {
	ctx                   context.Context
	broker                *peer.Broker // nil when it was not started here
	address               string       // of the work's protocol
	user, password, vhost string
	length, warmUp        time.Duration
	progress              func(format string, args ...any)
	runs                  *uint32
}

func (s *site) nextRun() uint32 {
	*s.runs++
	return *s.runs
}

func (s *site) amqp() (*amqp.Client, error) { return amqp.Dial(s.address, s.user, s.password, s.vhost) }

func (s *site) mqtt(clientID string, clean bool) (*mqtt.Client, error) {
	return mqtt.Dial(s.address, clientID, s.mqttUser(), s.password, clean)
}

// mqttUser is empty for brokers that were started here: they let anybody in, and mosquitto has no users.
func (s *site) mqttUser() string {
	if s.broker != nil {
		return ""
	}
	return s.user
}

// pause waits unless the run is ended.
func (s *site) pause(d time.Duration) {
	select {
	case <-s.ctx.Done():
	case <-time.After(d):
	}
}

// usage is what the broker's processes have used; nothing when they are elsewhere.
func (s *site) usage() (peer.Usage, error) {
	if s.broker == nil {
		return peer.Usage{}, nil
	}
	return s.broker.Usage()
}

// span is what happens between two moments.
type span struct {
	site     *site
	from     peer.Usage
	own      time.Duration
	received uint64
	at       time.Time
}

func (s *site) begin(received uint64) (*span, error) {
	if s.broker != nil {
		if err := s.broker.ResetPeak(); err != nil {
			return nil, err
		}
	}
	from, err := s.usage()
	return &span{site: s, from: from, own: peer.OwnCPU(), received: received, at: time.Now()}, err
}

// end answers the rate of messages, and what the broker used for each.
func (p *span) end(received uint64) (figures, error) {
	took, n := time.Since(p.at), float64(received-p.received)
	to, err := p.site.usage()
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("no message arrived")
	}
	f := figures{rate: n / took.Seconds(), clientCPU: (peer.OwnCPU() - p.own).Seconds() / n * 1e6}
	if p.site.broker != nil {
		f[cpu] = (to.CPU - p.from.CPU).Seconds() / n * 1e6
		f[peak] = float64(to.Peak) / (1 << 20)
		f[written] = float64(to.Written-p.from.Written) / n
	}
	return f, nil
}

// throughput is a closed loop, or a schedule, for the length of a measurement.
func throughput(s *site, w work) (f figures, err error) {
	return loaded(s, w, func(l *load) (figures, error) {
		s.pause(s.warmUp)
		l.begin()
		span, err := s.begin(l.received())
		if err != nil {
			return nil, err
		}
		s.pause(s.length)
		return span.end(l.received())
	})
}

// loaded measures under a load. What the checker says against it is an error, whatever the figures are.
func loaded(s *site, w work, measure func(*load) (figures, error)) (figures, error) {
	l, err := newLoad(s, w)
	var f figures
	if err == nil {
		l.start()
		f, err = measure(l)
	}
	got, stopped := l.stop()
	if err := errors.Join(err, stopped); err != nil {
		return nil, err
	}
	addLatency(f, &got.Latency)
	return f, nil
}

func addLatency(f figures, h *check.Histogram) {
	for name, q := range map[figure]float64{p50: 0.5, p99: 0.99, p999: 0.999} {
		f[name] = float64(h.Quantile(q)) / float64(time.Millisecond)
	}
}

// declare is many durable queues, by several clients at once, each of which waits for each answer.
func declare(s *site, w work) (figures, error) {
	run := s.nextRun()
	clients := make([]*amqp.Client, 0, w.publishers)
	defer func() {
		for _, c := range clients {
			c.Close() //nolint:errcheck // nothing is under way
		}
	}()
	for range w.publishers {
		c, err := s.amqp()
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
	}
	each := w.count / len(clients)
	all := func(do func(c *amqp.Client, queue string) error) error {
		failed := make(chan error, len(clients))
		for i, c := range clients {
			go func() { // ends when its queues are done
				for n := range each {
					if err := do(c, fmt.Sprintf("bench-%08x-%d-%d", run, i, n)); err != nil {
						failed <- err
						return
					}
				}
				failed <- nil
			}()
		}
		var err error
		for range clients {
			err = errors.Join(err, <-failed)
		}
		return err
	}
	span, err := s.begin(0)
	if err != nil {
		return nil, err
	}
	if err := all(func(c *amqp.Client, queue string) error { return c.Declare(queue, true, "") }); err != nil {
		return nil, err
	}
	f, err := span.end(uint64(w.count))
	if err != nil {
		return nil, err
	}
	f[declared] = f[rate]
	delete(f, rate)
	if s.broker != nil {
		to, err := s.usage()
		if err != nil {
			return nil, err
		}
		f[perQueue] = float64(to.Resident-span.from.Resident) / 1024 / float64(w.count)
	}
	return f, all(func(c *amqp.Client, queue string) error { return c.Delete(queue) })
}

// backlogged fills a queue that nobody consumes from, and then drains it.
func backlogged(s *site, w work) (f figures, err error) {
	fill := w
	fill.consumers = 0
	l, err := newLoad(s, fill)
	defer func() {
		got, stopped := l.stop()
		if err = errors.Join(err, stopped); err == nil {
			addLatency(f, &got.Latency)
			delete(f, p50) // how long a message waits in a backlog says nothing
			delete(f, p99)
			delete(f, p999)
		}
	}()
	if err != nil {
		return nil, err
	}
	f = figures{}
	if err := fillUp(s, l, f); err != nil {
		return nil, err
	}
	if s.broker != nil && s.broker.Restarts() && w.protocol == "amqp" {
		if err := s.restart(l, f); err != nil {
			return nil, err
		}
	}
	return f, drainAll(s, l, f)
}

// fillUp publishes the backlog.
func fillUp(s *site, l *load, f figures) error {
	p := l.publishers[0]
	p.window, p.most = nil, uint64(l.work.count)
	span, err := s.begin(0)
	if err != nil {
		return err
	}
	l.start()
	if err := s.until(l, "published", p.most, p.proven.Load); err != nil {
		return err
	}
	filling, err := span.end(p.most)
	if err != nil {
		return err
	}
	f[filled], f[fillCPU], f[peak], f[written], f[clientCPU] = filling[rate], filling[cpu], filling[peak], filling[written], filling[clientCPU]
	return nil
}

// drainAll consumes the backlog.
func drainAll(s *site, l *load, f figures) error {
	span, err := s.begin(l.received())
	if err != nil {
		return err
	}
	if len(l.consumers) == 0 {
		if err := l.addConsumer(s); err != nil {
			return err
		}
	}
	if err := s.until(l, "drained", l.sent(), l.received); err != nil {
		return err
	}
	draining, err := span.end(l.received())
	if err != nil {
		return err
	}
	f[drained], f[drainCPU] = draining[rate], draining[cpu]
	f[peak] = max(f[peak], draining[peak])
	if s.broker == nil {
		delete(f, fillCPU)
		delete(f, drainCPU)
		delete(f, peak)
		delete(f, written)
	}
	return nil
}

// addConsumer begins to consume from the first queue.
func (l *load) addConsumer(s *site) error {
	add := l.consume
	if l.work.protocol == "mqtt" {
		add = l.resume
	}
	if err := add(s, 0); err != nil {
		return err
	}
	c := l.consumers[len(l.consumers)-1]
	l.running.Go(func() { l.failed <- c.run() })
	return nil
}

// restart kills the broker and measures until it delivers from the backlog.
func (s *site) restart(l *load, f figures) error {
	for _, p := range l.publishers {
		p.conn.Interrupt() //nolint:errcheck // it then ends by its own error
	}
	l.stopSending()
	began := time.Now()
	if err := s.broker.Restart(s.ctx); err != nil {
		return err
	}
	if err := l.reconnect(s); err != nil {
		return err
	}
	if err := s.until(l, "", 1, l.received); err != nil {
		return err
	}
	f[restarted] = time.Since(began).Seconds()
	return nil
}

// reconnect gives the load connections to a broker that was started again, with its first consumer.
func (l *load) reconnect(s *site) error {
	c, err := s.amqp()
	if err != nil {
		return err
	}
	l.undo = []func() error{c.Close, func() error { return c.Delete(l.name(0)) }}
	return l.addConsumer(s)
}

// until waits until a count has come to an end, and says so now and then.
func (s *site) until(l *load, what string, end uint64, count func() uint64) error {
	last, since, told := count(), time.Now(), time.Now()
	for last < end {
		if err := errors.Join(s.ctx.Err(), l.broken()); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
		if n := count(); n > last {
			last, since = n, time.Now()
		} else if time.Since(since) > 6*drainTime {
			return fmt.Errorf("%d of %d messages, and nothing more for %v: %w", last, end, 6*drainTime, os.ErrDeadlineExceeded)
		}
		if what != "" && time.Since(told) > 10*time.Second {
			told = time.Now()
			s.progress("%d of %d %s", last, end, what)
		}
	}
	return nil
}
