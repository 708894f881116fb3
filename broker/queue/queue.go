// Package queue is one queue as a state machine: what waits, who holds what, who gets the next message.
//
// A Queue is a value with methods: no goroutine, no lock, no clock, no I/O. Its owner (a shard, or a lock in package hub)
// calls one method at a time and afterwards takes the effects: deliveries by consumer, items that are gone for good,
// items to dead-letter. Time arrives as an argument, in milliseconds since 1970.
package queue

import (
	"math"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/message"
)

// Ref says where the log of the queue's shard holds a message: an entry, and where in it. It is the same on every replica.
// The zero Ref is nowhere.
type Ref struct {
	Index uint64 // of the entry
	At    uint32 // of the command in the entry
	Share uint32 // bytes of the entry that the item keeps alive: queues that share a body share its bytes
}

// Item is one message in one queue.
type Item struct {
	// ID grows by one with each message of the queue and is never reused; order in the queue is the order of IDs.
	ID uint64
	// Message is nil when only the journal holds the body; Ref says where.
	Message *message.Message
	Ref     Ref
	// Expiry is when the item may no longer be delivered; zero is never.
	Expiry int64
	Size   uint32
	Count  uint32 // deliveries that came back
	// Key is of what the queue tells its messages apart by: of the group, or of the last value; zero is none. See Options.
	Key      uint64
	Priority uint8
	QoS      uint8 // of the delivery: what the publish has, lowered to what the binding allows
	Retained bool  // a retained message for a new subscription, not one just published
	Shared   bool  // it came by a shared subscription: another member may have it instead
	Durable  bool  // the journal knows it
	Returned bool  // was delivered before
	// Received: its consumer has it and must not be given it again; only the end of the exchange is missing (QoS 2 of MQTT,
	// between PUBREC and PUBCOMP). It does not expire, and is not dropped for want of room.
	Received bool
	Closes   bool // it is the last one of its group, which may go on with another consumer
}

// Overflow says what happens to a message for which there is no room.
type Overflow uint8

// The overflow rules, as RabbitMQ names them: drop-head, reject-publish, reject-publish-dlx.
const (
	DropHead Overflow = iota
	RejectPublish
	RejectPublishDeadLetter
)

// Options are what a queue's arguments say. The zero value means no limit.
type Options struct {
	MaxLength        int64 // with HasMaxLength: how many messages may wait
	HasMaxLength     bool
	MaxBytes         int64 // with HasMaxBytes: how many bytes of messages may wait
	HasMaxBytes      bool
	Overflow         Overflow
	HasTTL           bool
	TTL              int64  // with HasTTL: milliseconds a message may wait; zero expires what cannot be delivered at once
	DeliveryLimit    uint32 // with HasDeliveryLimit: how often an item may come back
	HasDeliveryLimit bool
	CountReturns     bool // note in items how often they came back; a delivery limit does so anyway
	MaxPriority      uint8
	SingleActive     bool   // one consumer at a time, the others stand by
	DeadLetterless   bool   // there is no dead-letter exchange: dead items are gone for good
	SentStays        bool   // an item of QoS 2 that was delivered does not expire any more
	GroupBuckets     uint32 // items with a Key belong to groups, each of which goes to one consumer; zero is no groups
	GroupsStay       bool   // a consumer that joins gets groups that are new alone
	LastValue        bool   // an item takes the place of the one with its Key that waits
}

// Outcome is what a consumer says of a delivery.
type Outcome uint8

// The outcomes. Requeue counts against the delivery limit, Release does not: the consumer did not look at it. Fail is
// Requeue in a queue that counts what came back even where nothing else makes it.
const (
	Accept Outcome = iota
	Reject
	Requeue
	Release
	Fail
)

// Death is why an item left without being accepted.
type Death uint8

// The deaths, as x-death names them.
const (
	Rejected Death = iota
	Expired
	MaxLen
	DeliveryLimit
)

