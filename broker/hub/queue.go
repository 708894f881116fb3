package hub

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// Queue is one queue, or the queue of one MQTT session.
type Queue struct {
	host      *VirtualHost
	name      string
	id        uint64 // in the journal; zero for transient queues
	durable   bool
	auto      bool   // deleted when its last consumer leaves
	exclusive uint64 // origin of the only connection that may use it; zero is everybody
	shard     *shard // owns state when the queue is durable; nil otherwise
	session   *mqttSession
	group     *group // the queue stands for a shared subscription
	spec      object.QueueSpec

	// origin is the connection to which the queue's subscription belongs, for no-local.
	origin atomic.Uint64

	// state belongs to the shard's goroutine when there is a shard, and is guarded by mu when there is none.
	mu     sync.Mutex
	state  *queue.Queue
	closed bool
	// deadLetter is where dead messages go; nil when they are gone. It changes with topic policies.
	deadLetter *deadLetter
	hadUser    bool          // a consumer joined once: an auto-delete queue may go
	soleUser   bool          // the consumer is exclusive
	marked     bool          // the shard will take its effects
	examining  bool          // somebody will call Examine
	lastID     uint64        // of the newest item that was proposed
	declared   bool          // an object of the catalogue
	ebbs       bool          // see DiscardWhenEmpty
	gone       func()        // see QueueDeclaration; nil for nobody
	frozen     chan struct{} // about to be removed: takes no more, and is closed when that is decided; nil otherwise
	timer      *time.Timer   // expires heads; nil when nothing expires
	lease      lease         // x-expires
	held       int64         // what the hub's memory counts for the queue
	settling   settling      // of a shard's queue
	keying     keying
	durability journal.Durability    // of what is stored in it
	dying      map[uint64]queue.Item // durable items on their way to the dead-letter exchange
	inFlight   int                   // proposed and not yet enqueued
	flightSize int64

	live liveState
}

// liveState is what others may read of a queue at any time; its owner stores it after each step.
type liveState struct {
	ready, unacked, consumers     atomic.Int64
	bytes                         atomic.Int64
	published, delivered, settled atomic.Uint64
	timeout                       atomic.Int64 // milliseconds that a consumer may hold a delivery; -1 when the queue does not say
}

// step is one thing to do with a queue, by its owner.
type step func(q *Queue, now int64)

// do runs a step as the queue's owner and returns when it ran; false says that the queue is gone, or that the broker
// stops, and the step did not run.
func (q *Queue) do(f step) bool {
	if q.shard == nil {
		return q.locked(f)
	}
	done := make(chan bool, 1)
	if !q.shard.post(&stepOp{queue: q, step: f, done: done}) {
		return false
	}
	return <-done
}

// doInOrder is do behind the messages that the caller published before.
func (q *Queue) doInOrder(f step) bool {
	if q.shard == nil {
		return q.locked(f)
	}
	done := make(chan bool, 1)
	if !q.shard.post(&stepOp{queue: q, step: f, done: done, ordered: true}) {
		return false
	}
	return <-done
}

// later runs a step as the queue's owner, at once or soon. It is for what nobody waits for.
func (q *Queue) later(f step) {
	if q.shard == nil {
		q.locked(f)
		return
	}
	q.shard.post(&stepOp{queue: q, step: f})
}

func (q *Queue) locked(f step) bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	f(q, q.host.hub.now())
	after := q.effects()
	q.mu.Unlock()
	after.run(q)
	return true
}

// enqueue adds the parts of a publisher's batch to a transient queue, or gives those with QoS 0 to a session. It answers those of
// shared subscriptions whose member has just left: they are for another one.
func (q *Queue) enqueue(now int64, p *Publisher, items []part) (late []part) {
	if q.session != nil {
		items = q.session.direct(p.batch, items)
	}
	if len(items) == 0 || q.shard != nil {
		return nil
	}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		for _, it := range items {
			if it.group != nil {
				late = append(late, it)
			}
		}
		return late
	}
	for i := range items {
		m := &p.batch[items[i].message]
		if q.state.Keeps() || m.Owned {
			m = p.clone(items[i].message) // the batch is used again
		}
		q.state.Enqueue(now, q.item(m, items[i].delivery()))
	}
	after := q.effects()
	q.mu.Unlock()
	after.run(q)
	return nil
}

// newItem makes an item of a message; delivery is its QoS, with flags or without.
func newItem(m *message.Message, delivery uint8) queue.Item {
	return queue.Item{
		Message: m, Size: uint32(m.Size()), Expiry: m.Expiry, Priority: m.Priority,
		QoS: delivery &^ deliveryFlags, Retained: delivery&flagRetained != 0, Shared: delivery&flagShared != 0,
	}
}

// The flags beside the QoS of a delivery: that it replays a retained message, that it came by a shared subscription. They
// are written to the journal.
const (
	flagRetained = 0x80
	flagShared   = 0x20

	deliveryFlags = flagRetained | flagShared
)

// effects delivers what the last steps gave to consumers, and answers what remains to be done without the lock. The
// owner calls it after each step.
func (q *Queue) effects() aftermath {
	var after aftermath
	for more := true; more; more = q.state.More(q.host.hub.now()) {
		gone, dead := q.state.Take(q.deliver)
		if q.shard != nil && len(gone) > 0 {
			q.shard.settled(q, gone)
		}
		if q.shard != nil {
			q.mourn(dead)
			q.shard.returned(q)
		}
		if len(dead) > 0 {
			after.dead, after.to = append(after.dead, dead...), q.deadLetter
		}
	}
	q.state.Answers(q.answer)
	q.arm()
	q.publishState()
	after.examine = q.toExamine()
	if q.auto && q.hadUser && q.frozen == nil && q.state.Active()+q.state.Suspended() == 0 {
		after.remove = true
	}
	after.ebbed = q.ebbed()
	return after
}

