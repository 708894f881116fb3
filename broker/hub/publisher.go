package hub

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/router"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// Publisher publishes for one connection or channel. It belongs to one goroutine, the connection's reader.
type Publisher struct {
	host      *VirtualHost
	access    *auth.Access
	origin    uint64
	encoding  message.Encoding
	confirmed func(Confirmation)
	ended     <-chan struct{}

	routes map[string]map[string]*Route // exchange, key as published
	cached int
	clears uint64 // how often routes and locals were dropped
	locals map[*Queue]*localPart
	parts  []*shardPart // by shard number, made when first needed

	batch     []message.Message // published since the last Flush; they alias the reader's buffer
	published uint64            // of those in batch, by Publish
	clones    []*message.Message
	keeper    message.Keeper
	fleeting  []fleetingEntry         // messages of the batch that are to wait in memory
	held      held                    // for Commit
	skip      func(queue string) bool // queues that messages must not come to; nil is none
	local     []*localPart            // touched since the last Flush
	shard     []*shardPart
	retain    []int32
	upTo      uint64 // the newest token of the batch; zero when none was asked for
	refuse    []Refusal
	order     confirmOrder
	match     []router.Match[*Queue] // scratch
	asked     router.Message         // scratch
	exactly   *exactly               // of the message at hand; nil for most
	spare     []exactly              // for the next ones, allocated together
	pace      *Pace                  // nil: there are no rates
	brought   bool                   // the last HandOver or Hold had messages
	stores    bool                   // and something for a shard among them
	until     int64                  // when the next message goes where it is routed to; zero is at once
	byClient  bool                   // no-local goes by the client id of the message
}

// PublisherOptions of VirtualHost.NewPublisher.
type PublisherOptions struct {
	Access   *auth.Access
	Origin   uint64 // of Hub.NewOrigin
	Encoding message.Encoding
	// Confirmed is called with rising tokens, by the goroutine that flushes or by a shard's. It must not block and must not
	// call the hub.
	Confirmed func(Confirmation)
	// Ended is closed when the connection ends: a Flush that waits for room then returns. Nil is never.
	Ended <-chan struct{}
	// Pace holds the publisher to rates; nil does not. The publisher's goroutine is that of the pace.
	Pace *Pace
}

// Confirmation says that every message with a token up to UpTo (and after the confirmation before) is where it was
// routed to, except those refused, which are in the order of their tokens. Refused is valid during the call.
type Confirmation struct {
	UpTo    uint64
	Refused []Refusal
}

// Refusal is a message that a queue did not take.
type Refusal struct {
	Token uint64
	Err   error
}

// Route is where messages of one exchange and key go. It belongs to its Publisher.
type Route struct {
	// Exchange and Key are interned copies of what was asked for, to put into the message. Topic policies may have
	// renamed the key.
	Exchange, Key string
	// Limits are what topic policies say of the key.
	Limits auth.PublishLimits
	// Delays says that messages may wait before they go there, as their headers ask.
	Delays bool

	asked      string // the key that was asked for
	clears     uint64 // of the publisher, when it was made
	generation uint64 // of the router
	authority  uint64 // generation of the authority
	err        error
	also       []string // further keys
	meter      *meter   // of the topic policy; nil: it has no rate
	perMessage bool     // attributes or chance decide: matched again for each message
	to         []destination
}

// destination is one match of a route with the part of the batch that it goes to.
type destination struct {
	queue   *Queue
	options router.Options
	local   *localPart // the queue is transient, or the session takes QoS 0 directly
	shard   *shardPart // the queue is durable
}

// localPart is what the batch has for one transient queue, or for the direct sink of a session.
type localPart struct {
	queue *Queue
	items []part
}

// shardPart is what the batch has for the durable queues of one shard, in order.
type shardPart struct {
	shard *shard
	items []part
}

type part struct {
	message int32 // index in the batch
	queue   *Queue
	group   *group // by which it comes to the queue; nil for none
	qos     uint8
	exactly *exactly // nil: it is not published once
	token   uint64

	postponed *postponed // the message waits in the shard; nil when it goes to the queue
}

