package mqtt

import (
	"fmt"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// TestDelayedMessagesOutliveAKill: messages that wait when the process is killed come after the next start, each once, and
// those whose time was not over then not before it.
func TestDelayedMessagesOutliveAKill(t *testing.T) {
	b := start(t)
	expiry := uint32(3600)
	persistent := func(clean bool) func(*paho.Connect, *paho.ClientConfig) {
		return func(c *paho.Connect, _ *paho.ClientConfig) {
			c.CleanStart, c.Properties.SessionExpiryInterval = clean, &expiry
		}
	}
	s := b.connect5(t, "s", persistent(true))
	s.subscribe(paho.SubscribeOptions{Topic: "due/#", QoS: 2}, 0)
	p := b.connect5(t, "p", nil)
	const count = 40
	begin := time.Now()
	for i := range count {
		seconds := 1 + 4*(i%2)
		topic := fmt.Sprintf("$delayed/%d/due/%d/%d", seconds, seconds, i)
		if r := p.publish(&paho.Publish{Topic: topic, QoS: byte(1 + i/2%2), Payload: []byte(fmt.Sprint(i))}); r != 0 {
			t.Fatalf("reason %#x", r)
		}
	}
	b.kill()
	b.start()
	s = b.connect5(t, "s", persistent(false))
	seen := make(map[string]bool)
	for range count {
		m := s.next()
		var seconds, i int
		if _, err := fmt.Sscanf(m.Topic, "due/%d/%d", &seconds, &i); err != nil || seen[m.Topic] || string(m.Payload) != fmt.Sprint(i) {
			t.Errorf("message %q to %s, again: %v", m.Payload, m.Topic, seen[m.Topic])
		}
		seen[m.Topic] = true
		if after := time.Since(begin); after < time.Duration(seconds)*time.Second {
			t.Errorf("%s came after %v", m.Topic, after)
		}
	}
	s.publish(&paho.Publish{Topic: "due/end", QoS: 1})
	if m := s.next(); m.Topic != "due/end" {
		t.Errorf("%s came twice", m.Topic)
	}
}
