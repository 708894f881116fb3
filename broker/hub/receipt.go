package hub

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/router"
)

// A message of QoS 2 is published once, however often its publisher repeats it, and so is one of a Sender. Each shard that
// takes it writes a receipt, the publisher and what it calls the message, into the entry that has the message: either both are
// durable or none is. A repetition after a crash passes over the shards that have the receipt and reaches those that have not.
// PUBREL, or that the sender has settled, voids the receipts; PUBCOMP waits until that is durable, since the next message may
// have the same identifier. [MQTT-4.3.3-2], [MQTT5-4.3.3-8 to 12]

// label is what a publisher calls a message that is published once: by a packet identifier, or by a tag.
type label struct {
	packet uint16
	tag    string
}

// receipt says that a message was taken.
type receipt struct {
	sender uint64 // the id of the session's queue, or of the Sender
	label
}

// taken is what a shard knows of a receipt.
type taken struct {
	written bool   // false while the entry is on its way
	parts   uint16 // shards that take the message; of tags
}

// exactly is the receipt of a message that is published once, which all parts of the message in a batch share.
type exactly struct {
	receipt
	again bool   // the message may have been taken before
	parts uint16 // of taken
}

// ledger is which messages of a publisher were taken, and which shards have that in the log.
type ledger struct {
	mu    sync.Mutex
	taken map[label][]*shard // guarded by mu
}

// takeReceipt writes the receipt of a message that is about to be enqueued; false says that it was taken before.
func (s *shard) takeReceipt(now int64, a *enqueueAct, e *exactly) bool {
	r := e.receipt
	was, known := s.receipts[r]
	if known && e.again {
		return false
	}
	entry, _ := s.write(now, s.hub.durability(nil))
	*entry = appendReceipt(*entry, r, e.parts)
	if !known || was.parts != e.parts {
		s.receipts[r] = taken{written: was.written, parts: e.parts}
	}
	a.receipts = append(a.receipts, r)
	return true
}

// takeOnce says whether a message that is published once is to be enqueued, and has its receipt in the log.
func (s *shard) takeOnce(now int64, a *enqueueAct, items []enqueued) bool {
	o := items[0].exactly
	if o.tag != "" && s.refuseAll(a, items) {
		return false
	}
	if s.takeReceipt(now, a, o) {
		return true
	}
	if p := items[0].postponed; p != nil {
		p.host.delayed.Add(-1) // it waits already, or has waited
	}
	return false
}

// returnReceipts gives the receipts that the log has to their publishers; those of publishers that ended are void.
func (s *shard) returnReceipts() {
	for r := range s.receipts {
		l := s.hub.ledgerOf(r.sender)
		if l == nil {
			delete(s.receipts, r)
			continue
		}
		l.note(r.label, s)
	}
}

// ledgerOf finds the ledger of a durable session by the id of its queue, or of a Sender, while the hub recovers.
func (h *Hub) ledgerOf(id uint64) *ledger {
	for _, s := range h.shards {
		if q := s.queues[id]; q != nil && q.session != nil {
			return &q.session.receipts
		}
		if st := s.senders[id]; st != nil {
			return &st.ledger
		}
	}
	return nil
}

// note remembers that a shard has the receipt of a message; nil notes the message alone.
func (l *ledger) note(o label, has *shard) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken == nil {
		l.taken = make(map[label][]*shard)
	}
	shards := l.taken[o]
	if has != nil && !slices.Contains(shards, has) {
		shards = append(shards, has)
	}
	l.taken[o] = shards
}

func (l *ledger) has(o label) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.taken[o]
	return ok
}

func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.taken)
}

// all are the messages that were taken and not completed since.
func (l *ledger) all() []label {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]label, 0, len(l.taken))
	for o := range l.taken {
		list = append(list, o)
	}
	return list
}

// Took says that a message of QoS 2 with a packet identifier was taken and not completed since.
func (s *Session) Took(packet uint16) bool { return s.state.receipts.has(label{packet: packet}) }

// Taken is how many messages of QoS 2 were taken and not completed since.
func (s *Session) Taken() int { return s.state.receipts.size() }

