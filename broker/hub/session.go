package hub

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/retain"
	"github.com/turnstone-mq/turnstone/broker/router"
	"github.com/turnstone-mq/turnstone/broker/session"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// mqttSession is the state of one MQTT client that outlives its connections: its subscriptions and its queue.
// A persistent session's queue and record belong to a shard and its log; that of a clean session to its connection.
type mqttSession struct {
	host     *VirtualHost
	clientID string
	queue    *Queue
	durable  bool
	attached atomic.Bool // a connection is attached
	full     atomic.Bool // the connection has no room, as far as is known

	mu      sync.Mutex
	epoch   uint64   // grows with each attachment; calls of older ones are void
	current *Session // nil while no connection is attached
	// subscriptions are guarded by mu; those of a persistent session change in its shard alone, with the log.
	subscriptions map[string]router.Options
	expiry        uint32      // seconds that it outlives its connection; session.Never is for ever
	ending        *time.Timer // ends it; nil while a connection is attached, and for sessions that never expire
	closed        bool

	receipts ledger // of messages of QoS 2 that wait for PUBREL

	willing sync.Mutex  // held while what becomes of the will is written
	testate atomic.Bool // the log has a will
}

// Session is one connection's hold on a session. It is void once another connection took the session over.
type Session struct {
	state    *mqttSession
	sink     SessionSink
	access   *auth.Access
	consumer *Consumer
	epoch    uint64
	exchange string
	will     *testament // what the log has of this connection; nil for none
}

// SessionSink is the connection's side of a session. Deliveries with Tag zero need no acknowledgement (QoS 0).
type SessionSink interface {
	Sink
	// Displaced says that another connection took the session over: the connection must end. It must not block.
	Displaced()
}

// SessionOptions of VirtualHost.OpenSession.
type SessionOptions struct {
	ClientID string
	// Clean ends what an earlier session left and makes a new one. [MQTT-3.1.2-6]
	Clean bool
	// Expiry is for how many seconds the session outlives its connection; zero ends it with the connection, session.Never
	// never.
	Expiry uint32
	Access *auth.Access
	Sink   SessionSink
	Origin uint64
	// Limit is how many deliveries may be unsettled at a time.
	Limit int
	// Will is the client's; nil for none. A session that is not persistent does not keep it; see Session.HasWill.
	Will *Will
}

// Subscription is a topic filter with the highest QoS that the client wants.
type Subscription struct {
	Filter string
	router.Options
}

// OpenSession attaches a connection to the session of its client id and displaces the connection that has it. Present
// says that there was a session to continue. Deliveries begin with Resume. [MQTT-3.1.2-4], [MQTT5-3.1.2-5],
// [MQTT5-3.1.2-6], [MQTT-3.1.3-2], [MQTT-3.1.4-3]
func (v *VirtualHost) OpenSession(ctx context.Context, o SessionOptions) (s *Session, present bool, err error) {
	v.opening.Lock(o.ClientID)
	defer v.opening.Unlock(o.ClientID)
	old := v.session(o.ClientID)
	if old != nil {
		old.displace()
		if o.Clean || !old.durable || old.expires() == 0 {
			if err := old.end(ctx); err != nil {
				return nil, false, err
			}
			old = nil
		}
	}
	st := old
	if st == nil {
		if st, err = v.newSession(ctx, o.ClientID, o.Expiry); err != nil {
			return nil, false, err
		}
	} else if err := st.setExpiry(ctx, o.Expiry); err != nil {
		return nil, false, err
	}
	s = st.attach(o)
	if s == nil { // it expired meanwhile
		return nil, false, errorf(Unavailable, "session has just expired")
	}
	if err := s.makeWill(ctx, o.Will); err != nil {
		return nil, false, errors.Join(err, s.Close(ctx))
	}
	return s, old != nil, nil
}

