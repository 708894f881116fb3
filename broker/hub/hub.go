// Package hub is the broker without a protocol: virtual hosts with exchanges, queues, sessions and retained messages;
// publish, consume, settle, declare. Endpoints translate their protocol into its calls and its effects into frames.
//
// # How a message travels
//
// A connection's reader parses everything that one read of the socket brought. For each message it asks its Publisher
// for the Route of (exchange, key), which is cached, and calls Publish; at the end it calls Flush once. Flush hands
// every touched queue its messages as one batch. A transient queue is guarded by a lock: the publisher's own goroutine
// enqueues and delivers, and nothing is copied when a consumer takes the message at once. A durable queue belongs to one
// shard: a goroutine with a raft group. The shard proposes the batch as one entry, and when the entry is durable and
// committed, applies it: enqueue, deliver, and only then confirm.
//
// # What an acknowledgement means
//
// Publisher.Options.Confirmed is called when every queue that a message was routed to has it: for durable messages in
// durable queues and sessions after the fsync that covers them, otherwise when it is in memory. It is the same for MQTT
// PUBACK and AMQP confirms.
//
// # Who calls whom, with which locks
//
// A Sink is called by the goroutine that owns the queue, with the queue's lock held: it appends to its connection's
// outbox and returns. An endpoint therefore never calls the hub while it holds a lock that its Sink or its Confirmed
// callback takes.
package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/cluster"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/router"
)

// Options of Open.
type Options struct {
	Config config.Config
	// FS and Dir are where the journal lives.
	FS  vfs.FS
	Dir string
	// Incarnation identifies the data directory; the admin API tells it, so that a lost directory is noticed.
	Incarnation string
	Logger      *slog.Logger
	// Fatal is called when the journal cannot go on (an fsync failed or does not end): the process must end, without a clean
	// stop.
	Fatal func(error)
	// DeadLetter makes the message that goes to a dead-letter exchange from the one that died. Nil passes it on unchanged.
	DeadLetter func(*message.Message, Death) Dead
	// Attributes are what exchanges see of a message that was delayed, which is routed when its protocol's endpoint is no
	// longer there. Nil: they see none.
	Attributes func(*message.Message) router.Attributes
	// Group answers the group of a message, nil for none, and whether the message is the last one of it. Nil: there are no
	// groups.
	Group func(*message.Message) (id []byte, closes bool)
	// Header answers a header of a message as text; nil when it has none of that name. Nil: no message has headers.
	Header func(m *message.Message, name string) []byte
	// JSONProperties are those of messages of the hub's own whose payload is JSON, as MQTT has them.
	JSONProperties []byte
	// Now is the clock in milliseconds since 1970; nil is the real one.
	Now func() int64
}

// Death says how a message died, for the dead-letter header of the protocol.
type Death struct {
	Queue, Exchange, RoutingKey string // where it died, and as what it had been published
	Reason                      string // rejected, expired, maxlen, delivery_limit
	At                          int64  // milliseconds since 1970
	Rekeyed                     bool   // the queue's x-dead-letter-routing-key takes the place of the message's keys
	Note                        []byte // what consumers left on the message, see queue.Delivery
}

// Dead is a message for a dead-letter exchange.
type Dead struct {
	Message    *message.Message
	Also       []string                // its further keys
	Attributes router.Attributes       // nil: none
	Cycle      func(queue string) bool // the queues that it must not come to again; nil: none
}

// ReasonRejected is the reason of a death at a consumer's wish.
const ReasonRejected = "rejected"

// Hub is one running broker. Its methods are safe for concurrent use.
type Hub struct {
	config         atomic.Pointer[config.Config]
	incarnation    string
	jsonProperties []byte
	logger         *slog.Logger
	now            func() int64
	deadLetter     func(*message.Message, Death) Dead
	attributes     func(*message.Message) router.Attributes
	group          func(*message.Message) (id []byte, closes bool)
	header         func(m *message.Message, name string) []byte
	journal        *journal.Journal
	store          *cluster.Store
	shards         []*shard
	authority      *auth.Authority
	stats          Stats
	origins        atomic.Uint64

	memory *memory
	disk   gate
	bodies atomic.Int64 // bytes of durable bodies that queues hold in memory

	fleeting inMemory
	clock    clock

	meta    meta
	watches watches
	events  *events

	mu     sync.RWMutex
	hosts  map[string]*VirtualHost
	closed bool

	stop    chan struct{} // closed by Close
	running sync.WaitGroup
}

// ErrClosed is the error of calls to a hub that was closed.
var ErrClosed = errors.New("broker is stopping")

