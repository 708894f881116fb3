package hub

import (
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// freeze is what a list of changes deletes on a condition, held still so that nothing comes between the question and the
// deletion. It belongs to whoever holds meta.change.
type freeze struct {
	kept    []object.Change              // those that are left to plan, in order
	refused map[object.Key]object.Result // those whose condition does not hold
	tolls   map[object.Key]object.Toll   // what is lost with the others
	frozen  []*Queue
	dry     bool // nothing comes of it: ask, and hold nothing
}

// freezeForDeletion asks for the conditions of an application's deletions.
func (h *Hub) freezeForDeletion(a *application) *freeze {
	f := &freeze{refused: make(map[object.Key]object.Result), tolls: make(map[object.Key]object.Toll), dry: a.dryRun}
	for _, c := range a.changes {
		if c.Delete == "" || c.Delete.Check(c.Kind) != nil || f.mayDelete(h, c) {
			f.kept = append(f.kept, c)
		}
	}
	return f
}

// mayDelete says whether the condition of a deletion holds; when it does not, the change is answered.
func (f *freeze) mayDelete(h *Hub, c object.Change) bool {
	switch c.Kind {
	case object.KindQueue:
		return f.queue(h, c)
	case object.KindVirtualHost:
		return f.host(h, c)
	case object.KindUser:
		n := h.authority.Connections(c.Name)
		f.tolls[c.Key] = object.Toll{Connections: n}
		return n == 0 || c.Delete != object.DeleteIfUnused ||
			f.refuse(c, object.ReasonInUse, f.tolls[c.Key], "user '%s' has %d connections", c.Name, n)
	case object.KindPolicy, object.KindOperatorPolicy:
		n := 0
		if c.Delete == object.DeleteIfUnused {
			n = h.applications(c.Key)
		}
		return n == 0 || f.refuse(c, object.ReasonInUse, object.Toll{}, "%s applies to %d queues and exchanges", c.Key, n)
	}
	return true
}

// refuse answers a change; it is false, so that a condition can end with it.
func (f *freeze) refuse(c object.Change, reason object.Reason, t object.Toll, format string, args ...any) bool {
	f.refused[c.Key] = object.Result{Key: c.Key, Outcome: object.Refused, Reason: reason, Message: fmt.Sprintf(format, args...), Toll: t}
	return false
}

func (f *freeze) queue(h *Hub, c object.Change) bool {
	q := h.queueOf(c.Key)
	if q == nil {
		return true
	}
	var messages int
	asked, err := q.ask(c.Delete == object.DeleteIfUnused, c.Delete == object.DeleteIfEmpty, !f.dry, &messages)
	info := q.info() // not before the queue's owner has answered
	t := object.Toll{Messages: info.Ready + info.Unacked, Consumers: info.Consumers}
	switch {
	case err == nil:
	case c.Delete == object.DeleteIfEmpty:
		t.Messages = messages
		return f.refuse(c, object.ReasonNotEmpty, t, "%v: it holds %d messages", err, messages)
	default:
		return f.refuse(c, object.ReasonInUse, t, "%v: it has %d consumers", err, t.Consumers)
	}
	f.tolls[c.Key] = t
	f.hold(q, asked)
	return true
}

// hold remembers what is to be thawed. What somebody else has frozen is his.
func (f *freeze) hold(q *Queue, asked frozen) {
	if asked.mine {
		f.frozen = append(f.frozen, q)
	}
}

// host asks for all that a virtual host holds.
func (f *freeze) host(h *Hub, c object.Change) bool {
	v, err := h.VirtualHost(c.Name)
	if err != nil {
		return true
	}
	t := v.toll()
	f.tolls[c.Key] = t
	switch c.Delete {
	case object.DeleteIfUnused:
		return t.Connections == 0 || f.refuse(c, object.ReasonInUse, t, "vhost '%s' has %d connections", v.name, t.Connections)
	case object.DeleteIfEmpty:
		return f.empty(v, c, t)
	}
	return true
}

// empty holds still every queue of a virtual host, if none has messages.
func (f *freeze) empty(v *VirtualHost, c object.Change, t object.Toll) bool {
	if n := v.retained.Len() - int(v.announced.Load()); n > 0 {
		return f.refuse(c, object.ReasonNotEmpty, t, "vhost '%s' not empty: it has %d retained messages", v.name, n)
	}
	for _, q := range v.Queues() {
		var messages int
		asked, err := q.ask(false, true, !f.dry, &messages)
		if err != nil {
			t.Messages = max(t.Messages, messages)
			return f.refuse(c, object.ReasonNotEmpty, t, "vhost '%s' not empty: its queues hold %d messages, %d of them queue '%s'", v.name, t.Messages, messages, q.name)
		}
		f.hold(q, asked)
	}
	return true
}

// toll is what goes with a virtual host.
func (v *VirtualHost) toll() object.Toll {
	t := object.Toll{Connections: int(v.connections.Load())}
	for _, q := range v.Queues() {
		info := q.info()
		t.Messages += info.Ready + info.Unacked
		t.Consumers += info.Consumers
	}
	return t
}

// thaw lets the queues go on that the changes which were applied did not delete.
func (f *freeze) thaw(applied []catalog.Change) {
	gone := make(map[object.Key]bool)
	for _, c := range applied {
		if c.After == nil {
			gone[c.Before.Key] = true
		}
	}
	for _, q := range f.frozen {
		queue := object.Key{Kind: object.KindQueue, VirtualHost: q.host.name, Name: q.name}
		if !gone[queue] && !gone[object.Key{Kind: object.KindVirtualHost, Name: q.host.name}] {
			q.thaw()
		}
	}
}

// answer puts the results of planned and refused changes into the order of the request, each with its toll.
func (f *freeze) answer(h *Hub, changes []object.Change, planned []object.Result) []object.Result {
	out := make([]object.Result, 0, len(changes))
	for _, c := range changes {
		if r, ok := f.refused[c.Key]; ok && c.Delete != "" {
			out = append(out, r)
			continue
		}
		r := planned[0]
		planned = planned[1:]
		switch t := f.tolls[c.Key]; {
		case r.Outcome == object.Deleted:
			r.Messages, r.Consumers, r.Connections = t.Messages, t.Consumers, t.Connections
		case r.Reason == object.ReasonInequivalent:
			if q := h.queueOf(r.Key); q != nil {
				info := q.info()
				r.Messages, r.Consumers = info.Ready+info.Unacked, info.Consumers
			}
		}
		out = append(out, r)
	}
	return out
}

// applications is to how many queues and exchanges a policy applies.
func (h *Hub) applications(policy object.Key) (n int) {
	v, err := h.VirtualHost(policy.VirtualHost)
	if err != nil {
		return 0
	}
	for _, q := range v.Queues() {
		info := q.info()
		if name := info.Policy; policy.Kind == object.KindPolicy && name == policy.Name {
			n++
		}
		if name := info.OperatorPolicy; policy.Kind == object.KindOperatorPolicy && name == policy.Name {
			n++
		}
	}
	if policy.Kind != object.KindPolicy {
		return n
	}
	for _, x := range v.router.Exchanges() {
		if v.policies.Exchange(x.Name, x.Spec.Arguments).Policy == policy.Name {
			n++
		}
	}
	return n
}

func (h *Hub) queueOf(k object.Key) *Queue {
	if k.Kind != object.KindQueue {
		return nil
	}
	v, err := h.VirtualHost(k.VirtualHost)
	if err != nil {
		return nil
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.queues[k.Name]
}
