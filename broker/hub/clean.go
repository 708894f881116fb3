package hub

import (
	"time"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// clean gives back what nobody needs: expired retained messages and segments. The journal is a circle: when it holds more than twice what is live,
// the oldest segment's live rest is copied to the front and the segment released, so that space stays within about twice
// the live bytes and each live byte is copied once per turn of the circle at most. It ends when the hub stops.
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
		for h.cleanable() {
			if !h.cleanOldest() {
				break
			}
		}
	}
}

const (
	cleanEvery    = time.Second
	spareSegments = 4 // the journal may always hold as many
	copyAtOnce    = 1024
)

// cleanable says whether the oldest segment should go.
func (h *Hub) cleanable() bool {
	oldest, newest := h.journal.Oldest(), h.journal.Newest()
	if newest-oldest < spareSegments {
		return false
	}
	segment := h.config.Load().Storage.SegmentBytes
	return int64(newest-oldest)*segment > 2*h.liveBytes()+spareSegments*segment
}

// liveBytes is what the shards need of the journal. It asks each shard.
func (h *Hub) liveBytes() (n int64) {
	for _, s := range h.shards {
		n += s.ask(func(s *shard) (bytes int64) {
			for _, u := range s.live {
				bytes += u.bytes
			}
			return bytes
		})
	}
	return n
}

// cleanOldest copies what is live in the oldest segment and releases it; false when that is not possible now.
func (h *Hub) cleanOldest() bool {
	oldest := h.journal.Oldest()
	if !h.snapshotMeta(oldest) {
		return false
	}
	for _, s := range h.shards {
		for {
			switch s.ask(func(s *shard) int64 { return s.copyForward(oldest) }) {
			case copyDone:
			case copyMore:
				continue
			default:
				return false
			}
			break
		}
	}
	if err := h.journal.Release(oldest + 1); err != nil {
		h.logger.Warn("segment was not released", "segment", oldest, "error", err)
		return false
	}
	return true
}

// snapshotMeta writes the whole catalogue again when recovery would need the segment for it.
func (h *Hub) snapshotMeta(segment uint64) bool {
	h.meta.change.Lock()
	defer h.meta.change.Unlock()
	if h.meta.segment > segment {
		return true
	}
	done := make(chan error, 1)
	var at journal.Position
	h.meta.log.Propose(append([]byte{metaSnapshot}, h.meta.state.Snapshot()...), false, func(p journal.Position, err error) {
		at = p
		done <- err
	})
	if err := <-done; err != nil {
		h.logger.Warn("catalogue was not copied", "error", err)
		return false
	}
	h.meta.segment = at.Segment
	return at.Segment > segment
}

// ask runs a question on the shard's goroutine.
func (s *shard) ask(question func(*shard) int64) int64 {
	answer := make(chan int64, 1)
	s.post(&askOp{question: question, answer: answer})
	return <-answer
}

type askOp struct {
	question func(*shard) int64
	answer   chan<- int64
}

func (o *askOp) size() int64             { return 0 }
func (o *askOp) abandon()                { o.answer <- copyFailed }
func (o *askOp) run(s *shard, now int64) { o.answer <- o.question(s) }

// Answers of copyForward.
const (
	copyFailed int64 = -1
	copyDone   int64 = 0
	copyMore   int64 = 1
)

// copyForward writes what the shard needs of a segment again at the front: some of it at a call, so that traffic goes on.
// It answers copyDone when nothing of the segment is needed any more.
func (s *shard) copyForward(segment uint64) int64 {
	if s.live[segment] == nil {
		return copyDone
	}
	if s.copying > 0 {
		return copyMore
	}
	for _, q := range s.queues {
		q.state.Each(func(it *queue.Item) {
			if it.Durable && it.Ref.Segment == segment && s.copying < copyAtOnce {
				s.copyItem(q, it)
			}
		})
	}
	for key, r := range s.retained {
		if r.ref.Segment == segment && s.retaining[key] == 0 && s.copying < copyAtOnce {
			s.copying++
			s.rewrite(&retainOp{host: key.host, message: r.message})
		}
	}
	for session, ref := range s.sessions {
		if ref.Segment == segment && !session.ending && s.copying < copyAtOnce {
			s.copying++
			s.rewrite(&recordAgain{session: session})
		}
	}
	if s.copying == 0 {
		return copyFailed // what is live is on its way: to a dead-letter exchange, or being replaced
	}
	s.cut(s.hub.now())
	return copyMore
}

// copyItem writes an item with its old number; recovery keeps the newer of two copies.
func (s *shard) copyItem(q *Queue, it *queue.Item) {
	m := it.Message
	if m == nil {
		var err error
		if m, err = s.read(it.Ref); err != nil {
			s.hub.damaged(err)
			return
		}
	}
	entry, at := s.write(s.hub.now())
	*entry = appendEnqueue(*entry, []itemRef{{queue: q.id, item: it.ID, qos: deliveryOf(it)}}, m)
	s.copying++
	s.building().acts = append(s.building().acts, &movedAct{queue: q, id: it.ID, size: int64(it.Size), inside: at})
}

// movedAct says that an item lies elsewhere now.
type movedAct struct {
	queue  *Queue
	id     uint64
	size   int64
	inside uint32
}

func (a *movedAct) commit(s *shard, _ int64, at journal.Position) {
	s.copying--
	if a.queue.closed {
		return
	}
	to := queue.Ref{Segment: at.Segment, Offset: at.Offset, Inside: a.inside}
	if from, ok := a.queue.state.Moved(a.id, to); ok {
		s.used(from.Segment, -a.size)
		s.used(to.Segment, a.size)
	}
	// Otherwise it was settled while the copy was on its way, and the log has that after the copy.
}

func (a *movedAct) fail(s *shard, _ error) { s.copying-- }

// rewrite runs an operation that replaces an old record, and counts it as a copy on its way.
func (s *shard) rewrite(o interface {
	op
	act
}) {
	o.run(s, s.hub.now())
	s.building().acts = append(s.building().acts, copied{})
}

// copied ends the count of one copy.
type copied struct{}

func (copied) commit(s *shard, _ int64, _ journal.Position) { s.copying-- }
func (copied) fail(s *shard, _ error)                       { s.copying-- }

// recordAgain writes a session's record again.
type recordAgain struct {
	session *mqttSession
	inside  uint32
}

func (o *recordAgain) size() int64 { return 0 }
func (o *recordAgain) abandon()    {}

func (o *recordAgain) run(s *shard, now int64) {
	entry, at := s.write(now)
	o.inside = at
	*entry = appendSession(*entry, o.session.host.name, o.session.written, false)
	s.building().acts = append(s.building().acts, o)
}

func (o *recordAgain) commit(s *shard, _ int64, at journal.Position) {
	if _, ok := s.sessions[o.session]; ok {
		(&sessionOp{session: o.session}).apply(s, queue.Ref{Segment: at.Segment, Offset: at.Offset, Inside: o.inside})
	}
}

func (o *recordAgain) fail(*shard, error) {}
