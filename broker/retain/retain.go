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
// by side. It keeps copies of messages, in a form that is smaller than they are.
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
	if it := s.topics.get(topic); it != nil {
		return it.record.message(it.topic)
	}
	return nil
}

// Has says whether a topic has a message.
func (s *Store) Has(topic string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.topics.get(topic) != nil
}

// Set makes m, which is at a place, the message of a topic, which is a valid topic name, and answers the place of the one
// before.
func (s *Store) Set(topic string, m *message.Message, at Place) (previous Place, existed bool) {
	r := newRecord(m, at)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.topics.set(topic, r)
	s.bytes += int64(m.Size())
	if old == nil {
		s.expiring.add(topic, m.Expiry)
		return previous, false
	}
	before := old.message(topic)
	s.bytes -= int64(before.Size())
	if before.Expiry != m.Expiry { // else the entry that there is says it
		s.expiring.add(topic, m.Expiry)
		s.expiring.discard(before.Expiry, &s.topics)
	}
	previous, _ = old.place()
	return previous, true
}

// Clear leaves a topic without message, and answers the place of the one it had.
func (s *Store) Clear(topic string) (previous Place, existed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.topics.get(topic)
	if it == nil {
		return previous, false
	}
	m := it.record.message(topic)
	previous = s.removeLocked(topic, m)
	s.expiring.discard(m.Expiry, &s.topics)
	return previous, true
}

// removeLocked removes m, which is the message of a topic.
func (s *Store) removeLocked(topic string, m *message.Message) Place {
	at, _ := s.topics.remove(topic).place()
	s.bytes -= int64(m.Size())
	return at
}

// Due answers topics whose messages' time is over at now, in milliseconds since 1970: the earliest first, at most limit.
// It answers each once; Expire then removes the message.
func (s *Store) Due(now int64, limit int) (topics []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(topics) < limit {
		topic, ok := s.expiring.next(now, &s.topics)
		if !ok {
			break
		}
		topics = append(topics, topic)
	}
	return topics
}

// Expire removes the message of a topic that was due at now, and answers its place; false says that the topic has none, or
// another one meanwhile.
func (s *Store) Expire(topic string, now int64) (at Place, removed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.topics.get(topic)
	if it == nil {
		return at, false
	}
	m := it.record.message(topic)
	if m.Expiry == 0 || m.Expiry > now {
		return at, false
	}
	return s.removeLocked(topic, m), true
}

// Each calls fn with every topic and the place of its message. fn must not call the store.
func (s *Store) Each(fn func(topic string, at Place)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, l := range s.topics.leaves {
		for i := range l.items {
			at, _ := l.items[i].record.place()
			fn(l.items[i].topic, at)
		}
	}
}