func (d Death) String() string {
	return [...]string{"rejected", "expired", "maxlen", "delivery_limit"}[d]
}

// Delivery is one item on its way to one consumer. Item.Message is nil when its body must be read from the journal.
// With an acknowledging consumer, Tag is the number of the delivery at that consumer, from 1, without gaps.
type Delivery struct {
	Item
	Tag  uint64
	Note []byte // what those left who had it before; nil for nothing
}

// Dead is an item that left without being accepted.
type Dead struct {
	Item
	Why  Death
	Note []byte // what those left who had it
}

// Queue is the state machine. Make it with New.
type Queue struct {
	options Options
	levels  []level // by priority, one without priorities; nil while there was no item
	ready   int
	bytes   int64 // of ready items
	held    int64 // of items that only memory has: ready and unacked ones that are not durable
	freed   int64 // see Freed
	lost    int64 // see Lost
	unacked int
	next    uint64 // ID of the next item
	unsure  uint64 // items before this one may have been delivered before a restart

	consumers []*Consumer     // in the order in which they joined, highest priority first
	active    int             // consumers that get messages by themselves
	suspended int             // consumers that are
	repeating int             // consumers that are to be given deliveries again
	turn      int             // who is next in the round
	touched   []*Consumer     // consumers with deliveries to take
	asking    []*Consumer     // consumers that are to be told of their credit
	more      bool            // one of them was given as much as Take passes on at a time
	notes     map[uint64]note // by the ID of the item
	groups    *groups         // nil without groups
	arriving  Item            // scratch of taker
	again     bool            // consumers that have looked are to look again, at items with IDs from from on
	from      uint64
	last      map[uint64]uint64 // ID of the newest item that is not done with, by Key; nil while the queue does not index them
	looking   int               // consumers that select or browse
	looked    int               // which of them looks first
	examining bool              // see Examining
	gone      []Item            // durable items that left for good
	returned  []Return          // durable items that came back and of which the log is to know it
	received  []Item            // durable items that were marked so
	dead      []Dead

	published, delivered, settled uint64
}

// New makes an empty queue.
func New(o Options) *Queue {
	q := &Queue{next: 1, options: Options{MaxPriority: o.MaxPriority}}
	q.Configure(o)
	return q
}

// Configure changes the options of a live queue, except for its priorities.
func (q *Queue) Configure(o Options) {
	o.MaxPriority = q.options.MaxPriority
	regroup := o.GroupBuckets != q.options.GroupBuckets
	q.options = o
	if regroup {
		q.regroup()
	}
	if !o.LastValue {
		q.last = nil
	}
	q.trim()
}

// Ready is how many items wait, Unacked how many are with consumers, Bytes the size of those that wait.
func (q *Queue) Ready() int   { return q.ready }
func (q *Queue) Unacked() int { return q.unacked }
func (q *Queue) Bytes() int64 { return q.bytes }

// Consumers is how many consumers there are.
func (q *Queue) Consumers() int { return len(q.consumers) }

// Held is the size of the items that only memory has, waiting or with consumers.
func (q *Queue) Held() int64 { return q.held }

// Active is how many consumers get messages by themselves.
func (q *Queue) Active() int { return q.active }

// Wants says that an item that came now would go to a consumer at once.
func (q *Queue) Wants() bool {
	return q.ready == 0 && slices.ContainsFunc(q.consumers, func(c *Consumer) bool { return !c.selects() && c.wants() })
}

// Keeps says that an item that came now would stay, to wait or to be acknowledged. A queue may still keep an item when it
// says no, but seldom does.
func (q *Queue) Keeps() bool {
	return q.ready > 0 || !slices.ContainsFunc(q.consumers, func(c *Consumer) bool { return c.noAck && !c.selects() && c.wants() })
}

// EachConsumer calls fn for every consumer.
func (q *Queue) EachConsumer(fn func(*Consumer)) {
	for _, c := range q.consumers {
		fn(c)
	}
}

