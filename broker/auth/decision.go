package auth

import "fmt"

// Action is what somebody would do.
type Action string

// The actions: on the name of an exchange or queue, and on a topic.
const (
	ActionConfigure Action = "configure"
	ActionWrite     Action = "write"
	ActionRead      Action = "read"
	ActionPublish   Action = "publish"
	ActionSubscribe Action = "subscribe"
)

// Actions lists them.
var Actions = []Action{ActionConfigure, ActionWrite, ActionRead, ActionPublish, ActionSubscribe}

// Decision is whether somebody may do something: what was asked one after the other, each with the rule that allows it, and
// why the last of it is refused, nil when all is allowed.
type Decision struct {
	Rules   []string
	Refused error
}

// Inquiry asks, in somebody's place and without a password, what an Access answers to who has logged in. It belongs to one
// goroutine.
type Inquiry struct {
	Access *Access
	Decision
}

// Inquire begins to ask for a user, or with an empty name for an anonymous client from elsewhere.
func (a *Authority) Inquire(user, host, clientID string) *Inquiry {
	w := who{kind: anonymous}
	if user != "" {
		w = who{kind: named, name: user}
		if u, _ := a.find(user); u != nil {
			w.id = u.id
		}
	}
	i := &Inquiry{Access: &Access{authority: a, who: w, host: host, clientID: clientID}}
	switch {
	case a.standing(w):
		i.Refused = i.Access.enter()
	case user == "":
		i.Refused = ErrAnonymous
	default:
		i.Refused = i.Access.denied(verbConnect, "", "there is no such user")
	}
	return i
}

// Refuse decides against it for a reason of the caller's.
func (i *Inquiry) Refuse(why error) {
	if i.Refused == nil {
		i.Refused = why
	}
}

// Configure, Write and Read ask about a name; Publish and Subscribe about a topic in MQTT form. After a refusal nothing more
// is asked.
func (i *Inquiry) Configure(name string) {
	i.ask(i.Access.Configure(name), func(p *permission) string { return byExpression("configure", p.spec.Configure, name) })
}

// Write is said at Configure.
func (i *Inquiry) Write(name string) {
	i.ask(i.Access.Write(name), func(p *permission) string { return byExpression("write", p.spec.Write, name) })
}

// Read is said at Configure.
func (i *Inquiry) Read(name string) {
	i.ask(i.Access.Read(name), func(p *permission) string { return byExpression("read", p.spec.Read, name) })
}

// Publish is said at Configure.
func (i *Inquiry) Publish(topic string) {
	i.ask(i.Access.Publish(topic), func(p *permission) string {
		text := i.byTopic(p, topic, rule.mayPublish)
		if q := i.Access.policyOf(topic); q != nil && len(q.publishers) > 0 {
			text += fmt.Sprintf("; topic policy '%s' names the user among its publishers", q.name)
		}
		return text
	})
}

// Subscribe is said at Configure.
func (i *Inquiry) Subscribe(filter string) {
	i.ask(i.Access.Subscribe(filter), func(p *permission) string {
		text := i.byTopic(p, filter, rule.maySubscribe)
		for q := range i.Access.policiesOn(filter) {
			if len(q.subscribers) > 0 {
				text += fmt.Sprintf("; topic policy '%s' names the user among its subscribers", q.name)
			}
		}
		return text
	})
}

// ask takes in an answer, and the rule behind it when it is yes.
func (i *Inquiry) ask(refused error, rule func(p *permission) string) {
	if i.Refused != nil {
		return
	}
	p := i.Access.permission()
	if i.Refused = refused; refused != nil || p == nil {
		return
	}
	by := "no permission restricts an anonymous client"
	if p != everything {
		by = rule(p)
	}
	i.Rules = append(i.Rules, by)
}

func byExpression(field, expression, name string) string {
	return fmt.Sprintf("permission %s '%s' matches '%s'", field, expression, resourceName(name))
}

func (i *Inquiry) byTopic(p *permission, what string, ask func(rule, string, string, string) bool) string {
	at := i.Access.allowing(p, what, ask)
	if at < 0 {
		return fmt.Sprintf("permission has no topic rules, so that '%s' needs none", what)
	}
	return fmt.Sprintf("topic rule '%s' of the permission covers '%s'", p.spec.Topics[at].Filter, what)
}
