package amqp10

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"unique"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// A terminus is the broker's end of a link, a source or a target: what it stands for, and what of its deliveries is not
// settled. Links attach to it and detach; it goes when one of them is closed, or when its time is up. A durable subscription
// is a source whose queue is its own. 2 §2.6.3, 3 §3.5.3, 3 §3.5.4
//
// A terminus has one owner, who alone reads and changes it: the reader of the connection on which its link is or was last,
// and when that has ended, whoever takes it out of the endpoint's termini.

// linkName is what names a link among all. A user has names of his own: another one that says it is the same container
// cannot take his links. 2 §2.6.1
type linkName struct {
	at   unique.Handle[container]
	name string
	role frame.Role // the peer's
}

// container is who has links. It is the same for all that it has.
type container struct {
	host, user, id string
	origin         uint64 // of the connection of one without an id, which no other one is; else zero
}

// lifetime is how long a terminus is there without a link. 3 §3.5.5, 3 §3.5.6
type lifetime struct {
	durable frame.Durability
	policy  frame.ExpiryPolicy
	timeout uint32 // seconds
}

// lasts says that the terminus may be there when its connection is not.
func (l lifetime) lasts() bool { return l.policy == frame.ExpireNever || l.timeout > 0 }

// departure is how a link endpoint ends.
type departure uint8

const (
	closedLink   departure = iota // by the peer, for good: the terminus goes with it
	failedLink                    // by the broker: what the link held goes back
	detachedLink                  // it may be attached again
	stolenLink                    // it is attached elsewhere
	endedSession
	endedConnection
)

// survives says whether the terminus stays.
func (l lifetime) survives(how departure) bool {
	switch {
	case how == closedLink:
		return false
	case l.lasts():
		return true
	case l.policy == frame.ExpireSessionEnd:
		return how == detachedLink || how == stolenLink
	case l.policy == frame.ExpireConnectionClose:
		return how != endedConnection
	}
	return false
}

// begins says whether the time of the terminus begins with a departure.
func (l lifetime) begins(how departure) bool {
	switch l.policy {
	case frame.ExpireLinkDetach:
		return true
	case frame.ExpireSessionEnd:
		return how >= endedSession
	case frame.ExpireConnectionClose:
		return how == endedConnection
	}
	return false
}

type terminus struct {
	name linkName
	lifetime
	host   *hub.VirtualHost
	access *auth.Access
	origin uint64 // the connection to which its queue belongs

	queue string       // goes with the terminus; empty for none
	bound bool         // the queue is the connection's own, and goes with that
	node  *dynamicNode // that the terminus is a link of; nil for none
	made  bool         // its link is the one for which the node was made

	// Of a source.
	source *frame.Source // as it was answered last
	stands string        // what it stands for, in one word
	holding
	holder *outgoing // the link that was detached, in whose session the deliveries still have their ids; nil for none

	// Of a target.
	memory  *memory   // of deliveries that the sender has not settled; nil where none is kept
	part    part      // of a delivery that can be resumed
	carried *delivery // that has begun, and can go on in the session in which the link was detached

	session *session // in which the link was detached; nil when that has ended

	// Guarded by termini.mu.
	on      *connection // whose reader owns the terminus; nil while nobody does
	due     int64       // second of the endpoint at which it goes; zero is never
	letGo   int64       // at which what it holds goes back to the queue; zero is never
	counted bool        // in termini.lasting
}

// termini are those of the endpoint's links.
type termini struct {
	parts atomic.Int64 // bytes of deliveries that can be resumed

	mu      sync.Mutex
	all     map[linkName]*terminus
	timed   map[*terminus]struct{} // that have no link, and a time
	lasting map[crowd]int          // that may outlive their connections, and nodes that may
	nodes   map[nodeKey]*dynamicNode
}

// crowd is the termini of a virtual host, or those of a user there.
type crowd struct {
	host, user string
	ofUser     bool
}

func newTermini() *termini {
	return &termini{all: make(map[linkName]*terminus), timed: make(map[*terminus]struct{}), lasting: make(map[crowd]int), nodes: make(map[nodeKey]*dynamicNode)}
}

// stolenGrace is for how many seconds a terminus whose link was stolen waits for the thief, at least.
const stolenGrace = 5

