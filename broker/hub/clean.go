package hub

import (
	"cmp"
	"slices"
	"time"

	"github.com/turnstone-mq/turnstone/broker/cluster"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// clean gives back what nobody needs: expired retained messages, and segments of the log. A group whose recovery begins
// far back makes a checkpoint; segments in which nothing lives are released, in any order; and when the log holds more
// than twice what lives, what lives in the sparsest segment is moved. So space stays within about twice the live bytes,
// and a queue that keeps up never causes a second write. It ends when the hub stops.
func (h *Hub) clean() {
	tick := time.NewTicker(cleanEvery)
	defer tick.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-tick.C:
		}
		h.expireRetained()
		h.checkpointStale()
		for h.release() && h.moveSparsest() {
			continue
		}
	}
}

const (
	cleanEvery    = time.Second
	spareSegments = 4       // the log may always hold as many
	moveAtOnce    = 1 << 20 // bytes
)

// owner runs a question on the goroutine that owns a group; false says that it has ended.
type owner func(question func(*cluster.Group)) bool

// owners are those of all groups, the metadata first.
func (h *Hub) owners() []owner {
	all := []owner{func(question func(*cluster.Group)) bool {
		done := make(chan struct{})
		if !h.meta.loop.Do(func(g *cluster.Group) {
			question(g)
			close(done)
		}) {
			return false
		}
		<-done
		return true
	}}
	for _, s := range h.shards {
		all = append(all, func(question func(*cluster.Group)) bool {
			return s.ask(func(s *shard) { question(s.group) })
		})
	}
	return all
}

// ask runs a question on the shard's goroutine; false says that it has ended.
func (s *shard) ask(question func(*shard)) bool {
	answer := make(chan bool, 1)
	s.post(&askOp{question: question, answer: answer})
	return <-answer
}

type askOp struct {
	question func(*shard)
	answer   chan<- bool
}

func (o *askOp) size() int64 { return 0 }
func (o *askOp) abandon()    { o.answer <- false }
func (o *askOp) run(s *shard, _ int64) {
	o.question(s)
	o.answer <- true
}

// checkpointStale makes checkpoints of groups whose recovery begins too far back: four segments, or twice what the
// checkpoint itself takes.
func (h *Hub) checkpointStale() {
	newest, segment := h.journal.Newest(), h.config.Load().Storage.SegmentBytes
	for _, own := range h.owners() {
		var write func(func(cluster.Checkpoint, error))
		own(func(g *cluster.Group) {
			oldest := g.Oldest()
			if allowed := max(spareSegments, uint64(2*g.Checkpoint().Size/segment)); oldest != 0 && oldest+allowed <= newest {
				write = g.Capture()
			}
		})
		if write != nil {
			h.checkpoint(own, write)
		}
	}
}

func (h *Hub) checkpoint(own owner, write func(func(cluster.Checkpoint, error))) {
	type result struct {
		checkpoint cluster.Checkpoint
		err        error
	}
	done := make(chan result, 1)
	write(func(c cluster.Checkpoint, err error) { done <- result{c, err} })
	r := <-done
	if r.err != nil {
		h.logger.Warn("checkpoint was not made", "error", r.err)
	}
	own(func(g *cluster.Group) { g.Captured(r.checkpoint, r.err) })
}

// usage is what all groups together have in a segment.
type usage struct {
	sequence uint64
	bytes    int64
	live     int64
	replayed bool // recovery needs it
}

// usages asks every group about the sealed segments; false when one has ended.
func (h *Hub) usages() (all []usage, ok bool) {
	for _, s := range h.journal.Segments() {
		if s.Sealed {
			all = append(all, usage{sequence: s.Sequence, bytes: s.Bytes})
		}
	}
	for _, own := range h.owners() {
		if !own(func(g *cluster.Group) {
			for i := range all {
				u, _ := g.Segment(all[i].sequence)
				all[i].live += u.Live
				all[i].replayed = all[i].replayed || u.Replayed
			}
		}) {
			return nil, false
		}
	}
	return all, true
}

// release gives back the segments that nobody needs; false when the hub stops.
func (h *Hub) release() bool {
	all, ok := h.usages()
	if !ok {
		return false
	}
	var free []uint64
	for _, u := range all {
		if u.live == 0 && !u.replayed {
			free = append(free, u.sequence)
		}
	}
	if len(free) == 0 {
		return true
	}
	for _, own := range h.owners() {
		if !own(func(g *cluster.Group) {
			for _, n := range free {
				g.Forget(n)
			}
		}) {
			return false
		}
	}
	if err := h.store.Release(free...); err != nil {
		h.logger.Warn("segments were not released", "segments", free, "error", err)
		return false
	}
	return true
}

