package auth

import (
	"slices"

	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/rate"
)

// Access is what one authenticated peer may do in its virtual host, by the rules in force at each call. It is safe for
// concurrent use and holds nothing that must be closed.
type Access struct {
	authority *Authority
	who       who
	host      string
	clientID  string
	account   *rate.Account // of the user
}

// User is the peer's name, empty for an anonymous one; Tags are the user's.
func (a *Access) User() string { return a.who.name }

// VirtualHost is where the peer is, empty for the admin API.
func (a *Access) VirtualHost() string { return a.host }

// ClientID is that of MQTT, empty otherwise.
func (a *Access) ClientID() string { return a.clientID }

// Tags are the user's tags now.
func (a *Access) Tags() []string {
	a.authority.mu.RLock()
	defer a.authority.mu.RUnlock()
	if !a.authority.standingLocked(a.who) {
		return nil
	}
	return a.authority.tagsLocked(a.who)
}

// Administrator says whether the user may change the broker through the admin API.
func (a *Access) Administrator() bool {
	return slices.Contains(a.Tags(), catalog.TagAdministrator)
}

// Same says whether another Access is of the same peer, in the same virtual host.
func (a *Access) Same(o *Access) bool { return a.who == o.who && a.host == o.host }

// In is the access of the same peer in a virtual host, for protocols in which who it is comes before where it wants to be.
// The error is a *Denied.
func (a *Access) In(host string) (*Access, error) {
	c := *a
	c.host = host
	if err := c.enter(); err != nil {
		return nil, err
	}
	return &c, nil
}

// Revoked says that the peer would not be let in again: its user or its virtual host is gone, or a first user ended
// the access of guest and of anonymous clients. Its connection should end.
func (a *Access) Revoked() bool { return a.enter() != nil }

func (a *Access) enter() error {
	a.authority.mu.RLock()
	defer a.authority.mu.RUnlock()
	if !a.authority.standingLocked(a.who) {
		return a.denied(verbConnect, "", "the user is gone")
	}
	if a.host == "" {
		return nil
	}
	if _, ok := a.authority.hosts[a.host]; !ok {
		return a.denied(verbConnect, "", "it does not exist")
	}
	if a.authority.permissionLocked(a.who, a.host) == nil {
		return a.denied(verbConnect, "", "no permission there")
	}
	return nil
}

func (a *Access) permission() *permission {
	a.authority.mu.RLock()
	defer a.authority.mu.RUnlock()
	return a.authority.permissionLocked(a.who, a.host)
}

func (a *Access) denied(verb, resource, why string) error {
	return &Denied{Verb: verb, Resource: resource, User: a.who.name, VirtualHost: a.host, Why: why}
}

// Configure says whether the peer may declare and delete an exchange or a queue of that name.
func (a *Access) Configure(name string) error {
	if p := a.permission(); p == nil || !p.configure(resourceName(name)) {
		return a.denied(verbConfigure, name, "")
	}
	return nil
}

// Write says whether the peer may publish to an exchange, or bind to one.
func (a *Access) Write(exchange string) error {
	if p := a.permission(); p == nil || !p.write(resourceName(exchange)) {
		return a.denied(verbWrite, resourceName(exchange), "")
	}
	return nil
}

// Read says whether the peer may consume from a queue, purge it, or bind from an exchange.
func (a *Access) Read(queue string) error {
	if p := a.permission(); p == nil || !p.read(resourceName(queue)) {
		return a.denied(verbRead, resourceName(queue), "")
	}
	return nil
}

// resourceName is the name that expressions see: the default exchange, which has none, is called amq.default.
func resourceName(name string) string {
	if name == "" {
		return "amq.default"
	}
	return name
}

// Publish says whether the peer may publish to a topic, which is in MQTT form: the rules of its permission, if it has
// any, and the publishers of the topic policy that covers the topic.
func (a *Access) Publish(topic string) error {
	p := a.permission()
	if p == nil {
		return a.denied(verbPublish, topic, "")
	}
	if len(p.topics) > 0 && a.allowing(p, topic, rule.mayPublish) < 0 {
		return a.denied(verbPublish, topic, "no topic rule of its permission allows it")
	}
	if q := a.policyOf(topic); q != nil && !mayPass(q.publishers, a.who.name) {
		return a.denied(verbPublish, topic, "topic policy '"+q.name+"' does not name it among its publishers")
	}
	return nil
}

// Subscribe says whether the peer may subscribe with a filter, which is in MQTT form: every topic that it matches must
// be allowed. An asterisk that is a whole level, and # before the end, count for the wildcards that they are in AMQP.
func (a *Access) Subscribe(filter string) error {
	p := a.permission()
	if p == nil {
		return a.denied(verbSubscribe, filter, "")
	}
	if len(p.topics) > 0 && a.allowing(p, filter, rule.maySubscribe) < 0 {
		return a.denied(verbSubscribe, filter, "no topic rule of its permission allows all of it")
	}
	for q := range a.policiesOn(filter) {
		if !mayPass(q.subscribers, a.who.name) {
			return a.denied(verbSubscribe, filter, "topic policy '"+q.name+"' does not name it among its subscribers")
		}
	}
	return nil
}

func (r rule) mayPublish(topic, user, clientID string) bool {
	return r.publish && !r.filter.spans(clientID) && r.filter.matches(topic, user, clientID)
}

func (r rule) maySubscribe(filter, user, clientID string) bool {
	return r.subscribe && !r.filter.spans(clientID) && r.filter.covers(filter, user, clientID)
}

// allowing is the place of the first topic rule that allows something, -1 when none does.
func (a *Access) allowing(p *permission, what string, ask func(r rule, what, user, clientID string) bool) int {
	return slices.IndexFunc(p.topics, func(r rule) bool { return ask(r, what, a.who.name, a.clientID) })
}

// mayPass says whether a list of users lets somebody pass; an empty one lets everybody.
func mayPass(users []string, name string) bool {
	return len(users) == 0 || slices.Contains(users, name)
}
