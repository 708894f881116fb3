package hub

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/router"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// group is a shared subscription: each message goes to one of its members. The router knows it by a queue that holds
// nothing; a publisher asks the group for a member and puts the message into that member's own queue, where it stays when
// the member is away, as MQTT wants it for what was begun with QoS 2. [MQTT5-4.8.2-4] What a member leaves behind when its
// session ends goes to others.
type group struct {
	queue *Queue
	share string // $share/NAME/FILTER

	mu      sync.Mutex
	members atomic.Pointer[[]member] // replaced with mu held; in the order of their client ids
	turn    atomic.Uint32            // of round-robin
	stuck   atomic.Pointer[mqttSession]
}

type member struct {
	session *mqttSession
	options router.Options
}

func (g *group) list() []member {
	if m := g.members.Load(); m != nil {
		return *m
	}
	return nil
}

// share makes a session a member of a shared subscription, or changes its options.
func (v *VirtualHost) share(exchange, share string, s *mqttSession, o router.Options) error {
	v.sharing.Lock()
	defer v.sharing.Unlock()
	g := v.groups[share]
	if g == nil {
		_, filter, _ := topic.Parse(share)
		g = &group{share: share}
		g.queue = &Queue{host: v, name: share, group: g, state: queue.New(queue.Options{DeadLetterless: true})}
		if err := v.router.Subscribe(exchange, filter, g.queue, router.Options{QoS: router.MaxQoS}); err != nil {
			return err
		}
		v.groups[share] = g
	}
	g.change(func(ms []member) []member {
		if i := slices.IndexFunc(ms, func(m member) bool { return m.session == s }); i >= 0 {
			ms[i].options = o
			return ms
		}
		at, _ := slices.BinarySearchFunc(ms, s.clientID, func(m member, id string) int { return cmp.Compare(m.session.clientID, id) })
		return slices.Insert(ms, at, member{s, o})
	})
	return nil
}

// unshare ends a session's membership; the group ends with its last member.
func (v *VirtualHost) unshare(share string, s *mqttSession) {
	v.sharing.Lock()
	defer v.sharing.Unlock()
	g := v.groups[share]
	if g == nil {
		return
	}
	left := g.change(func(ms []member) []member {
		return slices.DeleteFunc(ms, func(m member) bool { return m.session == s })
	})
	g.stuck.CompareAndSwap(s, nil)
	if left == 0 {
		delete(v.groups, share)
		v.unbound(v.router.RemoveTarget(g.queue))
	}
}

func (g *group) change(edit func([]member) []member) (left int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := edit(slices.Clone(g.list()))
	g.members.Store(&next)
	return len(next)
}

// pick is the member that gets a message, nil if none can: those who are connected and have room come first, then those
// who are connected, then, unless the message has QoS 0, sessions that are away.
func (g *group) pick(m *message.Message) *member {
	ms := g.list()
	if len(ms) == 0 {
		return nil
	}
	best, at := none, -1
	g.each(ms, m, func(i int) bool {
		if s := ms[i].session.standing(min(m.QoS, ms[i].options.QoS)); s > best {
			best, at = s, i
		}
		return best < hasRoom
	})
	if at < 0 {
		return nil
	}
	if w := g.way(); w == config.ShareSticky {
		g.stuck.Store(ms[at].session)
	}
	return &ms[at]
}

func (g *group) way() string { return g.queue.host.hub.config.Load().MQTT.SharedSubscriptions }

// each calls try for members in the order in which they are to be asked, until it answers false.
func (g *group) each(ms []member, m *message.Message, try func(i int) bool) {
	var first int
	switch g.way() {
	case config.ShareSticky:
		first = max(slices.IndexFunc(ms, func(m member) bool { return m.session == g.stuck.Load() }), 0)
	case config.ShareHashTopic:
		eachByHash(ms, m.Key, try)
		return
	case config.ShareHashClient:
		eachByHash(ms, m.Publisher, try)
		return
	default:
		first = int(g.turn.Add(1) % uint32(len(ms)))
	}
	for i := range ms {
		if !try((first + i) % len(ms)) {
			return
		}
	}
}

// eachByHash asks the member first that a key belongs to, which changes for few keys when members come and go; who
// stands in for it when it cannot is the next one.
func eachByHash(ms []member, key string, try func(i int) bool) {
	owner, most := 0, uint64(0)
	for i := range ms {
		if h := hash(key, ms[i].session.clientID); h >= most {
			owner, most = i, h
		}
	}
	if ms[owner].session.attached.Load() {
		try(owner) // whether it has room or not: its keys keep their order
		return
	}
	for i := range ms {
		if !try((owner + i) % len(ms)) {
			return
		}
	}
}

// standing is how well a session can take a message, best last.
type standing int8

const (
	none standing = iota // it cannot
	away
	connected
	hasRoom
)

func (s *mqttSession) standing(qos uint8) standing {
	switch {
	case !s.attached.Load() && (qos == 0 || !s.durable):
		return none
	case !s.attached.Load():
		return away
	case s.full.Load() || s.queue.live.ready.Load() > 0:
		return connected
	}
	return hasRoom
}

// passOn gives what waits in the queue of a session that ends to other members of the shared subscriptions it came by. A
// message of QoS 2 that was delivered, or may have been, is not given to another client. [MQTT5-4.8.2-5]
func (s *mqttSession) passOn(shares []string) {
	if len(shares) == 0 {
		return
	}
	var left []queue.Delivery
	s.queue.do(func(q *Queue, _ int64) {
		q.state.Each(func(it *queue.Item) {
			if it.Shared && !(it.QoS == 2 && (it.Returned || it.Received)) {
				left = append(left, queue.Delivery{Item: *it})
			}
		})
		if q.shard != nil {
			q.shard.load(q, left)
		}
	})
	slices.SortFunc(left, func(a, b queue.Delivery) int { return cmp.Compare(a.ID, b.ID) })
	for _, e := range message.Encodings {
		done := make(chan Confirmation, 1)
		p := s.host.NewPublisher(PublisherOptions{Access: internal, Encoding: e, Confirmed: func(c Confirmation) { done <- c }})
		for i, d := range left {
			if d.Message == nil || d.Message.Encoding != e {
				continue
			}
			if g := s.host.groupFor(shares, d.Message); g != nil {
				p.forward(d.Message, g, uint64(i+1))
			}
		}
		if p.upTo != 0 {
			p.Flush()
			<-done // comes also when the hub stops
		}
	}
}

// groupFor is the first of some shared subscriptions that matches a message; nil if none does.
func (v *VirtualHost) groupFor(shares []string, m *message.Message) *group {
	v.sharing.Lock()
	defer v.sharing.Unlock()
	for _, share := range shares {
		if _, filter, _ := topic.Parse(share); topic.Match(filter, m.Topic()) {
			return v.groups[share]
		}
	}
	return nil
}

// forward adds a message for one member of a group.
func (p *Publisher) forward(m *message.Message, g *group, token uint64) {
	i := int32(len(p.batch))
	p.batch = append(p.batch, *m)
	p.upTo = token
	p.add(i, destination{queue: g.queue}, token)
}
