package hub

import (
	"fmt"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// Question is whether a user may do something.
type Question struct {
	User, VirtualHost, ClientID string
	Action                      auth.Action
	// Target is the name of an exchange or queue, or what is published or subscribed to: an MQTT topic or filter, or with
	// Exchange a routing or binding key of AMQP.
	Target   string
	Exchange string
}

// Decide answers a question as the broker would answer the user who tries, and asks in the same order. Renamed is the topic
// or filter after topic policies have renamed it.
func (h *Hub) Decide(q Question) (d auth.Decision, renamed string) {
	i := h.authority.Inquire(q.User, q.VirtualHost, q.ClientID)
	switch q.Action {
	case auth.ActionConfigure:
		i.Configure(q.Target)
	case auth.ActionWrite:
		i.Write(q.Target)
	case auth.ActionRead:
		i.Read(q.Target)
	case auth.ActionPublish:
		renamed = h.decidePublish(i, q)
	case auth.ActionSubscribe:
		renamed = h.decideSubscribe(i, q)
	}
	return i.Decision, renamed
}

func (h *Hub) decidePublish(i *auth.Inquiry, q Question) (name string) {
	name = q.Target
	if q.Exchange == "" {
		q.Exchange = h.Config().MQTT.Exchange
		name = h.decideName(i, name, topic.CheckName, i.Access.RenameTopic)
	} else {
		name = topic.Swap(name)
	}
	byTopic := h.decideExchange(i, q, true)
	i.Write(q.Exchange)
	if strings.HasPrefix(name, "$") && ownTopic(name) {
		i.Refuse(errorf(Refused, "the broker alone publishes to '%s'", name))
	}
	if byTopic {
		i.Publish(name)
	}
	return name
}

func (h *Hub) decideSubscribe(i *auth.Inquiry, q Question) (filter string) {
	kind, rest, err := topic.Parse(q.Target)
	switch {
	case q.Exchange != "":
		rest = topic.Swap(q.Target)
	case err != nil:
		i.Refuse(errorf(BadTopic, "filter '%s' %v", q.Target, err))
		return q.Target
	case kind == topic.OfQueue:
		i.Read(rest)
		return q.Target
	default:
		q.Exchange = h.Config().MQTT.Exchange
		rest = h.decideName(i, rest, topic.CheckFilter, i.Access.RenameFilter)
	}
	byTopic := h.decideExchange(i, q, false)
	i.Read(q.Exchange)
	if byTopic {
		i.Subscribe(rest)
	}
	return rest
}

// decideName checks a topic or filter of MQTT, and renames it.
func (h *Hub) decideName(i *auth.Inquiry, name string, check func(string, int) error, rename func(string) (string, error)) string {
	if err := check(name, h.Config().Limits.TopicLevels); err != nil {
		i.Refuse(errorf(BadTopic, "'%s' %v", name, err))
		return name
	}
	renamed, err := rename(name)
	if err != nil {
		i.Refuse(errorf(BadTopic, "%v", err))
		return name
	}
	return renamed
}

// decideExchange says whether an exchange looks at topics; one that is not there, or takes nothing from clients, refuses.
func (h *Hub) decideExchange(i *auth.Inquiry, q Question, publish bool) (byTopic bool) {
	v, err := h.VirtualHost(q.VirtualHost)
	if err != nil {
		i.Refuse(fmt.Errorf("virtual host: %w", err))
		return false
	}
	spec, ok := v.router.Exchange(q.Exchange)
	switch {
	case !ok:
		i.Refuse(errorf(NotFound, "no exchange '%s' in vhost '%s'", q.Exchange, v.name))
	case spec.Internal && publish:
		i.Refuse(errorf(Refused, "cannot publish to internal exchange '%s' in vhost '%s'", q.Exchange, v.name))
	}
	return ok && spec.Type == "topic"
}
