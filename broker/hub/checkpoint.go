package hub

import (
	"fmt"
	"maps"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/cluster"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/schedule"
	"github.com/turnstone-mq/turnstone/broker/session"
)

// A checkpoint of a shard holds positions, not bodies (docs/formats/checkpoint.md):
//
//	last session queue id | sessions | queues | retained messages | parts of transactions | decided transactions | receipts
//	| delayed messages | delayed messages of parts | wills | senders | receipts of tags | delayed messages that parts bring
//	| notes, all seven missing in older ones
//	sessions  count | count × (vhost text | session record as a block)
//	queues    count | count × (queue id | next item id | blocks of items, an empty one at the end)
//	retained  count | count × (vhost text | entry index | at | share)
//	parts     count | count × (id, 16 bytes | deciding shard | count × (queue id | block put | block settled))
//	decided   count | count × id
//	receipts  count | count × (queue of a session | packet identifier)
//	delayed   count | count × waiting, in the order in which they are due
//	of parts  count | count × (id of a part, 16 bytes | count × waiting)
//	wills     count | count × (queue of a session | delay | wait | lifetime | when, zero while it does not wait | entry index | at
//	          | share); those that wait are among the delayed messages, too
//	senders   count | count × (vhost text | id | seconds that it outlives its connection | name text)
//	of tags   count | count × (id of a sender | shards that take the message | tag text)
//	brought   count | count × (id of a part, 16 bytes | count × waiting)
//	notes     count | count × (queue id | item id | note text)
//	waiting   vhost text | when, as an unsigned number | entry index | at | share
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
	tags     []capturedTag
	senders  []capturedSender
	delayed  []delayedEntry
	leaves   map[txID][]delayedEntry
	waits    map[txID][]delayedEntry
	wills    []capturedWill
	notes    []capturedNote
}

// capturedNote is what consumers left on an item.
type capturedNote struct {
	queue, item uint64
	text        []byte
}

type capturedWill struct {
	queue uint64
	testament
}

type capturedSender struct {
	vhost, name string
	id          uint64
	expiry      uint32
}

type capturedTag struct {
	receipt
	parts uint16
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
		q.state.EachNote(func(item uint64, text []byte) {
			c.notes = append(c.notes, capturedNote{queue: id, item: item, text: text})
		})
	}
	s.eachRetained(func(v *VirtualHost, ref queue.Ref) {
		c.retained = append(c.retained, capturedRetained{vhost: v.name, ref: ref})
	})
	for _, p := range s.prepared {
		c.parts = append(c.parts, p.capture())
	}
	c.decided = slices.Collect(maps.Keys(s.decided))
	for r, t := range s.receipts {
		switch {
		case !t.written:
		case r.tag != "":
			c.tags = append(c.tags, capturedTag{r, t.parts})
		default:
			c.receipts = append(c.receipts, r)
		}
	}
	for _, st := range s.senders {
		c.senders = append(c.senders, capturedSender{vhost: st.host.name, name: st.name, id: st.id, expiry: st.written})
	}
	c.delayed = s.delays.Entries()
	for d, due := range s.leaving {
		c.delayed = append(c.delayed, delayedEntry{Due: due, Value: d})
	}
	c.leaves, c.waits = make(map[txID][]delayedEntry), make(map[txID][]delayedEntry)
	for id, p := range s.prepared {
		if len(p.leaves) > 0 {
			c.leaves[id] = p.leaves
		}
		for _, e := range p.waits {
			if !e.Value.host.deleted.Load() { // another virtual host may have the name
				c.waits[id] = append(c.waits[id], e)
			}
		}
	}
	for st, w := range s.wills {
		c.wills = append(c.wills, capturedWill{queue: st.queue.id, testament: *w})
		if w.claimed {
			c.delayed = append(c.delayed, delayedEntry{Due: w.due, Value: w.delayed})
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
		w.Uvarint(r.sender)
		w.Uvarint(uint64(r.packet))
	}
	schedule.Sort(c.delayed)
	writeDelayed(w, c.delayed)
	writeOfParts(w, c.leaves)
	w.Uvarint(uint64(len(c.wills)))
	for i := range c.wills {
		t := &c.wills[i]
		for _, n := range []int64{int64(t.queue), t.delay, t.wait, t.lifetime, t.due, int64(t.ref.Index), int64(t.ref.At), int64(t.ref.Share)} {
			w.Uvarint(uint64(n))
		}
	}
	c.writeSenders(w)
	writeOfParts(w, c.waits)
	c.writeNotes(w)
	return nil
}

func (c *captured) writeNotes(w *cluster.CheckpointWriter) {
	w.Uvarint(uint64(len(c.notes)))
	for i := range c.notes {
		n := &c.notes[i]
		w.Uvarint(n.queue)
		w.Uvarint(n.item)
		w.Block(n.text)
	}
}