func (s *mqttSession) attach(o SessionOptions) *Session {
	c := &Consumer{Tag: o.ClientID, queue: s.queue, sink: o.Sink}
	if !s.queue.do(func(q *Queue, _ int64) {
		c.state = q.state.Join(queue.ConsumerOptions{Limit: o.Limit, Of: c})
		c.state.Pause(true)
	}) {
		return nil
	}
	s.queue.origin.Store(o.Origin)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopEndLocked()
	s.epoch++
	s.attached.Store(true)
	s.current = &Session{state: s, sink: o.Sink, access: o.Access, consumer: c, epoch: s.epoch, exchange: s.host.hub.Config().MQTT.Exchange}
	return s.current
}

// displace ends the hold of the present connection, if there is one.
func (s *mqttSession) displace() {
	s.mu.Lock()
	old := s.current
	s.current = nil
	s.attached.Store(false)
	s.mu.Unlock()
	if old != nil {
		old.consumer.Close()
		old.sink.Displaced()
	}
}

// direct gives messages of QoS 0 to the attached connection and answers the others. Without a connection they are
// dropped: only those of QoS 1 and 2 must wait for it. [MQTT-3.1.2-5]
func (s *mqttSession) direct(batch []message.Message, items []part) (rest []part) {
	ds := s.host.deliveries.get()
	defer s.host.deliveries.put(ds)
	rest = items[:0]
	for _, it := range items {
		if it.qos > 0 {
			rest = append(rest, it)
			continue
		}
		*ds = append(*ds, queue.Delivery{Item: newItem(&batch[it.message], it.delivery())})
	}
	if len(*ds) == 0 {
		return rest
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		s.host.hub.stats.Dropped.add(uint64(len(*ds)))
		return rest
	}
	if !s.current.sink.Deliver(s.current.consumer, *ds) {
		s.full.Store(true)
	}
	s.host.hub.stats.Delivered.add(uint64(len(*ds)))
	return rest
}

// Resume begins deliveries, and continues them when the connection's outbox has room again.
func (s *Session) Resume() {
	s.state.full.Store(false)
	s.consumer.Resume()
}

// Share lets the session's deliveries take part in a flow.
func (s *Session) Share(f *queue.Flow) { s.consumer.Share(f) }

// Settle ends deliveries by their tags.
func (s *Session) Settle(o queue.Outcome, ranges ...Range) { s.consumer.Settle(o, ranges...) }

// Persistent says that the session outlives the connection.
func (s *Session) Persistent() bool { return s.state.durable && s.state.expires() > 0 }

// Subscriptions are those in force, in the order of their filters.
func (s *Session) Subscriptions() []Subscription { return s.state.list() }

func (s *mqttSession) list() []Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Subscription, 0, len(s.subscriptions))
	for _, f := range slices.Sorted(maps.Keys(s.subscriptions)) {
		out = append(out, Subscription{Filter: f, Options: s.subscriptions[f]})
	}
	return out
}

// Subscribe adds or replaces subscriptions and says of each whether there was one with its filter. When it returns, they
// are in force, and durable if the session is persistent. The caller has asked its Access; filters are valid.
func (s *Session) Subscribe(ctx context.Context, subs []Subscription) (existed []bool, err error) {
	st := s.state
	st.mu.Lock()
	if st.current != s {
		st.mu.Unlock()
		return nil, errTakenOver()
	}
	existed = make([]bool, len(subs))
	total := len(st.subscriptions)
	for i, sub := range subs {
		if _, existed[i] = st.subscriptions[sub.Filter]; !existed[i] {
			total++
		}
	}
	st.mu.Unlock()
	if limit := st.host.hub.Limits().Subscriptions; total > limit {
		return nil, errorf(TooMany, "more than %d subscriptions", limit)
	}
	if err := st.alter(ctx, subs, nil); err != nil {
		return nil, err
	}
	n, err := st.install(subs)
	if err != nil {
		var failed []string
		for _, sub := range subs[n:] {
			failed = append(failed, sub.Filter)
		}
		err = errors.Join(err, st.alter(ctx, nil, failed))
	}
	return existed, err
}

