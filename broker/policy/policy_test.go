package policy

import (
	"fmt"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/object"
)

func put(t *testing.T, s *Set, kind object.Kind, name string, spec object.PolicySpec) {
	t.Helper()
	if spec.ApplyTo == "" {
		spec.ApplyTo = object.ApplyToAll
	}
	o, err := object.New(kind, "/", name, spec)
	if err != nil {
		t.Fatal(err)
	}
	s.Update(o, true)
}

func TestQueue(t *testing.T) {
	var s Set
	put(t, &s, object.KindPolicy, "low", object.PolicySpec{Pattern: "^orders", Priority: 1, Definition: object.Arguments{"max-length": int64(1)}})
	put(t, &s, object.KindPolicy, "b", object.PolicySpec{Pattern: "^orders", Priority: 5, Definition: object.Arguments{"max-length": int64(2)}})
	put(t, &s, object.KindPolicy, "a", object.PolicySpec{Pattern: "^orders", Priority: 5, Definition: object.Arguments{
		"max-length": int64(100), "overflow": "reject-publish", "dead-letter-exchange": "dead", "alternate-exchange": "other", "delivery-limit": int64(20),
	}})
	put(t, &s, object.KindPolicy, "exchanges", object.PolicySpec{Pattern: "", Priority: 99, ApplyTo: object.ApplyToExchanges, Definition: object.Arguments{"alternate-exchange": "lost"}})
	put(t, &s, object.KindPolicy, "quorum", object.PolicySpec{Pattern: "", Priority: 98, ApplyTo: object.ApplyToQuorumQueues, Definition: object.Arguments{"delivery-limit": int64(3)}})
	put(t, &s, object.KindOperatorPolicy, "cap", object.PolicySpec{Pattern: "", ApplyTo: object.ApplyToQueues, Definition: object.Arguments{"max-length": int64(50), "expires": int64(1000)}})
	for _, c := range []struct {
		queue            string
		own, defaults    object.Arguments
		policy, operator string
		want             object.Arguments
	}{
		{"orders", nil, nil, "a", "cap", object.Arguments{"x-max-length": 50, "x-overflow": "reject-publish", "x-dead-letter-exchange": "dead", "x-delivery-limit": 20, "x-expires": 1000}},
		// Of limits the lowest counts, of the rest what the queue says.
		{"orders", object.Arguments{"x-max-length": int64(7), "x-overflow": "drop-head", "x-max-priority": int64(3), "x-delivery-limit": int64(-1)}, nil, "a", "cap",
			object.Arguments{"x-max-length": 7, "x-overflow": "drop-head", "x-dead-letter-exchange": "dead", "x-max-priority": 3, "x-delivery-limit": 20, "x-expires": 1000}},
		{"orders", object.Arguments{"x-max-length": int64(70)}, nil, "a", "cap", object.Arguments{"x-max-length": 50, "x-overflow": "reject-publish", "x-dead-letter-exchange": "dead", "x-delivery-limit": 20, "x-expires": 1000}},
		// Defaults are for what nobody says, and limited by operators all the same.
		{"orders", nil, object.Arguments{"x-max-length": int64(1), "x-message-ttl": int64(9), "x-expires": int64(5)}, "a", "cap",
			object.Arguments{"x-max-length": 50, "x-overflow": "reject-publish", "x-dead-letter-exchange": "dead", "x-delivery-limit": 20, "x-expires": 5, "x-message-ttl": 9}},
		{"orders", object.Arguments{"x-queue-type": "quorum"}, nil, "quorum", "cap", object.Arguments{"x-queue-type": "quorum", "x-delivery-limit": 3, "x-max-length": 50, "x-expires": 1000}},
		{"other", nil, nil, "", "cap", object.Arguments{"x-max-length": 50, "x-expires": 1000}},
	} {
		own := fmt.Sprint(c.own)
		got := s.Queue(c.queue, c.own, c.defaults)
		if got.Policy != c.policy || got.Operator != c.operator || fmt.Sprint(got.Arguments) != fmt.Sprint(c.want) {
			t.Errorf("%s with %v and defaults %v:\n got %q %q %v\nwant %q %q %v", c.queue, c.own, c.defaults, got.Policy, got.Operator, got.Arguments, c.policy, c.operator, c.want)
		}
		if fmt.Sprint(c.own) != own {
			t.Errorf("the queue's own arguments were changed to %v", c.own)
		}
	}
	if got := s.Exchange("x", nil); got.Policy != "exchanges" || fmt.Sprint(got.Arguments) != "map[alternate-exchange:lost]" {
		t.Errorf("exchange gets %+v", got)
	}
	if got := s.Exchange("x", object.Arguments{"alternate-exchange": "mine"}); fmt.Sprint(got.Arguments) != "map[alternate-exchange:mine]" {
		t.Errorf("exchange with an alternate of its own gets %+v", got)
	}
	for _, name := range []string{"a", "quorum"} {
		o, _ := object.New(object.KindPolicy, "/", name, object.PolicySpec{})
		s.Update(o, false)
	}
	if got := s.Queue("orders", nil, nil); got.Policy != "b" || fmt.Sprint(got.Arguments["x-max-length"]) != "2" {
		t.Errorf("when the policy is gone, the next one gives %+v", got)
	}
}
