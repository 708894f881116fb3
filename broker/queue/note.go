package queue

// A consumer of AMQP 1.0 that gives a message back may leave a note on it for whoever gets it next. A note lasts until the
// message is settled: that of a durable item until its owner says that the log has the settlement (Forget), since before that
// the item may come back. What a note says is for the endpoints.

// mostNote is how many bytes of notes a message keeps; a note that would be longer is not taken.
const mostNote = 16 << 10

// Remark makes an item's note of the one that it has; nil when it has none. It changes neither that nor, later, its answer.
type Remark func(old []byte) []byte

// note is one item's.
type note struct {
	text    []byte // never changed
	durable bool   // the item is
}

// Return is a durable item that came back: the log must know how often it did, and what was left on it.
type Return struct {
	ID    uint64
	Count uint32
	Note  []byte // nil when it is what it was
}

// remark changes the notes of items that come back. Items without one have the same note afterwards.
func (q *Queue) remark(of Remark) func(*Item) (text []byte) {
	var first []byte
	return func(it *Item) []byte {
		old := q.noted(it.ID)
		text := first
		if old != nil || first == nil {
			text = of(old)
		}
		if old == nil {
			first = text
		}
		if len(text) == 0 || len(text) > mostNote {
			return nil
		}
		q.keepNote(it.ID, note{text: text, durable: it.Durable})
		return text
	}
}

func (q *Queue) keepNote(id uint64, n note) {
	if q.notes == nil {
		q.notes = make(map[uint64]note)
	}
	q.held += int64(len(n.text) - len(q.notes[id].text))
	q.notes[id] = n
}

// noted is the note of an item; nil when there is none.
func (q *Queue) noted(id uint64) []byte {
	if len(q.notes) == 0 {
		return nil
	}
	return q.notes[id].text
}

// forget ends what is known of an item that leaves: that it is the last value of its key, and its note, unless the item may
// come back.
func (q *Queue) forget(it *Item) {
	if !it.Durable {
		q.Forget(it.ID)
	}
	if q.last != nil && q.last[it.Key] == it.ID {
		delete(q.last, it.Key)
	}
}

// Forget says that an item will not come back: the log has its settlement.
func (q *Queue) Forget(id uint64) {
	if n := q.noted(id); n != nil {
		q.held -= int64(len(n))
		delete(q.notes, id)
	}
}

// RestoreNote sets the note of an item that waits, or that the owner has in hand, as the log says.
func (q *Queue) RestoreNote(id uint64, text []byte) {
	q.keepNote(id, note{text: text, durable: true})
}

// EachNote calls fn for the note of every durable item that may be delivered again, also of those that have left.
func (q *Queue) EachNote(fn func(id uint64, text []byte)) {
	for id, n := range q.notes {
		if n.durable {
			fn(id, n.text)
		}
	}
}

// Returned answers durable items that came back since the last call, in a queue that counts that or with a note that is new:
// so many that their notes take about as many bytes as there is room. It is valid until the next call of a method.
func (q *Queue) Returned(room int) []Return {
	n, left := 0, room
	for ; n < len(q.returned) && left > 0; n++ {
		left -= len(q.returned[n].Note)
	}
	r := q.returned[:n]
	switch {
	case n < len(q.returned):
		q.returned = q.returned[n:]
	case left < room:
		q.returned = nil // what is used again would hold the notes
	default:
		q.returned = r[:0]
	}
	return r
}

// Recount sets how often an item that waits came back, as the log says.
func (q *Queue) Recount(id uint64, count uint32) {
	var found []Item
	q.Remove(id, id, func(it *Item) { found = append(found, *it) })
	for _, it := range found {
		it.Count, it.Returned = count, true
		q.put(it)
	}
}

// Waits says whether an item does.
func (q *Queue) Waits(id uint64) bool {
	for i := range q.levels {
		if q.levels[i].has(id) {
			return true
		}
	}
	return false
}

// Returning says that Returned has more.
func (q *Queue) Returning() bool { return len(q.returned) > 0 }
