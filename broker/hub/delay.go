package hub

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/router"
	"github.com/turnstone-mq/turnstone/broker/schedule"
)

// A message can be published now and go where it is routed to later. Until then a durable one waits in the log of a shard,
// of which the shard keeps the place and the time; others wait in memory. When its time comes, it is routed, and the move is a
// transaction: out of the log's waiting messages and into the durable queues, wherever those are, as a whole. So it is there
// once, whatever crashes. What is not durable about it, deliveries of QoS 0 and transient queues, follows the transaction; a
// retained message is set before it, as setting it twice does no harm.
//
// Everybody who may wait (each shard, and the memory) says when something is due next. One goroutine with one timer, the
// clock, starts for each of them a goroutine that moves what is due, and that ends when nothing is due any more.

// delayed is a message that waits in the log of a shard. It is a key of the shard's schedule.
type delayed struct {
	host *VirtualHost
	ref  queue.Ref
}

// delayedEntry is a delayed message with its time.
type delayedEntry = schedule.Entry[delayed]

// fleeting is a message that waits in memory.
type fleeting struct {
	host    *VirtualHost
	message *message.Message
	also    *[]string // further keys; nil for none
}

// fleetingEntry is such a message with its time.
type fleetingEntry struct {
	due int64
	fleeting
}

// dueMessage is one whose time has come. Message is nil when the log does not hold what it should.
type dueMessage struct {
	delayedEntry // the reference is nowhere when it waited in memory
	host         *VirtualHost
	message      *message.Message
	also         []string
	lasts        int64 // milliseconds from now on, of a will; zero is for ever, or what the message says
}

// postponed is what a part of a batch says of a message that is to wait.
type postponed struct {
	host *VirtualHost
	due  int64
	also []string
}

// Postpone lets the next message that is published go where it is routed to only after a while. Until then it counts
// against limits.delayedMessages, and its token is confirmed when it waits: durably, if it is durable. What Hold keeps waits
// when it is committed, until the same time.
func (p *Publisher) Postpone(wait time.Duration) {
	p.until = p.host.hub.now() + wait.Milliseconds()
}

// longestDelay bounds the header of a message to an exchange that delays, as RabbitMQ's plugin does: 49 days.
const longestDelay = 1<<32 - 1

// postponeAs postpones the next message as its header says; a time that is not in the future is none.
func (p *Publisher) postponeAs(a router.Attributes) {
	if a == nil {
		return
	}
	v, ok := a.Header(object.DelayHeader)
	if !ok {
		return
	}
	if ms := milliseconds(v); ms > 0 {
		p.Postpone(time.Duration(min(ms, longestDelay)) * time.Millisecond)
	}
}

// milliseconds reads a number of any type that a header can have, or its text; zero is none.
func milliseconds(v any) int64 {
	switch v := v.(type) {
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		if err == nil {
			return n
		}
	case float32:
		return int64(v)
	case float64:
		return int64(v)
	default:
		switch r := reflect.ValueOf(v); {
		case r.CanInt():
			return r.Int()
		case r.CanUint():
			return int64(min(r.Uint(), longestDelay))
		}
	}
	return 0
}

// postpone publishes a message that is to wait.
func (p *Publisher) postpone(r *Route, m *message.Message, token uint64) (routed int, err error) {
	due := p.until
	p.until = 0
	if err := p.limit(r, m); err != nil {
		return 0, err
	}
	if err := p.host.admitDelayed(1); err != nil {
		return 0, err
	}
	if token != 0 {
		p.upTo = token
	}
	h := p.host.hub
	if !m.Durable {
		f := fleeting{host: p.host, message: m.Clone()}
		if len(r.also) > 0 {
			f.also = &r.also
		}
		p.fleeting = append(p.fleeting, fleetingEntry{due: due, fleeting: f})
		return 1, nil
	}
	i := int32(len(p.batch))
	p.batch = append(p.batch, *m)
	to := p.shardPart(h.shardFor(p.host.name, r.Key))
	if len(to.items) == 0 {
		p.shard = append(p.shard, to)
	}
	to.items = append(to.items, part{
		message: i, exactly: p.exactly, token: token, postponed: &postponed{host: p.host, due: due, also: slices.Clone(r.also)},
	})
	return 1, nil
}

