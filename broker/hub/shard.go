package hub

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/session"
)

// shard owns durable queues: one goroutine, one ordered log.
//
// The goroutine takes everything that waits in its inbox and runs it. What must be durable is written into the entry
// that is being built and acts only when that entry is committed; what need not be durable but must keep its order acts
// after the entries before it. Settling acts at once and is written into the entry, for which nobody waits: losing it
// means a redelivery.
type shard struct {
	number int
	hub    *Hub
	log    Log
	inbox  *inbox

	// Owned by the goroutine.

	queues    map[uint64]*Queue
	lastID    uint64 // of a session's queue
	open      *proposal
	flight    []*proposal // proposed or waiting behind such, oldest first
	touched   []*Queue
	live      map[uint64]*segmentUse
	retained  map[retainedKey]retained
	sessions  map[*mqttSession]queue.Ref
	retaining map[retainedKey]int // retain commands that are not applied yet
	copying   int                 // copies of the cleaner that are not applied yet
	started   atomic.Bool         // the goroutine runs
	pages     [8]page
	nextPage  int
}

// proposal is one entry, or a group of acts between entries.
type proposal struct {
	entry     []byte // empty when nothing in it must be durable
	stores    bool   // the entry holds messages
	acts      []act
	committed bool
	at        journal.Position
	err       error
}

// act is what happens when a proposal is committed, or fails.
type act interface {
	commit(s *shard, now int64, at journal.Position)
	fail(s *shard, err error)
}

// segmentUse is what of a segment's bytes a shard still needs.
type segmentUse struct{ bytes int64 }

// maxEntry is the size from which an entry is proposed without waiting for more.
const maxEntry = 256 << 10

func newShard(h *Hub, number int, log Log) *shard {
	return &shard{
		number:    number,
		hub:       h,
		log:       log,
		inbox:     newInbox(func() int64 { return h.config.Load().Limits.ShardInboxBytes }),
		queues:    make(map[uint64]*Queue),
		live:      make(map[uint64]*segmentUse),
		retained:  make(map[retainedKey]retained),
		sessions:  make(map[*mqttSession]queue.Ref),
		retaining: make(map[retainedKey]int),
		lastID:    sessionQueueBit | uint64(number),
	}
}

// post hands an operation to the shard. False: the shard has ended and the operation was abandoned.
func (s *shard) post(o op) bool { return s.inbox.put(o) }

// run is the shard's goroutine; it ends when the inbox is closed and everything in it, and in flight, is done.
func (s *shard) run() {
	var ops []op
	for {
		var ok bool
		if ops, ok = s.inbox.take(ops, len(s.flight) > 0); !ok {
			return
		}
		now := s.hub.now()
		for _, o := range ops {
			o.run(s, now)
		}
		s.finish(now)
	}
}

// finish takes the effects of all queues that the operations touched and proposes what they left to write.
func (s *shard) finish(now int64) {
	for len(s.touched) > 0 || s.open != nil {
		touched := s.touched
		s.touched = nil
		for _, q := range touched {
			q.marked = false
			if !q.closed {
				q.effects().run(q)
			}
		}
		s.cut(now) // may run acts, which touch queues again
	}
}

func (s *shard) touch(q *Queue) {
	if !q.marked {
		q.marked = true
		s.touched = append(s.touched, q)
	}
}

// building is the proposal that is being built.
func (s *shard) building() *proposal {
	if s.open == nil {
		s.open = &proposal{}
	}
	return s.open
}

// write answers the entry being built, to append a command to, and where in the entry that command will be.
func (s *shard) write(now int64) (entry *[]byte, at uint32) {
	p := s.building()
	if len(p.entry) == 0 {
		p.entry = binary.AppendVarint(make([]byte, 0, 512), now)
	}
	return &p.entry, uint32(len(p.entry))
}

