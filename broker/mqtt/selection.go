package mqtt

import (
	"strings"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/router"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// selection says how deliveries are to be marked: with the identifiers of the subscriptions that they match, and with the
// RETAIN flag as it was published. It knows the subscriptions that say something of that; the hub merges all of a session
// into one delivery, which cannot tell them apart.
type selection struct {
	subscriptions []selective
	known         map[selectionKey]selected
}

// selective is a subscription that says how its deliveries are to be marked.
type selective struct {
	filter string // without the part that shares it
	shared bool
	router.Options
}

type selectionKey struct {
	topic  string
	shared bool
	own    bool // the connection itself published it
}

// selected is what the subscriptions that match a topic come to.
type selected struct {
	ids         packet.Properties
	asPublished bool
}

// mostKnown bounds what is remembered of topics.
const mostKnown = 1024

// follow brings the selection to the session's subscriptions.
func (o *outgoing) follow(subs []hub.Subscription) {
	var s *selection
	for _, sub := range subs {
		if kind, _, _ := topic.Parse(sub.Filter); kind == topic.OfQueue || sub.SubscriptionID == 0 && !sub.RetainAsPublished {
			continue
		}
		if s == nil {
			s = &selection{known: make(map[selectionKey]selected)}
		}
		kind, filter, _ := topic.Parse(sub.Filter)
		s.subscriptions = append(s.subscriptions, selective{filter: filter, shared: kind == topic.Shared, Options: sub.Options})
	}
	o.mu.Lock()
	o.selection = s
	o.mu.Unlock()
}

func (s *selection) find(k selectionKey) selected {
	if found, ok := s.known[k]; ok {
		return found
	}
	var found selected
	for _, sub := range s.subscriptions {
		if sub.shared != k.shared || k.own && sub.NoLocal || !topic.Match(sub.filter, k.topic) {
			continue
		}
		found.asPublished = found.asPublished || sub.RetainAsPublished // [MQTT5-3.3.1-13]
		if sub.SubscriptionID != 0 {
			found.ids = found.ids.AppendNumber(packet.SubscriptionID, sub.SubscriptionID)
		}
	}
	if len(s.known) >= mostKnown {
		clear(s.known)
	}
	k.topic = strings.Clone(k.topic)
	s.known[k] = found
	return found
}