// Unsubscribe ends subscriptions and says of each whether it existed. What the session has of their messages stays.
// [MQTT-3.10.4-3]
func (s *Session) Unsubscribe(ctx context.Context, filters []string) (existed []bool, err error) {
	st := s.state
	st.mu.Lock()
	if st.current != s {
		st.mu.Unlock()
		return nil, errTakenOver()
	}
	existed = make([]bool, len(filters))
	for i, f := range filters {
		_, existed[i] = st.subscriptions[f]
	}
	st.mu.Unlock()
	if err := st.alter(ctx, nil, filters); err != nil {
		return nil, err
	}
	exchange := st.host.hub.Config().MQTT.Exchange
	for i, f := range filters {
		if existed[i] {
			st.unbind(exchange, f)
		}
	}
	return existed, nil
}

func errTakenOver() error { return errorf(Unavailable, "session was taken over") }

// alter remembers subscriptions, after the log if the session is persistent.
func (s *mqttSession) alter(ctx context.Context, added []Subscription, removed []string) error {
	if s.durable {
		return s.record(ctx, added, removed)
	}
	s.remember(added, removed)
	return nil
}

// record makes a change of the session's subscriptions durable, and of how long it lives. The change alone is written: a
// client that subscribes to ten thousand topics one by one writes each of them once.
func (s *mqttSession) record(ctx context.Context, added []Subscription, removed []string) error {
	return s.queue.shard.propose(ctx, &changeOp{session: s, expiry: s.expires(), added: added, removed: removed})
}

// remember notes subscriptions.
func (s *mqttSession) remember(added []Subscription, removed []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subscriptions == nil {
		s.subscriptions = make(map[string]router.Options, len(added))
	}
	for _, sub := range added {
		s.subscriptions[sub.Filter] = sub.Options
	}
	for _, f := range removed {
		delete(s.subscriptions, f)
	}
	if len(s.subscriptions) == 0 {
		s.subscriptions = nil
	}
}

// changeOp writes what changes of a session.
type changeOp struct {
	session *mqttSession
	expiry  uint32
	added   []Subscription
	removed []string
}

func (o *changeOp) append(entry []byte) []byte {
	state := session.State{ClientID: o.session.clientID, QueueID: o.session.queue.id, Expiry: o.expiry}
	if len(o.added) > 0 {
		state.Subscriptions = make(map[string]router.Options, len(o.added))
	}
	for _, sub := range o.added {
		state.Subscriptions[sub.Filter] = sub.Options
	}
	return appendChange(entry, o.session.host.name, state, o.removed)
}

func (o *changeOp) apply(s *shard) {
	if state, ok := s.sessions[o.session]; ok { // else it ended meanwhile
		state.Expiry = o.expiry
		s.sessions[o.session] = state
		o.session.remember(o.added, o.removed)
	}
}

// install brings subscriptions into force, and answers how many are when one cannot be.
func (s *mqttSession) install(subs []Subscription) (n int, err error) {
	exchange := s.host.hub.Config().MQTT.Exchange
	for i, sub := range subs {
		if err := s.bind(exchange, sub.Filter, sub.Options); err != nil {
			return i, err
		}
	}
	return len(subs), nil
}

// bind brings one subscription into force. One of a queue is the connection's to begin: the session only remembers it.
func (s *mqttSession) bind(exchange, filter string, o router.Options) error {
	switch kind, rest, _ := topic.Parse(filter); kind {
	case topic.Shared:
		return s.host.share(exchange, filter, s, o)
	case topic.OfQueue:
		return nil
	case topic.Exclusive:
		if err := s.host.claim(rest, s); err != nil {
			return err
		}
		return s.host.router.Subscribe(exchange, rest, s.queue, o)
	default:
		return s.host.router.Subscribe(exchange, filter, s.queue, o)
	}
}

