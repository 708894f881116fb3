package amqp091_test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// slowClients is how many clients connect and do not get on.
const slowClients = 10_000

// TestSlowClients: clients that say nothing, half a header, half a frame or a byte now and then do not keep others from
// being served, and are gone when the time to log in is over.
func TestSlowClients(t *testing.T) {
	p := start(t, configured(t, "limits:\n  connectTimeoutMillis: 15000\n")...)
	start := "AMQP\x00\x00\x09\x01"
	begins := []string{"", "AMQP", start, start + "\x01\x00\x00\x00\x00\x01"}
	conns := make([]net.Conn, slowClients)
	for i := range conns {
		conn, err := net.Dial("tcp", p.address("amqp"))
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		conns[i] = conn
		defer conn.Close() //nolint:errcheck // the broker may have closed it
		if _, err := io.WriteString(conn, begins[i%len(begins)]); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	stop := make(chan struct{})
	dripping := make(chan struct{})
	go func() { // ends with stop
		defer close(dripping)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for i := 3; i < 400; i += 4 { // those in the middle of a frame
				conns[i].Write([]byte{0}) //nolint:errcheck // the broker may have closed it
			}
		}
	}()
	_, ch := p.channel()
	check(t, ch.Confirm(false))
	q := declare(t, ch, "q", true, nil)
	deliveries, err := ch.Consume(q, "", false, false, false, false, nil)
	check(t, err)
	for i := range 200 {
		publish(t, ch, "", q, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Append(nil, i)})
		d := receive(t, "a delivery beside the slow clients", deliveries)
		if string(d.Body) != fmt.Sprint(i) {
			t.Fatalf("got %q, not %d", d.Body, i)
		}
		check(t, d.Ack(false))
	}
	for i, conn := range conns {
		check(t, conn.SetReadDeadline(time.Now().Add(2*patience)))
		if _, err := io.Copy(io.Discard, conn); err != nil && isTimeout(err) {
			t.Fatalf("client %d (%q) is still connected", i, begins[i%len(begins)])
		}
	}
	close(stop)
	<-dripping
}

func isTimeout(err error) bool {
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}
