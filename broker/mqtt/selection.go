package mqtt

import (
	"slices"
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
	subscriptions []selective // in the order of their filters as they are written
	known         map[selectionKey]selected
}

// selective is a subscription that says how its deliveries are to be marked.
type selective struct {
	whole  string // the filter as the client wrote it
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

// follow brings the selection to subscriptions that are new or changed.
func (o *outgoing) follow(subs []hub.Subscription) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, sub := range subs {
		kind, filter, _ := topic.Parse(sub.Filter)
		if kind == topic.OfQueue || sub.SubscriptionID == 0 && !sub.RetainAsPublished {
			o.unfollow(sub.Filter)
			continue
		}
		if o.selection == nil {
			o.selection = &selection{known: make(map[selectionKey]selected)}
		}
		o.selection.put(selective{whole: sub.Filter, filter: filter, shared: kind == topic.Shared, Options: sub.Options})
	}
}

// leave takes subscriptions out of the selection.
func (o *outgoing) leave(filters []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range filters {
		o.unfollow(f)
	}
}

// unfollow takes one out; outgoing is locked.
func (o *outgoing) unfollow(filter string) {
	s := o.selection
	if s == nil {
		return
	}
	at, ok := s.search(filter)
	if !ok {
		return
	}
	clear(s.known)
	if s.subscriptions = slices.Delete(s.subscriptions, at, at+1); len(s.subscriptions) == 0 {
		o.selection = nil
	}
}

func (s *selection) search(whole string) (at int, ok bool) {
	return slices.BinarySearchFunc(s.subscriptions, whole, func(sub selective, whole string) int { return strings.Compare(sub.whole, whole) })
}

func (s *selection) put(sub selective) {
	clear(s.known)
	at, ok := s.search(sub.whole)
	if ok {
		s.subscriptions[at] = sub
		return
	}
	s.subscriptions = slices.Insert(s.subscriptions, at, sub)
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
