package hub

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/retain"
	"github.com/turnstone-mq/turnstone/broker/router"
	sessions "github.com/turnstone-mq/turnstone/broker/session"
)

// session is the state of one MQTT client that outlives its connections: its subscriptions and its queue.
// A persistent session's queue and record belong to a shard and its log; that of a clean session to its connection.
type session struct {
	host     *VirtualHost
	clientID string
	queue    *Queue
	durable  bool

	mu            sync.Mutex
	epoch         uint64   // grows with each attachment; calls of older ones are void
	current       *Session // nil while no connection is attached
	subscriptions map[string]router.Options
	closed        bool
}

// Session is one connection's hold on a session. It is void once another connection took the session over.
type Session struct {
	*session
	sink     SessionSink
	access   *auth.Access
	consumer *Consumer
	epoch    uint64
	exchange string
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
	// Clean ends what an earlier session left and makes one that ends with its connection.
	Clean  bool
	Access *auth.Access
	Sink   SessionSink
	Origin uint64
	// Limit is how many deliveries may be unsettled at a time.
	Limit int
}

// Subscription is a topic filter with the highest QoS that the client wants.
type Subscription struct {
	Filter string
	router.Options
}

// OpenSession attaches a connection to the session of its client id and displaces the connection that has it. Present
// says that there was a session to continue. Deliveries begin with Resume.
func (v *VirtualHost) OpenSession(ctx context.Context, o SessionOptions) (s *Session, present bool, err error) {
	v.opening.Lock(o.ClientID)
	defer v.opening.Unlock(o.ClientID)
	old := v.session(o.ClientID)
	if old != nil {
		old.displace()
		if o.Clean || !old.durable {
			if err := old.end(ctx); err != nil {
				return nil, false, err
			}
			old = nil
		}
	}
	st := old
	if st == nil {
		if st, err = v.newSession(ctx, o.ClientID, !o.Clean); err != nil {
			return nil, false, err
		}
	}
	return st.attach(o), old != nil, nil
}

func (s *session) attach(o SessionOptions) *Session {
	c := &Consumer{Tag: o.ClientID, queue: s.queue, sink: o.Sink}
	s.queue.do(func(q *Queue, _ int64) {
		c.state = q.state.Join(queue.ConsumerOptions{Limit: o.Limit, Of: c})
		c.state.Pause(true)
	})
	s.queue.origin.Store(o.Origin)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	s.current = &Session{session: s, sink: o.Sink, access: o.Access, consumer: c, epoch: s.epoch, exchange: s.host.hub.Config().MQTT.Exchange}
	return s.current
}

// displace ends the hold of the present connection, if there is one.
func (s *session) displace() {
	s.mu.Lock()
	old := s.current
	s.current = nil
	s.mu.Unlock()
	if old != nil {
		old.consumer.Close()
		old.sink.Displaced()
	}
}

// direct gives messages of QoS 0 to the attached connection and answers the others. Without a connection they are
// dropped, as MQTT allows for QoS 0. [MQTT-3.1.2-5 leaves storing them to the server]
func (s *session) direct(batch []message.Message, items []part) (rest []part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ds []queue.Delivery
	rest = items[:0]
	for _, it := range items {
		if it.qos > 0 {
			rest = append(rest, it)
			continue
		}
		if s.current != nil {
			if ds == nil {
				ds = s.host.deliveries.get()
			}
			ds = append(ds, queue.Delivery{Item: newItem(&batch[it.message], 0)})
		}
	}
	if ds != nil {
		s.current.sink.Deliver(s.current.consumer, ds)
		s.host.deliveries.put(ds)
	}
	return rest
}

// Resume begins deliveries, and continues them when the connection's outbox has room again.
func (s *Session) Resume() { s.consumer.Resume() }

// Settle ends deliveries by their tags.
func (s *Session) Settle(o queue.Outcome, ranges ...Range) { s.consumer.Settle(o, ranges...) }

// Persistent says that the session outlives the connection.
func (s *Session) Persistent() bool { return s.durable }

// Subscriptions are those in force, in the order of their filters.
func (s *Session) Subscriptions() []Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Subscription, 0, len(s.subscriptions))
	for _, f := range slices.Sorted(maps.Keys(s.subscriptions)) {
		out = append(out, Subscription{Filter: f, Options: s.subscriptions[f]})
	}
	return out
}

// Subscribe adds or replaces subscriptions. When it returns, they are in force, and durable if the session is
// persistent. The caller has asked its Access; filters are valid.
func (s *Session) Subscribe(ctx context.Context, subs []Subscription) error {
	limit := s.host.hub.Config().Limits.Subscriptions
	return s.change(ctx, func(next map[string]router.Options) error {
		for _, sub := range subs {
			next[sub.Filter] = sub.Options
		}
		if len(next) > limit {
			return errorf(TooMany, "more than %d subscriptions", limit)
		}
		return nil
	})
}

// Unsubscribe ends subscriptions; those that do not exist are passed over.
func (s *Session) Unsubscribe(ctx context.Context, filters []string) error {
	return s.change(ctx, func(next map[string]router.Options) error {
		for _, f := range filters {
			delete(next, f)
		}
		return nil
	})
}

func (s *Session) change(ctx context.Context, edit func(map[string]router.Options) error) error {
	s.mu.Lock()
	if s.current != s {
		s.mu.Unlock()
		return errorf(Unavailable, "session was taken over")
	}
	old := s.subscriptions
	s.mu.Unlock()
	next := maps.Clone(old)
	if next == nil {
		next = make(map[string]router.Options)
	}
	if err := edit(next); err != nil {
		return err
	}
	if s.durable {
		record := sessions.State{ClientID: s.clientID, QueueID: s.queue.id, Subscriptions: next}
		if err := s.queue.shard.propose(ctx, &sessionOp{host: s.host, state: record}); err != nil {
			return err
		}
	}
	return s.install(old, next)
}

// install brings the router from the old subscriptions to the next ones.
func (s *session) install(old, next map[string]router.Options) error {
	exchange := s.host.hub.Config().MQTT.Exchange
	for f, o := range next {
		if was, ok := old[f]; ok && was == o {
			continue
		}
		if err := s.host.router.Subscribe(exchange, f, s.queue, o); err != nil {
			return err
		}
	}
	for f := range old {
		if _, ok := next[f]; !ok {
			s.host.router.Unsubscribe(exchange, f, s.queue)
		}
	}
	s.mu.Lock()
	s.subscriptions = next
	s.mu.Unlock()
	return nil
}

// Retained answers a page of the retained messages that match a filter.
func (s *Session) Retained(filter string, after retain.Cursor, limit int) (page []*message.Message, next retain.Cursor, more bool) {
	return s.host.retained.Match(filter, after, limit)
}

// Close ends the connection's hold. A clean session ends with it; a persistent one keeps its subscriptions and its queue,
// and what was delivered and not settled goes back to its place. It is idempotent.
func (s *Session) Close(ctx context.Context) error {
	s.session.mu.Lock()
	mine := s.current == s
	if mine {
		s.current = nil
	}
	s.session.mu.Unlock()
	if !mine {
		return nil
	}
	s.consumer.Close()
	if s.durable {
		return nil
	}
	return s.session.end(ctx)
}

// end removes the session for good.
func (s *session) end(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	if s.durable {
		if err := s.queue.shard.propose(ctx, &sessionOp{host: s.host, state: sessions.State{ClientID: s.clientID}, end: true}); err != nil {
			return err
		}
	}
	s.host.forget(s)
	return nil
}
