package hub

import "sync/atomic"

// Stats are totals since the start, read by package metrics.
type Stats struct {
	Published     Counter // messages taken from publishers
	Delivered     Counter // messages given to consumers, QoS 0 included
	Refused       Counter // messages that a full queue refused
	Dropped       Counter // messages of QoS 0 that found no room or no connection
	Overflowed    Counter // messages that went for good because a queue was full
	DeadLettered  Counter // messages sent to a dead-letter exchange
	RetainRefused Counter // retained messages over the limit
	Expired       Counter // MQTT sessions that expired

	RateSlowed      Counter // times when a publisher was held back by a rate
	RateDropped     Counter // messages that a rate dropped or refused
	RateEnded       Counter // connections that a rate ended
	ConnectsRefused Counter // connections refused because their client or user connects too often
	UserFull        Counter // connections refused because their user has as many as it may

	EventsPublished Counter // events of clients
	EventsDropped   Counter // events of clients for which there was no room
}

// Counter is a total that only grows. It fills a cache line, so that counters do not slow one another down.
type Counter struct {
	n atomic.Uint64
	_ [56]byte
}

func (c *Counter) add(n uint64) { c.n.Add(n) }

// Load is the total so far.
func (c *Counter) Load() uint64 { return c.n.Load() }

// Stats are the hub's totals.
func (h *Hub) Stats() *Stats { return &h.stats }

// BodyBytes is how much of durable messages queues hold in memory.
func (h *Hub) BodyBytes() int64 { return h.bodies.Load() }

// keepBody decides whether a durable item keeps its body in memory, and accounts for it.
func (h *Hub) keepBody(q *Queue, size int64) bool {
	if h.bodies.Load()+size > h.config.Load().Limits.BodyCacheBytes && !q.state.Wants() {
		return false
	}
	h.bodies.Add(size)
	return true
}

// JournalSegments is how many segments the journal holds.
func (h *Hub) JournalSegments() int { return len(h.journal.Segments()) }
