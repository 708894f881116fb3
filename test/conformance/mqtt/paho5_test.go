package mqtt

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"
)

// client5 is a client of MQTT 5 that collects what it receives.
type client5 struct {
	*paho.Client
	t     *testing.T
	came  chan *paho.Publish
	ended chan *paho.Disconnect // DISCONNECT of the broker
	ack   *paho.Connack
}

// options5 are what a client connects with; change may be nil.
func (b *broker) connect5(t *testing.T, id string, change func(*paho.Connect, *paho.ClientConfig)) *client5 {
	t.Helper()
	c, err := b.tryConnect5(t, id, change)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b *broker) tryConnect5(t *testing.T, id string, change func(*paho.Connect, *paho.ClientConfig)) (*client5, error) {
	t.Helper()
	conn, err := net.Dial("tcp", b.addresses["mqtt"])
	if err != nil {
		t.Fatal(err)
	}
	c := &client5{t: t, came: make(chan *paho.Publish, 10000), ended: make(chan *paho.Disconnect, 1)}
	config := paho.ClientConfig{
		Conn: conn, PacketTimeout: patience,
		OnPublishReceived:  []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) { c.came <- r.Packet; return true, nil }},
		OnServerDisconnect: func(d *paho.Disconnect) { c.ended <- d },
	}
	connect := &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 60, Properties: &paho.ConnectProperties{RequestProblemInfo: true}}
	if change != nil {
		change(connect, &config)
	}
	c.Client = paho.NewClient(config)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c.ack, err = c.Connect(ctx, connect)
	if err != nil {
		conn.Close() //nolint:errcheck // it is of no use
		return c, err
	}
	t.Cleanup(func() { c.Disconnect(&paho.Disconnect{}) }) //nolint:errcheck // it may have ended
	return c, nil
}

func (c *client5) subscribe(o paho.SubscribeOptions, id int) {
	c.t.Helper()
	s := &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{o}}
	if id > 0 {
		s.Properties = &paho.SubscribeProperties{SubscriptionIdentifier: &id}
	}
	if ack, err := c.Subscribe(c.context(), s); err != nil || ack.Reasons[0] != o.QoS {
		c.t.Fatalf("subscribe to %s: %v, %v", o.Topic, ack, err)
	}
}

func (c *client5) context() context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

// publish answers the reason code.
func (c *client5) publish(p *paho.Publish) byte {
	c.t.Helper()
	r, err := c.Publish(c.context(), p)
	if err != nil && r == nil {
		c.t.Fatalf("publish to %s: %v", p.Topic, err)
	}
	if r == nil {
		return 0
	}
	return r.ReasonCode
}

func (c *client5) next() *paho.Publish {
	c.t.Helper()
	select {
	case m := <-c.came:
		return m
	case <-time.After(patience):
		c.t.Fatal("no message")
	}
	return nil
}

// TestEverythingOfAPublish: properties, order of user properties, subscription identifiers and qualities of service, from
// a paho client to another.
func TestEverythingOfAPublish(t *testing.T) {
	b := start(t)
	s := b.connect5(t, "s", nil)
	p := b.connect5(t, "p", nil)
	s.subscribe(paho.SubscribeOptions{Topic: "a/#", QoS: 2}, 268435455)
	for qos := range byte(3) {
		sent := &paho.Publish{Topic: "a/b", QoS: qos, Payload: []byte("text"), Properties: &paho.PublishProperties{
			ContentType: "text/plain", ResponseTopic: "reply/here", CorrelationData: []byte{0, 1, 2}, PayloadFormat: new(byte(1)), MessageExpiry: new(uint32(1000)),
			User: paho.UserProperties{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}},
		}}
		if r := p.publish(sent); r != 0 {
			t.Errorf("QoS %d: reason %#x", qos, r)
		}
		m := s.next()
		got := m.Properties
		if m.QoS != qos || string(m.Payload) != "text" || got.ContentType != "text/plain" || got.ResponseTopic != "reply/here" ||
			string(got.CorrelationData) != "\x00\x01\x02" || *got.PayloadFormat != 1 || *got.MessageExpiry == 0 || *got.MessageExpiry > 1000 || *got.SubscriptionIdentifier != 268435455 {
			t.Errorf("QoS %d: got %v, %+v", qos, m, got)
		}
		if fmt.Sprint(got.User) != fmt.Sprint(sent.Properties.User) {
			t.Errorf("user properties %v", got.User)
		}
	}
	if r := p.publish(&paho.Publish{Topic: "nobody", QoS: 1}); r != 0x10 {
		t.Errorf("without subscribers, the reason is %#x", r)
	}
}

