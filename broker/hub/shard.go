package hub

import (
	"context"
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"

	"github.com/turnstone-mq/turnstone/broker/cluster"
	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/schedule"
	"github.com/turnstone-mq/turnstone/broker/session"
)

// shard owns durable queues: one goroutine, one raft group, one ordered log.
//
// The goroutine takes everything that waits in its inbox and runs it. What must be durable is written into the entry
// that is being built and acts only when that entry is applied; what need not be durable but must keep its order acts
// after the entries before it. Settling acts at once and is written into the entry, for which nobody waits: losing it
// means a redelivery.
//
// What the log says is the shard's durable state: which items are in which queue, the sessions, the retained messages.
// Who holds what, credit and order of consumers are not. On a node that did not propose an entry, and when the log is
// read at the start, replay makes the same state of it.
type shard struct {
	number int
	hub    *Hub
	group  *cluster.Group
	inbox  *inbox
	leads  chan struct{} // closed when the shard takes proposals

	// Owned by the goroutine.

	queues    map[uint64]*Queue
	lastID    uint64 // of a session's queue
	open      *proposal
	entries   [][]byte    // buffers for the next proposals
	patient   *time.Timer // runs while open waits for company; nil when it does not
	flight    []*proposal // proposed or waiting behind such, oldest first
	touched   []*Queue
	retained  retainedHere
	sessions  map[*mqttSession]session.State // as the log has them
	retaining map[retainedKey]int            // retain commands that are not applied yet
	prepared  map[txID]*prepared             // parts of transactions that are not resolved
	decided   map[txID]bool                  // transactions that this shard committed, until all parts are resolved
	strangers map[string]bool                // virtual hosts that recovery met and the catalogue does not have
	void      map[delayed]bool               // delayed messages that recovery found to be nobody's
	started   atomic.Bool                    // the goroutine runs
	receipts  map[receipt]taken              // of messages that are published once
	senders   map[uint64]*senderState        // as the log has them
	delays    schedule.Schedule[delayed]     // messages that wait in the log for their time
	leaving   map[delayed]int64              // taken out of delays, and in the log all the same; with their time
	waiting   waiting                        // read by the clock
	wills     map[*mqttSession]*testament    // of sessions of the shard
	heirs     map[delayed]*mqttSession       // whose will it is that waits among the delayed messages
	bodies    [8]readBody
	nextBody  int
	names     names // of the message that was read last
}

// proposal is one entry, or a group of acts between entries.
type proposal struct {
	entry   []byte // empty when nothing in it must be durable
	stores  bool   // the entry holds messages
	brings  bool   // messages come to queues with it, stored or not
	urgent  bool   // somebody waits for it; settlements alone may wait a little for company
	acts    []act
	settled bool // it was applied, or will never be
	index   uint64
	err     error

	durability journal.Durability // of the entry: the strongest that something in it needs
}

// act is what happens when a proposal is applied, or fails. Index is that of the entry.
type act interface {
	commit(s *shard, now int64, index uint64)
	fail(s *shard, err error)
}

// maxEntry is the size from which an entry is proposed without waiting for more.
const maxEntry = 256 << 10

func newShard(h *Hub, number int) *shard {
	return &shard{
		number:    number,
		hub:       h,
		inbox:     newInbox(func() int64 { return h.config.Load().Limits.ShardInboxBytes }),
		leads:     make(chan struct{}),
		queues:    make(map[uint64]*Queue),
		retained:  make(retainedHere),
		sessions:  make(map[*mqttSession]session.State),
		retaining: make(map[retainedKey]int),
		prepared:  make(map[txID]*prepared),
		decided:   make(map[txID]bool),
		receipts:  make(map[receipt]taken),
		senders:   make(map[uint64]*senderState),
		leaving:   make(map[delayed]int64),
		strangers: make(map[string]bool),
		void:      make(map[delayed]bool),
		wills:     make(map[*mqttSession]*testament),
		heirs:     make(map[delayed]*mqttSession),
		lastID:    sessionQueueBit | uint64(number),
	}
}

// post hands an operation to the shard. False: the shard has ended and the operation was abandoned.
func (s *shard) post(o op) bool { return s.inbox.put(o) }

// run is the shard's goroutine; it ends when the inbox is closed and everything in it, and in flight, is done.
func (s *shard) run() {
	var ops []op
	s.work(s.hub.now())
	for {
		var ok bool
		if ops, ok = s.inbox.take(ops, s.open != nil || len(s.flight) > 0 || s.group.Pending()); !ok {
			return
		}
		now := s.hub.now()
		for _, o := range ops {
			o.run(s, now)
		}
		s.work(now)
	}
}

