package main

import (
	"fmt"
	"time"

	"github.com/turnstone-mq/turnstone/test/bench/mqtt"
)

// retained is very many retained messages: what each costs, how fast a subscriber to all of them gets them, and how long
// the messages of others take meanwhile.
func retained(s *site, w work) (f figures, err error) {
	client, err := s.mqtt(fmt.Sprintf("bench-%08x-retain", s.nextRun()), true)
	if err != nil {
		return nil, err
	}
	defer client.Close() //nolint:errcheck // nothing is under way
	span, err := s.begin(0)
	if err != nil {
		return nil, err
	}
	payload := make([]byte, 16)
	own, err := retainAll(client, w.many, payload)
	if err != nil {
		return nil, err
	}
	if f, err = span.end(uint64(w.many)); err != nil {
		return nil, err
	}
	f[stored] = f[rate]
	delete(f, rate)
	s.pause(settling)
	if s.broker != nil {
		to, err := s.usage()
		if err != nil {
			return nil, err
		}
		f[perRetained] = float64(to.Resident-span.from.Resident-own) / float64(w.many)
	}
	beside, err := loaded(s, w, func(*load) (figures, error) {
		s.pause(s.warmUp)
		var err error
		f[replayed], err = s.replay(w.many)
		return figures{}, err
	})
	if err != nil {
		return nil, err
	}
	f[p50], f[p99], f[p999] = beside[p50], beside[p99], beside[p999]
	if s.broker == nil { // somebody else's broker is left as it was
		_, err = retainAll(client, w.many, nil)
	}
	return f, err
}

// acknowledged are the last messages, which have QoS 1: the broker may keep those of QoS 0 later than it answers, but
// before those behind them.
const acknowledged = 1000

// retainAll gives every topic a retained message, or with an empty payload takes it away, and returns when the broker has
// done it. It answers the bytes of topics and payloads.
func retainAll(client *mqtt.Client, count int, payload []byte) (own int64, err error) {
	const clients = 200
	asked := 0
	for i := range count {
		topic := sensor(i%clients, i)
		qos := byte(0)
		if i >= count-acknowledged {
			qos = 1
			asked++
		}
		client.Retain(topic, payload, qos)
		own += int64(len(topic) + len(payload))
		if i%perWrite == perWrite-1 {
			if err := client.Flush(); err != nil {
				return own, err
			}
		}
	}
	if err := client.Flush(); err != nil {
		return own, err
	}
	if err := client.Within(replayTime); err != nil {
		return own, err
	}
	for asked > 0 {
		n, err := client.Confirmed()
		if err != nil {
			return own, fmt.Errorf("%d retained messages are not acknowledged: %w", asked, err)
		}
		asked -= n
	}
	return own, nil
}

// replayTime is how long a broker may take to send all that it has retained, or to retain what is left.
const replayTime = 2 * time.Minute

// replay subscribes to everything and answers how many retained messages come a second.
func (s *site) replay(count int) (float64, error) {
	client, err := s.mqtt(fmt.Sprintf("bench-%08x-all", s.nextRun()), true)
	if err != nil {
		return 0, err
	}
	defer client.Close() //nolint:errcheck // nothing is under way
	if err := client.Within(replayTime); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := client.Subscribe("#", 0); err != nil {
		return 0, err
	}
	for got := 0; got < count; {
		n, err := client.ReceiveRetained()
		if err != nil {
			return 0, fmt.Errorf("after %d of %d retained messages: %w", got, count, err)
		}
		got += n
	}
	return float64(count) / time.Since(began).Seconds(), nil
}
