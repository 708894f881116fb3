package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// longestTopic is how many bytes a topic of a policy may have.
const longestTopic = 1024

// checkRewrite looks at how a topic policy renames topics; the error goes on after the name of the field.
func checkRewrite(s *object.TopicPolicySpec) error {
	r := s.Rewrite
	switch {
	case r == nil:
		return nil
	case s.Filter == "":
		return errors.New(" needs a filter that says for which topics")
	case !r.Publish && !r.Subscribe:
		return errors.New(" renames nothing: set publish or subscribe")
	case len(r.To) > longestTopic:
		return fmt.Errorf(".to: is %d bytes long, %d is the most", len(r.To), longestTopic)
	case strings.HasPrefix(r.To, "$"):
		return errors.New(".to: must not begin with $: such topics are the broker's")
	}
	filter, to := strings.Split(s.Filter, "/"), strings.Split(r.To, "/")
	pluses := 0
	for _, l := range filter {
		if l == "+" {
			pluses++
		}
	}
	for i, l := range to {
		n := object.RewritePlaceholder(l)
		switch {
		case n > pluses:
			return fmt.Errorf(".to: %s stands for the + number %d of filter %q, which has %d", l, n, s.Filter, pluses)
		case n > 0:
		case l == object.RewriteRest && filter[len(filter)-1] != "#":
			return fmt.Errorf(".to: %s stands for the # of filter %q, which has none", l, s.Filter)
		case l == object.RewriteRest && i < len(to)-1:
			return fmt.Errorf(".to: %s must be the last level", l)
		case l == object.RewriteRest:
		case strings.ContainsAny(l, "{}"):
			return fmt.Errorf(".to: level %q is no placeholder: they are {1} and so on for each + of the filter, and {#}", l)
		}
	}
	if err := topic.CheckName(strings.ReplaceAll(r.To, object.RewriteRest, "x"), 0); err != nil {
		return fmt.Errorf(".to: %w", err)
	}
	return nil
}

// mostAutoSubscriptions is how many one topic policy may have.
const mostAutoSubscriptions = 64

func checkAutoSubscribe(subscriptions []object.AutoSubscription) error {
	if len(subscriptions) > mostAutoSubscriptions {
		return fmt.Errorf("autoSubscribe: %d subscriptions are more than %d", len(subscriptions), mostAutoSubscriptions)
	}
	for i, s := range subscriptions {
		if err := checkAutoSubscription(s); err != nil {
			return fmt.Errorf("autoSubscribe[%d]%w", i, err)
		}
		if slices.ContainsFunc(subscriptions[:i], func(o object.AutoSubscription) bool { return o.Filter == s.Filter }) {
			return fmt.Errorf("autoSubscribe[%d].filter: %q is there already", i, s.Filter)
		}
	}
	return nil
}

func checkAutoSubscription(s object.AutoSubscription) error {
	kind, rest, err := topic.Parse(s.Filter)
	if err == nil && kind != topic.OfQueue {
		err = topic.CheckFilter(rest, 0)
	}
	switch {
	case err != nil:
		return fmt.Errorf(".filter: %q: %w", s.Filter, err)
	case len(s.Filter) > longestTopic:
		return fmt.Errorf(".filter: is %d bytes long, %d is the most", len(s.Filter), longestTopic)
	case s.QoS > 2:
		return fmt.Errorf(".qos: %d is not 0, 1 or 2", s.QoS)
	case s.RetainHandling > 2:
		return fmt.Errorf(".retainHandling: %d is not 0, 1 or 2", s.RetainHandling)
	case s.NoLocal && kind == topic.Shared: // [MQTT5-3.8.3-4]
		return errors.New(".noLocal: is not for a shared subscription: leave it out")
	}
	return nil
}
