package hub

import (
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// keying is what a queue tells its messages apart by; the zero value is nothing. It belongs to the queue's owner.
type keying struct {
	groups bool
	header string // whose last values the queue has; empty for none
}

// RoutingKeyAsKey in place of a header's name has a queue keep the last message of each routing key, or topic.
const RoutingKeyAsKey = "$routing-key"

// keyingOf reads a queue's arguments. One of last values has no groups: nothing of one key waits beside another.
func keyingOf(a object.Arguments) (k keying) {
	k.header, _, _ = a.Text("x-last-value-key")
	n, _, _ := a.Int("x-group-buckets")
	k.groups = k.header == "" && n > 0
	return k
}

// item makes an item of a message for the queue.
func (q *Queue) item(m *message.Message, delivery uint8) queue.Item {
	it := newItem(m, delivery)
	if q.keying != (keying{}) {
		it.Key, it.Closes = q.key(m)
	}
	return it
}

// key is what the queue tells a message apart by; zero is nothing.
func (q *Queue) key(m *message.Message) (key uint64, closes bool) {
	var text []byte
	switch h := q.host.hub; {
	case q.keying.groups && h.group != nil:
		text, closes = h.group(m)
	case q.keying.header == RoutingKeyAsKey:
		text = []byte(m.RoutingKey())
	case q.keying.header != "" && h.header != nil:
		text = h.header(m, q.keying.header)
	}
	if text == nil {
		return 0, false
	}
	return max(hash(string(text)), 1), closes
}

// full says that the queue refuses a message, those on their way counted.
func (q *Queue) full(m *message.Message) bool {
	if !q.state.Full(q.inFlight, q.flightSize) {
		return false
	}
	if q.keying.header == "" {
		return true
	}
	key, _ := q.key(m)
	return !q.state.Replaces(key)
}