// Counters are totals since the queue was made.
func (q *Queue) Counters() (published, delivered, settled uint64) {
	return q.published, q.delivered, q.settled
}

// NextID is the ID that the next item gets.
func (q *Queue) NextID() uint64 { return q.next }

// Full says that the overflow rule refuses more; pending items are those on their way, not enqueued yet.
func (q *Queue) Full(pending int, pendingBytes int64) bool {
	if q.options.Overflow == DropHead {
		return false
	}
	return q.options.HasMaxLength && int64(q.ready+pending) >= q.options.MaxLength ||
		q.options.HasMaxBytes && q.bytes+pendingBytes >= q.options.MaxBytes
}

// DeadLetterOnReject says that a refused publish goes to the dead-letter exchange.
func (q *Queue) DeadLetterOnReject() bool { return q.options.Overflow == RejectPublishDeadLetter }

// Enqueue adds an item. An ID of zero gets the next one; others are those of the journal, and an ID that is not new is
// put in its place. An item that a consumer takes at once, without having to acknowledge it, is never copied; otherwise
// the queue keeps a clone of its message.
func (q *Queue) Enqueue(now int64, it Item) {
	if it.ID == 0 {
		it.ID = q.next
	}
	q.published++
	q.admit(now, &it)
	if q.ready == 0 {
		if c := q.taker(&it); c != nil {
			if q.last != nil && it.Key != 0 {
				q.last[it.Key] = it.ID
			}
			q.give(c, &it)
			return
		}
	}
	if it.Expiry != 0 && it.Expiry <= now {
		q.die(it, Expired)
		return
	}
	q.put(it)
	q.Pump(now)
	q.trim()
}

// taker is who gets an item that comes while none waits, at once.
func (q *Queue) taker(it *Item) *Consumer {
	switch {
	case q.looking == 0:
		return q.chosen(nil)
	case q.groups != nil:
		q.arriving = *it // it is shown to filters, for which every item would have to be allocated
		c := q.chosen(&q.arriving)
		q.arriving = Item{}
		return c
	}
	return nil
}

// Restore adds an item that the journal has, as it was at the time of its enqueue: nothing is delivered or dropped.
func (q *Queue) Restore(now int64, it Item) {
	q.admit(now, &it)
	q.put(it)
}

// Restored says that the items that are there were restored, and that nobody knows which of them were delivered before:
// they count as returned.
func (q *Queue) Restored() { q.unsure = q.next }

// admit takes note of an item's ID and limits its life to the queue's.
func (q *Queue) admit(now int64, it *Item) {
	q.next = max(q.next, it.ID+1)
	if !it.Durable {
		q.held += int64(it.Size)
	}
	if q.options.HasTTL {
		if at := now + q.options.TTL; it.Expiry == 0 || at < it.Expiry {
			it.Expiry = at
		}
	}
}

// put adds an item to those that wait, in the place of its ID: their order is that of the publishes, also of those that
// came back. [MQTT-4.6.0-5], [MQTT-4.6.0-6]
func (q *Queue) put(it Item) {
	if q.last != nil && it.Key != 0 && !q.supersede(&it) {
		return
	}
	it.own()
	l := q.level(it.Priority)
	n := l.len()
	l.insert(it)
	q.ready += l.len() - n
	q.bytes += int64(it.Size)
	q.freed += l.freed
	l.freed = 0
	q.cameBack(min(int(it.Priority), len(q.levels)-1), it.ID)
}

func (q *Queue) level(priority uint8) *level {
	if q.levels == nil {
		q.levels = make([]level, int(q.options.MaxPriority)+1)
		for i := range q.levels {
			q.levels[i].packs = q.options.LastValue
		}
	}
	return &q.levels[min(int(priority), len(q.levels)-1)]
}

// Freed answers how many bytes of bodies the queue has let go of since the last call: the log has them.
func (q *Queue) Freed() int64 {
	n := q.freed
	q.freed = 0
	return n
}