// work proposes what the operations left to write, and applies what is committed, until nothing is left to do.
func (s *shard) work(now int64) {
	for {
		s.finish(now)
		s.group.Advance() // may apply, and so touch queues again
		if len(s.touched) == 0 && (s.open == nil || !s.open.ripe()) {
			return
		}
	}
}

// patience is how long settlements wait for something that must be written anyway: losing them means a redelivery, and an
// fsync of their own would delay the next one. lazyEntry is how large they may grow in that time.
const (
	patience  = 5 * time.Millisecond
	lazyEntry = 64 << 10
)

func (p *proposal) ripe() bool { return p.urgent || len(p.entry) >= lazyEntry }

// wait lets the proposal that is being built wait for company.
func (s *shard) wait() {
	if s.patient == nil {
		s.patient = time.AfterFunc(patience, func() { s.inbox.putAlways(ripenOp{}) })
	}
}

// ripenOp ends the patience.
type ripenOp struct{}

func (ripenOp) size() int64 { return 0 }
func (ripenOp) abandon()    {}
func (ripenOp) run(s *shard, _ int64) {
	s.patient = nil
	if s.open != nil {
		s.open.urgent = true
	}
}

// finish takes the effects of all queues that the operations touched and proposes what they left to write.
func (s *shard) finish(now int64) {
	for len(s.touched) > 0 || s.open != nil && s.open.ripe() {
		touched := s.touched
		s.touched = nil
		for _, q := range touched {
			q.marked = false
			if !q.closed {
				q.effects().run(q)
			}
		}
		if s.open != nil && s.open.ripe() {
			s.cut(now) // may run acts, which touch queues again
		}
	}
	if s.open != nil {
		s.wait()
	}
}

func (s *shard) touch(q *Queue) {
	if !q.marked {
		q.marked = true
		s.touched = append(s.touched, q)
	}
}

// bringing says that messages are on their way to queues.
func (s *shard) bringing() bool {
	brings := func(p *proposal) bool { return p.brings }
	return s.open != nil && s.open.brings || slices.ContainsFunc(s.flight, brings)
}

// building is the proposal that is being built.
func (s *shard) building() *proposal {
	if s.open == nil {
		s.open = &proposal{durability: journal.None}
	}
	return s.open
}

// act adds what happens when the proposal that is being built is applied. Somebody waits for it.
func (s *shard) act(a act) {
	p := s.building()
	p.urgent = true
	p.acts = append(p.acts, a)
}

// write answers the entry being built, to append a command to that needs a durability, and where in the entry that command
// will be.
func (s *shard) write(now int64, d journal.Durability) (entry *[]byte, at uint32) {
	p := s.building()
	p.durability = min(p.durability, d)
	if len(p.entry) == 0 {
		p.entry = binary.AppendVarint(s.entryBuffer(), now)
	}
	return &p.entry, uint32(len(p.entry))
}

// entryBuffer is an empty buffer for an entry. Buffers are used again as soon as the entry is proposed: the group has its
// own copy then.
func (s *shard) entryBuffer() []byte {
	n := len(s.entries)
	if n == 0 {
		return make([]byte, 0, 4096)
	}
	b := s.entries[n-1]
	s.entries = s.entries[:n-1]
	return b[:0]
}

func (s *shard) reuse(entry []byte) {
	if cap(entry) <= maxEntry && len(s.entries) < 2 {
		s.entries = append(s.entries, entry)
	}
}

// wrote proposes the entry when it has grown enough.
func (s *shard) wrote(now int64) {
	if s.open != nil && len(s.open.entry) >= maxEntry {
		s.cut(now)
	}
}

// cut ends the proposal that is being built: its acts run when it and all before it are applied.
func (s *shard) cut(now int64) {
	p := s.open
	if p == nil {
		return
	}
	s.open = nil
	s.flight = append(s.flight, p)
	if len(p.entry) > 0 {
		err := s.group.Propose(cluster.Proposal{Data: p.entry, Essential: !p.stores, Durability: p.durability, Tag: p})
		s.reuse(p.entry)
		p.entry = nil
		if err == nil {
			return
		}
		s.hub.refused(err)
		p.err = err
	}
	p.settled = true
	s.advance(now)
}

// advance runs the acts of proposals that are settled, in order.
func (s *shard) advance(now int64) {
	for len(s.flight) > 0 && s.flight[0].settled {
		p := s.flight[0]
		s.flight[0] = nil
		s.flight = s.flight[1:]
		for _, a := range p.acts {
			if p.err != nil {
				a.fail(s, p.err)
			} else {
				a.commit(s, now, p.index)
			}
		}
	}
}

// writtenOp is the journal's word about a write of the group.
type writtenOp struct{ write *cluster.Write }

func (o *writtenOp) size() int64           { return 0 }
func (o *writtenOp) abandon()              {}
func (o *writtenOp) run(s *shard, _ int64) { s.group.Written(o.write) }

