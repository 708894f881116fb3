package amqp10_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/Azure/go-amqp"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// filters makes filters of pairs of a name and a value.
func filters(pairs ...any) (all []amqp.LinkFilter) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, amqp.NewLinkFilter(pairs[i].(string), 0, pairs[i+1]))
	}
	return all
}

const (
	propertiesFilter  = "amqp:properties-filter"
	applicationFilter = "amqp:application-properties-filter"
)

// TestPropertyFilters: a receiver gets what meets all entries of its filters, and its selector, if it has one.
func TestPropertyFilters(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.client()
	paint(t, s, "/queues/q", "red", "blue", "red", "green", "$cash", "&co", "redder")
	for _, x := range []struct {
		filters []amqp.LinkFilter
		want    string
	}{
		{filters(applicationFilter, map[string]any{"color": "red", "size": int64(2)}), "red2"},
		{filters(applicationFilter, map[string]any{"weight": int32(0)}), "red0"},
		{filters(propertiesFilter, map[string]any{"subject": "&p:paint.g"}), "green3"},
		{filters(propertiesFilter, map[string]any{"message-id": "&s:1", "to": nil}, applicationFilter, map[string]any{"color": nil}), "blue1"},
		{filters(applicationFilter, map[string]any{"color": "$$cash", "even": true}), "$cash4"},
		{filters(applicationFilter, map[string]any{"color": "&&co"}), "&co5"},
		{append(filters(applicationFilter, map[string]any{"color": "&s:dder"}), amqp.NewSelectorFilter("size > 5")), "redder6"},
	} {
		r := must(s.NewReceiver(soon(t), "/queues/q", &amqp.ReceiverOptions{Credit: 3, Filters: x.filters}))
		m := must(r.Receive(soon(t), nil))
		if string(m.GetData()) != x.want {
			t.Errorf("got %s, want %s", m.GetData(), x.want)
		}
		check(t, r.AcceptMessage(soon(t), m))
		check(t, r.Close(soon(t)))
	}
	handled(t, s)
	b.holds("q", 0)
}

// TestPropertyFiltersMatchNothing: what is not there, or is of another type, is not equal to anything.
func TestPropertyFiltersMatchNothing(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.client()
	paint(t, s, "/queues/q", "red")
	none := [][]amqp.LinkFilter{
		filters(applicationFilter, map[string]any{"missing": nil}),
		filters(applicationFilter, map[string]any{"size": "0"}),
		filters(applicationFilter, map[string]any{"size": "&p:0"}),
		filters(applicationFilter, map[string]any{"even": int32(1)}),
		filters(propertiesFilter, map[string]any{"group-id": "g"}),
		filters(propertiesFilter, map[string]any{"group-sequence": uint32(0)}),
		filters(propertiesFilter, map[string]any{"correlation-id": "&p:"}),
	}
	for i, f := range none {
		r := must(s.NewReceiver(soon(t), "/queues/q", &amqp.ReceiverOptions{Credit: -1, Filters: f}))
		check(t, r.IssueCredit(1))
		check(t, r.DrainCredit(soon(t), nil))
		if m := r.Prefetched(); m != nil {
			t.Errorf("filter %d gives %s", i, m.GetData())
		}
		check(t, r.Close(soon(t)))
	}
}

