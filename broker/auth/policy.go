package auth

import (
	"cmp"
	"iter"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// policy is a TopicPolicySpec ready to be asked.
type policy struct {
	name                    string
	priority                int
	filter                  template
	hasFilter               bool
	publishers, subscribers []string
	publish                 PublishLimits
	subscribe               SubscribeLimits
	queues                  expression
	queueArguments          object.Arguments
	rewrite                 *rewrite // nil for none
	subscriptions           []object.AutoSubscription
}

func newPolicy(o *object.Object) *policy {
	s := decode[object.TopicPolicySpec](o)
	const millis = 1000
	p := &policy{
		name: o.Name, priority: s.Priority, hasFilter: s.Filter != "",
		publishers: s.Publishers, subscribers: s.Subscribers,
		publish: PublishLimits{
			RetainForbidden:      s.RetainAllowed != nil && !*s.RetainAllowed,
			MessageExpiryMillis:  s.MessageExpirySeconds * millis,
			MaxPayloadBytes:      s.MaxPayloadBytes,
			MaxMessagesPerSecond: s.MaxMessagesPerSecond,
			MaxBytesPerSecond:    s.MaxBytesPerSecond,
			OnExcess:             s.OnExcess,
			Policy:               o.Name,
		},
		subscribe:      SubscribeLimits{MaxQoS: highestQoS},
		queues:         compile(s.QueuePattern),
		queueArguments: s.QueueArguments,
		rewrite:        newRewrite(s.Rewrite),
		subscriptions:  s.AutoSubscribe,
	}
	if s.MaxQoS != nil {
		p.subscribe.MaxQoS = *s.MaxQoS
	}
	if p.hasFilter {
		p.filter = newTemplate(s.Filter)
	}
	return p
}

// compare orders policies: the one that wins comes first.
func (p *policy) compare(o *policy) int {
	return cmp.Or(cmp.Compare(o.priority, p.priority), cmp.Compare(p.name, o.name))
}

// PublishLimits are what a topic policy says of messages; the zero value limits nothing.
type PublishLimits struct {
	RetainForbidden      bool  // the RETAIN flag is dropped
	MessageExpiryMillis  int64 // the longest that a message lives; zero is for ever
	MaxPayloadBytes      int64 // zero is unlimited
	MaxMessagesPerSecond float64
	MaxBytesPerSecond    float64
	OnExcess             object.OnExcess
	Policy               string // that says it
}

// SubscribeLimits are what topic policies say of a subscription.
type SubscribeLimits struct {
	MaxQoS uint8
}

const highestQoS = 2

// PublishLimits are those of the policy that covers a topic.
func (a *Access) PublishLimits(topic string) PublishLimits {
	if p := a.policyOf(topic); p != nil {
		return p.publish
	}
	return PublishLimits{}
}

// SubscribeLimits are the strictest of the policies that have a say in a filter.
func (a *Access) SubscribeLimits(filter string) SubscribeLimits {
	l := SubscribeLimits{MaxQoS: highestQoS}
	for p := range a.policiesOn(filter) {
		l.MaxQoS = min(l.MaxQoS, p.subscribe.MaxQoS)
	}
	return l
}

func (a *Access) policies() []*policy {
	a.authority.mu.RLock()
	defer a.authority.mu.RUnlock()
	return a.authority.policies[a.host]
}

// policyOf is the policy that decides for a topic; nil if none does.
func (a *Access) policyOf(topic string) *policy {
	for _, p := range a.policies() {
		if p.hasFilter && p.filter.matches(topic, a.who.name, a.clientID) {
			return p
		}
	}
	return nil
}

// policiesOn are the policies that decide for some topic that a filter matches: those that overlap it, down to the
// first that covers all of it.
func (a *Access) policiesOn(filter string) iter.Seq[*policy] {
	return func(yield func(*policy) bool) {
		for _, p := range a.policies() {
			if !p.hasFilter || !p.filter.overlaps(filter, a.who.name, a.clientID) {
				continue
			}
			if !yield(p) || p.filter.covers(filter, a.who.name, a.clientID) {
				return
			}
		}
	}
}

// QueueArguments are what topic policies say of a queue by its name, to be used where it does not say so itself.
func (a *Authority) QueueArguments(host, queue string) object.Arguments {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, p := range a.policies[host] {
		if p.queues(queue) {
			return p.queueArguments
		}
	}
	return nil
}
