// Package retain holds the retained messages of one virtual host and answers those that match a topic filter, page by
// page, so that a filter which matches a million of them neither blocks nor balloons anybody.
//
// It has no goroutine, no clock and no I/O: expiry takes the time as an argument, and package hub, which calls it,
// makes what it holds durable.
package retain

import (
	"sync"

	"github.com/turnstone-mq/turnstone/broker/message"
)

// Store maps topics to their retained messages. Its methods are safe for concurrent use; those that only read run side
// by side. Messages are owned by the store's caller and are not changed.
type Store struct {
	mu       sync.RWMutex
	topics   ordered // guarded by mu
	expiring expiry  // guarded by mu
	bytes    int64   // guarded by mu; sum of the messages' sizes
}

// New makes an empty store.
func New() *Store { return new(Store) }

// Len is how many messages there are.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.topics.size
}

// Bytes is what the messages count against byte limits, message.Size of each.
func (s *Store) Bytes() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.bytes
}

// Get is the message of a topic, nil if there is none. It may have expired.
func (s *Store) Get(topic string) *message.Message {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.topics.get(topic)
}

// Set makes m the message of a topic, which is a valid topic name, and answers the one before, nil if there was none.
func (s *Store) Set(topic string, m *message.Message) (previous *message.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	previous = s.topics.set(topic, m)
	s.bytes += int64(m.Size())
	s.expiring.add(topic, m)
	s.forget(previous)
	return previous
}

// Clear leaves a topic without message, and answers the one it had, nil if there was none.
func (s *Store) Clear(topic string) (previous *message.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	previous = s.topics.remove(topic)
	s.forget(previous)
	return previous
}

// forget takes a message, which may be nil, out of the sums.
func (s *Store) forget(m *message.Message) {
	if m == nil {
		return
	}
	s.bytes -= int64(m.Size())
	s.expiring.discard(m, &s.topics)
}

// Expired is a message that Expire removed, with its topic.
type Expired struct {
	Topic   string
	Message *message.Message
}

// Expire removes messages whose time is over at now, in milliseconds since 1970: the earliest first, at most limit.
func (s *Store) Expire(now int64, limit int) (removed []Expired) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(removed) < limit {
		e, ok := s.expiring.next(now, &s.topics)
		if !ok {
			break
		}
		s.topics.remove(e.Topic)
		s.bytes -= int64(e.Message.Size())
		removed = append(removed, e)
	}
	return removed
}
