package amqp10_test

import (
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
)

// nodes are how many queues there are that the broker has named.
func (b *broker) nodes() int { return len(b.queues("amq.gen-")) }

// at is the queue of an address.
func (b *broker) at(address string) (*hub.Queue, error) {
	return must(b.hub.VirtualHost("/")).Queue(strings.TrimPrefix(address, "/queues/"), 0)
}

// withPolicy are the properties of a dynamic node with a lifetime policy.
func withPolicy(policy frame.Descriptor) frame.Map { return frame.Map(nil).WithLifetime(policy) }

// create attaches a link for which a dynamic node is made, on handle 0: a sender, or a receiver. It answers the node's address.
func (p *peer) create(role frame.Role, policy frame.Descriptor, expires frame.ExpiryPolicy) string {
	p.Helper()
	a := &frame.Attach{Name: "creator", Role: role}
	if role == frame.Sender {
		a.Target = &frame.Target{Dynamic: true, DynamicNodeProperties: withPolicy(policy), ExpiryPolicy: expires}
	} else {
		a.Source = &frame.Source{Dynamic: true, DynamicNodeProperties: withPolicy(policy), ExpiryPolicy: expires}
	}
	reply := p.attach(a)
	address, properties := "", frame.Map(nil)
	if role == frame.Sender {
		address, properties = reply.Target.Address, reply.Target.DynamicNodeProperties
	} else {
		address, properties = reply.Source.Address, reply.Source.DynamicNodeProperties
	}
	if got, err := properties.Lifetime(); err != nil || got != policy || !strings.HasPrefix(address, "/queues/amq.gen-") {
		p.Fatalf("node %q with the lifetime-policy %v, %v", address, got, err)
	}
	return address
}

// detach ends the link of a handle.
func (p *peer) detach(handle uint32, closed bool) {
	p.Helper()
	p.send(0, &frame.Detach{Handle: handle, Closed: closed})
	if d := expect[*frame.Detach](p); d.Error != nil || d.Closed != closed {
		p.Fatalf("%+v", d)
	}
}

// put sends a message, and waits until it is accepted.
func (p *peer) put(handle, id uint32) {
	p.Helper()
	p.transfer(handle, id, data("x"))
	if d := expect[*frame.Disposition](p); d.State.Code != frame.CodeAccepted {
		p.Fatalf("%+v", d)
	}
}

// TestDeleteOnNoLinks: a node goes with its last link, whose ever that is; a link that is suspended is one. 3 §3.5.11
func TestDeleteOnNoLinks(t *testing.T) {
	b := start(t, defaults())
	are := func(what string, n int) {
		t.Helper()
		if got := b.nodes(); got != n {
			t.Errorf("%s: %d nodes, want %d", what, got, n)
		}
	}
	for _, role := range []frame.Role{frame.Sender, frame.Receiver} {
		p, other := b.as("one"), b.as("other")
		address := p.create(role, frame.CodeDeleteOnNoLinks, frame.ExpireSessionEnd)
		other.sender(1, address)
		other.receiver(2, address)
		p.detach(0, true)
		other.put(1, 0)
		other.detach(1, true)
		are("a link of another connection is there", 1)
		other.detach(2, true)
		are("no link is there, but a message", 0)

		p.create(role, frame.CodeDeleteOnNoLinks, frame.ExpireSessionEnd)
		p.detach(0, false)
		are("the link is suspended", 1)
		p.send(0, &frame.End{})
		expect[*frame.End](p)
		are("the link has ended with its session", 0)
	}

	p, other := b.as("one"), b.as("other")
	address := p.create(frame.Receiver, frame.CodeDeleteOnNoLinks, frame.ExpireNever)
	p.cut()
	b.connections(5)
	other.sender(1, address)
	other.detach(1, true)
	are("the link outlives its connection", 1)
	p = b.as("one")
	p.send(0, &frame.Attach{Name: "creator", Role: frame.Receiver}) // it goes on with what it has
	if a := expect[*frame.Attach](p); a.Source == nil || a.Source.Address != address || !a.Source.Dynamic {
		t.Fatalf("resumed at %+v", a.Source)
	}
	are("it is resumed", 1)
	p.send(0, &frame.Attach{Name: "creator", Handle: 1, Role: frame.Receiver, Source: &frame.Source{Address: "/topic/x", ExpiryPolicy: frame.ExpireSessionEnd}})
	if d := expect[*frame.Detach](p); d.Error == nil || d.Error.Condition != frame.Stolen {
		t.Errorf("%+v", d)
	}
	expect[*frame.Attach](p)
	if _, err := b.at(address); err == nil {
		t.Error("the node is there without its link, which has another source")
	}
}

