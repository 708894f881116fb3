//go:build linux

package mqtt_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/test/goroutines"
)

// TestSleep: connections that say nothing have no goroutine; they hear what comes, get what is for them, and end with the
// broker, with their peer, and when their client connects again.
func TestSleep(t *testing.T) {
	const clients = 200
	b := newBroker(t)
	b.listen()
	asleep := goroutines.AtMost(t, clients/4)
	var all []*peer
	for i := range clients {
		p := b.connected(fmt.Sprint(i), i%2 == 0)
		p.subscribe(fmt.Sprintf("t/%d", i), 1)
		all = append(all, p)
	}
	asleep()
	for range 2 { // awake and asleep again
		for _, p := range all {
			p.settle()
		}
		asleep()
	}
	publisher := b.connected("publisher", true)
	for i, p := range all {
		publisher.send(&packet.Publish{Topic: fmt.Appendf(nil, "t/%d", i), QoS: 1, PacketID: 9, Payload: []byte("x")})
		publisher.expect("puback 9")
		q, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		p.send(&packet.Puback{PacketID: q.(*packet.Publish).PacketID})
	}
	again := b.connected("0", true)
	all[0].expect("closed")
	again.settle()
	for _, p := range all[1:50] {
		p.Close() //nolint:errcheck // that is the test
	}
	for until := time.Now().Add(patience); b.endpoint.Count() != clients-49+1; runtime.Gosched() {
		if time.Now().After(until) {
			t.Fatalf("%d connections are left", b.endpoint.Count())
		}
	}
	asleep()
}
