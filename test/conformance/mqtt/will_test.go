package mqtt

import (
	"testing"

	"github.com/eclipse/paho.golang/paho"
)

// TestWillsOutliveAKill: the wills of clients that were connected when the process was killed are published by the next
// one, after their delay, unless their client comes back before.
func TestWillsOutliveAKill(t *testing.T) {
	b := start(t)
	expiry, delay, short := uint32(3600), uint32(3600), uint32(1)
	with := func(delay *uint32, topic string) func(*paho.Connect, *paho.ClientConfig) {
		return func(c *paho.Connect, _ *paho.ClientConfig) {
			c.CleanStart, c.Properties.SessionExpiryInterval = false, &expiry
			if topic != "" {
				c.WillMessage = &paho.WillMessage{Topic: "will/" + topic, Payload: []byte("gone"), QoS: 1}
				c.WillProperties = &paho.WillProperties{WillDelayInterval: delay}
			}
		}
	}
	s := b.connect5(t, "s", with(nil, ""))
	s.subscribe(paho.SubscribeOptions{Topic: "will/#", QoS: 1}, 0)
	b.connect5(t, "now", with(nil, "now"))
	b.connect5(t, "soon", with(&short, "soon"))
	b.connect5(t, "back", with(&short, "back"))
	b.connect5(t, "late", with(&delay, "late"))
	b.kill()
	b.start()
	b.connect5(t, "back", with(nil, ""))
	s = b.connect5(t, "s", with(nil, ""))
	for _, want := range []string{"will/now", "will/soon"} {
		if m := s.next(); m.Topic != want || string(m.Payload) != "gone" {
			t.Errorf("%s says %q, wanted %s", m.Topic, m.Payload, want)
		}
	}
	s.publish(&paho.Publish{Topic: "will/end", QoS: 1})
	if m := s.next(); m.Topic != "will/end" {
		t.Errorf("%s came", m.Topic)
	}
}