// take makes a connection the owner of the terminus of a name, which is made if there is none. When another connection has it,
// that is answered.
func (ts *termini) take(name linkName, c *connection) (t *terminus, other *connection) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t = ts.all[name]
	switch {
	case t == nil:
		t = &terminus{name: name, lifetime: lifetime{policy: frame.ExpireSessionEnd}}
		ts.all[name] = t
	case t.on != nil && t.on != c:
		return nil, t.on
	}
	t.on = c
	delete(ts.timed, t)
	return t, nil
}

// has says whether a connection has the terminus of a name.
func (ts *termini) has(name linkName, c *connection) *terminus {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t := ts.all[name]; t != nil && t.on == c {
		return t
	}
	return nil
}

// attached says that the terminus has a link.
func (ts *termini) attached(t *terminus) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t.due, t.letGo = 0, 0
	delete(ts.timed, t)
}

// rest sets the times of a terminus without a link. With leave, nobody owns it afterwards.
func (ts *termini) rest(t *terminus, how departure, now, patience int64, leave bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	switch {
	case how == stolenLink && t.policy != frame.ExpireNever:
		t.due = now + max(int64(t.timeout), stolenGrace)
	case t.due == 0 && t.begins(how):
		t.due = now + int64(t.timeout)
		if t.timeout > 0 {
			t.due++ // the second that goes on
		}
	}
	switch {
	case t.consumer == nil:
		t.letGo = 0
	case t.letGo == 0 && patience > 0:
		t.letGo = now + patience
	}
	if t.due != 0 || t.letGo != 0 {
		ts.timed[t] = struct{}{}
	}
	if leave {
		t.on = nil
	}
}

// remove forgets a terminus.
func (ts *termini) remove(t *terminus) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.removeLocked(t)
}

func (ts *termini) removeLocked(t *terminus) {
	if ts.all[t.name] == t {
		delete(ts.all, t.name)
	}
	delete(ts.timed, t)
	ts.count(t, false)
}

// reserve counts a terminus that may outlive its connection, or one that may not any more.
func (ts *termini) reserve(t *terminus, lasts bool, perHost, perUser int) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if lasts && !t.counted {
		at := t.name.at.Value()
		if err := ts.admit(at.host, at.user, perHost, perUser); err != nil {
			return err
		}
	}
	ts.count(t, lasts)
	return nil
}

// admit says whether there is room for one more; mu is held.
func (ts *termini) admit(host, user string, perHost, perUser int) error {
	if n := ts.lasting[crowd{host: host}]; n >= perHost {
		return linkError(frame.ResourceLimitExceeded, "vhost '%s' has %d links and dynamic nodes that outlive their connections, as many as limits.suspendedLinks allows", host, n)
	}
	if n := ts.lasting[crowd{host, user, true}]; n >= perUser {
		return linkError(frame.ResourceLimitExceeded, "user '%s' has %d links and dynamic nodes that outlive their connections, as many as limits.suspendedLinksPerUser allows", user, n)
	}
	return nil
}

func (ts *termini) count(t *terminus, lasts bool) {
	if lasts == t.counted {
		return
	}
	t.counted = lasts
	at := t.name.at.Value()
	if lasts {
		ts.add(at.host, at.user, 1)
	} else {
		ts.add(at.host, at.user, -1)
	}
}

func (ts *termini) add(host, user string, n int) {
	for _, key := range [...]crowd{{host: host}, {host, user, true}} {
		if ts.lasting[key] += n; ts.lasting[key] == 0 {
			delete(ts.lasting, key)
		}
	}
}

// overdue takes out the termini that nobody owns and whose time is up, and what others are to let go of, and answers the
// owners of those of which either is true.
func (ts *termini) overdue(now int64) (gone []*terminus, back []holding, owners map[*connection]bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for t := range ts.timed {
		due, letGo := t.late(now)
		switch {
		case !due && !letGo:
		case t.on != nil:
			if owners == nil {
				owners = make(map[*connection]bool)
			}
			owners[t.on] = true
		case due:
			ts.removeLocked(t)
			gone = append(gone, t)
		default:
			back = append(back, t.holding)
			t.holding, t.letGo = holding{}, 0
			switch {
			case t.due != 0:
			case t.node == nil:
				ts.removeLocked(t)
			default:
				delete(ts.timed, t)
			}
		}
	}
	return gone, back, owners
}