// wrote proposes the entry when it has grown enough.
func (s *shard) wrote(now int64) {
	if s.open != nil && len(s.open.entry) >= maxEntry {
		s.cut(now)
	}
}

// cut ends the proposal that is being built: its acts run when it and all before it are committed.
func (s *shard) cut(now int64) {
	p := s.open
	if p == nil {
		return
	}
	s.open = nil
	if len(p.entry) == 0 {
		p.committed = true
		s.flight = append(s.flight, p)
		s.advance(now)
		return
	}
	s.flight = append(s.flight, p)
	s.log.Propose(p.entry, !p.stores, func(at journal.Position, err error) {
		s.inbox.putAlways(&commitOp{proposal: p, at: at, err: err})
	})
}

// commitOp is the log's word about a proposal.
type commitOp struct {
	proposal *proposal
	at       journal.Position
	err      error
}

func (o *commitOp) size() int64 { return 0 }
func (o *commitOp) abandon()    {}
func (o *commitOp) run(s *shard, now int64) {
	o.proposal.committed, o.proposal.at, o.proposal.err = true, o.at, o.err
	s.advance(now)
}

// advance runs the acts of proposals that are committed, in order.
func (s *shard) advance(now int64) {
	for len(s.flight) > 0 && s.flight[0].committed {
		p := s.flight[0]
		s.flight[0] = nil
		s.flight = s.flight[1:]
		for _, a := range p.acts {
			if p.err != nil {
				a.fail(s, p.err)
			} else {
				a.commit(s, now, p.at)
			}
		}
	}
}

// used accounts for bytes that the shard needs of a segment.
func (s *shard) used(segment uint64, bytes int64) {
	if segment == 0 {
		return
	}
	u := s.live[segment]
	if u == nil {
		u = &segmentUse{}
		s.live[segment] = u
	}
	if u.bytes += bytes; u.bytes <= 0 {
		delete(s.live, segment)
	}
}

// enqueueOp is the part of a publisher's batch for one shard.
type enqueueOp struct {
	flush *flush
	items []enqueued
}

func (o *enqueueOp) size() (n int64) {
	for i := range o.items {
		n += int64(o.items[i].message.Size()) + 64
	}
	return max(n, 1)
}

func (o *enqueueOp) abandon() {
	for i := range o.items {
		o.flush.refuse(o.items[i].token, ErrClosed)
	}
	o.flush.done()
}

func (o *enqueueOp) run(s *shard, now int64) {
	a := &enqueueAct{flush: o.flush}
	for i := 0; i < len(o.items); {
		n := 1
		for i+n < len(o.items) && o.items[i+n].message == o.items[i].message {
			n++
		}
		s.propose1(now, a, o.items[i:i+n])
		if s.open != nil && len(s.open.entry) >= maxEntry {
			// The entry is full: what has been gathered acts with it, the rest of the batch with the next one.
			first := &enqueueAct{items: a.items}
			a.items = nil
			s.open.acts = append(s.open.acts, first)
			s.cut(now)
		}
		i += n
	}
	s.building().acts = append(s.building().acts, a)
}

// propose1 writes one message for all its queues of this shard, those that have room.
func (s *shard) propose1(now int64, a *enqueueAct, items []enqueued) {
	m := items[0].message
	var space [8]itemRef
	refs := space[:0]
	first := len(a.items)
	for _, it := range items {
		q := it.queue
		if q.closed || q.frozen {
			continue // the queue went after the message was routed: as if it had not been there
		}
		if q.state.Full(q.inFlight, q.flightSize) {
			s.refuse(q, it, a)
			continue
		}
		q.lastID = max(q.lastID, q.state.NextID()-1) + 1
		q.inFlight++
		q.flightSize += int64(m.Size())
		a.items = append(a.items, flying{queue: q, message: m, id: q.lastID, qos: it.qos, token: it.token, flush: a.flush})
		refs = append(refs, itemRef{queue: q.id, item: q.lastID, qos: it.qos})
	}
	if !m.Durable || len(refs) == 0 {
		return
	}
	entry, at := s.write(now)
	*entry = appendEnqueue(*entry, refs, m)
	s.open.stores = true
	for i := first; i < len(a.items); i++ {
		a.items[i].inside, a.items[i].durable = at, true
	}
}