// PublishOnce is Publish for a message of QoS 2 with a packet identifier of its session. One whose identifier was taken
// and not completed since is the same message again, whether it says so or not: then it goes only where it has not been.
// The publisher publishes for no other session.
func (p *Publisher) PublishOnce(r *Route, m *message.Message, a router.Attributes, token uint64, s *Session, packet uint16) (routed int, err error) {
	o := label{packet: packet}
	again := s.state.receipts.has(o)
	if s.state.durable {
		return p.publishOnce(r, m, a, token, &s.state.receipts, s.state.queue.shard, exactly{receipt: receipt{s.state.queue.id, o}, again: again})
	}
	if again {
		p.until = 0
		p.Pass(token)
		return 1, nil
	}
	if routed, err = p.Publish(r, m, a, token); err == nil {
		s.state.receipts.note(o, nil)
	}
	return routed, err
}

// publishOnce publishes a message for which shards write receipts; own is that of a message which goes to no other.
func (p *Publisher) publishOnce(r *Route, m *message.Message, a router.Attributes, token uint64, l *ledger, own *shard, e exactly) (routed int, err error) {
	p.exactly = p.spareExactly(e)
	defer func() { p.exactly = nil }()
	if routed, err = p.Publish(r, m, a, token); err != nil {
		return 0, err
	}
	if e.tag != "" && routed == 0 {
		return 0, nil // its sender is told that nobody took it
	}
	l.note(e.label, nil)
	if !p.stored(l) {
		part := part{message: int32(len(p.batch) - 1), exactly: p.exactly, token: token}
		p.exactly.parts = 1
		to := p.shardPart(own)
		if len(to.items) == 0 {
			p.shard = append(p.shard, to)
		}
		to.items = append(to.items, part)
		l.note(e.label, own)
	}
	return routed, nil
}

// stored notes which shards take the message that was just added; false says that none does.
func (p *Publisher) stored(l *ledger) (any bool) {
	newest := len(p.batch) - 1
	for _, sp := range p.shard {
		if n := len(sp.items); n > 0 && int(sp.items[n-1].message) == newest {
			p.exactly.parts++
			l.note(p.exactly.label, sp.shard)
		}
	}
	return p.exactly.parts > 0
}

// spareExactly is e as one that outlives the batch.
func (p *Publisher) spareExactly(e exactly) *exactly {
	if len(p.spare) == 0 {
		p.spare = make([]exactly, 16)
	}
	x := &p.spare[0]
	p.spare = p.spare[1:]
	*x = e
	return x
}

// repeats says that the message at hand may have been taken before.
func (p *Publisher) repeats() bool { return p.exactly != nil && p.exactly.again }

// Complete ends the exchange of messages of QoS 2 that their client released, and calls done when their identifiers may
// be used again: durably, if the session is durable. Those that were never taken count as complete. Done may be called
// before Complete returns; it must not block and must not call the hub.
func (s *Session) Complete(packets []uint16, done func(error)) {
	list := make([]label, len(packets))
	for i, id := range packets {
		list[i] = label{packet: id}
	}
	s.state.receipts.complete(s.state.queue.id, list, done)
}

// complete voids receipts.
func (l *ledger) complete(sender uint64, list []label, done func(error)) {
	var parts map[*shard][]label
	l.mu.Lock()
	for _, o := range list {
		for _, has := range l.taken[o] {
			if parts == nil {
				parts = make(map[*shard][]label)
			}
			parts[has] = append(parts[has], o)
		}
		delete(l.taken, o)
	}
	l.mu.Unlock()
	if len(parts) == 0 {
		done(nil)
		return
	}
	all := &completion{done: done}
	all.waiting.Store(int32(len(parts)))
	for has, list := range parts {
		has.post(&completeOp{sender: sender, list: list, of: all})
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

// completeOp voids receipts, which are all of packet identifiers or all of tags.
type completeOp struct {
	sender uint64
	list   []label
	of     *completion
}

func (o *completeOp) size() int64 { return 0 }
func (o *completeOp) abandon()    { o.of.end(ErrClosed) }

func (o *completeOp) run(s *shard, now int64) {
	entry, _ := s.write(now, s.hub.durability(nil))
	*entry = appendComplete(*entry, o.sender, o.list)
	s.act(o)
	s.wrote(now)
}

func (o *completeOp) commit(s *shard, _ int64, _ uint64) {
	for _, m := range o.list {
		delete(s.receipts, receipt{sender: o.sender, label: m})
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
