package hub

import (
	"slices"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/router"
)

// A message of QoS 2 is published once, however often its publisher repeats it. Each shard that takes it writes a receipt,
// the publisher's session and the packet identifier, into the entry that has the message: either both are durable or none
// is. A repetition after a crash passes over the shards that have the receipt and reaches those that have not. PUBREL voids
// the receipts; PUBCOMP waits until that is durable, since the next message may have the same identifier.
// [MQTT-4.3.3-2], [MQTT5-4.3.3-8 to 12]

// receipt says that a message of QoS 2 was taken.
type receipt struct {
	session uint64 // the id of its queue
	packet  uint16
}

// exactly is what a part of a batch says of its message's receipt; the zero value is none.
type exactly struct {
	packet uint16
	again  bool // the message may have been taken before
}

// takeReceipt writes the receipt of a message that is about to be enqueued; false says that it was taken before.
func (s *shard) takeReceipt(now int64, a *enqueueAct, r receipt, again bool) bool {
	_, known := s.receipts[r]
	if known && again {
		return false
	}
	entry, _ := s.write(now, s.hub.durability(nil))
	*entry = appendReceipt(*entry, r)
	if !known {
		s.receipts[r] = false
	}
	a.receipts = append(a.receipts, r)
	return true
}

// returnReceipts gives the receipts that the log has to their sessions; those of sessions that ended are void.
func (s *shard) returnReceipts() {
	for r := range s.receipts {
		st := s.hub.sessionOf(r.session)
		if st == nil {
			delete(s.receipts, r)
			continue
		}
		st.note(r.packet, s)
	}
}

// sessionOf finds a durable session by the id of its queue, while the hub recovers.
func (h *Hub) sessionOf(id uint64) *mqttSession {
	for _, s := range h.shards {
		if q := s.queues[id]; q != nil {
			return q.session
		}
	}
	return nil
}

// note remembers that a shard has the receipt of a packet identifier; nil notes the identifier alone.
func (s *mqttSession) note(packet uint16, has *shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.receipts == nil {
		s.receipts = make(map[uint16][]*shard)
	}
	shards := s.receipts[packet]
	if has != nil && !slices.Contains(shards, has) {
		shards = append(shards, has)
	}
	s.receipts[packet] = shards
}

// Took says that a message of QoS 2 with a packet identifier was taken and not completed since.
func (s *Session) Took(packet uint16) bool {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	_, ok := s.state.receipts[packet]
	return ok
}

// Taken is how many messages of QoS 2 were taken and not completed since.
func (s *Session) Taken() int {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return len(s.state.receipts)
}

// PublishOnce is Publish for a message of QoS 2 with a packet identifier of its session. One whose identifier was taken
// and not completed since is the same message again, whether it says so or not: then it goes only where it has not been.
// The publisher publishes for no other session.
func (p *Publisher) PublishOnce(r *Route, m *message.Message, a router.Attributes, token uint64, s *Session, packet uint16) (routed int, err error) {
	again := s.Took(packet)
	if !s.state.durable {
		if again {
			p.until = 0
			p.Pass(token)
			return 1, nil
		}
		if routed, err = p.Publish(r, m, a, token); err == nil {
			s.state.note(packet, nil)
		}
		return routed, err
	}
	p.sender, p.exactly = s.state.queue.id, exactly{packet: packet, again: again}
	defer func() { p.exactly = exactly{} }()
	if routed, err = p.Publish(r, m, a, token); err != nil {
		return 0, err
	}
	s.state.note(packet, nil)
	if own := p.shardPart(s.state.queue.shard); !p.stored(s.state, packet) {
		if len(own.items) == 0 {
			p.shard = append(p.shard, own)
		}
		own.items = append(own.items, part{message: int32(len(p.batch) - 1), exactly: p.exactly, token: token})
		s.state.note(packet, own.shard)
	}
	return routed, nil
}

