package amqp091

import (
	"strings"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
)

// replyTo is the queue name by which a client asks for direct replies: it consumes from it, publishes requests with it in
// reply_to, and the broker writes in its place the name of a queue that the channel has for replies. Whoever got the
// request publishes the reply to that. An extension of RabbitMQ, "direct reply-to".
const replyTo = hub.ReplyTo

// consumeReplies makes the channel's queue for replies with its consumer.
func (ch *channel) consumeReplies(s *consumer, o hub.ConsumerOptions) (err error) {
	switch {
	case !o.NoAck:
		return errorf(frame.PreconditionFailed, "reply consumer cannot acknowledge")
	case ch.replies != nil && ch.consumers[ch.replies.tag] == ch.replies && !ch.isGone(ch.replies):
		return errorf(frame.PreconditionFailed, "reply consumer already set")
	}
	if s.hub, err = ch.conn.host.ConsumeReplies(o); err == nil {
		ch.replies = s
	}
	return err
}

// withReplyQueue are the properties of a request with the queue in reply_to.
func (ch *channel) withReplyQueue(p frame.Properties) (frame.Properties, error) {
	if ch.replies == nil || ch.consumers[ch.replies.tag] != ch.replies {
		return nil, errorf(frame.PreconditionFailed, "fast reply consumer does not exist")
	}
	var b frame.Basic
	if err := b.Decode(p); err != nil {
		return nil, err
	}
	b.ReplyTo = []byte(ch.replies.hub.Queue().Name())
	return b.Append(nil), nil
}

// declareReplies answers the declaration of a queue for replies, by which somebody asks whether it is there. False: the
// name is another queue's.
func (ch *channel) declareReplies(m *frame.QueueDeclare) (bool, error) {
	if m.Queue != replyTo && !strings.HasPrefix(m.Queue, replyTo+".") {
		return false, nil
	}
	if m.Queue != replyTo && !ch.conn.host.Replies(m.Queue) {
		return true, errorf(frame.NotFound, "no queue '%s' in vhost '%s'", m.Queue, ch.conn.host.Name())
	}
	ch.reply(m.NoWait, &frame.QueueDeclareOk{Queue: m.Queue, ConsumerCount: 1})
	return true, nil
}
