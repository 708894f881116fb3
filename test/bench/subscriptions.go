package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/test/bench/mqtt"
)

// sensor is the topic of sensor i, which client c of several wants to hear of.
func sensor(c, i int) string { return fmt.Sprintf("plant/%03d/line/%02d/sensor/%07d", c, i%100, i) }

// sensorFilter is what the client subscribes with: one in twenty has a '+', one in twenty a '#'.
func sensorFilter(c, i int) string {
	switch i % 20 {
	case 0:
		return fmt.Sprintf("plant/%03d/+/%02d/sensor/%07d", c, i%100, i)
	case 10:
		return sensor(c, i) + "/#"
	}
	return sensor(c, i)
}

// probes are how many messages are published, each to another topic.
const probes = 200_000

// subscribed is very many subscriptions: how fast they come and go while others publish, what each of them costs, and
// what it is to publish among them.
func subscribed(s *site, w work) (f figures, err error) {
	before, err := s.usage()
	if err != nil {
		return nil, err
	}
	nowhere, err := s.probe(w)
	if err != nil {
		return nil, err
	}
	all, err := s.crowd(w)
	defer all.close()
	if err != nil {
		return nil, err
	}
	each := w.many / w.clients
	f = figures{}
	beside, err := loaded(s, w, func(*load) (figures, error) {
		began := time.Now()
		if err := all.each(func(c int, client *mqtt.Client) error {
			return client.SubscribeEach(each, 0, func(i int) string { return sensorFilter(c, c*each+i) })
		}); err != nil {
			return nil, err
		}
		f[subscribes] = float64(w.many) / time.Since(began).Seconds()
		return figures{}, nil
	})
	if err != nil {
		return nil, err
	}
	f[p50], f[p99], f[p999] = beside[p50], beside[p99], beside[p999]
	s.pause(settling)
	if s.broker != nil {
		after, err := s.usage()
		if err != nil {
			return nil, err
		}
		f[perSubscription] = float64(after.Resident-before.Resident) / float64(w.many)
	}
	all.read()
	among, err := s.probe(w)
	all.interrupt()
	if err != nil {
		return nil, err
	}
	f[routedNowhere], f[routedAmong] = nowhere, among
	beside, err = loaded(s, w, func(*load) (figures, error) {
		few := each / 10
		began := time.Now()
		err := all.each(func(c int, client *mqtt.Client) error {
			return client.UnsubscribeEach(few, func(i int) string { return sensorFilter(c, c*each+i) })
		})
		f[unsubscribes] = float64(few*w.clients) / time.Since(began).Seconds()
		return figures{}, err
	})
	if err != nil {
		return nil, err
	}
	f[p99] = max(f[p99], beside[p99])
	return f, nil
}

// probe answers how many microseconds it takes to publish to a topic, of many that come once each.
func (s *site) probe(w work) (float64, error) {
	client, err := s.mqtt(fmt.Sprintf("bench-%08x-probe", s.nextRun()), true)
	if err != nil {
		return 0, err
	}
	defer client.Close() //nolint:errcheck // nothing is under way
	each := w.many / w.clients
	n := min(probes, w.many)
	began := time.Now()
	for k := range n {
		i := int(uint64(k) * 7919 % uint64(w.many)) // far from the one before
		client.Publish(sensor(i/each, i), make([]byte, 16), 0)
		if k%perWrite == perWrite-1 {
			if err := client.Flush(); err != nil {
				return 0, err
			}
		}
	}
	if err := client.Flush(); err != nil {
		return 0, err
	}
	if err := client.Ping(); err != nil {
		return 0, err
	}
	return time.Since(began).Seconds() * 1e6 / float64(n), nil
}

// crowd is clients that each have many subscriptions.
type crowd struct {
	clients []*mqtt.Client
	reading sync.WaitGroup
}

func (s *site) crowd(w work) (*crowd, error) {
	all := new(crowd)
	run := s.nextRun()
	for c := range w.clients {
		client, err := s.mqtt(fmt.Sprintf("bench-%08x-%d", run, c), true)
		if err != nil {
			return all, err
		}
		all.clients = append(all.clients, client)
	}
	return all, nil
}

// each calls do for all clients side by side.
func (a *crowd) each(do func(c int, client *mqtt.Client) error) error {
	errs := make([]error, len(a.clients))
	var working sync.WaitGroup
	for c, client := range a.clients {
		working.Go(func() { errs[c] = do(c, client) }) // ends when the broker has answered
	}
	working.Wait()
	return errors.Join(errs...)
}

// read takes what comes, until interrupt.
func (a *crowd) read() {
	for _, client := range a.clients {
		a.reading.Go(func() { // ends with interrupt
			for client.Receive(func([]byte) {}) == nil {
			}
		})
	}
}

func (a *crowd) interrupt() {
	for _, client := range a.clients {
		client.Interrupt() //nolint:errcheck // it then ends by its own error
	}
	a.reading.Wait()
	for _, client := range a.clients {
		client.Continue() //nolint:errcheck // the next read says so
	}
}

func (a *crowd) close() {
	for _, client := range a.clients {
		client.Close() //nolint:errcheck // nothing is under way
	}
}