func (s *shard) refuse(q *Queue, it enqueued, a *enqueueAct) {
	s.hub.stats.Refused.add(1)
	if q.state.DeadLetterOnReject() && q.deadLetter != nil {
		q.deadLetter.publish(q, []queue.Dead{{Item: newItem(it.message, it.qos), Why: queue.MaxLen}})
	}
	if a.flush != nil {
		a.flush.refuse(it.token, errorf(Unavailable, "queue '%s' is full", q.name))
	}
}

// flying is an item between proposal and commit.
type flying struct {
	queue   *Queue
	message *message.Message
	flush   *flush
	id      uint64
	token   uint64
	inside  uint32
	qos     uint8
	durable bool
}

// enqueueAct puts messages into their queues and says so to the publisher; flush is nil for all but the last part of a
// batch.
type enqueueAct struct {
	flush *flush
	items []flying
}

func (a *enqueueAct) commit(s *shard, now int64, at journal.Position) {
	for i := range a.items {
		s.enqueue(now, &a.items[i], at)
	}
	if a.flush != nil {
		a.flush.done()
	}
}

func (s *shard) enqueue(now int64, f *flying, at journal.Position) {
	q := f.queue
	q.inFlight--
	q.flightSize -= int64(f.message.Size())
	if q.closed {
		return
	}
	it := newItem(f.message, f.qos)
	it.ID = f.id
	if f.durable {
		it.Durable = true
		it.Ref = queue.Ref{Segment: at.Segment, Offset: at.Offset, Inside: f.inside}
		s.used(at.Segment, int64(it.Size))
		if !s.hub.keepBody(q, int64(it.Size)) {
			it.Message = nil
		}
	}
	q.state.Enqueue(now, it)
	s.touch(q)
}

func (a *enqueueAct) fail(s *shard, err error) {
	for i := range a.items {
		f := &a.items[i]
		f.queue.inFlight--
		f.queue.flightSize -= int64(f.message.Size())
		if f.flush != nil {
			f.flush.refuse(f.token, unavailable(err))
		}
	}
	if a.flush != nil {
		a.flush.done()
	}
}

// unavailable is what a client is told of a journal that does not take more.
func unavailable(err error) error {
	return errorf(Unavailable, "message could not be stored: %v", err)
}

// settled writes that durable items are done with.
func (s *shard) settled(q *Queue, gone []queue.Item) {
	now := s.hub.now()
	entry, _ := s.write(now)
	*entry = appendSettle(*entry, q.id, gone)
	for i := range gone {
		s.used(gone[i].Ref.Segment, -int64(gone[i].Size))
		if gone[i].Message != nil {
			s.hub.bodies.Add(-int64(gone[i].Size))
		}
	}
}

// load reads the bodies of deliveries that only the journal holds.
func (s *shard) load(q *Queue, ds []queue.Delivery) {
	for i := range ds {
		if ds[i].Message != nil {
			continue
		}
		m, err := s.read(ds[i].Ref)
		if err != nil {
			s.hub.damaged(fmt.Errorf("queue %q in vhost %q: item %d: %w", q.name, q.host.name, ds[i].ID, err))
			m = &message.Message{Encoding: message.AMQP091, Owned: true}
		}
		ds[i].Message = m
	}
}

// page is an entry that was read from the journal: the bodies of a backlog lie side by side.
type page struct {
	at   journal.Position
	data []byte
}