// readNotes reads what writeNotes wrote, behind the items.
func (s *shard) readNotes(r *cluster.CheckpointReader) {
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		q, item, text := s.queues[r.Uvarint()], r.Uvarint(), r.Block()
		if q != nil && r.Err() == nil {
			q.state.RestoreNote(item, text)
		}
	}
}

func (c *captured) writeSenders(w *cluster.CheckpointWriter) {
	w.Uvarint(uint64(len(c.senders)))
	for i := range c.senders {
		st := &c.senders[i]
		w.Text(st.vhost)
		w.Uvarint(st.id)
		w.Uvarint(uint64(st.expiry))
		w.Text(st.name)
	}
	w.Uvarint(uint64(len(c.tags)))
	for i := range c.tags {
		t := &c.tags[i]
		w.Uvarint(t.sender)
		w.Uvarint(uint64(t.parts))
		w.Text(t.tag)
	}
}

// readSenders reads what writeSenders wrote.
func (s *shard) readSenders(r *cluster.CheckpointReader) {
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		vhost, id, expiry, name := r.Text(), r.Uvarint(), uint32(r.Uvarint()), r.Text()
		if r.Err() == nil {
			s.restoreSender(vhost, id, expiry, name)
		}
	}
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		sender, parts, tag := r.Uvarint(), uint16(r.Uvarint()), r.Text()
		s.receipts[receipt{sender, label{tag: tag}}] = taken{written: true, parts: parts}
	}
}

func writeDelayed(w *cluster.CheckpointWriter, entries []delayedEntry) {
	w.Uvarint(uint64(len(entries)))
	for i := range entries {
		e := &entries[i]
		w.Text(e.Value.host.name)
		w.Uvarint(uint64(e.Due))
		w.Uvarint(e.Value.ref.Index)
		w.Uvarint(uint64(e.Value.ref.At))
		w.Uvarint(uint64(e.Value.ref.Share))
	}
}

// writeOfParts writes delayed messages of parts of transactions.
func writeOfParts(w *cluster.CheckpointWriter, of map[txID][]delayedEntry) {
	w.Uvarint(uint64(len(of)))
	for id, entries := range of {
		w.Bytes(id[:])
		writeDelayed(w, entries)
	}
}

// readOfParts reads what writeOfParts wrote.
func (s *shard) readOfParts(r *cluster.CheckpointReader, fn func(*prepared, delayedEntry)) {
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		var id txID
		copy(id[:], r.Bytes(len(id)))
		s.readDelays(r, func(e delayedEntry) {
			if p := s.prepared[id]; p != nil {
				fn(p, e)
			}
		})
	}
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
		s.receipts[receipt{session, label{packet: uint16(r.Uvarint())}}] = taken{written: true}
	}
	if r.Err() != nil || !r.More() {
		return r.Err()
	}
	s.readDelays(r, func(e delayedEntry) { s.delays.Add(e.Due, e.Value) })
	s.readOfParts(r, func(p *prepared, e delayedEntry) { p.leaves = append(p.leaves, e) })
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		s.readWill(r)
	}
	if r.Err() == nil && r.More() {
		s.readSenders(r)
	}
	if r.Err() == nil && r.More() {
		s.readOfParts(r, func(p *prepared, e delayedEntry) { p.waits = append(p.waits, e) })
	}
	if r.Err() == nil && r.More() {
		s.readNotes(r)
	}
	return r.Err()
}

func (s *shard) readWill(r *cluster.CheckpointReader) {
	q := s.queues[r.Uvarint()]
	t := &testament{delay: int64(r.Uvarint()), wait: int64(r.Uvarint()), lifetime: int64(r.Uvarint()), due: int64(r.Uvarint())}
	t.ref = queue.Ref{Index: r.Uvarint(), At: uint32(r.Uvarint()), Share: uint32(r.Uvarint())}
	if q == nil || q.session == nil || r.Err() != nil {
		return // it was deleted since
	}
	t.host = q.host
	s.wills[q.session] = t
	q.session.testate.Store(true)
	if t.due == never {
		s.use(t.ref)
	} else {
		s.heirs[t.delayed] = q.session
	}
}

// readDelays reads what writeDelayed wrote.
func (s *shard) readDelays(r *cluster.CheckpointReader, fn func(delayedEntry)) {
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		vhost, due := r.Text(), int64(r.Uvarint())
		ref := queue.Ref{Index: r.Uvarint(), At: uint32(r.Uvarint()), Share: uint32(r.Uvarint())}
		if r.Err() != nil {
			return
		}
		v := s.hostOf(vhost)
		if v == nil {
			continue
		}
		v.delayed.Add(1)
		s.use(ref)
		fn(delayedEntry{Due: due, Value: delayed{host: v, ref: ref}})
	}
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
	v := s.hostOf(vhost)
	if v == nil {
		return nil
	}
	m, err := s.read(ref)
	if err != nil {
		return fmt.Errorf("retained message: %w", err)
	}
	s.retain(v, m, ref)
	return nil
}