// Lost answers how many items went for good since the last call because there was no room.
func (q *Queue) Lost() int64 {
	n := q.lost
	q.lost = 0
	return n
}

func (it *Item) own() {
	if it.Message != nil && !it.Message.Owned {
		it.Message = it.Message.Clone()
	}
}

// trim drops from the head what is over the limits. Refusing publishes is up to the caller (Full), and a limit that
// was lowered does not take back what was accepted under a refusing rule.
func (q *Queue) trim() {
	if q.options.Overflow != DropHead {
		return
	}
	var received []Item // those wait at the head
	for q.ready > 0 && q.over() {
		if it := q.take(q.lowest()); it.Received {
			received = append(received, it)
		} else {
			q.die(it, MaxLen)
		}
	}
	for _, it := range received {
		q.put(it)
	}
}

// over says that more waits than the limits allow.
func (q *Queue) over() bool {
	return q.options.HasMaxLength && int64(q.ready) > q.options.MaxLength || q.options.HasMaxBytes && q.bytes > q.options.MaxBytes
}

// lowest and highest are the levels of least and most priority that hold items.
func (q *Queue) lowest() *level {
	for i := range q.levels {
		if q.levels[i].len() > 0 {
			return &q.levels[i]
		}
	}
	return nil
}

func (q *Queue) highest() *level {
	for i := len(q.levels) - 1; i >= 0; i-- {
		if q.levels[i].len() > 0 {
			return &q.levels[i]
		}
	}
	return nil
}

func (q *Queue) take(d *level) Item {
	it := d.popFront()
	q.ready--
	q.bytes -= int64(it.Size)
	return it
}

// Pump expires what is due at the heads and gives what waits to consumers with credit. [MQTT5-3.3.2-5]
func (q *Queue) Pump(now int64) {
	if q.options.LastValue && q.last == nil {
		q.index()
	}
	if q.again {
		q.rewind()
	}
	q.expire(now)
	if q.repeating > 0 {
		q.repeat()
	}
	q.serve(now)
	if q.looking > 0 && !q.examining {
		q.examine(now)
	}
}

// serve gives what is at the heads to whoever takes it.
func (q *Queue) serve(now int64) {
	for q.ready > 0 {
		d := q.highest()
		if at := d.front().Expiry; at != 0 && at <= now {
			q.die(q.take(d), Expired)
			continue
		}
		c := q.chosen(d.front())
		if c == nil {
			return
		}
		it := q.take(d)
		q.give(c, &it)
	}
}

func (q *Queue) expire(now int64) {
	for i := range q.levels {
		for d := &q.levels[i]; d.len() > 0 && d.front().Expiry != 0 && d.front().Expiry <= now; {
			q.die(q.take(d), Expired)
		}
	}
}

// Deadline is when Pump should be called next because an item at a head expires; zero is never.
func (q *Queue) Deadline() int64 {
	at := int64(math.MaxInt64)
	for i := range q.levels {
		if d := &q.levels[i]; d.len() > 0 && d.front().Expiry != 0 {
			at = min(at, d.front().Expiry)
		}
	}
	if at == math.MaxInt64 {
		return 0
	}
	return at
}

// give hands a copy of an item to a consumer.
func (q *Queue) give(c *Consumer, it *Item) {
	q.delivered++
	if it.ID < q.unsure {
		it.Returned = true
	}
	if q.groups != nil && it.Key != 0 {
		q.groups.given(q, c, it)
	}
	if c.noAck {
		c.offer(it, 0)
		q.leave(it)
		return
	}
	it.own()
	q.unacked++
	c.offer(it, c.hold(*it))
}

// leave records that an item is done with.
func (q *Queue) leave(it *Item) {
	q.settled++
	q.forget(it)
	if it.Durable {
		q.gone = append(q.gone, *it)
	} else {
		q.held -= int64(it.Size)
	}
}

