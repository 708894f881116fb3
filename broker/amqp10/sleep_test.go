//go:build linux

package amqp10_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/test/goroutines"
)

// TestSleep: connections that say nothing have no goroutine; they hear what comes, get what is for them, and end with their
// peer and with the broker.
func TestSleep(t *testing.T) {
	const clients = 100
	b := start(t, defaults())
	asleep := goroutines.AtMost(t, clients/4)
	var all []*peer
	for i := range clients {
		b.queue(fmt.Sprint(i), nil)
	}
	for i := range clients {
		p := b.as(fmt.Sprint("client ", i))
		p.sender(1, fmt.Sprint("/queues/", (i+1)%clients))
		p.receiver(2, fmt.Sprint("/queues/", i))
		p.credit(2, 0, 5, false)
		all = append(all, p)
	}
	asleep()
	for id := range uint32(4) { // awake and asleep again, with frames that say nothing in between
		for i, p := range all {
			p.transfer(1, id, data("x"))
			expect[*frame.Disposition](p)
			next := all[(i+1)%clients]
			if x := expect[*frame.Transfer](next); x.DeliveryID.Value != id {
				t.Fatalf("delivery %+v", x)
			}
			next.send(0, &frame.Disposition{Role: frame.Receiver, First: id, Settled: true, State: frame.Accepted})
		}
		asleep()
		for _, p := range all {
			p.write(frame.AppendHeartbeat(nil))
		}
		asleep()
	}
	for _, p := range all[:20] {
		p.send(0, &frame.Close{})
		expect[*frame.Close](p)
		p.gone()
	}
	for _, p := range all[20:50] {
		p.conn.Close() //nolint:errcheck // that is the test
	}
	b.connections(clients - 50)
	asleep() // and Shutdown ends the rest
}

// BenchmarkConnectionMemory is what a connection with two sessions and four links keeps that says nothing, its two sockets
// in this process included.
func BenchmarkConnectionMemory(b *testing.B) {
	const connections = 1000
	used := func() uint64 {
		var m runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	for b.Loop() {
		x := start(b, defaults())
		x.queue("q", nil)
		before := used()
		conns := make([]any, 0, connections)
		for range connections {
			p := x.as(fmt.Sprint("client ", len(conns)))
			p.send(1, &frame.Begin{IncomingWindow: 1000, OutgoingWindow: 1000, HandleMax: 100})
			expect[*frame.Begin](p)
			for channel := range uint16(2) {
				p.send(channel, &frame.Attach{Name: fmt.Sprint("s", channel), Handle: 0, Role: frame.Sender, InitialDeliveryCount: frame.Some[uint32](0), Target: &frame.Target{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd}})
				expect[*frame.Attach](p)
				expect[*frame.Flow](p)
				p.send(channel, &frame.Attach{Name: fmt.Sprint("r", channel), Handle: 1, Role: frame.Receiver, Source: &frame.Source{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd}})
				expect[*frame.Attach](p)
				p.send(channel, &frame.Flow{NextIncomingID: frame.Some[uint32](0), IncomingWindow: 1000, OutgoingWindow: 1000,
					Handle: frame.Some[uint32](1), DeliveryCount: frame.Some[uint32](0), LinkCredit: frame.Some[uint32](1)})
			}
			conns = append(conns, p.conn)
		}
		after := used()
		b.ReportMetric(float64(after-before)/connections, "B/connection")
		runtime.KeepAlive(conns)
	}
}
