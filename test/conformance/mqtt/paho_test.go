package mqtt

import (
	"fmt"
	"slices"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// client is a paho client that collects what it receives.
type client struct {
	paho.Client
	t    *testing.T
	came chan paho.Message
}

func (b *broker) options(id string) *paho.ClientOptions {
	return paho.NewClientOptions().AddBroker(b.url("mqtt")).SetClientID(id).SetAutoReconnect(false).SetConnectTimeout(patience)
}

// connect connects a client, and answers whether the broker had its session.
func connect(t *testing.T, o *paho.ClientOptions) (c *client, present bool) {
	t.Helper()
	c = &client{t: t, came: make(chan paho.Message, 10000)}
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { c.came <- m })
	c.Client = paho.NewClient(o)
	token := c.Connect()
	c.done(token)
	t.Cleanup(func() { c.Disconnect(0) })
	return c, token.(*paho.ConnectToken).SessionPresent()
}

func (c *client) done(token paho.Token) {
	c.t.Helper()
	if !token.WaitTimeout(patience) {
		c.t.Fatal("no answer")
	}
	if err := token.Error(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) subscribe(filter string, qos byte) {
	c.t.Helper()
	c.done(c.Subscribe(filter, qos, nil))
}

func (c *client) publish(topic string, qos byte, retained bool, body string) {
	c.t.Helper()
	c.done(c.Publish(topic, qos, retained, body))
}

func (c *client) next() paho.Message {
	c.t.Helper()
	select {
	case m := <-c.came:
		return m
	case <-time.After(patience):
		c.t.Fatal("no message")
	}
	return nil
}

func (c *client) expect(topic, body string) paho.Message {
	c.t.Helper()
	m := c.next()
	if m.Topic() != topic || string(m.Payload()) != body {
		c.t.Fatalf("got %q on %s, want %q on %s", m.Payload(), m.Topic(), body, topic)
	}
	return m
}

// quiet: nothing came that was not asked for. A message to itself comes after all that was there before.
func (c *client) quiet() {
	c.t.Helper()
	topic := "quiet/" + fmt.Sprint(time.Now().UnixNano())
	c.subscribe(topic, 1)
	c.publish(topic, 1, false, "end")
	c.expect(topic, "end")
}

// TestPublishSubscribe: clients that know nothing of this broker, over TCP and WebSocket.
// [MQTT-7.0.0-2], [MQTT-7.1.1-1], [MQTT5-4.2.0-1]
func TestPublishSubscribe(t *testing.T) {
	b := start(t)
	for _, scheme := range []string{"mqtt", "ws"} {
		for _, version := range []uint{3, 4} {
			t.Run(fmt.Sprintf("%s version %d", scheme, version), func(t *testing.T) {
				o := b.options("sub-" + scheme).SetProtocolVersion(version)
				o.Servers = nil
				o.AddBroker(b.url(scheme))
				s, _ := connect(t, o)
				s.subscribe("a/+/c", 1)
				s.subscribe("zero/#", 0)
				p, _ := connect(t, b.options("pub"))
				for i := range 200 {
					p.publish("a/b/c", 1, false, fmt.Sprint(i))
				}
				p.publish("a/b", 1, false, "not for it")
				p.publish("zero", 1, false, "parent")
				for i := range 200 {
					if m := s.expect("a/b/c", fmt.Sprint(i)); m.Qos() != 1 || m.Duplicate() || m.Retained() {
						t.Errorf("QoS %d, DUP %v, RETAIN %v", m.Qos(), m.Duplicate(), m.Retained())
					}
				}
				if m := s.expect("zero", "parent"); m.Qos() != 0 {
					t.Errorf("QoS %d", m.Qos())
				}
				s.quiet()
			})
		}
	}
	b.stop()
}

func TestPersistentSessionOutlivesTheProcess(t *testing.T) {
	b := start(t)
	s, present := connect(t, b.options("s").SetCleanSession(false))
	if present {
		t.Error("a new session is present")
	}
	s.subscribe("t/#", 1)
	s.Disconnect(100)
	p, _ := connect(t, b.options("p"))
	const count = 500
	for i := range count {
		p.publish("t/x", 1, false, fmt.Sprint(i))
	}
	b.kill()
	b.start()
	p, _ = connect(t, b.options("p"))
	p.publish("t/x", 1, false, "after")
	s, present = connect(t, b.options("s").SetCleanSession(false))
	if !present {
		t.Error("the session is gone")
	}
	for i := range count {
		s.expect("t/x", fmt.Sprint(i))
	}
	s.expect("t/x", "after")
	s.quiet()
}

func TestRetained(t *testing.T) {
	b := start(t)
	p, _ := connect(t, b.options("p"))
	p.publish("r/1", 1, true, "old")
	p.publish("r/1", 1, true, "new")
	p.publish("r/2", 1, true, "gone")
	p.publish("r/2", 1, true, "")
	p.publish("r/3", 1, true, "three")
	p.publish("$r/1", 1, true, "hidden")
	for _, restarted := range []bool{false, true} {
		if restarted {
			b.kill()
			b.start()
		}
		s, _ := connect(t, b.options("s"))
		s.subscribe("#", 1)
		var got []string
		for range 2 {
			m := s.next()
			got = append(got, m.Topic()+"="+string(m.Payload()))
			if !m.Retained() || m.Qos() != 1 {
				t.Errorf("RETAIN %v, QoS %d", m.Retained(), m.Qos())
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, []string{"r/1=new", "r/3=three"}) {
			t.Errorf("retained %q", got)
		}
		s.Disconnect(0)
	}
}

func TestRetainedMany(t *testing.T) {
	const count = 3000
	b := start(t)
	p, _ := connect(t, b.options("p"))
	var last paho.Token
	for i := range count {
		last = p.Publish(fmt.Sprintf("many/%04d", i), 1, true, "x")
	}
	p.done(last)
	p.quiet()
	s, _ := connect(t, b.options("s"))
	s.subscribe("many/#", 1)
	seen := make(map[string]bool)
	for range count {
		seen[s.next().Topic()] = true
	}
	if len(seen) != count {
		t.Errorf("%d of %d topics came", len(seen), count)
	}
}

func TestWill(t *testing.T) {
	b := start(t)
	s, _ := connect(t, b.options("s"))
	s.subscribe("will/#", 1)
	w, _ := connect(t, b.options("w").SetWill("will/w", "gone", 1, false))
	other, _ := connect(t, b.options("w")) // takes over, which breaks the first connection
	s.expect("will/w", "gone")
	other.Disconnect(100)
	w.Disconnect(0)
	polite, _ := connect(t, b.options("polite").SetWill("will/polite", "gone", 1, false))
	polite.Disconnect(100)
	s.publish("will/end", 1, false, "end")
	s.expect("will/end", "end")
}
