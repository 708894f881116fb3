package hub

import (
	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// retainedKey is a topic with a retained message. It belongs to the virtual host, and to no session. [MQTT-3.1.2-7]
type retainedKey struct {
	host  *VirtualHost
	topic string
}

// retainedRefs say where the log has retained messages, by virtual host. There can be millions: what the topic is, the
// message says.
type retainedRefs map[*VirtualHost]map[*message.Message]queue.Ref

func (r retainedRefs) put(v *VirtualHost, m *message.Message, ref queue.Ref) {
	if r[v] == nil {
		r[v] = make(map[*message.Message]queue.Ref)
	}
	r[v][m] = ref
}

// take takes one out.
func (r retainedRefs) take(v *VirtualHost, m *message.Message) (ref queue.Ref, ok bool) {
	if ref, ok = r[v][m]; ok {
		if delete(r[v], m); len(r[v]) == 0 {
			delete(r, v)
		}
	}
	return ref, ok
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
		s.unretain(v, v.retained.Clear(topic))
		return
	}
	if limit := s.hub.Limits().RetainedMessages; v.retained.Get(topic) == nil && v.retained.Len()-int(v.announced.Load()) >= limit {
		s.hub.stats.RetainRefused.add(1)
		return
	}
	s.unretain(v, v.retained.Set(topic, m))
	s.retained.put(v, m, ref)
	s.use(ref)
}

// unretain says that the log's record of a message, which may be nil, is no longer needed.
func (s *shard) unretain(v *VirtualHost, old *message.Message) {
	if ref, ok := s.retained.take(v, old); ok {
		s.unuse(ref)
	}
}

// expireRetained removes retained messages whose time is over. Recovery finds them in the log again, and they expire
// again: nothing is written.
func (h *Hub) expireRetained() {
	h.mu.RLock()
	defer h.mu.RUnlock()
	const atOnce = 10_000
	for _, v := range h.hosts {
		for _, e := range v.retained.Expire(h.now(), atOnce) {
			h.shardFor(v.name, e.Topic).post(&unretainOp{host: v, message: e.Message})
		}
	}
}

// unretainOp follows the expiry of a retained message.
type unretainOp struct {
	host    *VirtualHost
	message *message.Message
}

func (o *unretainOp) size() int64 { return 0 }
func (o *unretainOp) abandon()    {}
func (o *unretainOp) run(s *shard, _ int64) {
	s.unretain(o.host, o.message)
}
