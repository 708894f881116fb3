package hub

import (
	"fmt"
	"time"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/rate"
)

// Pace holds one connection to the rates of its client, of its user, and of the topic policies that its messages fall
// under. It belongs to the connection's reader, whatever the number of its publishers.
//
// A connection that is slowed down is charged for a batch at a time, when it waits; where messages are dropped, or end the
// connection, each is looked at.
type Pace struct {
	hub       *Hub
	access    *auth.Access
	authority uint64 // the generation in which general is true

	general  []*meter          // of the client and of its user, those that limit
	policies map[string]*meter // by the name of the topic policy
	client   *rate.Account     // nil until the client has a rate
	touched  []*meter          // have messages that are to be charged
	meters   []*meter          // of the message at hand; scratch
	losable  func(m *message.Message) bool
}

// PaceOptions of Hub.NewPace.
type PaceOptions struct {
	Access *auth.Access
	// Losable says whether a message may be dropped: its publisher can be told, or does not ask to be. Publishers of others
	// are slowed down where their rate says drop.
	Losable func(m *message.Message) bool
}

// NewPace makes the pace of one connection.
func (h *Hub) NewPace(o PaceOptions) *Pace {
	return &Pace{hub: h, access: o.Access, losable: o.Losable, authority: h.authority.Generation() - 1}
}

// meter is one rate and what was sent of it.
type meter struct {
	limit   rate.Limit
	excess  object.OnExcess
	account *rate.Account
	whose   string // the client or user, for people
	where   string // a clause, likewise

	messages, bytes int // that are to be charged
}

// follow takes in what changed of the rates.
func (p *Pace) follow(generation uint64) {
	if p == nil || p.authority == generation {
		return
	}
	p.authority = generation
	before := p.general
	p.general = nil // messages of the batch may still be in the old ones
	r := p.access.Rates()
	if l := limitOf(r.Client); l.Limits() {
		if p.client == nil {
			p.client = p.access.ClientAccount()
		}
		p.general = append(p.general, &meter{limit: l, excess: r.OnExcess, account: p.client, whose: "the client"})
	}
	if l := limitOf(r.User); l.Limits() {
		p.general = append(p.general, &meter{limit: l, excess: r.OnExcess, account: p.access.Account(), whose: whose(p.access)})
	}
	for _, old := range before {
		for _, g := range p.general {
			if g.account == old.account && g.limit != old.limit {
				g.account.Forgive()
			}
		}
	}
}

// whose is the user in words.
func whose(a *auth.Access) string {
	if a.User() == "" {
		return "the anonymous user"
	}
	return fmt.Sprintf("user '%s'", a.User())
}

func limitOf(r object.Rate) rate.Limit {
	return rate.Limit{Messages: r.MessagesPerSecond, Bytes: r.BytesPerSecond}
}

// policy is the meter of a topic policy; nil if that has no rate.
func (p *Pace) policy(l *auth.PublishLimits) *meter {
	limit := rate.Limit{Messages: l.MaxMessagesPerSecond, Bytes: l.MaxBytesPerSecond}
	if p == nil || !limit.Limits() {
		return nil
	}
	m := p.policies[l.Policy]
	if m == nil {
		m = &meter{account: rate.NewAccount(), whose: "the client", where: fmt.Sprintf(" to topics of policy '%s'", l.Policy)}
		if p.policies == nil {
			p.policies = make(map[string]*meter)
		}
		p.policies[l.Policy] = m
	}
	if m.limit != limit {
		m.account.Forgive()
	}
	m.limit, m.excess = limit, l.OnExcess
	return m
}

// count takes a message into account. An error says that it is not to be published: TooFast, or Excess if the connection
// is to end.
func (p *Pace) count(policy *meter, m *message.Message) error {
	p.meters = append(p.meters[:0], p.general...)
	if policy != nil {
		p.meters = append(p.meters, policy)
	}
	n, strict := len(m.Payload), 0
	for i, g := range p.meters { // the strict ones come first
		if !p.strict(g, m) {
			continue
		}
		if !g.account.Take(g.limit, n) {
			p.giveBack(p.meters[:strict], n)
			return p.refuse(g)
		}
		p.meters[i], p.meters[strict] = p.meters[strict], g
		strict++
	}
	for _, g := range p.meters[strict:] {
		if g.messages == 0 {
			p.touched = append(p.touched, g)
		}
		g.messages++
		g.bytes += n
	}
	return nil
}

// strict says that a message over the rate is not published.
func (p *Pace) strict(g *meter, m *message.Message) bool {
	return g.excess == object.Disconnect || g.excess == object.Drop && p.losable(m)
}

// giveBack takes a message that is not published out of the accounts that had room for it.
func (p *Pace) giveBack(meters []*meter, n int) {
	for _, g := range meters {
		g.account.GiveBack(g.limit, n)
	}
}

func (p *Pace) refuse(g *meter) error {
	if g.excess == object.Disconnect {
		p.hub.stats.RateEnded.add(1)
		return errorf(Excess, "%s publishes more than %s%s", g.whose, g.allowed(), g.where)
	}
	p.hub.stats.RateDropped.add(1)
	return errorf(TooFast, "%s publishes more than %s%s", g.whose, g.allowed(), g.where)
}

// allowed is the rate in words.
func (g *meter) allowed() (s string) {
	if g.limit.Messages > 0 {
		s = fmt.Sprintf("%v messages", g.limit.Messages)
	}
	if g.limit.Messages > 0 && g.limit.Bytes > 0 {
		s += " or "
	}
	if g.limit.Bytes > 0 {
		s += fmt.Sprintf("%v bytes", g.limit.Bytes)
	}
	return s + " per second"
}

// wait charges what was counted and holds the connection back until it is paid for, at most until the hub stops, the
// connection ends, or other rates come into force.
func (p *Pace) wait(stop, ended <-chan struct{}) {
	if p == nil || len(p.touched) == 0 {
		return
	}
	due := p.charge()
	if due == 0 {
		return
	}
	p.hub.stats.RateSlowed.add(1)
	until := time.Now().Add(due)
	t := time.NewTimer(min(due, rateLook))
	defer t.Stop()
	for due > 0 && p.hub.authority.Generation() == p.authority {
		select {
		case <-t.C:
			due = time.Until(until)
			t.Reset(min(due, rateLook))
		case <-stop:
			return
		case <-ended:
			return
		}
	}
}

// rateLook is how soon a connection that waits notices that rates changed.
const rateLook = time.Second

func (p *Pace) charge() (due time.Duration) {
	for i, g := range p.touched {
		due = max(due, g.account.Spend(g.limit, g.messages, g.bytes))
		g.messages, g.bytes = 0, 0
		p.touched[i] = nil
	}
	p.touched = p.touched[:0]
	return due
}