// unbind is the reverse of bind.
func (s *mqttSession) unbind(exchange, filter string) {
	kind, rest, _ := topic.Parse(filter)
	switch kind {
	case topic.Shared:
		s.host.unshare(filter, s)
		return
	case topic.OfQueue:
		return
	case topic.Exclusive:
		s.host.unclaim(rest, s)
		filter = rest
	}
	if o, ok := s.twin(kind, filter); ok && s.host.router.Subscribe(exchange, filter, s.queue, o) == nil {
		return
	}
	_, gone := s.host.router.Unsubscribe(exchange, filter, s.queue)
	s.host.unbound(gone)
}

// twin is the other one of FILTER and $exclusive/FILTER, if the session has it: the router knows one of the two.
func (s *mqttSession) twin(kind topic.Kind, filter string) (o router.Options, ok bool) {
	if kind == topic.Plain {
		filter = topic.ExclusivePrefix + filter
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok = s.subscriptions[filter]
	return o, ok
}

// Claim reserves the filter of an exclusive subscription for the session; an error says that another one has it.
func (s *Session) Claim(filter string) error { return s.state.host.claim(filter, s.state) }

func (v *VirtualHost) claim(filter string, s *mqttSession) error {
	v.sharing.Lock()
	defer v.sharing.Unlock()
	if owner := v.exclusive[filter]; owner != nil && owner != s {
		return errorf(TooMany, "another client has an exclusive subscription to %q", filter)
	}
	v.exclusive[filter] = s
	return nil
}

func (v *VirtualHost) unclaim(filter string, s *mqttSession) {
	v.sharing.Lock()
	defer v.sharing.Unlock()
	if v.exclusive[filter] == s {
		delete(v.exclusive, filter)
	}
}

// filters are those of the subscriptions, in their order.
func (s *mqttSession) filters() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.subscriptions))
}

// leave ends memberships and claims, and answers the shared subscriptions.
func (s *mqttSession) leave() (shares []string) {
	for _, f := range s.filters() {
		switch kind, rest, _ := topic.Parse(f); kind {
		case topic.Shared:
			s.host.unshare(f, s)
			shares = append(shares, f)
		case topic.Exclusive:
			s.host.unclaim(rest, s)
		}
	}
	return shares
}

// Retained answers a page of the retained messages that match a filter.
func (s *Session) Retained(filter string, after retain.Cursor, limit int) (page []*message.Message, next retain.Cursor, more bool) {
	return s.state.host.retained.Match(filter, after, limit)
}

// Close ends the connection's hold. A clean session ends with it; a persistent one keeps its subscriptions and its queue,
// and what was delivered and not settled goes back to its place. It is idempotent. [MQTT-4.1.0-1], [MQTT-4.1.0-2]
func (s *Session) Close(ctx context.Context) error {
	st := s.state
	st.mu.Lock()
	mine := st.current == s
	if mine {
		st.current = nil
		st.attached.Store(false)
	}
	st.mu.Unlock()
	if !mine {
		return nil
	}
	s.consumer.Close()
	if st.durable && st.expires() > 0 {
		st.awaitEnd()
		return nil
	}
	return st.end(ctx)
}

// end removes the session for good.
func (s *mqttSession) end(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.stopEndLocked()
	s.mu.Unlock()
	if err := s.executeWill(ctx); err != nil {
		s.host.hub.logger.Warn("will of a session was not published", "vhost", s.host.name, "client", s.clientID, "error", err)
	}
	s.completeAll()
	s.passOn(s.leave())
	if s.durable {
		state := session.State{ClientID: s.clientID, QueueID: s.queue.id}
		if err := s.queue.shard.propose(ctx, &sessionOp{session: s, state: state, end: true}); err != nil {
			return err
		}
	}
	s.host.forget(s)
	return nil
}

// sessionOp writes a session's first record, or its end.
type sessionOp struct {
	session *mqttSession
	state   session.State
	end     bool
}