// TestDeleteOnNoMessages: a node goes with its last message when the link for which it was made is gone, whoever is attached.
// 3 §3.5.12
func TestDeleteOnNoMessages(t *testing.T) {
	b := start(t, defaults())
	p, other := b.as("one"), b.as("other")
	address := p.create(frame.Sender, frame.CodeDeleteOnNoMessages, frame.ExpireSessionEnd)
	other.receiver(0, address)
	other.sender(1, address)
	other.put(1, 0)
	p.put(0, 0)
	other.credit(0, 0, 2, false)
	other.deliveries(2)
	other.send(0, &frame.Disposition{Role: frame.Receiver, First: 0, Settled: true, State: frame.Accepted})
	p.detach(0, true)
	if n := b.nodes(); n != 1 {
		t.Fatalf("%d nodes while a message is not settled", n)
	}
	other.send(0, &frame.Disposition{Role: frame.Receiver, First: 1, Settled: true, State: frame.Accepted})
	if d := expect[*frame.Detach](other); d.Error == nil || d.Error.Condition != frame.ResourceDeleted {
		t.Errorf("%+v", d)
	}
	if n := b.nodes(); n != 0 {
		t.Errorf("%d nodes without a message", n)
	}
	p.create(frame.Receiver, frame.CodeDeleteOnNoMessages, frame.ExpireSessionEnd)
	p.detach(0, true)
	if n := b.nodes(); n != 0 {
		t.Errorf("%d nodes that never had a message", n)
	}
}

// TestDeleteOnNoLinksOrMessages: a node goes when it has neither a link nor a message. 3 §3.5.13
func TestDeleteOnNoLinksOrMessages(t *testing.T) {
	b := start(t, defaults())
	p, other := b.as("one"), b.as("other")
	address := p.create(frame.Sender, frame.CodeDeleteOnNoLinksOrMessages, frame.ExpireSessionEnd)
	p.put(0, 0)
	p.detach(0, true)
	if n := b.nodes(); n != 1 {
		t.Fatalf("%d nodes with a message", n)
	}
	other.receiver(0, address)
	other.credit(0, 0, 1, false)
	other.deliveries(1)
	other.send(0, &frame.Disposition{Role: frame.Receiver, First: 0, State: frame.Accepted}) // and is told when that is done
	expect[*frame.Disposition](other)
	if n := b.nodes(); n != 1 {
		t.Errorf("%d nodes with a link", n)
	}
	other.detach(0, true)
	if n := b.nodes(); n != 0 {
		t.Errorf("%d nodes with nothing", n)
	}
	address = p.create(frame.Sender, frame.CodeDeleteOnNoLinksOrMessages, frame.ExpireSessionEnd)
	p.transfer(0, 1, append((&frame.Header{Priority: frame.DefaultPriority, TTL: frame.Some[uint32](1)}).Append(nil), data("x")...))
	expect[*frame.Disposition](p)
	p.cut()
	b.connections(1)
	b.removed(strings.TrimPrefix(address, "/queues/"))
	if _, err := b.at(address); err == nil {
		t.Error("the queue is there")
	}
}