func (q *Queue) die(it Item, why Death) {
	if q.options.DeadLetterless {
		if why == MaxLen {
			q.lost++
		}
		q.leave(&it)
		return
	}
	it.own()
	q.settled++
	left := q.noted(it.ID)
	q.forget(&it)
	if !it.Durable {
		q.held -= int64(it.Size)
	}
	q.dead = append(q.dead, Dead{Item: it, Why: why, Note: left})
}

// Purge removes everything that waits and answers how many items that were.
func (q *Queue) Purge() int {
	n := q.ready
	for d := q.highest(); d != nil; d = q.highest() {
		it := q.take(d)
		q.leave(&it)
	}
	return n
}

// Remove takes away the items with IDs from first to last that wait, as the log says that they were settled, and calls fn
// for each.
func (q *Queue) Remove(first, last uint64, fn func(*Item)) {
	for i := range q.levels {
		q.levels[i].removeRange(first, last, func(it *Item) {
			q.ready--
			q.bytes -= int64(it.Size)
			q.forget(it)
			if !it.Durable {
				q.held -= int64(it.Size)
			}
			fn(it)
		})
	}
}

// Each calls fn for every item that waits or is with a consumer; fn must not change it.
func (q *Queue) Each(fn func(*Item)) {
	for i := range q.levels {
		q.levels[i].each(fn)
	}
	for _, c := range q.consumers {
		c.each(fn)
	}
}

// EachRef calls fn for the place of every durable item, waiting or with a consumer, that lies in entries from first to
// last. Packed items far from those are not looked at.
func (q *Queue) EachRef(first, last uint64, fn func(Ref)) {
	within := func(it *Item) {
		if it.Durable && it.Ref.Index >= first && it.Ref.Index <= last {
			fn(it.Ref)
		}
	}
	for i := range q.levels {
		q.levels[i].eachIn(first, last, within)
	}
	for _, c := range q.consumers {
		c.each(within)
	}
}

// Take calls deliver for each consumer with new deliveries, and answers the durable items that left for good and the
// dead ones, for which the owner has yet to find a place; those are not among the former. All of it is valid until the
// next call of a method. Take is called until More says that there is none: in between, deliver may pause a consumer.
func (q *Queue) Take(deliver func(*Consumer, []Delivery)) (gone []Item, dead []Dead) {
	for _, c := range q.touched {
		if c.gone {
			continue
		}
		deliver(c, c.pending)
	}
	for i, c := range q.touched {
		clear(c.pending)
		c.pending, c.offered = c.pending[:0], 0
		q.touched[i] = nil
	}
	q.touched = q.touched[:0]
	gone, dead = q.gone, q.dead
	q.gone, q.dead = q.gone[:0], q.dead[:0]
	return gone, dead
}

// Receive marks deliveries as received, those of tags from to to that the consumer still holds.
func (q *Queue) Receive(c *Consumer, from, to uint64) {
	c.held.look(from, to, func(it *Item) {
		if it.Received {
			return
		}
		it.Received, it.Expiry = true, 0
		if it.Durable {
			q.received = append(q.received, *it)
		}
	})
}

// TakeReceived answers the durable items that were marked since the last call: the log must know them. It is valid until
// the next call of a method.
func (q *Queue) TakeReceived() []Item {
	r := q.received
	q.received = q.received[:0]
	return r
}

// Mark marks items with IDs from first to last that wait as received, as the log says.
func (q *Queue) Mark(first, last uint64) {
	var found []Item
	q.Remove(first, last, func(it *Item) { found = append(found, *it) })
	for _, it := range found {
		it.Received, it.Returned, it.Expiry = true, true, 0
		q.put(it)
	}
}

// More gives what waits to consumers that took all that one Take passes on, and says whether there is something to take.
func (q *Queue) More(now int64) bool {
	if !q.more {
		return false
	}
	q.more = false
	q.Pump(now)
	return len(q.touched) > 0
}
