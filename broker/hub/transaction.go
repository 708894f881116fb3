package hub

import (
	"crypto/rand"
	"errors"
	"github.com/turnstone-mq/turnstone/broker/journal"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/cluster"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// A transaction (class tx of AMQP 0-9-1, part 4 of AMQP 1.0) brings messages to queues and settles deliveries as a whole, on any number of queues.
//
// What it does in one shard is one entry. When it touches several, each of them first writes its part with prepare and
// keeps it aside: messages are not visible yet, and what was settled can still come back. When every part is durable, the
// first shard writes decide; with that entry the transaction is committed. Then each part takes effect with resolve. After
// a crash, parts without resolve ask the first shard: what it did not decide is given up.

// txID names a transaction for ever.
type txID [16]byte

// Settlement ends deliveries with a transaction. Accepting ones of durable queues are part of the whole; others follow
// when it is committed.
type Settlement struct {
	Consumer *Consumer
	Outcome  queue.Outcome
	Ranges   []Range
}

// held is what a publisher keeps for its next Commit.
type held struct {
	local    []enqueued
	parts    []*txPart
	fleeting []fleetingEntry
	delays   int64 // messages that are to wait, fleeting ones included
	bytes    int64
}

// txPart is what a transaction does in one shard.
type txPart struct {
	shard  *shard
	items  []enqueued
	settle []Settlement
	waits  []enqueued     // messages that are to wait in the shard for their time
	leaves []delayedEntry // delayed messages of the shard that wait no longer
	// moves: the part belongs to a move of delayed messages. A full queue refuses what it is to take, and the rest goes on.
	moves bool
}

func (h *held) part(s *shard) *txPart {
	for _, p := range h.parts {
		if p.shard == s {
			return p
		}
	}
	p := &txPart{shard: s}
	h.parts = append(h.parts, p)
	return p
}

// Hold keeps what was published since the last Flush or Hold for the next Commit, instead of handing it over. It fails
// when that becomes too much; then nothing is kept.
func (p *Publisher) Hold() error {
	p.brought = p.brings()
	before := p.held.delays
	for _, l := range p.local {
		for _, it := range l.items {
			p.held.local = append(p.held.local, enqueued{message: p.clone(it.message), queue: l.queue, qos: it.delivery()})
		}
		l.items = l.items[:0]
	}
	for _, s := range p.shard {
		part := p.held.part(s.shard)
		for _, it := range p.keep(s.items) {
			if it.postponed != nil {
				part.waits = append(part.waits, it)
				p.held.delays++
			} else {
				part.items = append(part.items, it)
			}
		}
		s.items = s.items[:0]
	}
	for i := range p.batch {
		p.held.bytes += int64(p.batch[i].Size()) + 128
	}
	for _, f := range p.fleeting {
		p.held.bytes += f.size()
	}
	p.held.fleeting = append(p.held.fleeting, p.fleeting...)
	p.held.delays += int64(len(p.fleeting))
	p.host.delayed.Add(before - p.held.delays) // a commit takes the places: nothing gives them back when there is none
	p.reset()
	if limit := p.host.hub.Config().Limits.MessageBytes; p.held.bytes > limit {
		p.Rollback()
		return errorf(Precondition, "transaction of more than %d bytes", limit)
	}
	return nil
}

// Held is how many bytes Hold keeps.
func (p *Publisher) Held() int64 { return p.held.bytes }

// Rollback forgets what Hold kept.
func (p *Publisher) Rollback() { p.held = held{} }

// Commit lets what Hold kept, and settlements, take effect together, and returns when that is durable and visible. An
// error says that nothing of it happened; deliveries that it was to settle may be back in their queues.
func (p *Publisher) Commit(settlements []Settlement) error {
	if err := p.Hold(); err != nil {
		return err
	}
	h := p.held
	p.held = held{}
	var after []Settlement
	for _, s := range settlements {
		if s.Consumer.queue.shard == nil || s.Outcome != queue.Accept {
			after = append(after, s)
			continue
		}
		part := h.part(s.Consumer.queue.shard)
		part.settle = append(part.settle, s)
	}
	if err := p.host.admitDelayed(h.delays); err != nil {
		return err
	}
	if err := commitParts(h.parts); err != nil {
		p.host.delayed.Add(-h.delays)
		return err
	}
	for _, it := range h.local {
		it.queue.do(func(q *Queue, now int64) { q.state.Enqueue(now, q.item(it.message, it.qos)) })
	}
	p.host.hub.fleeting.add(h.fleeting)
	for _, s := range after {
		s.Consumer.Settle(s.Outcome, s.Ranges...)
	}
	p.Wait()
	return nil
}

// commitParts commits the durable parts of a transaction.
func commitParts(parts []*txPart) error {
	switch len(parts) {
	case 0:
		return nil
	case 1:
		return waitFor(parts, func(p *txPart, done chan error) op { return &txOp{part: p, done: done} })
	}
	var id txID
	rand.Read(id[:]) //nolint:errcheck // never fails
	first := parts[0].shard
	err := waitFor(parts, func(p *txPart, done chan error) op {
		return &txOp{part: p, done: done, prepare: &prepared{id: id, coordinator: first.number}}
	})
	if err == nil {
		err = waitFor(parts[:1], func(_ *txPart, done chan error) op { return &decideOp{id: id, done: done} })
	}
	commit := err == nil
	resolved := waitFor(parts, func(_ *txPart, done chan error) op { return &resolveOp{id: id, commits: commit, done: done} })
	if err != nil {
		return err
	}
	if resolved == nil {
		first.post(&forgetOp{id: id})
	}
	return nil // it is decided: what was not resolved is at the next start
}

// waitFor gives every part's shard an operation and waits for all of them. It answers the first error.
func waitFor(parts []*txPart, operation func(*txPart, chan error) op) error {
	waiting := make([]chan error, len(parts))
	for i, p := range parts {
		waiting[i] = make(chan error, 1)
		p.shard.post(operation(p, waiting[i]))
	}
	var first error
	for _, done := range waiting {
		if err := <-done; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// prepared is a part of a transaction that waits for its decision.
type prepared struct {
	id          txID
	coordinator int // number of the shard that decides
	puts        []flying
	gone        []goneItem
	waits       []delayedEntry // messages that wait for their time when the part takes effect
	leaves      []delayedEntry
	index       uint64 // of the entry
	counted     bool   // puts are in their queues' inFlight, and the publisher has places for waits
}

// goneItem is an item that the transaction settles.
type goneItem struct {
	queue *Queue
	item  queue.Item
}

// txOp writes a part: as it is, or with prepare.
type txOp struct {
	part    *txPart
	prepare *prepared // nil when the part is the whole transaction
	done    chan error
}

func (o *txOp) size() int64 { return 1 }
func (o *txOp) abandon()    { o.done <- ErrClosed }

func (o *txOp) run(s *shard, now int64) {
	if err := o.admit(s); err != nil {
		o.done <- err
		return
	}
	s.cut(now) // the part is an entry of its own
	p := o.prepare
	if p == nil {
		p = &prepared{}
	}
	p.counted = true
	for _, e := range o.part.leaves {
		delete(s.leaving, e.Value)
	}
	p.leaves = o.part.leaves
	o.part.waits = slices.DeleteFunc(o.part.waits, func(it enqueued) bool { return it.postponed.host.deleted.Load() })
	o.settle(s, p)
	entry, _ := s.write(now, journal.Always)
	if o.prepare != nil {
		*entry = appendPrepare(*entry, p.id, p.coordinator, o.commands(p))
	}
	o.writeSettled(s, p)
	o.writePuts(s, now, p)
	o.writeWaits(s, now, p)
	s.act(&preparedAct{part: p, prepare: o.prepare != nil, done: o.done})
	s.open.brings = true
	s.cut(now)
}

// admit asks whether the queues have room.
func (o *txOp) admit(s *shard) error {
	if o.part.moves {
		return o.admitMove(s)
	}
	for _, it := range o.part.items {
		q := it.queue
		if takes(it) && q.full(it.message) {
			return errorf(Precondition, "queue '%s' in vhost '%s' is full", q.name, q.host.name)
		}
	}
	return nil
}

// admitMove leaves out what full queues refuse.
func (o *txOp) admitMove(s *shard) error {
	for _, it := range o.part.items {
		if !takes(it) && it.qos&flagShared != 0 {
			return errorf(Unavailable, "the member of a shared subscription has just left") // another one may have it
		}
	}
	o.part.items = slices.DeleteFunc(o.part.items, func(it enqueued) bool {
		q := it.queue
		if takes(it) && q.full(it.message) {
			s.refuse(q, it, &enqueueAct{})
			return true
		}
		q.inFlight++ // the next one finds what room this one leaves
		q.flightSize += int64(it.message.Size())
		return false
	})
	for _, it := range o.part.items {
		it.queue.inFlight--
		it.queue.flightSize -= int64(it.message.Size())
	}
	return nil
}

// settle takes the deliveries from their consumers.
func (o *txOp) settle(s *shard, p *prepared) {
	for _, st := range o.part.settle {
		q := st.Consumer.queue
		if q.closed {
			continue
		}
		for _, r := range st.Ranges {
			q.state.Settle(st.Consumer.state, r.From, r.To, queue.Accept)
		}
		gone, _ := q.state.Take(q.deliver)
		for _, it := range gone {
			if it.Message != nil {
				s.hub.bodies.Add(-int64(it.Size))
				it.Message = nil
			}
			p.gone = append(p.gone, goneItem{queue: q, item: it})
		}
		s.touch(q)
	}
	slices.SortStableFunc(p.gone, func(a, b goneItem) int { return int(int64(a.queue.id) - int64(b.queue.id)) })
}

// eachQueue calls fn for the settled items of each queue.
func (p *prepared) eachQueue(fn func(*Queue, []queue.Item)) {
	for i := 0; i < len(p.gone); {
		var items []queue.Item
		q := p.gone[i].queue
		for ; i < len(p.gone) && p.gone[i].queue == q; i++ {
			items = append(items, p.gone[i].item)
		}
		fn(q, items)
	}
}

// commands is how many commands the part has.
func (o *txOp) commands(p *prepared) (n int) {
	p.eachQueue(func(*Queue, []queue.Item) { n++ })
	o.eachMessage(func([]enqueued) { n++ })
	n += len(o.part.waits)
	if len(p.leaves) > 0 {
		n++
	}
	return n
}

func (o *txOp) writeSettled(s *shard, p *prepared) {
	p.eachQueue(func(q *Queue, items []queue.Item) {
		s.open.entry = appendSettle(s.open.entry, q.id, items)
	})
	if len(p.leaves) > 0 {
		s.open.entry = appendDue(s.open.entry, p.leaves[0].Value.host.name, p.leaves)
	}
}

// eachMessage calls fn for each message that is durable, with the queues that take it.
func (o *txOp) eachMessage(fn func([]enqueued)) {
	items := o.part.items
	for i := 0; i < len(items); {
		n := 1
		for i+n < len(items) && items[i+n].message == items[i].message {
			n++
		}
		if items[i].message.Durable && slices.ContainsFunc(items[i:i+n], takes) {
			fn(items[i : i+n])
		}
		i += n
	}
}

// takes says that the queue takes messages: one that is gone is as if it had not been there.
func takes(it enqueued) bool { return !it.queue.closed && it.queue.frozen == nil }

func (o *txOp) writePuts(s *shard, now int64, p *prepared) {
	for _, it := range o.part.items {
		if !it.message.Durable && takes(it) {
			p.puts = append(p.puts, s.flying(it))
		}
	}
	o.eachMessage(func(items []enqueued) {
		entry, at := s.write(now, journal.Always)
		s.open.stores = true
		m, first := items[0].message, len(p.puts)
		var refs []itemRef
		for _, it := range items {
			if takes(it) {
				f := s.flying(it)
				refs = append(refs, itemRef{queue: it.queue.id, item: f.id, qos: it.qos})
				p.puts = append(p.puts, f)
			}
		}
		*entry = appendEnqueue(*entry, refs, m)
		for i := first; i < len(p.puts); i++ {
			p.puts[i].at, p.puts[i].share, p.puts[i].durable = at, shareOf(uint32(m.Size()), len(refs)), true
		}
	})
}

// writeWaits writes the messages that are to wait.
func (o *txOp) writeWaits(s *shard, now int64, p *prepared) {
	for _, it := range o.part.waits {
		p.waits = append(p.waits, s.writeDelay(now, journal.Always, it))
	}
}

// flying gives an item its number in its queue.
func (s *shard) flying(it enqueued) flying {
	q := it.queue
	q.lastID = max(q.lastID, q.state.NextID()-1) + 1
	q.inFlight++
	q.flightSize += int64(it.message.Size())
	return flying{queue: q, message: it.message, id: q.lastID, qos: it.qos}
}

// preparedAct keeps a part aside, or lets it take effect when it is the whole.
type preparedAct struct {
	part    *prepared
	prepare bool
	done    chan error
}

func (a *preparedAct) commit(s *shard, now int64, index uint64) {
	p := a.part
	p.index = index
	for i := range p.puts {
		if f := &p.puts[i]; f.durable && !f.queue.closed {
			s.use(f.ref(index))
		}
	}
	for i := range p.waits {
		p.waits[i].Value.ref.Index = index
		s.use(p.waits[i].Value.ref)
	}
	if a.prepare {
		s.prepared[p.id] = p
	} else {
		s.takeEffect(now, p)
	}
	a.done <- nil
}

func (a *preparedAct) fail(s *shard, err error) {
	s.giveUp(a.part, false)
	a.done <- unavailable(err)
}

func (f *flying) ref(index uint64) queue.Ref {
	return queue.Ref{Index: index, At: f.at, Share: f.share}
}

// takeEffect makes a part's messages visible and lets go of what it settled.
func (s *shard) takeEffect(now int64, p *prepared) {
	for i := range p.puts {
		f := &p.puts[i]
		if p.counted {
			f.queue.inFlight--
			f.queue.flightSize -= int64(f.message.Size())
		}
		if f.queue.closed {
			continue
		}
		if p.counted {
			s.put(now, f, p.index)
		} else {
			f.queue.state.Restore(now, f.item(p.index)) // it is as if it had been there
		}
		s.touch(f.queue)
	}
	for _, g := range p.gone {
		if !g.queue.closed {
			s.unuse(g.item.Ref)
			g.queue.state.Forget(g.item.ID)
		}
	}
	for _, e := range p.waits {
		if e.Value.host.deleted.Load() { // since the part was written: disown did not meet it among those that wait
			s.undelay(e.Value)
		} else {
			s.delays.Add(e.Due, e.Value)
		}
	}
	if len(p.waits) > 0 {
		s.announceDue()
	}
	for _, e := range p.leaves {
		s.undelay(e.Value)
	}
}

// giveUp forgets a part. Applied says that the log had it.
func (s *shard) giveUp(p *prepared, applied bool) {
	for i := range p.puts {
		f := &p.puts[i]
		if p.counted {
			f.queue.inFlight--
			f.queue.flightSize -= int64(f.message.Size())
		}
		if applied && f.durable && !f.queue.closed {
			s.unuse(f.ref(p.index))
		}
	}
	for _, e := range p.waits {
		switch {
		case !p.counted:
			s.undelay(e.Value)
		case applied: // the publisher gives its place back
			s.unuse(e.Value.ref)
		}
	}
	for _, e := range p.leaves {
		if p.counted { // who moves them tries again
			s.leaving[e.Value] = e.Due
		} else {
			s.delays.Add(e.Due, e.Value)
			s.announceDue()
		}
	}
	for _, g := range p.gone {
		if g.queue.closed {
			continue
		}
		it, now := g.item, s.hub.now()
		it.Returned = true
		g.queue.state.Restore(now, it)
		g.queue.state.Pump(now)
		s.touch(g.queue)
	}
}

// decideOp commits a transaction of several shards.
type decideOp struct {
	id   txID
	done chan error
}

func (o *decideOp) size() int64 { return 0 }
func (o *decideOp) abandon()    { o.done <- ErrClosed }
func (o *decideOp) run(s *shard, now int64) {
	entry, _ := s.write(now, journal.Always)
	*entry = appendTx(*entry, commandDecide, o.id)
	s.act(o)
}

func (o *decideOp) commit(s *shard, _ int64, _ uint64) {
	s.decided[o.id] = true
	o.done <- nil
}
func (o *decideOp) fail(_ *shard, err error) { o.done <- unavailable(err) }

// resolveOp ends a part.
type resolveOp struct {
	id      txID
	commits bool
	done    chan error
}

func (o *resolveOp) size() int64 { return 0 }
func (o *resolveOp) abandon()    { o.done <- ErrClosed }
func (o *resolveOp) run(s *shard, now int64) {
	if s.prepared[o.id] == nil {
		o.done <- nil // it was refused
		return
	}
	entry, _ := s.write(now, journal.Always)
	*entry = appendResolve(*entry, o.id, o.commits)
	s.act(o)
}

func (o *resolveOp) commit(s *shard, now int64, _ uint64) {
	s.resolve(now, o.id, o.commits)
	o.done <- nil
}
func (o *resolveOp) fail(_ *shard, err error) { o.done <- unavailable(err) }

func (s *shard) resolve(now int64, id txID, commit bool) {
	p := s.prepared[id]
	if p == nil {
		return
	}
	delete(s.prepared, id)
	if commit {
		s.takeEffect(now, p)
	} else {
		s.giveUp(p, true)
	}
}

// forgetOp lets the coordinator forget a transaction whose parts are all resolved. Nobody waits for it.
type forgetOp struct{ id txID }

func (o *forgetOp) size() int64 { return 0 }
func (o *forgetOp) abandon()    {}
func (o *forgetOp) run(s *shard, now int64) {
	entry, _ := s.write(now, journal.Always)
	*entry = appendTx(*entry, commandForget, o.id)
	s.open.acts = append(s.open.acts, o)
}
func (o *forgetOp) commit(s *shard, _ int64, _ uint64) { delete(s.decided, o.id) }
func (o *forgetOp) fail(*shard, error)                 {}

// finishTransactions ends what a crash left open: parts whose transaction was decided take effect, the others are given
// up. It is called when the shards take proposals, before clients come.
func (h *Hub) finishTransactions() error {
	type open struct {
		part        *txPart
		id          txID
		coordinator int
	}
	var parts []open
	for _, s := range h.shards {
		s.ask(func(s *shard) {
			for id, p := range s.prepared {
				parts = append(parts, open{part: &txPart{shard: s}, id: id, coordinator: p.coordinator})
			}
		})
	}
	var errs []error
	for _, o := range parts {
		commit := false
		h.shards[o.coordinator].ask(func(s *shard) { commit = s.decided[o.id] })
		errs = append(errs, waitFor([]*txPart{o.part}, func(_ *txPart, done chan error) op { return &resolveOp{id: o.id, commits: commit, done: done} }))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, s := range h.shards {
		var decided []txID
		s.ask(func(s *shard) {
			for id := range s.decided {
				decided = append(decided, id)
			}
		})
		for _, id := range decided {
			s.post(&forgetOp{id: id})
		}
	}
	if len(parts) > 0 {
		h.logger.Info("transactions were finished that a crash had left open", "parts", len(parts))
	}
	return nil
}

// capturedPart is a part as a checkpoint has it: what it puts and what it settles, by queue.
type capturedPart struct {
	id          txID
	coordinator int
	queues      map[uint64][2][]queue.Item
}

func (p *prepared) capture() capturedPart {
	c := capturedPart{id: p.id, coordinator: p.coordinator, queues: make(map[uint64][2][]queue.Item)}
	add := func(q *Queue, which int, it queue.Item) {
		if !q.closed {
			both := c.queues[q.id]
			both[which] = append(both[which], it)
			c.queues[q.id] = both
		}
	}
	for i := range p.puts {
		if f := &p.puts[i]; f.durable {
			add(f.queue, 0, f.item(p.index))
		}
	}
	for _, g := range p.gone {
		add(g.queue, 1, g.item)
	}
	return c
}

func (c *capturedPart) write(w *cluster.CheckpointWriter) {
	w.Bytes(c.id[:])
	w.Uvarint(uint64(c.coordinator))
	w.Uvarint(uint64(len(c.queues)))
	for id, both := range c.queues {
		w.Uvarint(id)
		for _, items := range both {
			w.Block(queue.EncodeItems(items))
		}
	}
}

func (s *shard) readPrepared(r *cluster.CheckpointReader) error {
	p := &prepared{}
	copy(p.id[:], r.Bytes(len(p.id)))
	p.coordinator = int(r.Uvarint())
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		q := s.queues[r.Uvarint()]
		for which := range 2 {
			items, err := queue.DecodeItems(r.Block())
			if err != nil {
				return err
			}
			for _, it := range items {
				s.restorePrepared(p, q, which, it)
			}
		}
	}
	s.prepared[p.id] = p
	return r.Err()
}

func (s *shard) restorePrepared(p *prepared, q *Queue, which int, it queue.Item) {
	if q == nil {
		return
	}
	s.use(it.Ref)
	q.lastID = max(q.lastID, it.ID)
	if which == 1 {
		p.gone = append(p.gone, goneItem{queue: q, item: it})
		return
	}
	p.index = it.Ref.Index
	p.puts = append(p.puts, flying{queue: q, id: it.ID, at: it.Ref.At, share: it.Ref.Share, durable: true, stored: &it})
}