// stored notes which shards take the message that was just added; false says that none does.
func (p *Publisher) stored(s *mqttSession, packet uint16) (any bool) {
	for _, sp := range p.shard {
		if n := len(sp.items); n > 0 && int(sp.items[n-1].message) == len(p.batch)-1 {
			s.note(packet, sp.shard)
			any = true
		}
	}
	return any
}

// Complete ends the exchange of messages of QoS 2 that their client released, and calls done when their identifiers may
// be used again: durably, if the session is durable. Those that were never taken count as complete. Done may be called
// before Complete returns; it must not block and must not call the hub.
func (s *Session) Complete(packets []uint16, done func(error)) { s.state.complete(packets, done) }

func (s *mqttSession) complete(packets []uint16, done func(error)) {
	var parts map[*shard][]uint16
	s.mu.Lock()
	for _, id := range packets {
		for _, has := range s.receipts[id] {
			if parts == nil {
				parts = make(map[*shard][]uint16)
			}
			parts[has] = append(parts[has], id)
		}
		delete(s.receipts, id)
	}
	s.mu.Unlock()
	if len(parts) == 0 {
		done(nil)
		return
	}
	all := &completion{done: done}
	all.waiting.Store(int32(len(parts)))
	for has, ids := range parts {
		has.post(&completeOp{session: s.queue.id, packets: ids, of: all})
	}
}

// completion waits for several shards.
type completion struct {
	waiting atomic.Int32
	err     atomic.Pointer[error]
	done    func(error)
}

func (c *completion) end(err error) {
	if err != nil {
		c.err.Store(&err)
	}
	if c.waiting.Add(-1) > 0 {
		return
	}
	if err := c.err.Load(); err != nil {
		c.done(*err)
		return
	}
	c.done(nil)
}

// completeOp voids receipts.
type completeOp struct {
	session uint64
	packets []uint16
	of      *completion
}

func (o *completeOp) size() int64 { return 0 }
func (o *completeOp) abandon()    { o.of.end(ErrClosed) }

func (o *completeOp) run(s *shard, now int64) {
	entry, _ := s.write(now, s.hub.durability(nil))
	*entry = appendComplete(*entry, o.session, o.packets)
	s.act(o)
	s.wrote(now)
}

func (o *completeOp) commit(s *shard, _ int64, _ uint64) {
	for _, id := range o.packets {
		delete(s.receipts, receipt{session: o.session, packet: id})
	}
	o.of.end(nil)
}

func (o *completeOp) fail(_ *shard, err error) { o.of.end(unavailable(err)) }

// Receive notes that the session's client has deliveries of QoS 2 (PUBREC), and calls done when that is as durable as
// the deliveries are: they will not be given to it again, whatever happens. What of Complete's done holds here, too.
func (s *Session) Receive(done func(error), ranges ...Range) {
	if s.consumer.queue.shard != nil {
		ranges = slices.Clone(ranges)
	}
	s.consumer.queue.later(func(q *Queue, now int64) {
		for _, r := range ranges {
			q.state.Receive(s.consumer.state, r.From, r.To)
		}
		q.noteReceived(now, done)
	})
}

// noteReceived writes what was received since the last time. What was received before may still be on its way to the log,
// and done is called behind it.
func (q *Queue) noteReceived(now int64, done func(error)) {
	items := q.state.TakeReceived()
	if q.shard == nil {
		done(nil)
		return
	}
	if len(items) > 0 {
		entry, _ := q.shard.write(now, q.durability)
		*entry = appendReceive(*entry, q.id, items)
	}
	q.shard.act(&receiveAct{done: done})
}

// receiveAct says that it is durable what was received.
type receiveAct struct{ done func(error) }

func (a *receiveAct) commit(*shard, int64, uint64) { a.done(nil) }
func (a *receiveAct) fail(_ *shard, err error)     { a.done(unavailable(err)) }