func (o *sessionOp) append(entry []byte) []byte {
	return appendSession(entry, o.session.host.name, o.state, o.end)
}

func (o *sessionOp) apply(s *shard) {
	if o.end {
		delete(s.sessions, o.session)
	} else {
		s.sessions[o.session] = o.state
	}
}

// sessionQueueBit tells the queue ids of sessions, which shards give, from those of the catalogue.
const sessionQueueBit = 1 << 63

// session finds the session of a client id; nil if there is none.
func (v *VirtualHost) session(clientID string) *mqttSession {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.sessions[clientID]
}

func (v *VirtualHost) newSession(ctx context.Context, clientID string, expiry uint32) (*mqttSession, error) {
	s := &mqttSession{host: v, clientID: clientID, durable: expiry > 0, expiry: expiry}
	s.queue = v.sessionQueue(s)
	if s.durable {
		s.queue.shard = v.hub.shardFor(v.name, clientID)
		if err := s.queue.shard.propose(ctx, &adoptOp{sessionOp{session: s, state: session.State{ClientID: clientID, Expiry: expiry}}}); err != nil {
			return nil, err
		}
	}
	v.mu.Lock()
	v.sessions[clientID] = s
	v.mu.Unlock()
	if v.deleted.Load() { // before end listed the sessions, or after
		if err := s.end(ctx); err != nil {
			return nil, err
		}
		return nil, errorf(NotFound, "vhost '%s' was deleted", v.name)
	}
	return s, nil
}

// sessionQueue is the queue of a session: bounded, the oldest message goes first.
func (v *VirtualHost) sessionQueue(s *mqttSession) *Queue {
	limits := v.hub.Config().Limits
	return &Queue{
		host: v, session: s, durable: s.durable, durability: v.hub.durability(nil),
		name:  "mqtt-subscription-" + s.clientID,
		spec:  object.QueueSpec{Durable: s.durable},
		state: queue.New(queue.Options{DeadLetterless: true, SentStays: true, MaxLength: int64(limits.SessionQueueMessages), HasMaxLength: true, MaxBytes: limits.SessionQueueBytes, HasMaxBytes: true}),
	}
}

// adoptOp is the first record of a session: the shard gives its queue an id and owns it from then on.
type adoptOp struct{ sessionOp }

func (o *adoptOp) append(entry []byte) []byte {
	q := o.session.queue
	q.shard.lastID += uint64(len(q.host.hub.shards))
	q.id = q.shard.lastID
	o.state.QueueID = q.id
	return o.sessionOp.append(entry)
}

func (o *adoptOp) apply(s *shard) {
	s.queues[o.session.queue.id] = o.session.queue
	o.sessionOp.apply(s)
}

// forget takes an ended session out of the virtual host.
func (v *VirtualHost) forget(s *mqttSession) {
	v.mu.Lock()
	if v.sessions[s.clientID] == s {
		delete(v.sessions, s.clientID)
	}
	v.mu.Unlock()
	v.unbound(v.router.RemoveTarget(s.queue))
	s.queue.do(func(q *Queue, _ int64) { q.shut() })
}

// Replay puts retained messages into the session's queue, to be delivered with QoS qos at most and the RETAIN flag.
// Those of QoS 0 have no place there.
func (s *Session) Replay(messages []*message.Message, qos uint8) {
	q := s.state.queue
	if len(messages) == 0 {
		return
	}
	if q.shard == nil {
		q.later(func(q *Queue, now int64) {
			for _, m := range messages {
				q.state.Enqueue(now, newItem(m, min(m.QoS, qos)|flagRetained))
			}
		})
		return
	}
	items := make([]enqueued, len(messages))
	for i, m := range messages {
		items[i] = enqueued{message: m, queue: q, qos: min(m.QoS, qos) | flagRetained}
	}
	q.shard.post(&enqueueOp{items: items})
}

// Backlog is how many messages wait in the session's queue.
func (s *Session) Backlog() int { return int(s.state.queue.live.ready.Load()) }