// late says which of its times are up; termini.mu is held.
func (t *terminus) late(now int64) (due, letGo bool) {
	return t.due != 0 && t.due <= now, t.letGo != 0 && t.letGo <= now
}

// expire ends the termini whose time is up.
func (e *Endpoint) expire(now int64) {
	gone, back, owners := e.termini.overdue(now)
	for c := range owners {
		c.ask(c.expire)
	}
	if len(gone)+len(back) == 0 {
		return
	}
	e.connections.Go(func() { // ends when the hub has answered
		for i := range back {
			back[i].giveBack()
		}
		for _, t := range gone {
			t.dispose(e)
		}
	})
}

// expire ends the termini of the connection whose time is up. The reader calls it.
func (c *connection) expire() {
	ts, now := c.endpoint.termini, c.endpoint.now()
	for t := range c.resting {
		ts.mu.Lock()
		due, letGo := t.late(now)
		ts.mu.Unlock()
		switch {
		case due:
			delete(c.resting, t)
			t.unhold()
			ts.remove(t)
			t.dispose(c.endpoint)
		case letGo:
			t.unhold()
			t.giveBack()
			delete(c.resting, t)
			c.leave(t, detachedLink)
		}
	}
}

// unhold takes the deliveries of a detached link out of its session.
func (t *terminus) unhold() {
	if t.holder == nil {
		return
	}
	s := t.holder.session
	s.abandon(t.holder)
	s.mu.Lock()
	s.unsettled.drop(t.holder)
	s.mu.Unlock()
	t.holder = nil
}

// holding is what a suspended source has of its queue.
type holding struct {
	consumer  *hub.Consumer // nil while a link has it, or nothing is held
	otherwise queue.Outcome // of deliveries that have no outcome when the source goes
}

// giveBack puts it back into the queue, with the default outcome. That a receiver never saw a message does not accept it.
// 3 §3.5.3
func (h *holding) giveBack() {
	if h.consumer == nil {
		return
	}
	if h.otherwise != queue.Accept && h.otherwise != queue.Release {
		h.consumer.Settle(h.otherwise, hub.Range{From: 1, To: ^uint64(0)})
	}
	h.consumer.Close()
	h.consumer = nil
}

// dispose ends all that a terminus keeps. It is in no set any more.
func (t *terminus) dispose(e *Endpoint) {
	t.giveBack()
	t.standsAt(nil, false)
	t.forgetAll()
	e.termini.parts.Add(-int64(len(t.part.body)))
	t.part = part{}
	if t.queue == "" {
		return
	}
	if _, err := t.host.DeleteQueue(context.Background(), t.access, t.queue, t.origin, false, false); err != nil && hub.CodeOf(err) != hub.NotFound {
		e.logger.Debug("queue of a link was not deleted", "protocol", "amqp10", "queue", t.queue, "error", err)
	}
	t.queue = ""
}

// empty says that nothing would be lost with the terminus: another one can be made of what its next link says.
func (t *terminus) empty() bool {
	return t.consumer == nil && t.node == nil && (t.queue == "" || t.policy == frame.ExpireNever) && t.part.tag == "" && t.carried == nil &&
		(t.memory == nil || t.memory.size() == 0 && (t.memory.sender == nil || t.policy == frame.ExpireNever))
}

// leave ends the link endpoint of a terminus of the connection, which stays for another one or goes.
func (c *connection) leave(t *terminus, how departure) {
	if how == failedLink {
		t.giveBack()
		if how = detachedLink; t.bound || t.node != nil {
			how = closedLink
		}
	}
	switch {
	case t.bound && how == endedConnection, !t.survives(how):
		t.unhold()
		c.endpoint.termini.remove(t)
		t.dispose(c.endpoint)
	case how != stolenLink && t.empty():
		t.unhold()
		c.endpoint.termini.remove(t)
	case how == endedConnection:
		c.endpoint.termini.rest(t, how, c.endpoint.now(), t.patience(c), true)
	default:
		if c.resting == nil {
			c.resting = make(map[*terminus]struct{})
		}
		c.resting[t] = struct{}{}
		c.endpoint.termini.rest(t, how, c.endpoint.now(), t.patience(c), false)
	}
}

