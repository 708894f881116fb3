package topology

import (
	"time"
	"unique"

	"k8s.io/apimachinery/pkg/types"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// silentAfter is how long a broker does not answer before every object is told.
const silentAfter = 5 * time.Second

// of finds what is known of a broker, and makes it if need be.
func (x *index) of(key types.NamespacedName) *realm {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.realm(key)
}

// without notes that there is no such broker; it answers whether objects are left that name it.
func (x *index) without(m *realm) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if m.state != absent {
		m.look = look{state: absent}
		m.verified, m.incarnation = false, ""
		m.touchAll(x, func(*record) bool { return true })
	}
	if m.count() == 0 {
		delete(x.realms, m.key)
	}
	return m.count() > 0
}

// exists notes that there is such a broker; it answers whether objects name it.
func (x *index) exists(m *realm, outlook string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if m.outlook != outlook || m.urgent {
		m.outlook, m.urgent, m.next = outlook, false, time.Time{}
	}
	if m.state == absent {
		m.state = unknown
		m.touchAll(x, func(*record) bool { return true })
	}
	return m.count() > 0
}

// silent notes that a broker does not answer; it answers whether that has lasted for long enough to say so.
func (x *index) silent(m *realm, err error) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	if m.err != nil && now.Before(m.next) {
		return m.state == unreachable // it was not asked
	}
	if m.failures == 0 {
		m.since = now
	}
	m.failures++
	m.err, m.next, m.verified = err, now.Add(backoff(m.failures)), false
	lasts := m.state == unreachable || certain(err) || now.Sub(m.since) >= silentAfter || m.state == unknown && m.failures > 1
	if tale := tale(err); lasts && (m.state != unreachable || m.tale != tale) {
		m.state, m.tale = unreachable, tale
		m.touchAll(x, func(r *record) bool { return !r.taken })
	}
	return m.state == unreachable
}

// answered notes that a broker answers, and makes those dirty who were told that it does not.
func (x *index) answered(m *realm) {
	x.mu.Lock()
	defer x.mu.Unlock()
	m.err, m.failures, m.next = nil, 0, time.Time{}
	if m.state != reachable {
		m.state = reachable
		m.touchAll(x, func(r *record) bool { return r.told && !r.taken })
	}
}

// gap notes that changes of a broker may have been missed.
func (x *index) gap(m *realm) {
	x.mu.Lock()
	defer x.mu.Unlock()
	m.verified = false
	x.wakeNow(m)
}

// wakeNow asks for a look within a moment, in which what belongs together comes: a queue that is deleted takes its bindings
// along.
func (x *index) wakeNow(m *realm) {
	const moment = 20 * time.Millisecond
	if x.queue != nil {
		x.queue.AddAfter(requestFor(m.key), min(x.gather, moment))
	}
}

// has answers what the broker has in our name for an entry, and what is known of the object there.
func (x *index) has(m *realm, e *entry) object.Sum {
	x.mu.Lock()
	defer x.mu.Unlock()
	key := e.wanted.Key.Sum()
	if o, ok := m.found[key]; ok {
		e.found = &o
	}
	e.resend = e.record.resend
	if first := m.byKey[key]; first != nil {
		return first.have
	}
	return m.strays[key].have
}

// speaks says whether an object stands for a key of a broker, or may: also one that lives elsewhere, since two names may lead to
// one broker.
func (x *index) speaks(m *realm, i id, key object.Sum) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.records.get(i)
	return r != nil && (r.realm != m || r.key == key || r.key == (object.Sum{}))
}

// living counts the objects that live in a virtual host. Those of namespaces that are not allowed are in nobody's way.
func (x *index) living(m *realm, vhost string) (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for namespace := range m.namespaces {
		if m.verdicts[namespace.Value()] == "" {
			n += m.living[place{vhost, namespace}]
		}
	}
	return n
}

// named says whether objects name a broker.
func (x *index) named(m *realm) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return m.count() > 0
}

// namespaces answers those of the objects that name a broker.
func (x *index) namespaces(m *realm) (names []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for n := range m.namespaces {
		names = append(names, n.Value())
	}
	return names
}

// verdict answers what is thought of a namespace; known is false when nothing is.
func (x *index) verdict(m *realm, namespace string) (why string, known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	why, known = m.verdicts[namespace]
	return why, known
}

// judged notes why a broker does not allow a namespace, empty if it does. When that is new the namespace's objects are looked
// at, and those that stand for the same.
func (x *index) judged(m *realm, namespace, why string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	was, known := m.verdicts[namespace]
	if m.namespaces[unique.Make(namespace)] == 0 || known && was == why {
		return
	}
	m.verdicts[namespace] = why
	if known || why != "" {
		m.touchAll(x, func(r *record) bool { return r.namespace.Value() == namespace && !r.taken })
	}
}

// arriving says whether more objects that name a broker are on their way.
func (x *index) arriving(m *realm) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return m.backlog() || time.Since(m.arrived) < missingAfter
}

// done says of each record of a look when it is looked at again: never, when something changes, or later.
func (x *index) done(s *scope, refresh time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	m, now := s.realm, time.Now()
	for _, e := range s.entries {
		r := e.record
		r.taken = false
		if x.records.get(r.id) != r {
			m.forget(r)
			continue // it is gone
		}
		x.settle(m, e, now, refresh)
	}
}

func (x *index) settle(m *realm, e *entry, now time.Time, refresh time.Duration) {
	r := e.record
	r.told = false
	r.become(m, e)
	switch reason := e.state.Reason; {
	case e.failed != nil:
		m.later(r, now)
		return
	case e.postponed && m.failures > 0, !e.decided && !e.released:
		delete(m.retries, r)
		m.touch(r) // as soon as the broker is asked again
		return
	case reason == condition.Missing:
		m.await(r, e.misses())
		wait := lastMissing
		if e.postponed {
			wait = missingAfter
		}
		m.again(r, now.Add(wait), 0)
		return
	case reason == condition.BrokerNotFound, e.unreached && m.state == unreachable:
		r.told = true
		if e.deleting {
			m.later(r, now)
		} else {
			delete(m.retries, r)
		}
		return
	case reason == condition.NamespaceNotAllowed:
		delete(m.retries, r) // another verdict is seen
		return
	case e.planned:
		m.again(r, now.Add(refresh), 0) // what it would lose changes
		return
	case !e.state.Ready && !e.state.Stalled && !e.released:
		m.later(r, now)
		return
	}
	r.resend = r.resend && !e.state.Ready
	delete(m.retries, r)
	m.awaitNothing(r)
	if alone := m.byKey[r.key] == r && r.next == nil; e.state.Ready && alone && r.have != e.sum && r.traits.Value().drift != v1alpha1.DriftIgnore {
		m.touch(r) // it changed in the broker meanwhile
	}
}

// become takes what the look found that the record's object wants, which says more than a look at the object alone.
func (r *record) become(m *realm, e *entry) {
	if e.sum == (object.Sum{}) || r.signature != signatureOf(e.before) && r.key != (object.Sum{}) {
		return // that cannot be said, or the object has changed since
	}
	if key := e.wanted.Key.Sum(); r.key != key {
		m.part(r)
		r.moveTo(e.wanted.VirtualHost)
		r.key = key
		m.join(r)
	}
	r.wanted = e.sum
}

// lastMissing is when an object that waits for another one is tried again, in case that was missed when it came.
const lastMissing = 30 * time.Second

// misses are the keys that an entry waits for.
func (e *entry) misses() []object.Sum {
	out := needs(e.wanted)
	if e.missing != (object.Sum{}) {
		out = append(out, e.missing)
	}
	return out
}