// read answers a message that an enqueue or retain command in the journal holds. The message aliases its page.
func (s *shard) read(ref queue.Ref) (*message.Message, error) {
	data, err := s.page(journal.Position{Segment: ref.Segment, Offset: ref.Offset})
	if err != nil {
		return nil, err
	}
	if int(ref.Inside) >= len(data) {
		return nil, fmt.Errorf("command at %d is beyond its entry of %d bytes", ref.Inside, len(data))
	}
	var one bodyVisitor
	if _, err := visitCommand(ref.Inside, data[ref.Inside:], &one); err != nil {
		return nil, err
	}
	if one.body == nil {
		return nil, fmt.Errorf("command at %d holds no message", ref.Inside)
	}
	one.body.Owned = true
	return one.body, nil
}

func (s *shard) page(at journal.Position) ([]byte, error) {
	for i := range s.pages {
		if s.pages[i].at == at {
			return s.pages[i].data, nil
		}
	}
	record, err := s.hub.journal.Read(at, nil)
	if err != nil {
		return nil, err
	}
	s.nextPage = (s.nextPage + 1) % len(s.pages)
	s.pages[s.nextPage] = page{at: at, data: record.Data}
	return record.Data, nil
}

// bodyVisitor takes the message of one command.
type bodyVisitor struct{ body *message.Message }

func (v *bodyVisitor) enqueue(_ uint32, _ []itemRef, m *message.Message) { v.body = m }
func (v *bodyVisitor) retain(_ uint32, _ string, m *message.Message)     { v.body = m }
func (v *bodyVisitor) settle(_, _, _ uint64)                             {}
func (v *bodyVisitor) session(uint32, string, session.State)             {}
func (v *bodyVisitor) end(string, session.State)                         {}

// stepOp runs a step on one queue.
type stepOp struct {
	queue *Queue
	step  step
	done  chan bool // nil when nobody waits
}

func (o *stepOp) size() int64 { return 0 }
func (o *stepOp) abandon()    { o.answer(false) }
func (o *stepOp) answer(ran bool) {
	if o.done != nil {
		o.done <- ran
	}
}

func (o *stepOp) run(s *shard, now int64) {
	if o.queue.closed {
		o.answer(false)
		return
	}
	o.step(o.queue, now)
	if !o.queue.closed {
		o.queue.effects().run(o.queue)
	}
	o.answer(true)
}

// forget drops what the shard keeps of a queue that is gone. Its items need no settling: nothing refers to its id again.
func (s *shard) forget(q *Queue) {
	q.state.Each(func(it *queue.Item) {
		if it.Durable {
			s.used(it.Ref.Segment, -int64(it.Size))
			if it.Message != nil {
				s.hub.bodies.Add(-int64(it.Size))
			}
		}
	})
	delete(s.queues, q.id)
}

// propose runs an operation that writes one command and waits until it is committed, failed, or ctx ends (then the
// command may still be committed).
func (s *shard) propose(ctx context.Context, w writeOp) error {
	done := make(chan error, 1)
	if !s.post(&writeAndWait{writeOp: w, done: done}) {
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writeOp is a command with what it does when it is committed.
type writeOp interface {
	append(entry []byte) []byte
	apply(s *shard, ref queue.Ref)
}

type writeAndWait struct {
	writeOp
	done   chan<- error
	inside uint32
}

func (o *writeAndWait) size() int64 { return 0 }
func (o *writeAndWait) abandon()    { o.done <- ErrClosed }

func (o *writeAndWait) run(s *shard, now int64) {
	entry, at := s.write(now)
	*entry = o.append(*entry)
	o.inside = at
	s.building().acts = append(s.building().acts, o)
	s.wrote(now)
}

func (o *writeAndWait) commit(s *shard, _ int64, at journal.Position) {
	o.apply(s, queue.Ref{Segment: at.Segment, Offset: at.Offset, Inside: o.inside})
	o.done <- nil
}

func (o *writeAndWait) fail(_ *shard, err error) { o.done <- unavailable(err) }
