package mqtt_test

import (
	"io"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// TestNoAllocations: what is published and delivered with QoS 0 allocates nothing for each message.
func TestNoAllocations(t *testing.T) {
	const batch = 1000
	b := newBroker(t)
	b.listen()
	s, p := b.connected("subscriber", true), b.connected("publisher", true)
	s.subscribe("t", 0)
	q := packet.Publish{Topic: []byte("t"), Payload: make([]byte, 64)}
	var raw []byte
	for range batch {
		raw = q.Append(raw, packet.V311)
	}
	received := make([]byte, len(raw))
	got := testing.AllocsPerRun(20, func() {
		p.write(raw)
		if _, err := io.ReadFull(s.Conn, received); err != nil {
			t.Fatal(err)
		}
	})
	if got > batch/10 {
		t.Errorf("%v allocations for %d messages", got, batch)
	}
}