// moveSparsest moves what lives in the segment with the least of it, when the log holds more than twice what lives, and
// that segment is less than half alive. It answers false when there is nothing to move, or no room.
func (h *Hub) moveSparsest() bool {
	all, ok := h.usages()
	if !ok || h.journal.Admit() != nil {
		return false
	}
	var live, bytes int64
	var sparse []usage
	for _, u := range all {
		live, bytes = live+u.live, bytes+u.bytes
		if !u.replayed && 2*u.live < u.bytes {
			sparse = append(sparse, u)
		}
	}
	if len(sparse) == 0 || bytes <= 2*live+spareSegments*h.config.Load().Storage.SegmentBytes {
		return false
	}
	least := slices.MinFunc(sparse, func(a, b usage) int { return cmp.Compare(a.live, b.live) })
	for _, s := range h.shards {
		if !h.moveOut(s, least.sequence) {
			return false
		}
	}
	return true
}

// moveOut moves what a shard needs of a segment, some of it at a time, so that traffic goes on.
func (h *Hub) moveOut(s *shard, segment uint64) bool {
	for {
		var moves []cluster.Move
		if !s.ask(func(s *shard) { moves = s.liveIn(segment) }) {
			return false
		}
		if len(moves) == 0 {
			return true
		}
		done := make(chan error, 1)
		h.store.Relocate(uint32(s.number+1), moves, commandLength, func(err error) { done <- err })
		if err := <-done; err != nil {
			h.logger.Warn("segment was not cleaned", "segment", segment, "error", err)
			return false
		}
		if !s.ask(func(s *shard) { s.moved(moves) }) {
			return false
		}
	}
}

// liveIn are entries of a segment with what of them is needed.
func (s *shard) liveIn(segment uint64) []cluster.Move {
	use, ok := s.group.Segment(segment)
	if !ok || use.Live == 0 {
		return nil
	}
	entries := make(map[uint64]bool)
	size := int64(0)
	s.eachLive(use.First, use.Last, func(ref queue.Ref) {
		if size < moveAtOnce && s.group.Lies(ref.Index, segment) {
			entries[ref.Index] = true
			size += int64(ref.Share)
		}
	})
	pieces := make(map[uint64][]uint32, len(entries)) // an entry moves as a whole
	s.eachLive(use.First, use.Last, func(ref queue.Ref) {
		if entries[ref.Index] {
			pieces[ref.Index] = append(pieces[ref.Index], ref.At)
		}
	})
	moves := make([]cluster.Move, 0, len(pieces))
	for index, at := range pieces {
		slices.Sort(at)
		moves = append(moves, s.group.NewMove(index, slices.Compact(at))) // queues that share a body name it more than once
	}
	slices.SortFunc(moves, func(a, b cluster.Move) int { return cmp.Compare(a.Index, b.Index) })
	return moves
}

// eachLive calls fn for everything that the shard needs of entries within two indexes.
func (s *shard) eachLive(first, last uint64, fn func(queue.Ref)) {
	for _, q := range s.queues {
		q.state.EachRef(first, last, fn)
		for _, it := range q.inHand() {
			if it.Ref.Index >= first && it.Ref.Index <= last {
				fn(it.Ref)
			}
		}
	}
	s.eachPrepared(func(_ *Queue, ref queue.Ref) {
		if ref.Index >= first && ref.Index <= last {
			fn(ref)
		}
	})
	s.eachRetained(func(_ *VirtualHost, ref queue.Ref) {
		if ref.Index >= first && ref.Index <= last {
			fn(ref)
		}
	})
	s.eachDelayed(func(d delayed) {
		if d.ref.Index >= first && d.ref.Index <= last {
			fn(d.ref)
		}
	})
}

// eachPrepared calls fn for what transactions that are not resolved need, of queues that are still there.
func (s *shard) eachPrepared(fn func(*Queue, queue.Ref)) {
	for _, p := range s.prepared {
		for i := range p.puts {
			if f := &p.puts[i]; f.durable && !f.queue.closed {
				fn(f.queue, f.ref(p.index))
			}
		}
		for _, g := range p.gone {
			if !g.queue.closed {
				fn(g.queue, g.item.Ref)
			}
		}
	}
}

// moved takes note of where entries are now.
func (s *shard) moved(moves []cluster.Move) {
	live := make(map[uint64]int64, len(moves))
	for i := range moves {
		live[moves[i].Index] = 0
	}
	s.eachLive(moves[0].Index, moves[len(moves)-1].Index, func(ref queue.Ref) {
		if _, ok := live[ref.Index]; ok {
			live[ref.Index] += int64(ref.Share)
		}
	})
	s.group.Moved(moves, func(index uint64) int64 { return live[index] })
	clear(s.bodies[:])
}

// commandLength answers how long the command is that begins some data.
func commandLength(data []byte) (int, error) {
	var one bodyVisitor
	rest, err := visitCommand(0, data, &one)
	return len(data) - len(rest), err
}
