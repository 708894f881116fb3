package hub

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/cluster"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/session"
)

// replica is this node's number in every group: the first voter's.
const replica = 1

// recover brings the hub to what the log says: the metadata first, since an item of a queue that no longer exists is
// void, then the shards.
func (h *Hub) recover(o Options) error {
	store, err := cluster.Open(cluster.Options{FS: o.FS, Dir: o.Dir, Journal: h.journal, Logger: h.logger})
	if err != nil {
		return err
	}
	h.store = store
	shards := h.config.Load().Storage.Shards
	for _, id := range store.Groups() {
		if int(id) > shards {
			return fmt.Errorf("journal holds shard %d, but storage.shards is %d: a data directory keeps the count that it was made with", id, shards)
		}
	}
	if err := h.recoverMeta(); err != nil {
		return fmt.Errorf("recover metadata: %w", err)
	}
	groups := []*cluster.Group{h.meta.group}
	for i := range shards {
		s := newShard(h, i)
		h.shards = append(h.shards, s)
	}
	for _, o := range h.meta.state.List("", "") {
		h.install(context.Background(), catalog.Change{Revision: o.Revision, After: &o})
	}
	h.watches.begin(h.meta.state.Revision())
	for _, s := range h.shards {
		if err := s.join(store); err != nil {
			return fmt.Errorf("recover shard %d: %w", s.number, err)
		}
		groups = append(groups, s.group)
	}
	if err := store.Replay(groups[1:]...); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if err := store.RemoveUnfinished(groups...); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	h.finishRecovery()
	return nil
}

func (h *Hub) recoverMeta() error {
	m := &h.meta
	m.loop, m.leads = cluster.NewLoop(), make(chan struct{})
	group, err := h.store.Group(cluster.GroupOptions{
		ID: 0, Machine: m, Replica: replica, Voters: []uint64{replica},
		Notify: m.loop.Notify, Leading: once(m.leads),
	})
	if err != nil {
		return err
	}
	m.group = group
	return group.Recover()
}

// once closes a channel when a group leads for the first time.
func once(leads chan struct{}) func(bool) {
	var done sync.Once
	return func(leading bool) {
		if leading {
			done.Do(func() { close(leads) })
		}
	}
}

// join makes the shard's group, with the state of its checkpoint. Groups are numbered from 1; 0 is the metadata.
func (s *shard) join(store *cluster.Store) (err error) {
	s.group, err = store.Group(cluster.GroupOptions{
		ID: uint32(s.number + 1), Machine: s, Replica: replica, Voters: []uint64{replica},
		Notify:  func(w *cluster.Write) { s.inbox.putAlways(&writtenOp{w}) },
		Leading: once(s.leads),
	})
	return err
}

// Apply applies an entry: what this node proposed has its acts, of the rest the entry is read.
func (s *shard) Apply(e cluster.Entry, proposed any) {
	if p, ok := proposed.(*proposal); ok {
		p.index, p.settled = e.Index, true
		s.advance(s.hub.now())
		return
	}
	r := &replay{shard: s, index: e.Index}
	if err := visitEntry(e.Data, func(now int64) { r.now = now }, r); err != nil {
		panic(fmt.Sprintf("shard %d: entry %d: %v", s.number, e.Index, err)) // its checksum is right: it was written so
	}
}

// Dropped fails a proposal that did not become an entry.
func (s *shard) Dropped(proposed any, err error) {
	p := proposed.(*proposal)
	p.err, p.settled = err, true
	s.advance(s.hub.now())
}

var _ cluster.Machine = (*shard)(nil)

// replay applies the commands of one entry that this process did not propose.
type replay struct {
	shard *shard
	index uint64
	now   int64
	part  *prepared // the commands are those of a transaction; nil otherwise
}

func (r *replay) returned(id, item uint64, count uint32) {
	if q := r.shard.queues[id]; q != nil {
		q.state.Recount(item, count)
	}
}

func (r *replay) noted(id, item uint64, text []byte) {
	q := r.shard.queues[id]
	if q != nil && q.state.Waits(item) { // else it was settled before, in the same entry
		q.state.RestoreNote(item, bytes.Clone(text))
	}
}

func (r *replay) received(id, first, last uint64) {
	if q := r.shard.queues[id]; q != nil {
		q.state.Mark(first, last)
	}
}

