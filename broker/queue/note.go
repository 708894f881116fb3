package queue

// A consumer of AMQP 1.0 that gives a message back may leave a note on it for whoever gets it next. Notes are in memory: they
// last until the message is settled, or the broker restarts. What a note says is for the endpoints.

// mostNote is how many bytes of notes a message keeps; what is over it is not taken.
const mostNote = 16 << 10

// note adds a note to an item that comes back.
func (q *Queue) note(it *Item, note []byte) {
	old := q.notes[it.ID]
	if len(note) == 0 || len(old)+len(note) > mostNote {
		return
	}
	if q.notes == nil {
		q.notes = make(map[uint64][]byte)
	}
	q.notes[it.ID] = append(old[:len(old):len(old)], note...)
	q.held += int64(len(note))
}

// noted is the notes of an item; nil when there are none.
func (q *Queue) noted(id uint64) []byte {
	if len(q.notes) == 0 {
		return nil
	}
	return q.notes[id]
}

// forget ends what is known of an item that leaves: its notes, and that it is the last value of its key.
func (q *Queue) forget(it *Item) {
	if n := q.noted(it.ID); n != nil {
		q.held -= int64(len(n))
		delete(q.notes, it.ID)
	}
	if q.last != nil && q.last[it.Key] == it.ID {
		delete(q.last, it.Key)
	}
}
