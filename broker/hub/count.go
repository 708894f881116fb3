package hub

// Count is what the queue holds after everything that the caller published and settled before: unlike Stats, it waits for
// the queue's owner. AMQP's declare-ok answers it.
func (q *Queue) Count() (s QueueStats) {
	if !q.doInOrder(func(q *Queue, _ int64) {
		s = QueueStats{Ready: q.state.Ready(), Unacked: q.state.Unacked(), Consumers: q.state.Active()}
	}) {
		s = q.Stats()
	}
	return s
}
