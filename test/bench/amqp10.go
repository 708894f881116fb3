package main

import (
	"errors"

	"github.com/turnstone-mq/turnstone/test/bench/amqp10"
	"github.com/turnstone-mq/turnstone/test/bench/check"
	"github.com/turnstone-mq/turnstone/test/bench/wire"
)

const (
	amqp10Protocol = "amqp10"
	// quietConnections is how many connections of AMQP 1.0 say nothing: the client has goroutines for each.
	quietConnections = 2000
	selector         = "color = 'red' AND size > 3"
)

func (s *site) amqp10() (*amqp10.Client, error) { return amqp10.Dial(s.address, s.user, s.password) }

// connectAMQP10 connects those that are wanted; queues are declared with AMQP 0-9-1, since there is no one way in 1.0.
func (l *load) connectAMQP10(s *site) error {
	if err := l.declare(s); err != nil {
		return err
	}
	for n := range l.work.consumers {
		if err := l.receiver10(s, n, amqp10.Receive{Credit: prefetch, Settled: !l.work.persistent}); err != nil {
			return err
		}
	}
	for n := range l.work.publishers {
		if err := l.sender10(s, n); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) receiver10(s *site, n int, o amqp10.Receive) error {
	c, err := s.amqp10()
	if err != nil {
		return err
	}
	taker := l.newConsumer(c, c.Close, c.Receive)
	if !o.Settled {
		taker.ack = c.Ack
	}
	return c.Attach(l.name(n%l.work.queues), o)
}

func (l *load) sender10(s *site, n int) error {
	c, err := s.amqp10()
	if err != nil {
		return err
	}
	p := l.newPublisher(c)
	most := 0
	if l.work.persistent {
		most = unconfirmed
		p.confirms, p.confirm = wire.NewCredit(unconfirmed), c.Confirmed
	}
	p.add = func(b []byte, _ uint64) { c.Publish(b, nil) }
	if l.work.count > 0 {
		p.add = func(b []byte, number uint64) { c.Publish(b, painted(number)) }
	}
	return c.Send(l.name(n%l.work.queues), most)
}

// painted are the properties of a message of a queue of which the selector matches a tenth.
func painted(number uint64) map[string]any {
	colors := [...]string{"red", "green", "blue", "black", "white"}
	return map[string]any{"color": colors[number%5], "size": int32(number % 10)}
}

// matching is how many of the first messages the selector matches: those of which the number ends with 5.
func matching(messages int) uint64 { return uint64(messages+4) / 10 }

// selected fills a queue, and then receives what a selector matches of it. The broker settles what it sends, so that looking is
// nearly all that it does.
func selected(s *site, w work) (f figures, err error) {
	l, err := newLoad(s, w)
	if err == nil {
		f, err = l.selecting(s)
	}
	l.halted.Store(true)
	l.stopSending()
	if err = errors.Join(err, l.end()); err != nil {
		return nil, err
	}
	return f, l.consumers[0].checker.Err(matching(w.count))
}

func (l *load) selecting(s *site) (f figures, err error) {
	f = figures{}
	if err := fillUp(s, l, f); err != nil {
		return nil, err
	}
	span, err := s.begin(0)
	if err != nil {
		return nil, err
	}
	if err := l.receiver10(s, 0, amqp10.Receive{Credit: prefetch, Settled: true, Selector: selector}); err != nil {
		return nil, err
	}
	c := l.consumers[0]
	l.running.Go(func() { l.failed <- c.run() }) // ends when it is interrupted
	if err := s.until(l, "selected", matching(l.work.count), l.received); err != nil {
		return nil, err
	}
	looking, err := span.end(uint64(l.work.count))
	if err != nil {
		return nil, err
	}
	f[examined], f[peak] = looking[rate], max(f[peak], looking[peak])
	if s.broker != nil {
		f[examinedCPU] = looking[cpu]
	}
	return f, nil
}

// quiet is connections of AMQP 1.0 that say nothing, and what each of them costs.
func quiet(s *site, w work) (f figures, err error) {
	l := &load{work: w, run: s.nextRun()}
	l.ledger = check.NewLedger(l.run, 0)
	all := make([]*amqp10.Quiet, 0, w.many)
	defer func() {
		for _, q := range all {
			q.Close() //nolint:errcheck // nothing is under way
		}
		err = errors.Join(err, l.cleanUp())
	}()
	if err := l.declare(s); err != nil {
		return nil, err
	}
	span, err := s.begin(0)
	if err != nil {
		return nil, err
	}
	for range w.many {
		q, err := amqp10.DialQuiet(s.address, s.user, s.password, l.name(0))
		if err != nil {
			return nil, err
		}
		all = append(all, q)
	}
	if f, err = span.end(uint64(w.many)); err != nil {
		return nil, err
	}
	f[connections], f[connected] = float64(w.many), f[rate]
	delete(f, rate)
	delete(f, written)
	s.pause(settling)
	if s.broker != nil {
		to, err := s.usage()
		if err != nil {
			return nil, err
		}
		f[perConnection] = float64(to.Resident-span.from.Resident) / 1024 / float64(w.many)
	}
	for _, q := range all {
		err = errors.Join(err, q.Answers())
	}
	return f, errors.Join(s.ctx.Err(), err)
}