// mourn keeps durable items in hand that died, until the dead-letter exchange has them.
func (q *Queue) mourn(dead []queue.Dead) {
	for i := range dead {
		if it := dead[i].Item; it.Durable {
			if q.dying == nil {
				q.dying = make(map[uint64]queue.Item)
			}
			q.dying[it.ID] = it
		}
	}
}

// inHand are the durable items that have left the queue's state and are in the log all the same.
func (q *Queue) inHand() []queue.Item {
	all := slices.Clone(q.settling.rest())
	for _, id := range slices.Sorted(maps.Keys(q.dying)) {
		all = append(all, q.dying[id])
	}
	return all
}

func (q *Queue) deliver(c *queue.Consumer, ds []queue.Delivery) {
	if q.shard != nil {
		q.shard.load(q, ds)
	}
	consumer := c.Of.(*Consumer)
	q.host.hub.stats.Delivered.add(uint64(len(ds)))
	if !consumer.sink.Deliver(consumer, ds) {
		c.Pause(true)
	}
}

func (q *Queue) answer(c *queue.Consumer, s queue.Credit) {
	consumer := c.Of.(*Consumer)
	consumer.sink.(CreditSink).Credit(consumer, s)
}

func (q *Queue) publishState() {
	q.live.ready.Store(int64(q.state.Ready()))
	q.live.unacked.Store(int64(q.state.Unacked()))
	q.live.bytes.Store(q.state.Bytes())
	q.host.hub.bodies.Add(-q.state.Freed())
	if n := q.state.Lost(); n > 0 {
		q.host.hub.stats.Overflowed.add(uint64(n))
	}
	q.live.consumers.Store(int64(q.state.Active()))
	held := q.state.Held()
	q.host.hub.memory.add(held - q.held)
	q.held = held
	p, d, s := q.state.Counters()
	q.live.published.Store(p)
	q.live.delivered.Store(d)
	q.live.settled.Store(s)
}

// arm sets the timer for the next item that expires.
func (q *Queue) arm() {
	at := q.state.Deadline()
	if at == 0 {
		return
	}
	wait := time.Duration(max(at-q.host.hub.now(), 0)+1) * time.Millisecond
	if q.timer == nil {
		q.timer = time.AfterFunc(wait, func() { q.later(func(q *Queue, now int64) { q.state.Pump(now) }) })
		return
	}
	q.timer.Reset(wait)
}

// aftermath is what a step leaves to do once the queue's lock is free.
type aftermath struct {
	dead   []queue.Dead
	to     *deadLetter
	remove bool
	ebbed  bool
	// examine says that the consumers that select or browse have more to look at.
	examine bool
}

func (a aftermath) run(q *Queue) {
	if a.examine {
		q.examineLater()
	}
	if len(a.dead) > 0 {
		a.to.publish(q, a.dead)
	}
	if a.ebbed {
		go q.host.removeEbbed(q) // ends when the queue is gone or was taken up again
	}
	if a.remove {
		// A durable queue is removed through its shard and the catalogue, which must not be waited for by the shard itself.
		go q.host.removeUnused(q) // ends when the queue is gone or was taken up again
	}
}

// Stats is what a queue holds now.
type QueueStats struct{ Ready, Unacked, Consumers int }

// Stats reads the queue's counts without waiting for its owner.
func (q *Queue) Stats() QueueStats {
	return QueueStats{int(q.live.ready.Load()), int(q.live.unacked.Load()), int(q.live.consumers.Load())}
}

// Name is the queue's name, Spec what it was declared with, Exclusive whether one connection owns it.
func (q *Queue) Name() string           { return q.name }
func (q *Queue) Spec() object.QueueSpec { return q.spec }
func (q *Queue) Exclusive() bool        { return q.exclusive != 0 }

// DeadLetterQueue is the queue that messages which die go to through the default exchange; empty for none.
func (q *Queue) DeadLetterQueue() string {
	a := q.arguments()
	key, _, _ := a.Text("x-dead-letter-routing-key")
	if exchange, has, _ := a.Text("x-dead-letter-exchange"); has && exchange == "" {
		return key
	}
	return ""
}

// ConsumerTimeout is for how many milliseconds a consumer may hold a delivery, if the queue says so; zero is for ever.
func (q *Queue) ConsumerTimeout() (ms int64, ok bool) {
	ms = q.live.timeout.Load()
	return ms, ms >= 0
}

// setTimeout follows the queue's arguments.
func (q *Queue) setTimeout(a object.Arguments) {
	ms, ok, _ := a.Int("x-consumer-timeout")
	if !ok {
		ms = -1
	}
	q.live.timeout.Store(ms)
}

// Purge removes the messages that wait and answers how many those were.
func (q *Queue) Purge() (n int) {
	q.doInOrder(func(q *Queue, _ int64) { n = q.state.Purge() })
	return n
}

// hash spreads names over shards; it is part of the format of a data directory, so it is FNV-1a and not maphash.
func hash(parts ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, p := range parts {
		for i := range len(p) {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	return h
}
