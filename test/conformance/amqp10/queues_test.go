package amqp10_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/Azure/go-amqp"
	amqp091 "github.com/rabbitmq/amqp091-go"
)

// channel is one of AMQP 0-9-1.
func (p *process) channel() *amqp091.Channel {
	p.Helper()
	conn := must(amqp091.Dial("amqp://guest:guest@" + p.address("amqp") + "/"))
	p.Cleanup(func() { conn.Close() }) //nolint:errcheck // at the end
	return must(conn.Channel())
}

// declare makes a durable queue with arguments.
func (p *process) declare(name string, args amqp091.Table) *amqp091.Channel {
	p.Helper()
	ch := p.channel()
	must(ch.QueueDeclare(name, true, false, false, false, args))
	return ch
}

// TestGroups: each group of messages goes to one of two receivers, whichever protocol its messages come by, and to the other one when
// that is gone, in the order in which they were sent.
func TestGroups(t *testing.T) {
	p := start(t)
	ch := p.declare("groups", amqp091.Table{"x-group-buckets": 64})
	_, s := p.session()
	receivers := map[string]*amqp.Receiver{}
	for _, name := range []string{"first", "second"} {
		_, own := p.session()
		receivers[name] = must(own.NewReceiver(p.soon(), "/queues/groups", &amqp.ReceiverOptions{Credit: 1000}))
	}
	sender := must(s.NewSender(p.soon(), "/queues/groups", nil))
	const groups, each = 20, 10
	for i := range each {
		for g := range groups {
			id, body := fmt.Sprint("group ", g), fmt.Append(nil, i)
			if i%2 == 0 {
				m := amqp.NewMessage(body)
				m.Properties = &amqp.MessageProperties{GroupID: &id}
				check(t, sender.Send(p.soon(), m, nil))
			} else {
				check(t, ch.PublishWithContext(p.soon(), "", "groups", false, false, amqp091.Publishing{Headers: amqp091.Table{"JMSXGroupID": id}, Body: body}))
			}
			if i%2 == 0 {
				continue
			}
			must(ch.QueueDeclarePassive("groups", true, false, false, false, nil)) // the next one comes behind it
		}
	}
	type arrival struct {
		at string
		m  *amqp.Message
	}
	arrivals := make(chan arrival)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for name, r := range receivers {
		go func() { // ends with the receiver, or with ctx
			for {
				m, err := r.Receive(ctx, nil)
				if err != nil {
					return
				}
				select {
				case arrivals <- arrival{name, m}:
				case <-ctx.Done():
				}
			}
		}()
	}
	got := make(map[string][]*amqp.Message)
	owner := make(map[string]string)
	for range groups * each {
		a := receive(t, "message of a group", arrivals)
		id := groupOf(a.m)
		if owner[id] == "" {
			owner[id] = a.at
		}
		if owner[id] != a.at || string(a.m.GetData()) != fmt.Sprint(len(got[id])) {
			t.Fatalf("%s, of %s: %s has its message %q after %d", id, owner[id], a.at, a.m.GetData(), len(got[id]))
		}
		got[id] = append(got[id], a.m)
	}
	share := map[string]int{}
	for _, name := range owner {
		share[name]++
	}
	if len(owner) != groups || share["first"] == 0 || share["second"] == 0 {
		t.Errorf("groups are shared as %v", share)
	}
	check(t, receivers["first"].Close(p.soon())) // what it has not settled goes on with the other
	for id, name := range owner {
		if name == "second" {
			for _, m := range got[id] {
				check(t, receivers["second"].AcceptMessage(p.soon(), m))
			}
		}
	}
	next := make(map[string]int)
	for range share["first"] * each {
		m := receive(t, "message of a group that moved", arrivals).m
		id := groupOf(m)
		if owner[id] != "first" || string(m.GetData()) != fmt.Sprint(next[id]) {
			t.Fatalf("%s: message %q, want %d", id, m.GetData(), next[id])
		}
		next[id]++
		check(t, receivers["second"].AcceptMessage(p.soon(), m))
	}
}

func groupOf(m *amqp.Message) string {
	if m.Properties != nil && m.Properties.GroupID != nil {
		return *m.Properties.GroupID
	}
	id, _ := m.ApplicationProperties["JMSXGroupID"].(string)
	return id
}

// TestLastValue: of the messages with one key the newest waits, after a crash too, and each reader that browses sees it.
func TestLastValue(t *testing.T) {
	p := start(t)
	p.declare("prices", amqp091.Table{"x-last-value-key": "symbol"})
	send := func(symbol, price string) {
		t.Helper()
		_, s := p.session()
		m := amqp.NewMessage([]byte(price))
		m.Header = &amqp.MessageHeader{Durable: true}
		m.ApplicationProperties = map[string]any{"symbol": symbol}
		check(t, must(s.NewSender(p.soon(), "/queues/prices", nil)).Send(p.soon(), m, nil))
	}
	for i := range 50 {
		send("A", fmt.Sprint("a", i))
		send("B", fmt.Sprint("b", i))
	}
	p.restart()
	send("A", "a50")
	_, s := p.session()
	for range 2 {
		r := must(s.NewReceiver(p.soon(), "/queues/prices", &amqp.ReceiverOptions{Credit: 10, SourceDistributionMode: amqp.SourceDistributionModeCopy}))
		for _, want := range []string{"b49", "a50"} {
			if m := must(r.Receive(p.soon(), nil)); string(m.GetData()) != want {
				t.Errorf("browsed %q, want %q", m.GetData(), want)
			}
		}
		check(t, r.Close(p.soon()))
	}
	r := must(s.NewReceiver(p.soon(), "/queues/prices", &amqp.ReceiverOptions{Credit: 10}))
	for _, want := range []string{"b49", "a50"} {
		m := must(r.Receive(p.soon(), nil))
		if string(m.GetData()) != want {
			t.Errorf("got %q, want %q", m.GetData(), want)
		}
		check(t, r.AcceptMessage(p.soon(), m))
	}
	if q := must(p.channel().QueueDeclarePassive("prices", true, false, false, false, nil)); q.Messages != 0 {
		t.Errorf("and %d more", q.Messages)
	}
}
