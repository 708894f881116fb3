package hub

import (
	"slices"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/policy"
)

// QueueInfo is one queue as those see it who look after the broker.
type QueueInfo struct {
	VirtualHost, Name             string
	Spec                          object.QueueSpec
	Policy, OperatorPolicy        string // that apply to it; empty for none
	Exclusive                     bool
	Session                       bool // it holds what waits for an MQTT session
	Ready, Unacked, Consumers     int
	Bytes                         int64
	Published, Delivered, Settled uint64
}

// Inspect lists the queues of a virtual host, or of all when the name is empty, sorted by virtual host and name. It
// waits for no queue's owner.
func (h *Hub) Inspect(host string) []QueueInfo {
	h.mu.RLock()
	hosts := make([]*VirtualHost, 0, len(h.hosts))
	for name, v := range h.hosts {
		if host == "" || host == name {
			hosts = append(hosts, v)
		}
	}
	h.mu.RUnlock()
	slices.SortFunc(hosts, func(a, b *VirtualHost) int { return strings.Compare(a.name, b.name) })
	var out []QueueInfo
	for _, v := range hosts {
		for _, q := range v.Queues() {
			out = append(out, q.info())
		}
	}
	return out
}

func (q *Queue) info() QueueInfo {
	l := &q.live
	var applied policy.Applied
	if q.session == nil {
		applied = q.applied()
	}
	return QueueInfo{
		VirtualHost: q.host.name, Name: q.name, Spec: q.spec, Policy: applied.Policy, OperatorPolicy: applied.Operator, Exclusive: q.Exclusive(), Session: q.session != nil,
		Ready: int(l.ready.Load()), Unacked: int(l.unacked.Load()), Consumers: int(l.consumers.Load()), Bytes: l.bytes.Load(),
		Published: l.published.Load(), Delivered: l.delivered.Load(), Settled: l.settled.Load(),
	}
}

// QueueTotals are sums over all queues.
type QueueTotals struct {
	Queues, Ready, Unacked, Consumers int
	Bytes                             int64
}

// Totals sums up what queues hold, without a list of them.
func (h *Hub) Totals() (t QueueTotals) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, v := range h.hosts {
		v.mu.RLock()
		for _, q := range v.queues {
			t.add(q)
		}
		for _, s := range v.sessions {
			t.add(s.queue)
		}
		v.mu.RUnlock()
	}
	return t
}

func (t *QueueTotals) add(q *Queue) {
	l := &q.live
	t.Queues++
	t.Ready += int(l.ready.Load())
	t.Unacked += int(l.unacked.Load())
	t.Consumers += int(l.consumers.Load())
	t.Bytes += l.bytes.Load()
}

// Revision is that of the metadata.
func (h *Hub) Revision() uint64 { return h.meta.revision() }

// OwnerOf says who owns an object of the catalogue; empty when nobody does, or when there is no such object.
func (h *Hub) OwnerOf(k object.Key) string {
	h.meta.mu.RLock()
	defer h.meta.mu.RUnlock()
	o, _ := h.meta.state.Get(k)
	return o.Owner
}

// SessionCount is how many MQTT sessions there are.
func (h *Hub) SessionCount() (n int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, v := range h.hosts {
		v.mu.RLock()
		n += len(v.sessions)
		v.mu.RUnlock()
	}
	return n
}

// RetainedCount is how many retained messages there are.
func (h *Hub) RetainedCount() (n int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, v := range h.hosts {
		n += v.retained.Len()
	}
	return n
}

// SubscriptionCount is how many subscriptions MQTT sessions have, shared ones among them.
func (h *Hub) SubscriptionCount() (all, shared int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, v := range h.hosts {
		v.mu.RLock()
		for _, s := range v.sessions {
			s.mu.Lock()
			all += len(s.subscriptions)
			s.mu.Unlock()
		}
		v.mu.RUnlock()
		v.sharing.Lock()
		for _, g := range v.groups {
			shared += len(g.list())
		}
		v.sharing.Unlock()
	}
	return all, shared
}