// echo answers requests with what they say.
func (c *client5) echo(topic string) {
	c.t.Helper()
	c.subscribe(paho.SubscribeOptions{Topic: topic, QoS: 1}, 0)
	c.AddOnPublishReceived(func(r paho.PublishReceived) (bool, error) {
		q := r.Packet.Properties
		go c.Publish(c.t.Context(), &paho.Publish{Topic: q.ResponseTopic, QoS: 1, Payload: r.Packet.Payload, Properties: &paho.PublishProperties{CorrelationData: q.CorrelationData}}) //nolint:errcheck // who asked says so
		return true, nil
	})
}

func TestRequestAndResponse(t *testing.T) {
	b := start(t)
	server := b.connect5(t, "server", nil)
	client := b.connect5(t, "client", nil)
	server.subscribe(paho.SubscribeOptions{Topic: "requests", QoS: 1}, 0)
	client.subscribe(paho.SubscribeOptions{Topic: "responses/client", QoS: 1}, 0)
	client.publish(&paho.Publish{Topic: "requests", QoS: 1, Payload: []byte("?"), Properties: &paho.PublishProperties{ResponseTopic: "responses/client", CorrelationData: []byte("7")}})
	q := server.next()
	server.publish(&paho.Publish{Topic: q.Properties.ResponseTopic, QoS: 1, Payload: []byte("!"), Properties: &paho.PublishProperties{CorrelationData: q.Properties.CorrelationData}})
	if m := client.next(); string(m.Payload) != "!" || string(m.Properties.CorrelationData) != "7" {
		t.Errorf("got %v", m)
	}
}

// TestExactlyOnceOverReconnectsAndRestarts publishes with QoS 2 while its connection, or the broker, is killed with most
// exchanges unfinished; paho keeps the client's side of the session. A session that was away gets every message once.
func TestExactlyOnceOverReconnectsAndRestarts(t *testing.T) {
	const each, rounds = 100, 8
	b := start(t)
	persistent := func(c *paho.Connect, _ *paho.ClientConfig) {
		c.CleanStart, c.Properties.SessionExpiryInterval = false, new(uint32(3600))
	}
	s := b.connect5(t, "subscriber", persistent)
	s.subscribe(paho.SubscribeOptions{Topic: "once", QoS: 2}, 0)
	if err := s.Disconnect(&paho.Disconnect{}); err != nil {
		t.Fatal(err)
	}
	var own session.SessionManager = state.NewInMemory()
	publisher := func() *client5 {
		return b.connect5(t, "publisher", func(c *paho.Connect, config *paho.ClientConfig) {
			persistent(c, config)
			config.Session = own
		})
	}
	for round := range rounds {
		p := publisher()
		for i := range each {
			m := &paho.Publish{Topic: "once", QoS: 2, Payload: fmt.Append(nil, round*each+i)}
			if _, err := p.PublishWithOptions(p.context(), m, paho.PublishOptions{Method: paho.PublishMethod_AsyncSend}); err != nil {
				t.Fatal(err)
			}
		}
		if round%2 == 0 {
			p.TerminateConnectionForTest()
		} else {
			b.kill()
			b.start()
		}
		<-p.Done()
	}
	publisher().publish(&paho.Publish{Topic: "once", QoS: 2, Payload: []byte("end")})
	s = b.connect5(t, "subscriber", persistent)
	seen := make(map[string]int)
	for len(seen) <= each*rounds {
		seen[string(s.next().Payload)]++
	}
	for n := range each * rounds {
		if c := seen[fmt.Sprint(n)]; c != 1 {
			t.Errorf("message %d came %d times", n, c)
		}
	}
	if len(s.came) > 0 {
		t.Errorf("and %q", (<-s.came).Payload)
	}
}

func TestFlowControl(t *testing.T) {
	b := start(t)
	s := b.connect5(t, "s", func(c *paho.Connect, config *paho.ClientConfig) {
		c.Properties.ReceiveMaximum = new(uint16(3))
		config.EnableManualAcknowledgment = true
	})
	if got := s.ack.Properties; got.ReceiveMaximum == nil || *got.ReceiveMaximum != 1000 || *got.MaximumPacketSize != 16<<20 || *got.TopicAliasMaximum != 64 {
		t.Errorf("CONNACK says %+v", got)
	}
	s.subscribe(paho.SubscribeOptions{Topic: "t", QoS: 1}, 0)
	p := b.connect5(t, "p", nil)
	for i := range 10 {
		p.publish(&paho.Publish{Topic: "t", QoS: 1, Payload: fmt.Append(nil, i)})
	}
	for i := 0; i < 10; i++ {
		m := s.next()
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Payload)
		}
		if more := len(s.came); more > 2 {
			t.Fatalf("%d messages beside one that is not acknowledged", more)
		}
		if err := s.Ack(m); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTakeover(t *testing.T) {
	b := start(t)
	first := b.connect5(t, "same", nil)
	b.connect5(t, "same", nil)
	select {
	case d := <-first.ended:
		if d.ReasonCode != 0x8e {
			t.Errorf("DISCONNECT with %#x", d.ReasonCode)
		}
	case <-time.After(patience):
		t.Error("the first connection goes on")
	}
}

