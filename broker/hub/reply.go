package hub

import (
	"strings"

	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// ReplyTo is the name that stands for a consumer's own queue for replies, and how the names of those queues begin.
const ReplyTo = "amq.rabbitmq.reply-to"

// ConsumeReplies makes a queue for replies and its only consumer, with whom it goes. Its name, which nobody can guess, is
// the permission to publish to it.
func (v *VirtualHost) ConsumeReplies(o ConsumerOptions) (*Consumer, error) {
	q := v.newQueue(ReplyTo+"."+randomName(), object.QueueSpec{AutoDelete: true})
	q.exclusive = o.Origin
	v.mu.Lock()
	v.queues[q.name] = q
	v.mu.Unlock()
	v.router.AddQueue(q.name, q)
	return v.join(q, o)
}

// Replies says whether there is a queue for replies of this name.
func (v *VirtualHost) Replies(name string) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return strings.HasPrefix(name, ReplyTo+".") && v.queues[name] != nil
}

// Put gives a message to a consumer of ConsumeReplies, by way of its queue.
func (c *Consumer) Put(m *message.Message) {
	c.queue.later(func(q *Queue, now int64) { q.state.Enqueue(now, newItem(m, 0)) })
}
