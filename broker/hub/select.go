package hub

import (
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// filter is sel for the queue's items, of which some have their bodies in the log alone.
func (q *Queue) filter(sel queue.Filter) queue.Filter {
	if sel == nil || q.shard == nil {
		return sel
	}
	var whole queue.Item  // one for all, so that looking does not allocate it
	var m message.Message // likewise
	return func(it *queue.Item) bool {
		if it.Message != nil {
			return sel(it)
		}
		if err := q.shard.readInto(&m, it.Ref); err != nil {
			q.shard.hub.damaged(fmt.Errorf("queue %q in vhost %q: item %d: %w", q.name, q.host.name, it.ID, err))
			return false
		}
		whole = *it
		whole.Message = &m
		return sel(&whole)
	}
}

// toExamine says that Examine is to be called, and nobody is about to.
func (q *Queue) toExamine() bool {
	if q.examining || !q.state.Examining() {
		return false
	}
	q.examining = true
	return true
}

// examineLater looks on in the queue once its owner has done what else there is to do.
func (q *Queue) examineLater() {
	step := func(q *Queue, now int64) {
		q.examining = false
		q.state.Examine(now)
		if q.shard != nil {
			q.shard.group.DoneReading()
		}
	}
	if q.shard != nil {
		q.later(step)
		return
	}
	go q.later(step) // ends after one slice
}