// patience is for how many seconds a suspended source may hold deliveries; zero is for ever.
func (t *terminus) patience(c *connection) int64 {
	if t.consumer == nil {
		return 0
	}
	ms, ok := t.consumer.Queue().ConsumerTimeout()
	if !ok {
		ms = c.config.Limits.ConsumerTimeoutMillis
	}
	return (ms + 999) / 1000
}

// restless ends what was only suspended within a session or the connection.
func (c *connection) restless(how departure, s *session) {
	for t := range c.resting {
		if s != nil && t.session != s {
			continue
		}
		t.unhold()
		t.session, t.carried = nil, nil
		delete(c.resting, t)
		c.leave(t, how)
	}
}

// promise settles how long the terminus of a link lives; bound says that its queue goes with the connection. So does all that
// a container without an id has.
func (t *terminus) promise(c *connection, l lifetime, bound bool) error {
	if (bound || c.container == "") && l.lasts() {
		l = lifetime{policy: frame.ExpireConnectionClose}
	}
	if err := c.endpoint.termini.reserve(t, l.lasts(), c.config.Limits.SuspendedLinks, c.config.Limits.SuspendedLinksPerUser); err != nil {
		return err
	}
	t.lifetime, t.bound = l, bound
	t.host, t.access, t.origin = c.host, c.access, c.origin
	return nil
}

// makeLasting makes the queue of a subscription that outlives its link. One that was made for another lifetime is not it.
func (l *outgoing) makeLasting(name string) error {
	c, t := l.session.conn, l.terminus
	spec := object.QueueSpec{Durable: t.durable != frame.DurabilityNone || t.policy == frame.ExpireNever}
	if spec.Durable && t.policy != frame.ExpireNever { // its time goes on after a restart, when nobody else looks at it
		spec.Arguments = object.Arguments{"x-expires": max(int64(t.timeout), 1) * 1000}
	}
	q, err := c.host.Queue(name, c.origin)
	if err == nil {
		old := q.Spec()
		had, _, _ := old.Arguments.Int("x-expires")
		want, _, _ := spec.Arguments.Int("x-expires")
		if old.Durable == spec.Durable && had == want {
			return nil
		}
		t.giveBack()
		if _, err := c.host.DeleteQueue(context.Background(), c.access, name, c.origin, true, false); err != nil {
			return err
		}
	} else if hub.CodeOf(err) != hub.NotFound {
		return err
	}
	_, err = c.host.DeclareQueue(context.Background(), c.access, hub.QueueDeclaration{Name: name, Spec: spec, Origin: c.origin})
	return err
}

// now is the second of the endpoint.
func (e *Endpoint) now() int64 { return int64(e.seconds.Load()) + 1 }

// claim makes the terminus of a link's name the connection's. A link of that name ends where it is. 2 §2.6.1
func (c *connection) claim(name linkName) (*terminus, error) {
	for {
		t, other := c.endpoint.termini.take(name, c)
		if other == nil {
			if c.yield(t) {
				return t, nil
			}
			continue // it did not survive that its link was stolen
		}
		c.log(slog.LevelDebug, "link is stolen", "link", name.name, "from", other.conn.RemoteAddr().String())
		if err := c.steal(name, other); err != nil {
			return nil, err
		}
	}
}

func (c *connection) nameOf(a *frame.Attach) linkName {
	at := container{host: c.host.Name(), user: c.access.User(), id: c.container}
	if at.id == "" {
		at.origin = c.origin
	}
	return linkName{at: unique.Make(at), name: a.Name, role: a.Role}
}

// yield ends the link of a terminus of this connection; false: the terminus is gone with it.
func (c *connection) yield(t *terminus) bool {
	e := stolen(t.name.name)
	if t.name.role == frame.Sender {
		if l := c.links.incoming.get(t.name.name); l != nil {
			l.stolen(e)
		}
	} else if l := c.links.outgoing.get(t.name.name); l != nil {
		l.stolen(e)
	}
	delete(c.resting, t)
	return c.endpoint.termini.has(t.name, c) == t
}

// hand gives up the terminus of a name, which another connection has asked for. The reader calls it.
func (c *connection) hand(name linkName) {
	t := c.endpoint.termini.has(name, c)
	if t == nil || !c.yield(t) {
		return
	}
	t.unhold()
	t.session, t.carried = nil, nil
	c.endpoint.termini.rest(t, stolenLink, c.endpoint.now(), t.patience(c), true)
}