// Open recovers what the journal in o.Dir holds and starts to serve it.
func Open(o Options) (*Hub, error) {
	h := &Hub{
		incarnation:    o.Incarnation,
		jsonProperties: o.JSONProperties,
		logger:         o.Logger,
		now:            o.Now,
		deadLetter:     o.DeadLetter,
		group:          o.Group,
		header:         o.Header,
		attributes:     o.Attributes,
		hosts:          make(map[string]*VirtualHost),
		stop:           make(chan struct{}),
		events:         newEvents(),
	}
	if h.logger == nil {
		h.logger = slog.New(slog.DiscardHandler)
	}
	if h.now == nil {
		h.now = func() int64 { return time.Now().UnixMilli() }
	}
	h.fleeting.hub, h.clock = h, clock{hub: h, sooner: make(chan struct{}, 1)}
	h.config.Store(&o.Config)
	h.memory = newMemory(func() int64 { return h.config.Load().Limits.MemoryBytes })
	h.authority = auth.New(func() config.Config { return *h.config.Load() })
	h.meta.state = catalog.New()
	stopped := make(chan error, 2) // the journal may fail and hang
	fatal := func(err error) {
		stopped <- err
		if o.Fatal != nil {
			o.Fatal(err)
		}
	}
	if d := o.Config.Storage.Durability; d == config.DurabilityInterval || d == config.DurabilityNone {
		h.logger.Warn("stored messages are confirmed before they are durable: a crash of the machine may lose them", "storage.durability", d)
	}
	j, err := journal.Open(journal.Options{
		FS: o.FS, Dir: o.Dir, SegmentBytes: o.Config.Storage.SegmentBytes, SyncEvery: time.Duration(o.Config.Storage.SyncIntervalMillis) * time.Millisecond,
		Logger: h.logger, OnFatal: fatal,
	})
	if err != nil {
		return nil, err
	}
	h.journal = j
	if err := h.recover(o); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	debug.FreeOSMemory()                    // recovery has read whole segments, which is not what the broker will need
	h.running.Go(func() { h.watch(fatal) }) // ends when stop is closed
	h.running.Go(h.publishEvents)           // ends when events is closed
	if err := h.start(stopped); err != nil {
		return nil, errors.Join(err, h.Close(context.Background()))
	}
	if err := h.ensureDefaults(); err != nil {
		return nil, errors.Join(err, h.Close(context.Background()))
	}
	return h, nil
}

// start lets the groups take part and waits until they take proposals.
func (h *Hub) start(stopped <-chan error) error {
	if err := h.meta.group.Start(); err != nil {
		return err
	}
	h.running.Go(func() { h.meta.loop.Run(h.meta.group) }) // ends when Close closes the loop
	for _, s := range h.shards {
		if err := s.group.Start(); err != nil {
			return err
		}
		s.started.Store(true)
		h.running.Go(s.run) // ends when Close closes its inbox
	}
	h.running.Go(h.clean) // ends when stop is closed
	waiting := []<-chan struct{}{h.meta.leads}
	for _, s := range h.shards {
		waiting = append(waiting, s.leads)
	}
	for _, leads := range waiting {
		select {
		case <-leads:
		case err := <-stopped:
			return fmt.Errorf("journal cannot go on: %w", err)
		}
	}
	if err := h.finishTransactions(); err != nil {
		return err
	}
	if err := h.disownStrangers(); err != nil {
		return err
	}
	for _, s := range h.shards {
		s.post(&orphansOp{})
	}
	h.running.Go(h.clock.run) // ends when stop is closed
	h.clock.runs = true
	return nil
}

// ensureDefaults makes the virtual host "/" in a new data directory.
func (h *Hub) ensureDefaults() error {
	if h.meta.revision() > 0 {
		return nil
	}
	root, err := object.New(object.KindVirtualHost, "", object.DefaultVirtualHost, object.VirtualHostSpec{})
	if err != nil {
		return err
	}
	results, err := h.Apply(context.Background(), "", []object.Change{{Object: root}}, ApplyOptions{})
	if err == nil && results[0].Outcome == object.Refused {
		err = fmt.Errorf("create virtual host /: %s", results[0].Message)
	}
	return err
}

