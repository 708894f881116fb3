package hub

import (
	"context"
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/session"
)

// recover brings the hub to what the journal says: the metadata first, since an item of a queue that no longer exists
// is void, then the shards.
func (h *Hub) recover() error {
	metaLog := &localLog{journal: h.journal, group: 0}
	logs := make([]*localLog, h.config.Load().Storage.Shards)
	for i := range logs {
		logs[i] = &localLog{journal: h.journal, group: uint32(i + 1)}
		h.shards = append(h.shards, newShard(h, i, logs[i]))
	}
	h.meta.log = metaLog
	if err := h.recoverMeta(metaLog); err != nil {
		return err
	}
	if err := h.recoverShards(logs); err != nil {
		return err
	}
	h.finishRecovery()
	return nil
}

func (h *Hub) recoverMeta(log *localLog) error {
	err := h.journal.Replay(func(r journal.Record, at journal.Position) error {
		if r.Type != journal.Entry || r.Group != 0 {
			return nil
		}
		if err := log.recovered(r.Index); err != nil {
			return err
		}
		return h.replayMeta(r.Data, at)
	})
	if err != nil {
		return fmt.Errorf("recover metadata: %w", err)
	}
	for _, o := range h.meta.state.List("", "") {
		h.install(context.Background(), catalog.Change{Revision: o.Revision, After: &o})
	}
	h.watches.begin(h.meta.state.Revision())
	return nil
}

func (h *Hub) replayMeta(entry []byte, at journal.Position) error {
	if len(entry) == 0 {
		return errShortEntry
	}
	switch entry[0] {
	case metaCommand:
		_, err := h.meta.state.Apply(entry[1:])
		return err
	case metaSnapshot:
		h.meta.segment = at.Segment
		return h.meta.state.Restore(entry[1:])
	}
	return fmt.Errorf("metadata entry %d is unknown: it was written by a newer version", entry[0])
}

func (h *Hub) recoverShards(logs []*localLog) error {
	return h.journal.Replay(func(r journal.Record, at journal.Position) error {
		if r.Type != journal.Entry || r.Group == 0 {
			return nil
		}
		if int(r.Group) > len(logs) {
			return fmt.Errorf("journal holds shard %d, but storage.shards is %d: a data directory keeps the count that it was made with", r.Group, len(logs))
		}
		if err := logs[r.Group-1].recovered(r.Index); err != nil {
			return err
		}
		v := &replay{shard: h.shards[r.Group-1], at: at}
		if err := visitEntry(r.Data, func(now int64) { v.now = now }, v); err != nil {
			return fmt.Errorf("shard %d: entry %d: %w", r.Group, r.Index, err)
		}
		return v.err
	})
}

// replay applies the commands of one entry of a shard again.
type replay struct {
	shard *shard
	at    journal.Position
	now   int64
	err   error
}

func (r *replay) ref(at uint32) queue.Ref {
	return queue.Ref{Segment: r.at.Segment, Offset: r.at.Offset, Inside: at}
}

func (r *replay) enqueue(at uint32, refs []itemRef, m *message.Message) {
	s := r.shard
	for _, ref := range refs {
		s.sawSessionQueue(ref.queue)
		q := s.queues[ref.queue]
		if q == nil {
			continue
		}
		it := newItem(m, ref.qos)
		it.ID, it.Durable, it.Ref, it.Message = ref.item, true, r.ref(at), nil
		if old, ok := q.state.Remove(it.ID); ok { // it was copied out of an old segment
			s.used(old.Ref.Segment, -int64(old.Size))
		}
		q.lastID = max(q.lastID, it.ID)
		s.used(it.Ref.Segment, int64(it.Size))
		q.state.Restore(r.now, it)
	}
}

func (r *replay) settle(id, first, last uint64) {
	q := r.shard.queues[id]
	if q == nil {
		return
	}
	last = min(last, q.lastID)
	for i := first; i <= last; i++ {
		if it, ok := q.state.Remove(i); ok {
			r.shard.used(it.Ref.Segment, -int64(it.Size))
		}
	}
}

func (r *replay) session(at uint32, vhost string, state session.State) {
	r.shard.sawSessionQueue(state.QueueID)
	v, err := r.shard.hub.VirtualHost(vhost)
	if err != nil {
		return // it was deleted since
	}
	s := v.session(state.ClientID)
	if s != nil && s.queue.id != state.QueueID {
		r.shard.dropSession(s)
		s = nil
	}
	if s == nil {
		s = &mqttSession{host: v, clientID: state.ClientID, durable: true}
		s.queue = v.sessionQueue(s)
		s.queue.id, s.queue.shard = state.QueueID, r.shard
		r.shard.queues[state.QueueID] = s.queue
		v.sessions[state.ClientID] = s
	}
	s.subscriptions = state.Subscriptions // installed when all is read
	(&sessionOp{session: s}).apply(r.shard, r.ref(at))
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
	v, err := r.shard.hub.VirtualHost(vhost)
	if err != nil {
		return
	}
	r.shard.retain(v, m.Clone(), r.ref(at))
}

// sawSessionQueue keeps ids of session queues from being given again.
func (s *shard) sawSessionQueue(id uint64) {
	if id&sessionQueueBit != 0 {
		s.lastID = max(s.lastID, id)
	}
}

// dropSession forgets a session while the journal is read.
func (s *shard) dropSession(old *mqttSession) {
	(&sessionOp{session: old, end: true}).apply(s, queue.Ref{})
	s.forget(old.queue)
	delete(old.host.sessions, old.clientID)
}

// finishRecovery brings subscriptions into the router and tells how much is there.
func (h *Hub) finishRecovery() {
	now, items := h.now(), 0
	for _, v := range h.hosts {
		for _, s := range v.sessions {
			subscriptions := s.subscriptions
			s.subscriptions = nil
			if err := s.install(nil, subscriptions); err != nil {
				h.logger.Error("subscriptions of a session are not in force", "vhost", v.name, "client", s.clientID, "error", err)
			}
		}
	}
	for _, s := range h.shards {
		for _, q := range s.queues {
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
	done := make(chan bool, 1)
	s.post(&stepOp{queue: q, step: func(q *Queue, _ int64) { s.queues[q.id] = q }, done: done})
	<-done
}

// shardFor is the shard of a name in a virtual host. It is part of the format of a data directory.
func (h *Hub) shardFor(vhost, name string) *shard {
	return h.shards[hash(vhost, name)%uint64(len(h.shards))]
}

// damaged reports that the journal does not hold what a queue says it holds.
func (h *Hub) damaged(err error) {
	h.logger.Error("stored message cannot be read", "error", err)
}
