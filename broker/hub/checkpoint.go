package hub

import (
	"fmt"
	"maps"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/cluster"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/session"
)

// A checkpoint of a shard holds positions, not bodies (docs/formats/checkpoint.md):
//
//	last session queue id | sessions | queues | retained messages | parts of transactions | decided transactions | receipts
//	sessions  count | count × (vhost text | session record as a block)
//	queues    count | count × (queue id | next item id | blocks of items, an empty one at the end)
//	retained  count | count × (vhost text | entry index | at | share)
//	parts     count | count × (id, 16 bytes | deciding shard | count × (queue id | block put | block settled))
//	decided   count | count × id
//	receipts  count | count × (queue of a session | packet identifier)
//
// Numbers are LEB128; texts and blocks have their length before them. Sessions come first: they own queues.

// captured is the state of a shard at one moment.
type captured struct {
	lastID   uint64
	sessions []capturedSession
	queues   []capturedQueue
	retained []capturedRetained
	parts    []capturedPart
	decided  []txID
	receipts []receipt
}

type capturedSession struct {
	vhost string
	state []byte
}

type capturedQueue struct {
	id    uint64
	next  uint64
	items *queue.Snapshot
}

type capturedRetained struct {
	vhost string
	ref   queue.Ref
}

// Capture takes the shard's durable state. It costs the shard little: packed items are shared.
func (s *shard) Capture() func(*cluster.CheckpointWriter) error {
	c := captured{lastID: s.lastID}
	for st, state := range s.sessions {
		state.Subscriptions = st.subscriptions // which this goroutine alone changes
		c.sessions = append(c.sessions, capturedSession{vhost: st.host.name, state: state.Append(nil)})
	}
	for id, q := range s.queues {
		snapshot := q.state.Snapshot(q.inHand())
		c.queues = append(c.queues, capturedQueue{id: id, next: max(snapshot.Next(), q.lastID+1), items: snapshot})
	}
	for v, refs := range s.retained {
		for _, ref := range refs {
			c.retained = append(c.retained, capturedRetained{vhost: v.name, ref: ref})
		}
	}
	for _, p := range s.prepared {
		c.parts = append(c.parts, p.capture())
	}
	c.decided = slices.Collect(maps.Keys(s.decided))
	for r, written := range s.receipts {
		if written {
			c.receipts = append(c.receipts, r)
		}
	}
	return c.write
}

func (c *captured) write(w *cluster.CheckpointWriter) error {
	w.Uvarint(c.lastID)
	w.Uvarint(uint64(len(c.sessions)))
	for i := range c.sessions {
		w.Text(c.sessions[i].vhost)
		w.Block(c.sessions[i].state)
	}
	w.Uvarint(uint64(len(c.queues)))
	for i := range c.queues {
		q := &c.queues[i]
		w.Uvarint(q.id)
		w.Uvarint(q.next)
		q.items.Blocks(w.Block)
		w.Uvarint(0)
	}
	w.Uvarint(uint64(len(c.retained)))
	for i := range c.retained {
		r := &c.retained[i]
		w.Text(r.vhost)
		w.Uvarint(r.ref.Index)
		w.Uvarint(uint64(r.ref.At))
		w.Uvarint(uint64(r.ref.Share))
	}
	w.Uvarint(uint64(len(c.parts)))
	for i := range c.parts {
		c.parts[i].write(w)
	}
	w.Uvarint(uint64(len(c.decided)))
	for _, id := range c.decided {
		w.Bytes(id[:])
	}
	w.Uvarint(uint64(len(c.receipts)))
	for _, r := range c.receipts {
		w.Uvarint(r.session)
		w.Uvarint(uint64(r.packet))
	}
	return nil
}

// Restore reads what Capture wrote. What belongs to virtual hosts and queues that were deleted since is passed over.
func (s *shard) Restore(g *cluster.Group, r *cluster.CheckpointReader) error {
	s.group = g
	s.lastID = max(s.lastID, r.Uvarint())
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		vhost := r.Text()
		state, _, err := session.Decode(r.Block())
		if err != nil {
			return fmt.Errorf("session: %w", err)
		}
		s.restoreSession(vhost, state)
	}
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		if err := s.restoreQueue(r); err != nil {
			return err
		}
	}
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		vhost := r.Text()
		ref := queue.Ref{Index: r.Uvarint(), At: uint32(r.Uvarint()), Share: uint32(r.Uvarint())}
		if err := s.restoreRetained(vhost, ref); err != nil {
			return err
		}
	}
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		if err := s.readPrepared(r); err != nil {
			return err
		}
	}
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		var id txID
		copy(id[:], r.Bytes(len(id)))
		s.decided[id] = true
	}
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		session := r.Uvarint()
		s.receipts[receipt{session: session, packet: uint16(r.Uvarint())}] = true
	}
	return r.Err()
}

func (s *shard) restoreQueue(r *cluster.CheckpointReader) error {
	q := s.queues[r.Uvarint()]
	next := r.Uvarint()
	for {
		block := r.Block()
		if len(block) == 0 {
			break
		}
		if q == nil {
			continue
		}
		if err := q.state.RestoreBlock(block, func(it *queue.Item) { s.use(it.Ref) }); err != nil {
			return err
		}
	}
	if q != nil {
		q.state.Skip(next)
		q.lastID = max(q.lastID, next-1)
	}
	return r.Err()
}

func (s *shard) restoreRetained(vhost string, ref queue.Ref) error {
	v, err := s.hub.VirtualHost(vhost)
	if err != nil {
		return nil // it was deleted since
	}
	m, err := s.read(ref)
	if err != nil {
		return fmt.Errorf("retained message: %w", err)
	}
	s.retain(v, m.Clone(), ref)
	return nil
}