// TestDynamicNodesAreBounded: nodes that may outlive their connections count as links that may.
// 2 §2.8.15/resource-limit-exceeded
func TestDynamicNodesAreBounded(t *testing.T) {
	c := defaults()
	c.Limits.SuspendedLinksPerUser = 2
	b := start(t, c)
	p := b.as("one")
	refused := func(condition frame.Condition, a *frame.Attach) {
		t.Helper()
		a.Name, a.Role, a.Handle = "refused", frame.Receiver, 9
		p.send(0, a)
		if a := expect[*frame.Attach](p); a.Source != nil {
			t.Errorf("attached to %+v", a.Source)
		}
		if d := expect[*frame.Detach](p); d.Error == nil || d.Error.Condition != condition {
			t.Errorf("%+v", d.Error)
		}
		p.send(0, &frame.Detach{Handle: 9, Closed: true})
	}
	source := func() *frame.Source {
		return &frame.Source{Dynamic: true, DynamicNodeProperties: withPolicy(frame.CodeDeleteOnNoLinks), ExpiryPolicy: frame.ExpireSessionEnd}
	}
	refused(frame.InvalidField, &frame.Attach{Source: source(), Properties: frame.AppendString(frame.AppendSymbol(nil, "rabbitmq:priority"), "high")})
	for i := range uint32(2) {
		p.attach(&frame.Attach{Name: string(rune('a' + i)), Handle: i, Role: frame.Receiver, Source: source()})
	}
	if n := b.nodes(); n != 2 {
		t.Errorf("%d nodes: that of a link that was refused stays", n)
	}
	refused(frame.ResourceLimitExceeded, &frame.Attach{Source: source()})
	p.detach(0, true)
	p.attach(&frame.Attach{Name: "c", Handle: 0, Role: frame.Receiver, Source: source()})
	for _, q := range must(b.hub.VirtualHost("/")).Queues() { // as an administrator may
		q.Discard()
	}
	for range 2 {
		expect[*frame.Detach](p)
	}
	p.send(0, &frame.Detach{Handle: 0, Closed: true})
	p.send(0, &frame.Detach{Handle: 1, Closed: true})
	for i := range uint32(2) {
		p.attach(&frame.Attach{Name: string(rune('d' + i)), Handle: 2 + i, Role: frame.Receiver, Source: source()})
	}
}

// TestJoinNodeWhileItGoes: a link that is attached while the last one leaves finds the node and keeps it, or is told that it is
// not there.
func TestJoinNodeWhileItGoes(t *testing.T) {
	b := start(t, defaults())
	p, other := b.as("one"), b.as("other")
	for _, policy := range []frame.Descriptor{frame.CodeDeleteOnNoLinks, frame.CodeDeleteOnNoLinksOrMessages} {
		for i := range uint32(100) {
			address := p.create(frame.Receiver, policy, frame.ExpireSessionEnd)
			p.send(0, &frame.Detach{Closed: true})
			other.send(0, &frame.Attach{Name: "joins", Role: frame.Sender, InitialDeliveryCount: frame.Some[uint32](0), Target: &frame.Target{Address: address, ExpiryPolicy: frame.ExpireSessionEnd}})
			expect[*frame.Detach](p)
			if a := expect[*frame.Attach](other); a.Target == nil {
				if d := expect[*frame.Detach](other); d.Error.Condition != frame.NotFound {
					t.Fatalf("%v", d.Error)
				}
				other.send(0, &frame.Detach{Closed: true})
			} else {
				expect[*frame.Flow](other)
				other.transfer(0, i, data("x"))
				if d := expect[*frame.Disposition](other); d.State.Code != frame.CodeAccepted {
					t.Fatalf("the node is gone, and its link is there: %+v", d.State)
				}
				other.detach(0, true)
			}
			if q, err := b.at(address); err == nil {
				if policy == frame.CodeDeleteOnNoLinks {
					t.Fatal("the node is there without a link")
				}
				q.Purge() // it goes with its messages
				b.removed(strings.TrimPrefix(address, "/queues/"))
			}
		}
		if n := b.nodes(); n != 0 {
			t.Errorf("%d nodes are left", n)
		}
	}
}