// admitDelayed takes places for n delayed messages, as the limit allows.
func (v *VirtualHost) admitDelayed(n int64) error {
	limit := int64(v.hub.Config().Limits.DelayedMessages)
	if n > 0 && v.delayed.Add(n) > limit {
		v.delayed.Add(-n)
		return errorf(TooMany, "vhost '%s' has %d delayed messages, as many as limits.delayedMessages allows", v.name, limit)
	}
	return nil
}

// DelayedCount is how many messages wait for their time.
func (h *Hub) DelayedCount() (n int64) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, v := range h.hosts {
		n += v.delayed.Load()
	}
	return n
}

// delaying is a message on its way to the waiting ones of a shard.
type delaying struct {
	delayed
	due   int64
	flush *flush
	token uint64
}

// proposeDelayed writes a message that is to wait.
func (s *shard) proposeDelayed(now int64, a *enqueueAct, it enqueued) {
	e := s.writeDelay(now, s.hub.durability(nil), it)
	a.delayed = append(a.delayed, delaying{delayed: e.Value, due: e.Due, flush: a.flush, token: it.token})
}

// writeDelay writes a message that is to wait. Its reference lacks the index of the entry.
func (s *shard) writeDelay(now int64, d journal.Durability, it enqueued) delayedEntry {
	entry, at := s.write(now, d)
	p := it.postponed
	*entry = appendDelay(*entry, p.host.name, p.due, p.also, it.message)
	s.open.stores = true
	ref := queue.Ref{At: at, Share: max(1, uint32(it.message.Size()))}
	return delayedEntry{Due: p.due, Value: delayed{host: p.host, ref: ref}}
}

// delay lets messages of an entry wait.
func (s *shard) delay(d delayed, due int64) {
	s.use(d.ref)
	s.delays.Add(due, d)
}

// undelay forgets a delayed message that went where it was to go, or nowhere.
func (s *shard) undelay(d delayed) {
	s.unuse(d.ref)
	d.host.delayed.Add(-1)
}

// announceDue tells the clock when something is due next.
func (s *shard) announceDue() {
	due, ok := s.delays.Next()
	s.waiting.announce(&s.hub.clock, due, ok)
}

// eachDelayed calls fn for each delayed message that the log has.
func (s *shard) eachDelayed(fn func(delayed)) {
	s.delays.Each(fn)
	for d := range s.leaving {
		fn(d)
	}
	for _, w := range s.wills {
		if w.due == never || w.claimed { // others are among those that wait
			fn(w.delayed)
		}
	}
	for _, p := range s.prepared {
		for _, e := range p.leaves {
			fn(e.Value)
		}
		for _, e := range p.waits {
			fn(e.Value)
		}
	}
}

// What is taken of due messages at once: so many, and so many bytes from which on there are no more.
const (
	dueAtOnce = 256
	dueBytes  = 1 << 20
)

// takeDue takes messages whose time has come. The shard keeps them in hand until the transaction that moves them.
func (s *shard) takeDue(now int64) (batch []dueMessage) {
	for size := 0; len(batch) < dueAtOnce && size < dueBytes; {
		e, ok := s.delays.Take(now)
		if !ok {
			break
		}
		s.leaving[e.Value] = e.Due
		s.disinherit(e.Value) // a will that is on its way is not taken back
		stored, err := s.command(e.Value.ref)
		if err != nil {
			s.hub.damaged(fmt.Errorf("delayed message in vhost %q: %w", e.Value.host.name, err))
		} else {
			size += stored.body.Size()
		}
		batch = append(batch, dueMessage{delayedEntry: e, host: e.Value.host, message: stored.body, also: stored.also, lasts: stored.lasts})
	}
	s.group.DoneReading()
	s.announceDue()
	return batch
}