// TestFiltersRefused: what is wrong is said when the link attaches.
func TestFiltersRefused(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.client()
	for want, f := range map[string][]amqp.LinkFilter{
		"no field of the section properties":      filters(propertiesFilter, map[string]any{"color": "red"}),
		"must be a map":                           filters(applicationFilter, "red"),
		"modifier that is not known":              filters(applicationFilter, map[string]any{"color": "&x:red"}),
		"must be of a simple type":                filters(applicationFilter, map[string]any{"color": []any{"red"}}),
		"must be a string":                        filters("apache.org:legacy-amqp-topic-binding:string", int32(1)),
		"there are several binding filters":       filters("apache.org:legacy-amqp-topic-binding:string", "a", "apache.org:legacy-amqp-direct-binding:string", "b"),
		"is for exchanges of type direct, and \"": filters("apache.org:legacy-amqp-direct-binding:string", "b"),
	} {
		_, err := s.NewReceiver(soon(t), "/exchanges/amq.topic/x", &amqp.ReceiverOptions{Filters: f})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), string(frame.InvalidField)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestBindingFilters: a source that is an exchange is bound to it as a filter says.
func TestBindingFilters(t *testing.T) {
	b := start(t, defaults())
	_, s := b.client()
	for _, x := range []struct {
		exchange, filter string
		value            any
		key              string
	}{
		{"amq.topic", "apache.org:legacy-amqp-topic-binding:string", "a.*", "a.b"},
		{"amq.direct", "apache.org:legacy-amqp-direct-binding:string", "k", "k"},
		{"amq.headers", "apache.org:legacy-amqp-headers-binding:map", map[string]any{"x-match": "any", "color": "red"}, "-"},
	} {
		r := must(s.NewReceiver(soon(t), x.exchange, &amqp.ReceiverOptions{Credit: 5, Filters: filters(x.filter, x.value)}))
		sender := must(s.NewSender(soon(t), "/exchanges/"+x.exchange+"/"+x.key, nil))
		check(t, sender.Send(soon(t), &amqp.Message{ApplicationProperties: map[string]any{"color": "red"}, Data: [][]byte{[]byte(x.key)}}, nil))
		if m := must(r.Receive(soon(t), nil)); string(m.GetData()) != x.key {
			t.Errorf("%s gives %s", x.exchange, m.GetData())
		}
		check(t, r.Close(soon(t)))
	}
}

// TestNoLocal: a subscription does not get what its own connection publishes; where that cannot be known, the filter is not in
// the answer.
func TestNoLocal(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	conn, s := b.client()
	_, other := b.client()
	noLocal := filters("apache.org:no-local-filter:list", []any{})
	r := must(s.NewReceiver(soon(t), "/topic/news", &amqp.ReceiverOptions{Credit: 5, Filters: noLocal}))
	for body, from := range map[string]*amqp.Session{"own": s, "other": other} {
		sender := must(from.NewSender(soon(t), "/topic/news", nil))
		check(t, sender.Send(soon(t), amqp.NewMessage([]byte(body)), nil))
	}
	if m := must(r.Receive(soon(t), nil)); string(m.GetData()) != "other" {
		t.Errorf("got %s", m.GetData())
	}
	check(t, conn.Close())
	p := b.open()
	list := frame.AppendList(frame.AppendSymbolDescriptor(nil, "apache.org:no-local-filter:list"), nil)
	filter := append(frame.AppendSymbol(nil, "no-local"), list...)
	topic := &frame.Source{Address: "/topic/news", Filter: filter, ExpiryPolicy: frame.ExpireSessionEnd}
	if a := p.attach(&frame.Attach{Name: "1", Handle: 1, Role: frame.Receiver, Source: topic}); len(a.Source.Filter) == 0 {
		t.Error("the filter of a subscription is not in force")
	}
	topic.Durable, topic.ExpiryPolicy = frame.DurabilityUnsettledState, frame.ExpireNever
	if a := p.attach(&frame.Attach{Name: "2", Handle: 2, Role: frame.Receiver, Source: topic}); len(a.Source.Filter) > 0 {
		t.Error("the filter of a durable subscription is said to be in force")
	}
	queue := &frame.Source{Address: "/queues/q", Filter: filter, ExpiryPolicy: frame.ExpireSessionEnd}
	if a := p.attach(&frame.Attach{Name: "3", Handle: 3, Role: frame.Receiver, Source: queue}); len(a.Source.Filter) > 0 {
		t.Error("the filter of a queue is said to be in force")
	}
}

// member attaches a link to a shared subscription.
func (b *broker) member(container, link, address string, o amqp.ReceiverOptions) (*amqp.Conn, *amqp.Receiver, error) {
	b.Helper()
	conn, s := b.clientWith(&amqp.ConnOptions{SASLType: amqp.SASLTypePlain("guest", "guest"), ContainerID: container})
	o.Name, o.SourceCapabilities = link, append(o.SourceCapabilities, "topic", "shared")
	o.Credit = -1 // it is given by hand, so that nobody takes more than its part
	r, err := s.NewReceiver(soon(b), address, &o)
	return conn, r, err
}

var lastingSubscription = amqp.ReceiverOptions{SourceDurability: amqp.DurabilityUnsettledState, SourceExpiryPolicy: amqp.ExpiryPolicyNever}

// share publishes as many messages as members have credit for, and checks that each of them gets its part.
func (b *broker) share(topic string, members ...*amqp.Receiver) {
	b.Helper()
	_, s := b.client()
	sender := must(s.NewSender(soon(b), "/topic/"+topic, nil))
	for _, r := range members {
		check(b, r.IssueCredit(2))
	}
	for range 2 * len(members) {
		check(b, sender.Send(soon(b), amqp.NewMessage([]byte("x")), nil))
	}
	for _, r := range members {
		var got []*amqp.Message
		for range 2 {
			got = append(got, must(r.Receive(soon(b), nil)))
		}
		for _, m := range got {
			check(b, r.AcceptMessage(soon(b), m))
		}
	}
}

// queues are the names of queues with a prefix.
func (b *broker) queues(prefix string) (names []string) {
	for _, q := range must(b.hub.VirtualHost("/")).Queues() {
		if strings.HasPrefix(q.Name(), prefix) {
			names = append(names, q.Name())
		}
	}
	return names
}

// TestSharedSubscription: links of one subscription take turns at its messages, on one connection and on several of a container;
// the subscription goes with its last link.
func TestSharedSubscription(t *testing.T) {
	b := start(t, defaults())
	c1, r1, err := b.member("app", "sub|volatile1", "news", amqp.ReceiverOptions{})
	check(t, err)
	c2, r2, err := b.member("app", "sub|volatile2", "news", amqp.ReceiverOptions{})
	check(t, err)
	_, r3, err := b.member("other", "sub|volatile1", "news", amqp.ReceiverOptions{})
	check(t, err)
	_, s := b.client()
	sender := must(s.NewSender(soon(t), "/topic/news", nil))
	check(t, r1.IssueCredit(2))
	check(t, r2.IssueCredit(2))
	check(t, r3.IssueCredit(4))
	for range 4 {
		check(t, sender.Send(soon(t), amqp.NewMessage([]byte("x")), nil))
	}
	for i, r := range []*amqp.Receiver{r1, r1, r2, r2, r3, r3, r3, r3} {
		m, err := r.Receive(soon(t), nil)
		if err != nil {
			t.Fatalf("delivery %d: %v", i, err)
		}
		check(t, r.AcceptMessage(soon(t), m))
	}
	b.leaving(2, func() { check(t, c1.Close()); check(t, c2.Close()) })
	b.ended("amqp-shared-volatile/app/sub")
	if names := b.queues("amqp-shared"); len(names) != 1 {
		t.Errorf("there are %q", names)
	}
}

// TestJoinSharedWhileItEnds: a link that joins while the last one leaves has a subscription, made anew if need be.
func TestJoinSharedWhileItEnds(t *testing.T) {
	b := start(t, defaults())
	for kind, durable := range map[string]frame.Durability{"volatile": frame.DurabilityNone, "durable": frame.DurabilityUnsettledState} {
		source := &frame.Source{Address: "news", ExpiryPolicy: frame.ExpireSessionEnd, Capabilities: []string{"topic", "shared"}, Durable: durable}
		leaves, joins := b.as("app"), b.as("app")
		names := []string{kind + "|1", kind + "|2"}
		leaves.attachTo(names[0], 0, source, false, nil)
		for i := range 300 {
			leaves.send(0, &frame.Detach{Closed: true})
			joins.send(0, &frame.Attach{Name: names[(i+1)%2], Role: frame.Receiver, Source: source})
			if d := expect[*frame.Detach](leaves); d.Error != nil {
				t.Fatalf("%s: the link was detached because of %v", kind, d.Error)
			}
			if a := expect[*frame.Attach](joins); a.Source == nil {
				t.Fatalf("%s: the link was refused: %v", kind, expect[*frame.Detach](joins).Error)
			}
			leaves, joins = joins, leaves
		}
	}
}

// TestDurableSharedSubscription: it keeps messages while no link is there, goes when the last link is closed, and is another
// one when its address or filters change while nobody has it.
func TestDurableSharedSubscription(t *testing.T) {
	b := start(t, defaults())
	c1, r1, err := b.member("app", "sub", "news", lastingSubscription)
	check(t, err)
	c2, r2, err := b.member("app", "sub|2", "news", lastingSubscription)
	check(t, err)
	b.share("news", r1, r2)
	if _, _, err := b.member("app", "sub|3", "sports", lastingSubscription); err == nil || !strings.Contains(err.Error(), "in use with another address") {
		t.Errorf("another topic: %v", err)
	}
	selecting := lastingSubscription
	selecting.Filters = []amqp.LinkFilter{amqp.NewSelectorFilter("color = 'red'")}
	if _, _, err := b.member("app", "sub|3", "news", selecting); err == nil || !strings.Contains(err.Error(), string(frame.ResourceLocked)) {
		t.Errorf("another selector: %v", err)
	}
	b.leaving(2, func() { check(t, c1.Close()); check(t, c2.Close()) })
	const name = "amqp-shared/app/sub"
	_, s := b.client()
	check(t, must(s.NewSender(soon(t), "/topic/news", nil)).Send(soon(t), amqp.NewMessage([]byte("kept")), nil))
	_, again, err := b.member("app", "sub", "news", lastingSubscription)
	check(t, err)
	check(t, again.IssueCredit(1))
	if m := must(again.Receive(soon(t), nil)); string(m.GetData()) != "kept" {
		t.Errorf("got %s", m.GetData())
	} else {
		check(t, again.AcceptMessage(soon(t), m))
	}
	_, second, err := b.member("app", "sub|2", "news", lastingSubscription)
	check(t, err)
	check(t, second.Close(soon(t)))
	if len(b.queues(name)) != 1 {
		t.Error("the subscription has ended with its second link")
	}
	check(t, again.Close(soon(t)))
	if names := b.queues(name); len(names) > 0 {
		t.Errorf("the subscription is there: %q", names)
	}
}

// TestChangedSharedSubscription: with another selector, a shared subscription that nobody has begins anew.
func TestChangedSharedSubscription(t *testing.T) {
	b := start(t, defaults())
	c, _, err := b.member("app", "sub", "news", lastingSubscription)
	check(t, err)
	b.leaving(1, func() { check(t, c.Close()) })
	_, s := b.client()
	paint(t, s, "/topic/news", "red")
	selecting := lastingSubscription
	selecting.Filters = []amqp.LinkFilter{amqp.NewSelectorFilter("color = 'red'")}
	_, r, err := b.member("app", "sub", "news", selecting)
	check(t, err)
	check(t, r.IssueCredit(1))
	paint(t, s, "/topic/news", "blue", "red")
	if m := must(r.Receive(soon(t), nil)); string(m.GetData()) != "red1" {
		t.Errorf("got %s", m.GetData())
	}
}

// TestGlobalSharedSubscription: with the capability global, connections of any container share it; a link without a source and
// with its name ends it, as JMS clients unsubscribe.
func TestGlobalSharedSubscription(t *testing.T) {
	b := start(t, defaults())
	global := lastingSubscription
	global.SourceCapabilities = []string{"global"}
	c1, r1, err := b.member("one", "sub|global", "news", global)
	check(t, err)
	c2, r2, err := b.member("two", "sub|global2", "news", global)
	check(t, err)
	b.share("news", r1, r2)
	b.leaving(2, func() { check(t, c1.Close()); check(t, c2.Close()) })
	const name = "amqp-shared//sub"
	p := b.open()
	p.send(0, &frame.Attach{Name: "sub|global", Handle: 1, Role: frame.Receiver, Target: &frame.Target{ExpiryPolicy: frame.ExpireSessionEnd}})
	a := expect[*frame.Attach](p)
	if a.Source == nil || a.Source.ExpiryPolicy != frame.ExpireNever {
		t.Fatalf("the subscription is answered as %+v, %+v", a.Source, expect[*frame.Detach](p).Error)
	}
	p.send(0, &frame.Detach{Handle: 1, Closed: true})
	expect[*frame.Detach](p)
	if names := b.queues(name); len(names) > 0 {
		t.Errorf("the subscription is there: %q", names)
	}
}

// TestServiceBusAddresses: subscriptions are queues bound to their topic, and queues have one for what died.
func TestServiceBusAddresses(t *testing.T) {
	b := start(t, defaults())
	b.apply(object.KindExchange, "/", "orders", object.ExchangeSpec{Type: "topic", Durable: true})
	b.queue("work", object.Arguments{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work-dead"})
	b.queue("work-dead", nil)
	b.queue("orders/Subscriptions/audit/$DeadLetterQueue", nil)
	b.queue("plain", nil)
	b.queue("orders/subscriptions/own", nil)
	_, s := b.client()
	billing := must(s.NewReceiver(soon(t), "orders/subscriptions/billing", &amqp.ReceiverOptions{Credit: 5}))
	shipping := must(s.NewReceiver(soon(t), "orders/Subscriptions/shipping", &amqp.ReceiverOptions{Credit: 5}))
	again := must(s.NewReceiver(soon(t), "orders/SUBSCRIPTIONS/billing", &amqp.ReceiverOptions{Credit: -1}))
	check(t, again.Close(soon(t)))
	subject := "order.new"
	check(t, must(s.NewSender(soon(t), "orders", nil)).Send(soon(t), &amqp.Message{Properties: &amqp.MessageProperties{Subject: &subject}, Data: [][]byte{[]byte("order")}}, nil))
	for _, r := range []*amqp.Receiver{billing, shipping} {
		m := must(r.Receive(soon(t), nil))
		if string(m.GetData()) != "order" {
			t.Errorf("got %s", m.GetData())
		}
		check(t, r.AcceptMessage(soon(t), m))
	}
	check(t, must(s.NewSender(soon(t), "work", nil)).Send(soon(t), amqp.NewMessage([]byte("bad")), nil))
	work := must(s.NewReceiver(soon(t), "work", nil))
	check(t, work.RejectMessage(soon(t), must(work.Receive(soon(t), nil)), nil))
	dead := must(s.NewReceiver(soon(t), "work/$deadletterqueue", nil))
	if m := must(dead.Receive(soon(t), nil)); string(m.GetData()) != "bad" {
		t.Errorf("dead letter %s", m.GetData())
	}
	must(s.NewReceiver(soon(t), "orders/Subscriptions/audit/$DeadLetterQueue", nil))
	must(s.NewReceiver(soon(t), "orders/subscriptions/own", nil))
	if names := b.queues("orders/"); !slices.Equal(names, []string{"orders/Subscriptions/audit/$DeadLetterQueue", "orders/Subscriptions/billing", "orders/Subscriptions/shipping", "orders/subscriptions/own"}) {
		t.Errorf("there are %q", names)
	}
	for address, want := range map[string]string{
		"none/Subscriptions/x":    `no exchange "none" to which it could be bound`,
		"plain/$DeadLetterQueue":  "x-dead-letter-routing-key names one",
		"absent/$DeadLetterQueue": "x-dead-letter-routing-key names one",
	} {
		if _, err := s.NewReceiver(soon(t), address, nil); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), string(frame.NotFound)) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
