package hub

import (
	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/retain"
)

// retainedKey is a topic with a retained message. It belongs to the virtual host, and to no session. [MQTT-3.1.2-7]
type retainedKey struct {
	host  *VirtualHost
	topic string
}

// retainedHere counts the shard's retained messages that are in the log, by virtual host. Where they are, the virtual
// host's store says.
type retainedHere map[*VirtualHost]int

// eachRetained calls fn for what the log has of retained messages.
func (s *shard) eachRetained(fn func(*VirtualHost, queue.Ref)) {
	for v := range s.retained {
		v.retained.Each(func(topic string, at retain.Place) {
			if at.Index != 0 && s.hub.shardFor(v.name, topic) == s {
				fn(v, queue.Ref(at))
			}
		})
	}
}

// retainOp makes a message the retained one of its topic, whatever its QoS; an empty payload clears the topic.
// [MQTT-3.3.1-5], [MQTT-3.3.1-7], [MQTT-3.3.1-10], [MQTT-3.3.1-11]
type retainOp struct {
	flush   *flush // nil when nobody waits
	host    *VirtualHost
	message *message.Message
	at      uint32 // of the command in its entry
}

func (o *retainOp) size() int64 { return int64(o.message.Size()) + 64 }
func (o *retainOp) abandon()    { o.flush.done() }

func (o *retainOp) run(s *shard, now int64) {
	if o.host.deleted.Load() {
		o.flush.done()
		return
	}
	entry, at := s.write(now, journal.Always)
	*entry = appendRetain(*entry, o.host.name, o.message)
	s.open.stores = s.open.stores || len(o.message.Payload) > 0
	o.at = at
	s.retaining[o.key()]++
	s.act(o)
	s.wrote(now)
}

func (o *retainOp) key() retainedKey { return retainedKey{host: o.host, topic: o.message.Topic()} }

func (o *retainOp) applied(s *shard) {
	key := o.key()
	if s.retaining[key]--; s.retaining[key] == 0 {
		delete(s.retaining, key)
	}
	o.flush.done()
}

func (o *retainOp) commit(s *shard, _ int64, index uint64) {
	s.retain(o.host, o.message, queue.Ref{Index: index, At: o.at, Share: uint32(o.message.Size())})
	o.applied(s)
}

// fail leaves the topic as it was. A publish with a token was refused by its queues for the same reason, or went to none.
func (o *retainOp) fail(s *shard, err error) {
	s.hub.logger.Warn("retained message was not stored", "vhost", o.host.name, "topic", o.message.Topic(), "error", err)
	o.applied(s)
}

// retain applies a retain command.
func (s *shard) retain(v *VirtualHost, m *message.Message, ref queue.Ref) {
	topic := m.Topic()
	if len(m.Payload) == 0 {
		previous, _ := v.retained.Clear(topic)
		s.unretain(v, previous)
		return
	}
	if limit := s.hub.Limits().RetainedMessages; !v.retained.Has(topic) && v.retained.Len()-int(v.announced.Load()) >= limit {
		s.hub.stats.RetainRefused.add(1)
		return
	}
	previous, _ := v.retained.Set(topic, m, retain.Place(ref))
	s.unretain(v, previous)
	s.retained[v]++
	s.use(ref)
}

// unretain says that the log's record of a message, which may be nowhere, is no longer needed.
func (s *shard) unretain(v *VirtualHost, at retain.Place) {
	if at.Index == 0 {
		return
	}
	s.unuse(queue.Ref(at))
	if s.retained[v]--; s.retained[v] == 0 {
		delete(s.retained, v)
	}
}

// expireRetained lets shards remove retained messages whose time is over. Recovery finds them in the log again, and they
// expire again: nothing is written.
func (h *Hub) expireRetained() {
	h.mu.RLock()
	defer h.mu.RUnlock()
	const atOnce = 10_000
	now := h.now()
	for _, v := range h.hosts {
		for _, topic := range v.retained.Due(now, atOnce) {
			h.shardFor(v.name, topic).post(&expireOp{host: v, topic: topic, due: now})
		}
	}
}

// expireOp removes an expired retained message, unless the topic has another one meanwhile.
type expireOp struct {
	host  *VirtualHost
	topic string
	due   int64
}

func (o *expireOp) size() int64 { return 0 }
func (o *expireOp) abandon()    {}
func (o *expireOp) run(s *shard, _ int64) {
	if at, removed := o.host.retained.Expire(o.topic, o.due); removed {
		s.unretain(o.host, at)
	}
}