// delivery is the QoS with its flags.
func (it *part) delivery() uint8 {
	if it.group != nil {
		return it.qos | flagShared
	}
	return it.qos
}

// internal is the access of the hub's own publishers: dead letters go where the queue's arguments say, on behalf of who
// declared the queue.
var internal = new(auth.Access)

// NewPublisher makes a publisher in the virtual host.
func (v *VirtualHost) NewPublisher(o PublisherOptions) *Publisher {
	return &Publisher{
		host: v, access: o.Access, origin: o.Origin, encoding: o.Encoding, confirmed: o.Confirmed, ended: o.Ended, pace: o.Pace,
		routes: make(map[string]map[string]*Route),
		locals: make(map[*Queue]*localPart),
		parts:  make([]*shardPart, len(v.hub.shards)),
	}
}

// maxCachedRoutes bounds a publisher's cache: a peer that publishes to ever new keys costs a lookup each, not memory.
const maxCachedRoutes = 4096

// Route finds where messages to an exchange with a key go, or why they may not: the exchange does not exist, or the
// user may not write. Exchange and key may alias a read buffer. The key is in the form of the publisher's encoding.
func (p *Publisher) Route(exchange, key []byte) (*Route, error) {
	r := p.routes[string(exchange)][string(key)]
	if r == nil {
		r = p.newRoute(string(exchange), string(key))
	}
	return p.fresh(r)
}

// Again is Route for the exchange and the key of an earlier one, without the lookup.
func (p *Publisher) Again(r *Route) (*Route, error) {
	if r.clears != p.clears { // its parts of the batch are not those of newer routes
		return p.Route([]byte(r.Exchange), []byte(r.asked))
	}
	return p.fresh(r)
}

// fresh brings a route up to date.
func (p *Publisher) fresh(r *Route) (*Route, error) {
	if r.generation != p.host.router.Generation() || r.authority != p.host.hub.authority.Generation() {
		p.resolve(r)
	}
	return r, r.err
}

// RouteAlso is Route for a message that has further keys: it goes to each queue that any of them leads to, once. The
// route is valid until the next call of it or of Route.
func (p *Publisher) RouteAlso(exchange, key []byte, also []string) (*Route, error) {
	if len(also) == 0 {
		return p.Route(exchange, key)
	}
	r := &Route{Exchange: string(exchange), asked: string(key), also: also}
	p.resolve(r)
	for _, k := range also {
		if r.err == nil {
			r.err = p.allowed(&Route{Exchange: r.Exchange, Key: k})
		}
	}
	return r, r.err
}

func (p *Publisher) newRoute(exchange, key string) *Route {
	if p.cached >= maxCachedRoutes && len(p.batch) == 0 {
		clear(p.routes)
		clear(p.locals)
		p.cached = 0
		p.clears++
	}
	r := &Route{Exchange: exchange, asked: key, clears: p.clears, generation: ^uint64(0)}
	if p.cached < maxCachedRoutes {
		byKey := p.routes[exchange]
		if byKey == nil {
			byKey = make(map[string]*Route)
			p.routes[exchange] = byKey
		}
		byKey[key] = r
		p.cached++
	}
	return r
}

func (p *Publisher) form() topic.Form {
	if p.encoding == message.MQTT {
		return topic.MQTT
	}
	return topic.AMQP
}

func (p *Publisher) resolve(r *Route) {
	// The generations are read before what they guard: a change in between leads to one resolve too many.
	r.generation, r.authority = p.host.router.Generation(), p.host.hub.authority.Generation()
	p.pace.follow(r.authority)
	r.to = r.to[:0]
	if r.Key, r.err = p.rename(r.asked); r.err != nil {
		return
	}
	if r.err = p.allowed(r); r.err != nil {
		return
	}
	if r.perMessage = !p.host.router.Cacheable(r.Exchange); r.perMessage {
		return
	}
	r.err = p.find(r, nil)
}