func (r *replay) receipt(of receipt, parts uint16) {
	r.shard.receipts[of] = taken{written: true, parts: parts}
}
func (r *replay) complete(of receipt) { delete(r.shard.receipts, of) }

func (r *replay) sender(vhost string, id uint64, expiry uint32, name string) {
	r.shard.restoreSender(vhost, id, expiry, name)
}

func (r *replay) leave(_ string, id uint64) {
	if st := r.shard.senders[id]; st != nil {
		r.shard.dropSender(st)
	}
}

func (r *replay) delay(at uint32, vhost string, due int64, _ []string, m *message.Message) {
	v := r.shard.hostOf(vhost)
	if v == nil {
		return // it was deleted since
	}
	v.delayed.Add(1)
	d := delayed{host: v, ref: queue.Ref{Index: r.index, At: at, Share: max(1, uint32(m.Size()))}}
	if r.part != nil {
		r.shard.use(d.ref)
		r.part.waits = append(r.part.waits, delayedEntry{Due: due, Value: d})
		return
	}
	r.shard.delay(d, due)
}

func (r *replay) due(vhost string, due int64, ref queue.Ref) {
	v, err := r.shard.hub.VirtualHost(vhost)
	if err != nil {
		return
	}
	d := delayed{host: v, ref: ref}
	if r.shard.void[d] {
		return
	}
	r.shard.disinherit(d)
	r.shard.delays.Remove(due, d)
	if r.part != nil {
		r.part.leaves = append(r.part.leaves, delayedEntry{Due: due, Value: d})
		return
	}
	r.shard.undelay(d)
}

func (r *replay) will(at uint32, vhost string, queueID uint64, w *Will) {
	st := r.sessionWith(vhost, queueID)
	if st == nil {
		return
	}
	ref := queue.Ref{Index: r.index, At: at, Share: max(1, uint32(w.Message.Size()))}
	r.shard.keepWill(st, newTestament(delayed{host: st.host, ref: ref}, w))
}

func (r *replay) heir(vhost string, queueID uint64, what byte, due int64) {
	if st := r.sessionWith(vhost, queueID); st != nil && r.shard.wills[st] != nil {
		r.shard.inherit(st, what, due)
	}
}

// sessionWith is the session that a queue belongs to; nil when it or its virtual host is gone.
func (r *replay) sessionWith(vhost string, queueID uint64) *mqttSession {
	if _, err := r.shard.hub.VirtualHost(vhost); err != nil {
		return nil // it was deleted since
	}
	q := r.shard.queues[queueID]
	if q == nil {
		return nil
	}
	return q.session
}

func (r *replay) prepare(id txID, coordinator int) {
	r.part = &prepared{id: id, coordinator: coordinator, index: r.index}
}

func (r *replay) prepared() {
	r.shard.prepared[r.part.id] = r.part
	r.part = nil
}
func (r *replay) decide(id txID)                { r.shard.decided[id] = true }
func (r *replay) forget(id txID)                { delete(r.shard.decided, id) }
func (r *replay) resolve(id txID, commits bool) { r.shard.resolve(r.now, id, commits) }

func (r *replay) enqueue(at uint32, refs []itemRef, m *message.Message) {
	s := r.shard
	for _, ref := range refs {
		s.sawSessionQueue(ref.queue)
		q := s.queues[ref.queue]
		if q == nil {
			continue
		}
		it := q.item(m, ref.qos)
		it.ID, it.Durable, it.Message = ref.item, true, nil
		it.Ref = queue.Ref{Index: r.index, At: at, Share: shareOf(it.Size, len(refs))}
		q.lastID = max(q.lastID, it.ID)
		s.use(it.Ref)
		if r.part != nil {
			r.part.puts = append(r.part.puts, flying{queue: q, id: it.ID, at: at, share: it.Ref.Share, durable: true, stored: &it})
			continue
		}
		q.state.Restore(r.now, it)
	}
}

func (r *replay) settle(id, first, last uint64) {
	q := r.shard.queues[id]
	if q == nil {
		return
	}
	q.state.Remove(first, last, func(it *queue.Item) {
		if r.part != nil {
			r.part.gone = append(r.part.gone, goneItem{queue: q, item: *it})
			return
		}
		r.shard.unuse(it.Ref)
		q.state.Forget(it.ID)
	})
}

