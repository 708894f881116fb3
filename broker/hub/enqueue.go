package hub

import (
	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

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
	a := &enqueueAct{flush: o.flush, items: make([]flying, 0, len(o.items))}
	for i := 0; i < len(o.items); {
		n := 1
		for i+n < len(o.items) && o.items[i+n].message == o.items[i].message {
			n++
		}
		s.propose1(now, a, o.items[i:i+n])
		if s.open != nil && len(s.open.entry) >= maxEntry {
			// The entry is full: what has been gathered acts with it, the rest of the batch with the next one.
			first := &enqueueAct{items: a.items, receipts: a.receipts, delayed: a.delayed}
			a.items, a.receipts, a.delayed = nil, nil, nil
			s.act(first)
			s.open.brings = true
			s.cut(now)
		}
		i += n
	}
	s.act(a)
	s.open.brings = true
}

// propose1 writes one message for all its queues of this shard, those that have room.
func (s *shard) propose1(now int64, a *enqueueAct, items []enqueued) {
	m := items[0].message
	if items[0].exactly != nil && !s.takeOnce(now, a, items) {
		return
	}
	if p := items[0].postponed; p != nil {
		if p.host.deleted.Load() {
			p.host.delayed.Add(-1)
			return
		}
		s.proposeDelayed(now, a, items[0])
		return
	}
	var space [8]itemRef
	refs := space[:0]
	first, d := len(a.items), journal.None
	for _, it := range items {
		q := it.queue
		if q == nil || q.closed || q.frozen != nil {
			if it.qos&flagShared != 0 && a.flush != nil { // another member may have it when it comes again
				a.flush.refuse(it.token, errorf(Unavailable, "the member of a shared subscription has just left"))
			}
			continue // the queue went after the message was routed: as if it had not been there
		}
		if q.full(m) {
			s.refuse(q, it, a)
			continue
		}
		q.lastID = max(q.lastID, q.state.NextID()-1) + 1
		q.inFlight++
		q.flightSize += int64(m.Size())
		d = min(d, q.durability)
		a.items = append(a.items, flying{queue: q, message: m, id: q.lastID, qos: it.qos, token: it.token, flush: a.flush})
		refs = append(refs, itemRef{queue: q.id, item: q.lastID, qos: it.qos})
	}
	if !m.Durable || len(refs) == 0 {
		return
	}
	entry, at := s.write(now, d)
	*entry = appendEnqueue(*entry, refs, m)
	s.open.stores = true
	for i := first; i < len(a.items); i++ {
		a.items[i].at, a.items[i].share, a.items[i].durable = at, shareOf(uint32(m.Size()), len(refs)), true
	}
}

// refuseAll refuses a message that no queue of the shard has room for: it is not taken, and its sender is told so.
func (s *shard) refuseAll(a *enqueueAct, items []enqueued) bool {
	for _, it := range items {
		q := it.queue
		if q == nil || it.postponed != nil || q.closed || q.frozen != nil || !q.state.Full(q.inFlight, q.flightSize) {
			return false
		}
	}
	for _, it := range items {
		s.refuse(it.queue, it, a)
	}
	return true
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
	at      uint32 // of the command in the entry
	share   uint32
	qos     uint8
	durable bool
	stored  *queue.Item // of a transaction that was recovered: there is no message
}

// enqueueAct puts messages into their queues and says so to the publisher; flush is nil for all but the last part of a
// batch.
type enqueueAct struct {
	flush    *flush
	items    []flying
	receipts []receipt // that the entry has
	delayed  []delaying
}

func (a *enqueueAct) commit(s *shard, now int64, index uint64) {
	for _, r := range a.receipts {
		t := s.receipts[r]
		t.written = true
		s.receipts[r] = t
	}
	for i := range a.items {
		s.enqueue(now, &a.items[i], index)
	}
	for _, d := range a.delayed {
		if d.host.deleted.Load() { // since it was written: disown did not meet it among those that wait
			d.host.delayed.Add(-1)
			continue
		}
		d.ref.Index = index
		s.delay(d.delayed, d.due)
	}
	if len(a.delayed) > 0 {
		s.announceDue()
	}
	if a.flush != nil {
		a.flush.done()
	}
}

func (s *shard) enqueue(now int64, f *flying, index uint64) {
	q := f.queue
	q.inFlight--
	q.flightSize -= int64(f.message.Size())
	if q.closed {
		return
	}
	if f.durable {
		s.use(f.ref(index))
	}
	s.put(now, f, index)
	s.touch(q)
}

// put enqueues an item that is in the log, if it is durable.
func (s *shard) put(now int64, f *flying, index uint64) {
	it := f.item(index)
	if it.Durable && !s.hub.keepBody(f.queue, int64(it.Size)) {
		it.Message = nil
	}
	f.queue.state.Enqueue(now, it)
}

// item is what the queue gets when the entry has an index.
func (f *flying) item(index uint64) queue.Item {
	if f.stored != nil {
		return *f.stored
	}
	it := f.queue.item(f.message, f.qos)
	it.ID = f.id
	if f.durable {
		it.Durable, it.Ref = true, f.ref(index)
	}
	return it
}

func (a *enqueueAct) fail(s *shard, err error) {
	for _, r := range a.receipts {
		delete(s.receipts, r)
	}
	for i := range a.items {
		f := &a.items[i]
		f.queue.inFlight--
		f.queue.flightSize -= int64(f.message.Size())
		if f.flush != nil {
			f.flush.refuse(f.token, unavailable(err))
		}
	}
	for _, d := range a.delayed {
		d.host.delayed.Add(-1)
		d.flush.refuse(d.token, unavailable(err))
	}
	if a.flush != nil {
		a.flush.done()
	}
}

// unavailable is what a client is told of a journal that does not take more.
func unavailable(err error) error {
	return errorf(Unavailable, "message could not be stored: %v", err)
}