// rename is what topic policies make of a topic. Keys of AMQP stay what they are.
func (p *Publisher) rename(key string) (string, error) {
	if p.encoding != message.MQTT || p.access == internal {
		return key, nil
	}
	renamed, err := p.access.RenameTopic(key)
	if most := p.host.hub.Config().Limits.TopicLevels; err == nil && renamed != key && 1+strings.Count(renamed, "/") > most {
		err = fmt.Errorf("%q is renamed by a topic policy and then has more than %d levels", key, most)
	}
	if err != nil {
		return key, &Error{Code: BadTopic, Text: err.Error()}
	}
	return renamed, nil
}

func (p *Publisher) allowed(r *Route) error {
	if spec, ok := p.host.router.Exchange(r.Exchange); !ok {
		return errorf(NotFound, "no exchange '%s' in vhost '%s'", r.Exchange, p.host.name)
	} else if spec.Internal {
		return errorf(Refused, "cannot publish to internal exchange '%s' in vhost '%s'", r.Exchange, p.host.name)
	} else {
		r.Delays = spec.Type == object.ExchangeDelayed
	}
	if p.access == internal {
		return nil
	}
	if err := p.access.Write(r.Exchange); err != nil {
		return err
	}
	name := r.Key
	if p.encoding != message.MQTT {
		name = topic.Swap(name)
	}
	if strings.HasPrefix(name, "$") && ownTopic(name) {
		return errorf(Refused, "the broker alone publishes to '%s'", name)
	}
	r.Limits = p.access.PublishLimits(name)
	r.meter = p.pace.policy(&r.Limits)
	if spec, _ := p.host.router.Exchange(r.Exchange); spec.RoutesAs() == object.ExchangeTopic {
		return p.access.Publish(name)
	}
	return nil
}

func (p *Publisher) find(r *Route, a router.Attributes) error {
	p.asked = router.Message{Key: r.Key, Also: r.also, Form: p.form(), Attributes: a}
	if r.perMessage {
		p.asked.Chance = rand.Uint64()
	}
	var err error
	p.match, err = p.host.router.Route(r.Exchange, &p.asked, p.match[:0])
	p.asked.Attributes = nil
	if err != nil {
		return err
	}
	r.to = r.to[:0]
	for _, m := range p.match {
		r.to = append(r.to, p.destination(m.Target, m.Options))
	}
	return nil
}

func (p *Publisher) destination(q *Queue, o router.Options) destination {
	d := destination{queue: q, options: o}
	switch {
	case q.group != nil: // a member is chosen for each message
		return d
	case q.shard != nil:
		d.shard = p.shardPart(q.shard)
	}
	if q.shard == nil || q.session != nil {
		d.local = p.localPart(q)
	}
	return d
}

func (p *Publisher) localPart(q *Queue) *localPart {
	l := p.locals[q]
	if l == nil {
		l = &localPart{queue: q}
		p.locals[q] = l
	}
	return l
}

func (p *Publisher) shardPart(s *shard) *shardPart {
	if p.parts[s.number] == nil {
		p.parts[s.number] = &shardPart{shard: s}
	}
	return p.parts[s.number]
}

// Publish adds a message to the batch and answers how many queues it goes to. The message and what it points to must
// stay valid until the next Flush returns. Attributes may be nil. With a token other than zero, which must rise from call
// to call, the message takes part in confirmations.
func (p *Publisher) Publish(r *Route, m *message.Message, a router.Attributes, token uint64) (routed int, err error) {
	if r.Delays && p.until == 0 && !p.byClient { // whoever moves what was delayed publishes by client
		p.postponeAs(a)
	}
	if p.until != 0 {
		return p.postpone(r, m, token)
	}
	if err := p.limit(r, m); err != nil {
		return 0, err
	}
	if r.perMessage {
		if err := p.find(r, a); err != nil {
			return 0, err
		}
	}
	i := int32(len(p.batch))
	p.batch = append(p.batch, *m)
	p.batch[i].Origin = p.origin
	if token != 0 {
		p.upTo = token
	}
	for _, d := range r.to { // [MQTT-4.5.0-1]
		routed += p.add(i, d, token)
	}
	if m.Retain && !p.repeats() { // [MQTT-3.3.1-12]
		p.retain = append(p.retain, i)
	}
	p.published++
	return routed, nil
}

