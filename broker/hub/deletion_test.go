package hub_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// apply applies one change and answers what became of it.
func (b *bench) apply(c object.Change, dryRun bool) object.Result {
	b.Helper()
	results, err := b.hub.Apply(context.Background(), "", []object.Change{c}, hub.ApplyOptions{DryRun: dryRun})
	if err != nil {
		b.Fatal(err)
	}
	return results[0]
}

func (b *bench) want(kind object.Kind, vhost, name string, spec any) {
	b.Helper()
	o, err := object.New(kind, vhost, name, spec)
	if err != nil {
		b.Fatal(err)
	}
	if r := b.apply(object.Change{Object: o}, false); r.Outcome != object.Created {
		b.Fatalf("%+v", r)
	}
}

func deletion(kind object.Kind, vhost, name string, how object.Deletion) object.Change {
	return object.Change{Object: object.Object{Key: object.Key{Kind: kind, VirtualHost: vhost, Name: name}}, Delete: how}
}

// answer is a result in short.
func answer(r object.Result) string {
	return fmt.Sprintf("%s %s %d/%d/%d/%d", r.Outcome, r.Reason, r.Messages, r.Consumers, r.Bindings, r.Connections)
}

// TestDeletionsTellTheirToll asks, in dry runs and then in earnest, what deletions of each kind cost.
func TestDeletionsTellTheirToll(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	b.want(object.KindQueue, "/", "q", object.QueueSpec{Durable: true})
	b.want(object.KindBinding, "/", "", object.BindingSpec{Source: "amq.topic", DestinationType: object.DestinationQueue, Destination: "q", RoutingKey: "a"})
	b.want(object.KindPolicy, "/", "p", object.PolicySpec{Pattern: "^q$", Definition: object.Arguments{"max-length": 10}})
	b.want(object.KindPolicy, "/", "x", object.PolicySpec{Pattern: "^amq.topic$", ApplyTo: object.ApplyToExchanges, Definition: object.Arguments{"alternate-exchange": "amq.fanout"}})
	b.want(object.KindOperatorPolicy, "/", "o", object.PolicySpec{Pattern: "^q$", Definition: object.Arguments{"max-length": 10}})
	p := b.publisher(message.AMQP091)
	p.send("", "q", durable("1"))
	p.send("", "q", durable("2"))
	p.settle()
	s := newSink()
	b.consume("q", s, hub.ConsumerOptions{Limit: 1})
	s.expect(t, "1")
	if _, err := b.hub.Enter(b.access); err != nil {
		t.Fatal(err)
	}
	other, err := object.New(object.KindQueue, "/", "q", object.QueueSpec{})
	if err != nil {
		t.Fatal(err)
	}
	if r := b.apply(object.Change{Object: other}, true); answer(r) != "refused Inequivalent 2/1/1/0" || len(r.Differences) != 1 || r.Differences[0].Field != "durable" {
		t.Errorf("to make it anew: %s %v", answer(r), r.Differences)
	}
	b.want(object.KindUser, "", "ann", object.UserSpec{Password: "pw"})
	for _, c := range []struct {
		kind object.Kind
		name string
		how  object.Deletion
		want string
	}{
		{object.KindQueue, "q", object.DeleteIfEmpty, "refused NotEmpty 2/1/0/0"},
		{object.KindQueue, "q", object.DeleteIfUnused, "refused InUse 2/1/0/0"},
		{object.KindPolicy, "p", object.DeleteIfUnused, "refused InUse 0/0/0/0"},
		{object.KindPolicy, "x", object.DeleteIfUnused, "refused InUse 0/0/0/0"},
		{object.KindOperatorPolicy, "o", object.DeleteIfUnused, "refused InUse 0/0/0/0"},
		{object.KindVirtualHost, "/", object.DeleteIfEmpty, "refused NotEmpty 2/1/0/1"},
		{object.KindVirtualHost, "/", object.DeleteIfUnused, "refused InUse 2/1/0/1"},
		{object.KindUser, "ann", object.DeleteIfUnused, "deleted  0/0/0/0"},
		{object.KindQueue, "q", object.DeleteAlways, "deleted  2/1/1/0"},
		{object.KindVirtualHost, "/", object.DeleteAlways, "deleted  2/1/1/1"},
	} {
		vhost := "/"
		if c.kind == object.KindVirtualHost || c.kind == object.KindUser {
			vhost = ""
		}
		if r := b.apply(deletion(c.kind, vhost, c.name, c.how), true); answer(r) != c.want {
			t.Errorf("delete %s %s %s: %s (%s), want %s", c.how, c.kind, c.name, answer(r), r.Message, c.want)
		}
	}
	b.apply(deletion(object.KindUser, "", "ann", object.DeleteAlways), false) // with users there is no guest
	// A dry run holds nothing still and takes nothing away.
	p.send("", "q", durable("3"))
	p.settle()
	if r := b.apply(deletion(object.KindQueue, "/", "q", object.DeleteAlways), false); answer(r) != "deleted  3/1/1/0" {
		t.Errorf("deletion: %s", answer(r))
	}
	for _, policy := range []string{"p", "x"} {
		r := b.apply(deletion(object.KindPolicy, "/", policy, object.DeleteIfUnused), false)
		if want := map[string]object.Outcome{"p": object.Deleted, "x": object.Refused}[policy]; r.Outcome != want {
			t.Errorf("policy %s: %+v", policy, r)
		}
	}
}

// TestEmptyVirtualHost deletes a virtual host once it holds no messages, and lets its queues go on until then.
func TestEmptyVirtualHost(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	for _, q := range []string{"a", "b"} {
		b.want(object.KindQueue, "/", q, object.QueueSpec{Durable: true})
	}
	p := b.publisher(message.AMQP091)
	p.send("", "b", durable("1"))
	p.settle()
	empty := deletion(object.KindVirtualHost, "", "/", object.DeleteIfEmpty)
	if r := b.apply(empty, false); answer(r) != "refused NotEmpty 1/0/0/0" {
		t.Fatalf("%s: %s", answer(r), r.Message)
	}
	p.send("", "a", durable("2")) // a was asked first, and is not held still any more
	p.settle()
	for _, name := range []string{"a", "b"} {
		q, err := b.host.Queue(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n := q.Purge(); n != 1 {
			t.Errorf("queue %s held %d messages", name, n)
		}
	}
	kept := durable("kept")
	kept.Retain = true
	m := b.publisher(message.MQTT)
	m.send("amq.topic", "t", kept)
	m.settle()
	if r := b.apply(empty, false); r.Reason != object.ReasonNotEmpty {
		t.Errorf("with a retained message: %+v", r)
	}
	cleared := durable("")
	cleared.Retain = true
	m.send("amq.topic", "t", cleared)
	m.settle()
	if r := b.apply(empty, false); r.Outcome != object.Deleted {
		t.Errorf("empty: %+v", r)
	}
}