func TestShutdownSaysSo(t *testing.T) {
	b := start(t)
	c := b.connect5(t, "c", nil)
	b.stop()
	select {
	case d := <-c.ended:
		if d.ReasonCode != 0x8b {
			t.Errorf("DISCONNECT with %#x", d.ReasonCode)
		}
	case <-time.After(patience):
		t.Error("no DISCONNECT")
	}
}

func TestMessageExpiry(t *testing.T) {
	b := start(t)
	away := func(c *paho.Connect, _ *paho.ClientConfig) {
		c.CleanStart, c.Properties.SessionExpiryInterval = false, new(uint32(3600))
	}
	s := b.connect5(t, "s", away)
	s.subscribe(paho.SubscribeOptions{Topic: "t", QoS: 1}, 0)
	if err := s.Disconnect(&paho.Disconnect{}); err != nil {
		t.Fatal(err)
	}
	p := b.connect5(t, "p", nil)
	p.publish(&paho.Publish{Topic: "t", QoS: 1, Payload: []byte("short"), Properties: &paho.PublishProperties{MessageExpiry: new(uint32(1))}})
	p.publish(&paho.Publish{Topic: "t", QoS: 1, Payload: []byte("long"), Properties: &paho.PublishProperties{MessageExpiry: new(uint32(1000))}})
	time.Sleep(1100 * time.Millisecond) // the message's own time
	s = b.connect5(t, "s", away)
	if m := s.next(); string(m.Payload) != "long" || *m.Properties.MessageExpiry > 999 {
		t.Errorf("got %q with %d seconds left", m.Payload, *m.Properties.MessageExpiry)
	}
}

func TestSessionExpiry(t *testing.T) {
	b := start(t)
	connect := func(expiry uint32) *client5 {
		return b.connect5(t, "s", func(c *paho.Connect, _ *paho.ClientConfig) {
			c.CleanStart, c.Properties.SessionExpiryInterval = false, &expiry
		})
	}
	end := func(c *client5) {
		if err := c.Disconnect(&paho.Disconnect{}); err != nil {
			t.Fatal(err)
		}
	}
	end(connect(1))
	time.Sleep(1500 * time.Millisecond) // the session's own time
	c := connect(3600)
	if c.ack.SessionPresent {
		t.Error("an expired session is present")
	}
	end(c)
	if c = connect(3600); !c.ack.SessionPresent {
		t.Error("a session is gone")
	}
}

// TestSharedSubscription: three members share the load, and what one leaves behind comes to the others.
func TestSharedSubscription(t *testing.T) {
	const messages = 300
	b := start(t)
	seen := make(map[string]int)
	var members []*client5
	for i := range 3 {
		m := b.connect5(t, fmt.Sprint("member", i), func(c *paho.Connect, config *paho.ClientConfig) {
			c.Properties.ReceiveMaximum = new(uint16(50))
			config.EnableManualAcknowledgment = i == 0 // it never acknowledges
		})
		m.subscribe(paho.SubscribeOptions{Topic: "$share/g/work/+", QoS: 1}, 0)
		members = append(members, m)
	}
	p := b.connect5(t, "p", nil)
	for i := range messages {
		p.publish(&paho.Publish{Topic: fmt.Sprint("work/", i%7), QoS: 1, Payload: fmt.Append(nil, i)})
	}
	for range 20 { // those it had room for: it takes part
		members[0].next()
	}
	members[0].TerminateConnectionForTest()
	deadline := time.After(patience)
	for len(seen) < messages {
		select {
		case m := <-members[1].came:
			seen[string(m.Payload)]++
		case m := <-members[2].came:
			seen[string(m.Payload)]++
		case <-deadline:
			t.Fatalf("%d of %d messages came", len(seen), messages)
		}
	}
	for body, n := range seen {
		if n > 1 {
			t.Errorf("message %s came %d times", body, n)
		}
	}
}