func (r *replay) session(_ uint32, vhost string, state session.State) {
	r.shard.restoreSession(vhost, state)
}

// restoreSession makes a session that the log has, or brings it to what the log has.
func (s *shard) restoreSession(vhost string, state session.State) {
	s.sawSessionQueue(state.QueueID)
	v := s.hostOf(vhost)
	if v == nil {
		return // it was deleted since
	}
	st := v.session(state.ClientID)
	if st != nil && st.queue.id != state.QueueID {
		s.dropSession(st)
		st = nil
	}
	if st == nil {
		st = &mqttSession{host: v, clientID: state.ClientID, durable: true}
		st.queue = v.sessionQueue(st)
		st.queue.id, st.queue.shard = state.QueueID, s
		s.queues[state.QueueID] = st.queue
		v.sessions[state.ClientID] = st
	}
	st.subscriptions = state.Subscriptions // installed when all is read
	st.expiry = state.Expiry
	state.Subscriptions = nil // the session has them
	s.sessions[st] = state
}

func (r *replay) change(vhost string, state session.State, removed []string) {
	v, err := r.shard.hub.VirtualHost(vhost)
	if err != nil {
		return // it was deleted since
	}
	st := v.session(state.ClientID)
	if st == nil || st.queue.id != state.QueueID {
		return // it ended since
	}
	op := &changeOp{session: st, expiry: state.Expiry, removed: removed}
	for f, o := range state.Subscriptions {
		op.added = append(op.added, Subscription{Filter: f, Options: o})
	}
	op.apply(r.shard)
	st.expiry = state.Expiry
}

func (r *replay) end(vhost string, state session.State) {
	v, err := r.shard.hub.VirtualHost(vhost)
	if err != nil {
		return
	}
	if s := v.session(state.ClientID); s != nil && s.queue.id == state.QueueID {
		r.shard.dropSession(s)
	}
}

func (r *replay) retain(at uint32, vhost string, m *message.Message) {
	v := r.shard.hostOf(vhost)
	if v == nil {
		return
	}
	r.shard.retain(v, m, queue.Ref{Index: r.index, At: at, Share: uint32(m.Size())})
}

// sawSessionQueue keeps ids of session queues from being given again.
func (s *shard) sawSessionQueue(id uint64) {
	if id&sessionQueueBit != 0 {
		s.lastID = max(s.lastID, id)
	}
}

// dropSession forgets a session while the log is read.
func (s *shard) dropSession(old *mqttSession) {
	delete(s.sessions, old)
	s.dropWill(old)
	s.forget(old.queue)
	delete(old.host.sessions, old.clientID)
}

// finishRecovery brings subscriptions into the router and tells how much is there.
func (h *Hub) finishRecovery() {
	now, items := h.now(), 0
	for _, v := range h.hosts {
		for _, s := range v.senders {
			s.awaitEnd()
		}
		for _, s := range v.sessions {
			s.awaitEnd()
			if _, err := s.install(s.list()); err != nil {
				h.logger.Error("subscriptions of a session are not in force", "vhost", v.name, "client", s.clientID, "error", err)
			}
		}
	}
	for _, s := range h.shards {
		clear(s.void)
		s.announceDue()
		s.returnReceipts()
		for _, q := range s.queues {
			if q.session != nil {
				q.state.Restored() // [MQTT-3.3.1-1]
			}
			q.state.Pump(now)
			items += q.state.Ready()
			s.touch(q)
		}
	}
	h.logger.Info("recovered", "messages", items, "revision", h.meta.state.Revision())
}

// adopt makes the shard the owner of a declared queue. While the hub recovers there is no goroutine yet; later the
// shard's own goroutine does it.
func (s *shard) adopt(q *Queue) {
	if !s.started.Load() {
		s.queues[q.id] = q
		return
	}
	// What comes to the queue comes to the shard behind this.
	s.post(&stepOp{queue: q, step: func(q *Queue, _ int64) { s.queues[q.id] = q }})
}

// shardFor is the shard of a name in a virtual host. It is part of the format of a data directory.
func (h *Hub) shardFor(vhost, name string) *shard {
	return h.shards[hash(vhost, name)%uint64(len(h.shards))]
}

// damaged reports that the log does not hold what a queue says it holds.
func (h *Hub) damaged(err error) {
	h.logger.Error("stored message cannot be read", "error", err)
}