// move moves what is due, until nothing is or the hub stops.
func (s *shard) move() {
	s.waiting.one.Lock()
	defer s.waiting.one.Unlock()
	for {
		var batch []dueMessage
		if !s.ask(func(s *shard) { batch = s.takeDue(s.hub.now()) }) || len(batch) == 0 {
			return
		}
		s.hub.deliver(s, batch)
	}
}

// deliver publishes messages whose time has come, those side by side that have the virtual host and the encoding in common
// at once. From is the shard that they waited in; nil when they waited in memory.
func (h *Hub) deliver(from *shard, batch []dueMessage) {
	for len(batch) > 0 {
		n := 1
		for n < len(batch) && batch[n].host == batch[0].host && sameEncoding(batch[n].message, batch[0].message) {
			n++
		}
		h.deliverRun(from, batch[:n])
		batch = batch[n:]
	}
}

func sameEncoding(a, b *message.Message) bool {
	return a == nil || b != nil && a.Encoding == b.Encoding
}

// again is after what time a move that failed is tried again: there was no room, or the member of a shared subscription
// left in between.
const again = 100 * time.Millisecond

func (h *Hub) deliverRun(from *shard, run []dueMessage) {
	encoding := message.MQTT
	for _, d := range run {
		if d.message != nil {
			encoding = d.message.Encoding
		}
	}
	for {
		p := run[0].host.NewPublisher(PublisherOptions{Access: internal, Encoding: encoding})
		p.byClient = true
		for i := range run {
			p.publishDue(&run[i])
		}
		err := p.moveDue(from, run)
		if err == nil {
			return
		}
		if errors.Is(err, ErrClosed) || h.stopping() {
			return // the log has them at the next start
		}
		h.logger.Debug("delayed messages wait longer", "vhost", run[0].host.name, "count", len(run), "error", err)
		h.disk.wait(h.stop, nil)
		t := time.NewTimer(again)
		select {
		case <-t.C:
		case <-h.stop:
			t.Stop()
			return
		}
	}
}

// publishDue adds a message whose time has come to the batch. It goes nowhere when it is damaged, when it expired, or when
// its exchange is gone.
func (p *Publisher) publishDue(d *dueMessage) {
	h, m := p.host.hub, d.message
	if m == nil || m.Expiry != 0 && m.Expiry <= h.now() {
		return
	}
	if d.lasts > 0 {
		c := *m
		c.Expiry = h.now() + d.lasts
		m = &c
	}
	r, err := p.RouteAlso([]byte(m.Exchange), []byte(m.Key), d.also)
	if err == nil {
		var a router.Attributes
		if h.attributes != nil {
			a = h.attributes(m)
		}
		_, err = p.Publish(r, m, a, 0)
	}
	if err != nil {
		h.logger.Warn("delayed message was not published", "vhost", p.host.name, "exchange", m.Exchange, "key", m.Key, "error", err)
	}
}

// moveDue lets a batch of due messages take effect.
func (p *Publisher) moveDue(from *shard, run []dueMessage) error {
	if from == nil {
		p.HandOver()
		return nil
	}
	p.retainDue()
	var h held
	for _, s := range p.shard {
		part := h.part(s.shard)
		part.items, part.moves = p.keep(s.items), true
		s.items = s.items[:0]
	}
	own := h.part(from)
	own.moves = true
	for _, d := range run {
		own.leaves = append(own.leaves, d.delayedEntry)
	}
	if err := commitParts(h.parts); err != nil {
		return err
	}
	p.shard = p.shard[:0]
	p.HandOver()
	return nil
}

// retainDue makes messages of the batch the retained ones of their topics, and waits until they are.
func (p *Publisher) retainDue() {
	if len(p.retain) == 0 {
		return
	}
	done := make(chan struct{})
	of := &Publisher{confirmed: func(Confirmation) { close(done) }}
	f := &flush{publisher: of, upTo: 1}
	f.waiting.Store(int32(1 + len(p.retain)))
	of.order.push(f)
	for _, i := range p.retain {
		m := p.clone(i)
		p.host.hub.shardFor(p.host.name, m.Topic()).post(&retainOp{flush: f, host: p.host, message: m})
	}
	f.done()
	<-done // comes also when the hub stops
	p.retain = p.retain[:0]
}