func (p *Publisher) limit(r *Route, m *message.Message) error {
	l := &r.Limits
	if l.MaxPayloadBytes > 0 && int64(len(m.Payload)) > l.MaxPayloadBytes {
		return errorf(Invalid, "payload of %d bytes is more than the topic policy's %d", len(m.Payload), l.MaxPayloadBytes)
	}
	if l.RetainForbidden {
		m.Retain = false
	}
	if l.MessageExpiryMillis > 0 {
		if at := p.host.hub.now() + l.MessageExpiryMillis; m.Expiry == 0 || at < m.Expiry {
			m.Expiry = at
		}
	}
	if p.pace != nil && (r.meter != nil || len(p.pace.general) > 0) && !p.repeats() {
		return p.pace.count(r.meter, m)
	}
	return nil
}

// Unpaced says that no rate holds for what follows.
func (p *Publisher) Unpaced() { p.pace = nil }

// add puts message i of the batch into the part of one destination; it answers 1 if that will take it.
func (p *Publisher) add(i int32, d destination, token uint64) int {
	g := d.queue.group
	if g != nil {
		m := g.pick(&p.batch[i])
		if m == nil {
			return 0
		}
		d = p.destination(m.session.queue, m.options)
	}
	if d.options.NoLocal && p.own(&p.batch[i], d.queue) { // [MQTT5-3.8.3-3]
		return 0
	}
	if p.skip != nil && p.skip(d.queue.name) {
		return 0
	}
	qos := min(p.batch[i].QoS, d.options.QoS) // [MQTT-3.8.4-6], [MQTT5-4.8.2-3]
	it := part{message: i, queue: d.queue, group: g, qos: qos, exactly: p.exactly, token: token}
	if d.local != nil && (d.shard == nil || qos == 0) {
		if p.repeats() {
			return 1
		}
		if len(d.local.items) == 0 {
			p.local = append(p.local, d.local)
		}
		d.local.items = append(d.local.items, it)
		return 1
	}
	if len(d.shard.items) == 0 {
		p.shard = append(p.shard, d.shard)
	}
	d.shard.items = append(d.shard.items, it)
	return 1
}

// Pass says that a token is confirmed without a message, in its place in the order of confirmations.
func (p *Publisher) Pass(token uint64) { p.upTo = token }

// Refuse says that the message of a token, which was not published, is refused: it takes its place in the order of
// confirmations.
func (p *Publisher) Refuse(token uint64, err error) {
	p.upTo = token
	p.refuse = append(p.refuse, Refusal{Token: token, Err: err})
}

// Flush is HandOver and then Wait.
func (p *Publisher) Flush() {
	p.HandOver()
	p.Wait()
}

// Wait blocks while the disk is full, while transient messages fill the memory that they may have, or while the publisher
// is over its rate: a reader that waits here does not read its socket. Whoever brought no message with the last HandOver or
// Hold is not held back: consumers are what makes room.
func (p *Publisher) Wait() {
	if !p.brought {
		return
	}
	if p.stores {
		p.host.hub.disk.wait(p.host.hub.stop, p.ended)
	}
	p.host.hub.memory.wait(p.host.hub.stop, p.ended)
	p.pace.wait(p.host.hub.stop, p.ended)
}

// brings says that the batch has messages.
func (p *Publisher) brings() bool { return len(p.batch) > 0 || len(p.fleeting) > 0 }

// HandOver gives the batch to where it was routed to. It blocks while a shard has more waiting than it may hold.
func (p *Publisher) HandOver() {
	p.brought, p.stores = p.brings(), false
	if len(p.batch) == 0 && p.upTo == 0 && len(p.fleeting) == 0 {
		return
	}
	p.host.hub.fleeting.add(p.fleeting)
	now := p.host.hub.now()
	for i := 0; i < len(p.local); i++ { // it may grow
		l := p.local[i]
		late := l.queue.enqueue(now, p, l.items)
		l.items = l.items[:0]
		for _, it := range late {
			p.add(it.message, destination{queue: it.group.queue}, it.token)
		}
	}
	var f *flush
	if p.upTo != 0 || len(p.shard) > 0 {
		f = &flush{publisher: p, upTo: p.upTo, refused: p.refuse}
		f.waiting.Store(int32(1 + len(p.shard) + len(p.retain)))
		p.order.push(f)
		p.refuse = nil
	}
	for _, s := range p.shard {
		s.shard.post(&enqueueOp{flush: f, items: p.keep(s.items)})
		s.items = s.items[:0]
	}
	for _, i := range p.retain {
		m := p.clone(i)
		p.host.hub.shardFor(p.host.name, m.Topic()).post(&retainOp{flush: f, host: p.host, message: m})
	}
	if f != nil {
		f.done()
	}
	p.stores = len(p.shard) > 0
	p.reset()
}

