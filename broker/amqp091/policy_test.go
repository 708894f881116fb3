package amqp091_test

import (
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
)

func policyObject(kind object.Kind, name string, spec object.PolicySpec) object.Object {
	return must(object.New(kind, "/", name, spec))
}

func (b *broker) remove(kind object.Kind, name string) {
	b.Helper()
	o := policyObject(kind, name, object.PolicySpec{})
	results, err := b.hub.Apply(b.Context(), "test", []object.Change{{Object: o, Delete: object.DeleteAlways}}, hub.ApplyOptions{})
	check(b, err)
	if results[0].Outcome != object.Deleted {
		b.Fatalf("%+v", results[0])
	}
}

// TestPoliciesOnLiveQueues: a policy that comes, changes and goes has effect on queues and exchanges that are there, and
// on what they hold.
func TestPoliciesOnLiveQueues(t *testing.T) {
	b := start(t, defaults())
	_, ch := b.client()
	check(t, ch.Confirm(false))
	send := func(exchange, key, body string) {
		t.Helper()
		c := must(ch.PublishWithDeferredConfirmWithContext(t.Context(), exchange, key, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)}))
		c.Wait()
	}
	// waiting follows what a queue holds until it is as wanted: policies and dead letters come soon, not at once.
	waiting := func(queue string, want int) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; {
			q := must(ch.QueueDeclarePassive(queue, queue != "transient", false, false, false, nil))
			if q.Messages == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("queue %s holds %d messages, not %d", queue, q.Messages, want)
			}
		}
	}
	must(ch.QueueDeclare("dead", true, false, false, false, nil))
	for _, q := range []string{"durable", "transient"} {
		must(ch.QueueDeclare(q, q == "durable", false, false, false, nil))
		for i := range 5 {
			send("", q, fmt.Sprint(i))
		}
		waiting(q, 5)
	}
	b.apply(policyObject(object.KindPolicy, "limit", object.PolicySpec{Pattern: "^(durable|transient)$", ApplyTo: object.ApplyToQueues,
		Definition: object.Arguments{"max-length": 3, "dead-letter-exchange": "", "dead-letter-routing-key": "dead"}}))
	for _, q := range []string{"durable", "transient"} {
		waiting(q, 3)
		send("", q, "more")
		waiting(q, 3)
	}
	waiting("dead", 6)
	b.apply(policyObject(object.KindOperatorPolicy, "less", object.PolicySpec{Pattern: "^durable$", Definition: object.Arguments{"max-length": 1}}))
	waiting("durable", 1)
	waiting("transient", 3)
	waiting("dead", 8)
	b.remove(object.KindPolicy, "limit")
	b.remove(object.KindOperatorPolicy, "less")
	for _, q := range []string{"durable", "transient"} {
		for range 10 {
			send("", q, "as many as one likes")
		}
	}
	waiting("durable", 11)
	waiting("transient", 13)
}

func TestPolicyAlternateExchange(t *testing.T) {
	b := start(t, defaults())
	_, ch := b.client()
	check(t, ch.Confirm(false))
	must(ch.QueueDeclare("lost", true, false, false, false, nil))
	check(t, ch.ExchangeDeclare("catch", "fanout", true, false, false, false, nil))
	check(t, ch.QueueBind("lost", "", "catch", false, nil))
	check(t, ch.ExchangeDeclare("before", "direct", false, false, false, false, nil))
	b.apply(policyObject(object.KindPolicy, "catch", object.PolicySpec{Pattern: "^(before|after|amq\\.direct)$", ApplyTo: object.ApplyToExchanges, Definition: object.Arguments{"alternate-exchange": "catch"}}))
	check(t, ch.ExchangeDeclare("after", "direct", true, false, false, false, nil))
	got := func() (n int) {
		for {
			if _, ok, err := ch.Get("lost", true); err != nil || !ok {
				check(t, err)
				return n
			}
			n++
		}
	}
	publish := func() {
		for _, x := range []string{"before", "after", "amq.direct"} {
			c := must(ch.PublishWithDeferredConfirmWithContext(t.Context(), x, "nowhere", false, false, amqp.Publishing{}))
			c.Wait()
		}
	}
	if publish(); got() != 3 {
		t.Error("not everything went to the alternate exchange of the policy")
	}
	b.remove(object.KindPolicy, "catch")
	if publish(); got() != 0 {
		t.Error("the alternate exchange outlived its policy")
	}
}

// TestExpiresByPolicy: a queue goes when nobody has used it for as long as a policy says, and stays while somebody does.
func TestExpiresByPolicy(t *testing.T) {
	b := start(t, defaults())
	_, ch := b.client()
	must(ch.QueueDeclare("unused", true, false, false, false, nil))
	must(ch.QueueDeclare("used", true, false, false, false, nil))
	must(ch.Consume("used", "", false, false, false, false, nil))
	b.apply(policyObject(object.KindPolicy, "leases", object.PolicySpec{Pattern: "used$", Definition: object.Arguments{"expires": 200}}))
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, err := must(b.hub.VirtualHost("/")).Queue("unused", 0)
		if err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the queue is still there")
		}
	}
	if _, err := must(b.hub.VirtualHost("/")).Queue("used", 0); err != nil {
		t.Errorf("a queue with a consumer: %v", err)
	}
}
