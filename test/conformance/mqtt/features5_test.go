package mqtt

import (
	"fmt"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// last publishes to a topic that the client subscribes to, and expects it next: nothing else came.
func (c *client5) last(p *client5) {
	c.t.Helper()
	topic := "last/" + fmt.Sprint(time.Now().UnixNano())
	c.subscribe(paho.SubscribeOptions{Topic: topic, QoS: 1}, 0)
	p.publish(&paho.Publish{Topic: topic, QoS: 1, Payload: []byte("last")})
	if m := c.next(); m.Topic != topic {
		c.t.Errorf("got %q on %s, which was not expected", m.Payload, m.Topic)
	}
}

func TestRetainHandling(t *testing.T) {
	b := start(t)
	p, s := b.connect5(t, "p", nil), b.connect5(t, "s", nil)
	p.publish(&paho.Publish{Topic: "r", QoS: 1, Retain: true, Payload: []byte("kept")})
	for _, c := range []struct {
		handling byte
		comes    bool
	}{{2, false}, {1, false}, {0, true}, {0, true}, {1, false}} {
		s.subscribe(paho.SubscribeOptions{Topic: "r", QoS: 1, RetainHandling: c.handling}, 0)
		if c.comes {
			if m := s.next(); string(m.Payload) != "kept" || !m.Retain {
				t.Errorf("retain handling %d: got %q, RETAIN %v", c.handling, m.Payload, m.Retain)
			}
		}
		s.last(p)
	}
	if _, err := s.Unsubscribe(s.context(), &paho.Unsubscribe{Topics: []string{"r"}}); err != nil {
		t.Fatal(err)
	}
	s.subscribe(paho.SubscribeOptions{Topic: "r", QoS: 1, RetainHandling: 1, RetainAsPublished: true}, 0)
	if m := s.next(); string(m.Payload) != "kept" || !m.Retain {
		t.Errorf("a new subscription with retain handling 1 got %q", m.Payload)
	}
	for _, retain := range []bool{true, false} {
		p.publish(&paho.Publish{Topic: "r", QoS: 1, Retain: retain, Payload: []byte("live")})
		if m := s.next(); string(m.Payload) != "live" || m.Retain != retain {
			t.Errorf("retain as published: got %q with RETAIN %v, want %v", m.Payload, m.Retain, retain)
		}
	}
}

func TestNoLocal(t *testing.T) {
	b := start(t)
	p, s := b.connect5(t, "p", nil), b.connect5(t, "s", nil)
	s.subscribe(paho.SubscribeOptions{Topic: "t", QoS: 1, NoLocal: true}, 0)
	s.publish(&paho.Publish{Topic: "t", QoS: 1, Payload: []byte("mine")})
	p.publish(&paho.Publish{Topic: "t", QoS: 1, Payload: []byte("theirs")})
	if m := s.next(); string(m.Payload) != "theirs" {
		t.Errorf("got %q", m.Payload)
	}
	s.last(p)
}

// TestWillDelay: a will waits for its delay, and is not sent when its client comes back before.
func TestWillDelay(t *testing.T) {
	b := start(t)
	s := b.connect5(t, "s", nil)
	s.subscribe(paho.SubscribeOptions{Topic: "w", QoS: 1}, 0)
	mortal := func(body string, delay uint32) *client5 {
		return b.connect5(t, "mortal", func(c *paho.Connect, _ *paho.ClientConfig) {
			c.CleanStart, c.Properties.SessionExpiryInterval = false, new(uint32(100))
			c.WillMessage = &paho.WillMessage{Topic: "w", QoS: 1, Payload: []byte(body)}
			c.WillProperties = &paho.WillProperties{WillDelayInterval: &delay, User: paho.UserProperties{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}}}
		})
	}
	mortal("never", 1).TerminateConnectionForTest()
	m := mortal("late", 2)
	began := time.Now()
	m.TerminateConnectionForTest()
	will := s.next()
	if took := time.Since(began); string(will.Payload) != "late" || fmt.Sprint(will.Properties.User) != "[{b 1} {a 2}]" || took < 1900*time.Millisecond {
		t.Errorf("got %v with %+v after %v", will, will.Properties, took)
	}
}

func TestAssignedClientID(t *testing.T) {
	b := start(t)
	seen := make(map[string]bool)
	for range 3 {
		id := b.connect5(t, "", nil).ack.Properties.AssignedClientID
		if id == "" || seen[id] {
			t.Errorf("client id %q", id)
		}
		seen[id] = true
	}
	if id := b.connect5(t, "own", nil).ack.Properties.AssignedClientID; id != "" {
		t.Errorf("a client with an id of its own is given %q", id)
	}
}

func TestServerKeepAlive(t *testing.T) {
	b := startWith(t, "mqtt: {maxKeepAliveSeconds: 30}\n")
	for asked, want := range map[uint16]uint16{0: 30, 60: 30, 31: 30, 30: 0, 10: 0} {
		c := b.connect5(t, fmt.Sprint("c", asked), func(c *paho.Connect, _ *paho.ClientConfig) { c.KeepAlive = asked })
		got := uint16(0)
		if k := c.ack.Properties.ServerKeepAlive; k != nil {
			got = *k
		}
		if got != want {
			t.Errorf("keep alive %d: the server's is %d, want %d", asked, got, want)
		}
	}
}

func TestTopicAliases(t *testing.T) {
	b := start(t)
	p, s := b.connect5(t, "p", nil), b.connect5(t, "s", nil)
	s.subscribe(paho.SubscribeOptions{Topic: "#", QoS: 1}, 0)
	alias := func(topic, body string, alias uint16) {
		p.publish(&paho.Publish{Topic: topic, QoS: 1, Payload: []byte(body), Properties: &paho.PublishProperties{TopicAlias: &alias}})
	}
	alias("a", "1", 1)
	alias("b", "2", 64)
	alias("", "3", 1)
	alias("", "4", 64)
	alias("c", "5", 1)
	alias("", "6", 1)
	for _, want := range []string{"a 1", "b 2", "a 3", "b 4", "c 5", "c 6"} {
		if m := s.next(); m.Topic+" "+string(m.Payload) != want {
			t.Errorf("got %s %s, want %s", m.Topic, m.Payload, want)
		}
	}
}

// TestMaximumPacketSize: what is larger than a client takes is not sent, and holds up nothing.
func TestMaximumPacketSize(t *testing.T) {
	b := start(t)
	s := b.connect5(t, "s", func(c *paho.Connect, _ *paho.ClientConfig) {
		c.Properties.MaximumPacketSize, c.Properties.ReceiveMaximum = new(uint32(100)), new(uint16(1))
	})
	p := b.connect5(t, "p", nil)
	for qos := range byte(3) {
		topic := fmt.Sprint("t/", qos)
		s.subscribe(paho.SubscribeOptions{Topic: topic, QoS: qos}, 0)
		for range 3 {
			p.publish(&paho.Publish{Topic: topic, QoS: qos, Payload: make([]byte, 100)})
		}
		p.publish(&paho.Publish{Topic: topic, QoS: qos, Payload: []byte("short")})
		if m := s.next(); string(m.Payload) != "short" || m.QoS != qos {
			t.Errorf("QoS %d: got %d bytes with QoS %d", qos, len(m.Payload), m.QoS)
		}
	}
}