// reset begins a new batch.
func (p *Publisher) reset() {
	p.host.hub.stats.Published.add(p.published)
	p.published, p.spare = 0, nil
	p.keeper.Done()
	clear(p.batch)
	clear(p.clones)
	clear(p.fleeting)
	p.fleeting = p.fleeting[:0]
	p.batch, p.clones, p.local, p.shard, p.retain, p.upTo = p.batch[:0], p.clones[:0], p.local[:0], p.shard[:0], p.retain[:0], 0
}

// enqueued is a part that outlives the batch.
type enqueued struct {
	message *message.Message
	queue   *Queue // nil: the message is here for its receipt alone
	qos     uint8
	exactly *exactly // nil: it is not published once
	token   uint64

	postponed *postponed // the message waits in the shard
}

func (p *Publisher) keep(parts []part) []enqueued {
	out := make([]enqueued, len(parts))
	for i, it := range parts {
		out[i] = enqueued{message: p.clone(it.message), queue: it.queue, qos: it.delivery(), exactly: it.exactly, token: it.token, postponed: it.postponed}
	}
	return out
}

// clone is message i of the batch as one that stays, copied once whatever the count of queues.
func (p *Publisher) clone(i int32) *message.Message {
	for len(p.clones) < len(p.batch) {
		p.clones = append(p.clones, nil)
	}
	if p.clones[i] == nil {
		p.clones[i] = p.keeper.Clone(&p.batch[i], len(p.batch)-int(i))
	}
	return p.clones[i]
}

// flush is one batch on its way: it is done when each shard that it touched has it.
type flush struct {
	publisher *Publisher
	upTo      uint64
	waiting   atomic.Int32

	mu      sync.Mutex
	refused []Refusal // guarded by mu
}

// refuse records messages that a queue did not take.
func (f *flush) refuse(token uint64, err error) {
	if token == 0 {
		return
	}
	f.mu.Lock()
	f.refused = append(f.refused, Refusal{Token: token, Err: err})
	f.mu.Unlock()
}

// done says that one of those who work on the batch has finished; the last one confirms.
func (f *flush) done() {
	if f == nil {
		return
	}
	if f.waiting.Add(-1) == 0 {
		f.publisher.order.release(f.publisher.confirmed)
	}
}

// confirmOrder keeps the batches of one publisher in order: a batch is confirmed when it and all before it are done.
type confirmOrder struct {
	mu    sync.Mutex
	batch []*flush // guarded by mu, oldest first
}

func (o *confirmOrder) push(f *flush) {
	o.mu.Lock()
	o.batch = append(o.batch, f)
	o.mu.Unlock()
}

func (o *confirmOrder) release(confirmed func(Confirmation)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, f := range o.batch {
		if f.waiting.Load() > 0 {
			break
		}
		n++
		if f.upTo != 0 && confirmed != nil {
			slices.SortFunc(f.refused, func(a, b Refusal) int { return cmp.Compare(a.Token, b.Token) })
			confirmed(Confirmation{UpTo: f.upTo, Refused: f.refused})
		}
	}
	clear(o.batch[:n])
	o.batch = o.batch[n:]
	if len(o.batch) == 0 {
		o.batch = nil
	}
}

// Drained says that nothing that was published waits for its confirmation.
func (p *Publisher) Drained() bool {
	p.order.mu.Lock()
	defer p.order.mu.Unlock()
	return len(p.order.batch) == 0
}