// Close stops: nothing is accepted any more, what was accepted becomes durable, then the journal is closed. Connections
// should have been ended before. It is idempotent.
func (h *Hub) Close(context.Context) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	hosts := slices.Collect(maps.Values(h.hosts))
	h.mu.Unlock()
	h.events.close() // while the shards still take what is published
	for _, v := range hosts {
		v.endWaits()
	}
	if h.clock.runs {
		for _, s := range h.shards {
			s.move() // wills of connections that have just ended
		}
	}
	close(h.stop)
	h.watches.close()
	for _, s := range h.shards {
		s.inbox.close()
	}
	h.meta.loop.Close()
	h.running.Wait()
	return h.journal.Close()
}

// Config is the configuration in force.
func (h *Hub) Config() config.Config { return *h.config.Load() }

// Configuration is Config without a copy. It is shared, and must not be changed.
func (h *Hub) Configuration() *config.Config { return h.config.Load() }

// Limits are those in force now. They are shared, and must not be changed.
func (h *Hub) Limits() *config.Limits { return &h.config.Load().Limits }

// Reconfigure puts the live keys of a configuration into force.
func (h *Hub) Reconfigure(c config.Config) {
	merged := config.Merge(h.Config(), c)
	h.config.Store(&merged)
}

// Authority decides who may connect and do what.
func (h *Hub) Authority() *auth.Authority { return h.authority }

// Incarnation identifies the data directory.
func (h *Hub) Incarnation() string { return h.incarnation }

// NewOrigin is a number for a connection, for no-local and exclusive queues. Numbers are never reused in a process.
func (h *Hub) NewOrigin() uint64 { return h.origins.Add(1) }

// VirtualHost finds a virtual host by name.
func (h *Hub) VirtualHost(name string) (*VirtualHost, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return nil, ErrClosed
	}
	v := h.hosts[name]
	if v == nil {
		return nil, errorf(NotFound, "vhost %q not found", name)
	}
	return v, nil
}

// Code says what kind of failure an Error is; endpoints map it to their protocol's code.
type Code uint8

// The codes.
const (
	NotFound     Code = iota + 1 // no such virtual host, exchange, queue, consumer
	Refused                      // access denied
	Precondition                 // exists with other properties, not empty, in use
	Locked                       // exclusive to another connection
	Invalid                      // the request itself is wrong
	Unavailable                  // cannot be stored now: full disk, stopping
	TooMany                      // a limit is reached
	TooFast                      // a rate is exceeded: what came is not taken
	Excess                       // a rate is exceeded, and the connection is to end
	BadTopic                     // a topic that is no topic, or that nothing may be published to
)

// Error is a failure of one call; what the hub holds is as before.
type Error struct {
	Code Code
	Text string // a clause without a final stop, fit for a client
}

func (e *Error) Error() string { return e.Text }

func errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Text: fmt.Sprintf(format, args...)}
}

// CodeOf is the code of an error of this package or of an access decision; zero for others.
func CodeOf(err error) Code {
	if err == nil { // asked for each message: what follows allocates
		return 0
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	var d *auth.Denied
	if errors.As(err, &d) {
		return Refused
	}
	return 0
}

// queueOptions reads the arguments that the queue's state machine obeys; the catalogue has validated them.
func queueOptions(a object.Arguments) queue.Options {
	o := queue.Options{DeadLetterless: true}
	o.MaxLength, o.HasMaxLength, _ = a.Int("x-max-length")
	o.MaxBytes, o.HasMaxBytes, _ = a.Int("x-max-length-bytes")
	o.TTL, o.HasTTL, _ = a.Int("x-message-ttl")
	if n, ok, _ := a.Int("x-delivery-limit"); ok && n >= 0 {
		o.DeliveryLimit, o.HasDeliveryLimit = uint32(n), true
	}
	kind, _, _ := a.Text("x-queue-type")
	o.CountReturns = kind == "quorum"
	if n, _, _ := a.Int("x-max-priority"); n > 0 {
		o.MaxPriority = uint8(min(n, 255))
	}
	o.SingleActive, _, _ = a.Bool("x-single-active-consumer")
	k := keyingOf(a)
	o.LastValue = k.header != ""
	if n, _, _ := a.Int("x-group-buckets"); k.groups {
		o.GroupBuckets = uint32(min(n, object.MaxGroupBuckets))
	}
	if moves, said, _ := a.Bool("x-group-rebalance"); said {
		o.GroupsStay = !moves
	}
	switch s, _, _ := a.Text("x-overflow"); s {
	case "reject-publish":
		o.Overflow = queue.RejectPublish
	case "reject-publish-dlx":
		o.Overflow = queue.RejectPublishDeadLetter
	}
	if _, ok := a["x-dead-letter-exchange"]; ok {
		o.DeadLetterless = false
	}
	return o
}