// own says that a message comes from the client that a queue's subscription belongs to.
func (p *Publisher) own(m *message.Message, q *Queue) bool {
	if p.byClient { // its connection may have ended long ago
		return m.Publisher != "" && q.session != nil && q.session.clientID == m.Publisher
	}
	return p.origin != 0 && q.origin.Load() == p.origin
}

// inMemory are the delayed messages that are not durable, of all virtual hosts.
type inMemory struct {
	hub     *Hub
	waiting waiting

	mu       sync.Mutex
	schedule schedule.Schedule[fleeting] // guarded by mu
}

func (f fleeting) size() int64 { return int64(f.message.Size()) + 128 }

func (m *inMemory) add(list []fleetingEntry) {
	if len(list) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range list {
		m.schedule.Add(f.due, f.fleeting)
		m.hub.memory.add(f.size())
	}
	m.announceLocked()
}

func (m *inMemory) announceLocked() {
	due, ok := m.schedule.Next()
	m.waiting.announce(&m.hub.clock, due, ok)
}

func (m *inMemory) drop(v *VirtualHost) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.schedule.Drop(func(f fleeting) bool { return f.host == v }) {
		m.hub.memory.add(-e.Value.size())
		v.delayed.Add(-1)
	}
	m.announceLocked()
}

func (m *inMemory) take(now int64) (batch []dueMessage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(batch) < dueAtOnce {
		e, ok := m.schedule.Take(now)
		if !ok {
			break
		}
		d := dueMessage{host: e.Value.host, message: e.Value.message}
		if e.Value.also != nil {
			d.also = *e.Value.also
		}
		batch = append(batch, d)
		m.hub.memory.add(-e.Value.size())
		e.Value.host.delayed.Add(-1)
	}
	m.announceLocked()
	return batch
}

func (m *inMemory) move() {
	m.waiting.one.Lock()
	defer m.waiting.one.Unlock()
	for {
		batch := m.take(m.hub.now())
		if len(batch) == 0 {
			return
		}
		m.hub.deliver(nil, batch)
	}
}

// waiting says when something is due next, of one shard or of the memory.
type waiting struct {
	due    atomic.Int64 // milliseconds since 1970; never when nothing waits
	moving atomic.Bool  // a goroutine of the clock moves what is due
	one    sync.Mutex   // held by who moves
}

const never = 0

// announce says when something is due next, and wakes the clock if that is earlier than before.
func (w *waiting) announce(c *clock, due int64, some bool) {
	if !some {
		due = never
	}
	if was := w.due.Swap(due); due != never && (was == never || due < was) {
		c.wake()
	}
}

// clock starts the moves of what is due.
type clock struct {
	hub    *Hub
	runs   bool          // set before Open returns
	sooner chan struct{} // has room for one
}

func (c *clock) wake() {
	select {
	case c.sooner <- struct{}{}:
	default:
	}
}

// lookAgain is after what time the clock looks in any case: the time of day can be set.
const lookAgain = time.Minute

// run ends when the hub stops.
func (c *clock) run() {
	t := time.NewTimer(lookAgain)
	defer t.Stop()
	for {
		t.Reset(c.start())
		select {
		case <-c.hub.stop:
			return
		case <-c.sooner:
		case <-t.C:
		}
	}
}

// start starts the moves that are due, and answers for how long nothing else is.
func (c *clock) start() time.Duration {
	wait := lookAgain
	now := c.hub.now()
	look := func(w *waiting, move func()) {
		due := w.due.Load()
		switch {
		case due == never || w.moving.Load(): // who moves wakes the clock at the end
		case due > now:
			wait = min(wait, time.Duration(due-now)*time.Millisecond)
		default:
			w.moving.Store(true)
			c.hub.running.Go(func() { // ends when nothing is due, or when the hub stops
				defer c.wake()
				defer w.moving.Store(false)
				move()
			})
		}
	}
	for _, s := range c.hub.shards {
		look(&s.waiting, s.move)
	}
	look(&c.hub.fleeting.waiting, c.hub.fleeting.move)
	return wait
}