// use accounts for what an item keeps alive of an entry.
func (s *shard) use(ref queue.Ref) { s.group.Use(ref.Index, int64(ref.Share)) }

// unuse is the reverse of use.
func (s *shard) unuse(ref queue.Ref) { s.group.Use(ref.Index, -int64(ref.Share)) }

// shareOf is what each of so many queues keeps alive of a message that they have in common.
func shareOf(size uint32, queues int) uint32 { return max(1, size/uint32(queues)) }

// settled writes that durable items are done with. They are in hand until the log has that: a checkpoint before it
// holds them.
func (s *shard) settled(q *Queue, gone []queue.Item) {
	entry, _ := s.write(s.hub.now(), q.durability)
	*entry = appendSettle(*entry, q.id, gone)
	for i := range gone {
		if gone[i].Message != nil {
			s.hub.bodies.Add(-int64(gone[i].Size))
			gone[i].Message = nil
		}
	}
	q.settling.add(gone)
	s.open.acts = append(s.open.acts, &settleAct{queue: q, n: len(gone)})
}

// returned writes how often items came back, for the delivery limit, and what was left on them. Nobody waits for it. Of many
// notes, the rest is for the next entry.
func (s *shard) returned(q *Queue) {
	items := q.state.Returned(lazyEntry)
	if len(items) == 0 {
		return
	}
	entry, _ := s.write(s.hub.now(), q.durability)
	*entry = appendNotes(appendReturn(*entry, q.id, items), q.id, items)
	if q.state.Returning() {
		s.touch(q)
	}
}

// settleAct lets go of what the log says is settled.
type settleAct struct {
	queue *Queue
	n     int
}

func (a *settleAct) commit(s *shard, _ int64, _ uint64) {
	if a.queue.closed {
		return
	}
	for _, it := range a.queue.settling.take(a.n) {
		s.unuse(it.Ref)
		a.queue.state.Forget(it.ID)
	}
}

// fail puts the items back: the log has them. Their consumer is done with them, so somebody sees them twice.
func (a *settleAct) fail(s *shard, _ error) {
	if a.queue.closed {
		return
	}
	for _, it := range a.queue.settling.take(a.n) {
		it.Returned = true
		a.queue.state.Restore(s.hub.now(), it)
	}
	s.touch(a.queue)
}

// settling are items whose settlement is on its way to the log, oldest first.
type settling struct {
	items []queue.Item
	taken int
}

func (l *settling) add(items []queue.Item) { l.items = append(l.items, items...) }

// take answers the oldest n; they are valid until the next add.
func (l *settling) take(n int) []queue.Item {
	out := l.items[l.taken : l.taken+n]
	if l.taken += n; l.taken == len(l.items) {
		l.items, l.taken = l.items[:0], 0
		if cap(l.items) > 4096 {
			l.items = nil
		}
	}
	return out
}

func (l *settling) rest() []queue.Item { return l.items[l.taken:] }

// stepOp runs a step on one queue.
type stepOp struct {
	queue *Queue
	step  step
	done  chan bool // nil when nobody waits
	// ordered steps see the messages that were published before, also those that are on their way to the log.
	ordered bool
}

func (o *stepOp) size() int64 { return 0 }
func (o *stepOp) abandon()    { o.answer(false) }
func (o *stepOp) answer(ran bool) {
	if o.done != nil {
		o.done <- ran
	}
}

func (o *stepOp) run(s *shard, now int64) {
	if o.ordered && s.bringing() {
		s.act(o)
		return
	}
	o.take(now)
}

// commit and fail run a step that waited for its turn.
func (o *stepOp) commit(_ *shard, now int64, _ uint64) { o.take(now) }
func (o *stepOp) fail(s *shard, _ error)               { o.take(s.hub.now()) }

func (o *stepOp) take(now int64) {
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
			s.unuse(it.Ref)
			if it.Message != nil {
				s.hub.bodies.Add(-int64(it.Size))
			}
		}
	})
	for _, it := range q.inHand() {
		s.unuse(it.Ref)
	}
	s.eachPrepared(func(of *Queue, ref queue.Ref) {
		if of == q {
			s.unuse(ref)
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
	apply(s *shard)
}

type writeAndWait struct {
	writeOp
	done chan<- error
}

func (o *writeAndWait) size() int64 { return 0 }
func (o *writeAndWait) abandon()    { o.done <- ErrClosed }

func (o *writeAndWait) run(s *shard, now int64) {
	entry, _ := s.write(now, journal.Always)
	*entry = o.append(*entry)
	s.act(o)
	s.wrote(now)
}

func (o *writeAndWait) commit(s *shard, _ int64, _ uint64) {
	o.apply(s)
	o.done <- nil
}

func (o *writeAndWait) fail(_ *shard, err error) { o.done <- unavailable(err) }
