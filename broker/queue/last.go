package queue

// A queue of last values keeps of the items with one Key that wait only the newest: one that comes takes the place of the one
// before it, which is done with as if it had been accepted. What a consumer has stays with it; when it comes back and a newer
// one is there, it is done with, too. Order is that of the newest ones.
//
// The index is made when the queue is pumped for the first time: what the log has is restored before that, and the log says
// itself what was replaced.

// supersede lets an item that is to wait take the place of the one with its key. False: a newer one is there, and this one is
// done with.
func (q *Queue) supersede(it *Item) bool {
	newest := q.last[it.Key]
	switch {
	case newest > it.ID:
		q.leave(it)
		return false
	case newest != 0 && newest != it.ID:
		q.drop(newest)
	}
	q.last[it.Key] = it.ID
	return true
}

// drop takes out an item that waits, if it does.
func (q *Queue) drop(id uint64) {
	for i := range q.levels {
		q.levels[i].removeRange(id, id, func(it *Item) {
			q.left(it)
			q.leave(it)
		})
	}
}

// index finds the last values among what waits, and drops the others.
func (q *Queue) index() {
	q.last = make(map[uint64]uint64)
	var old []uint64
	for i := range q.levels {
		q.levels[i].packs = true
		q.levels[i].each(func(it *Item) {
			if it.Key == 0 {
				return
			}
			newest := q.last[it.Key]
			if newest != 0 {
				old = append(old, min(newest, it.ID))
			}
			q.last[it.Key] = max(newest, it.ID)
		})
	}
	for _, id := range old {
		q.drop(id)
	}
}

// Replaces says that an item with a key would take the place of one that waits, or is with a consumer.
func (q *Queue) Replaces(key uint64) bool { return key != 0 && q.last[key] != 0 }
