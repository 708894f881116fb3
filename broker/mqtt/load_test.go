package mqtt_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// connected is a client with a clean session.
func (b *broker) connected(name string, clean bool) *peer {
	b.Helper()
	p := b.dial(name)
	p.send(&packet.Connect{Version: packet.V311, ClientID: name, CleanStart: clean})
	q, err := p.read()
	if err != nil {
		b.Fatal(err)
	}
	if ack, ok := q.(*packet.Connack); !ok || ack.Reason != packet.Success {
		b.Fatalf("%s: got %s", name, describe(q))
	}
	return p
}

func (p *peer) subscribe(filter string, qos uint8) {
	p.Helper()
	p.send(&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: filter, QoS: qos}}})
	p.expect(fmt.Sprintf("suback 1 %02x", qos))
}

func TestLargeMessages(t *testing.T) {
	b := newBroker(t)
	s := b.connected("s", true)
	s.subscribe("t", 1)
	p := b.connected("p", true)
	for i, size := range []int{1, 1000, 1024, 5000, 64 << 10, 64<<10 + 1, 300 << 10, 1<<20 - 100} {
		body := bytes.Repeat([]byte{byte('a' + i)}, size)
		m := &packet.Publish{Topic: []byte("t"), QoS: 1, PacketID: uint16(i + 1), Payload: body}
		tail := (&packet.Publish{Topic: []byte("t"), Payload: []byte("tail")}).Append(nil, packet.V311)
		p.write(append(m.Append(nil, packet.V311), tail...)) // the start of another packet lies behind it
		p.expect(fmt.Sprintf("puback %d", i+1))
		seen := map[int]bool{}
		for range 2 { // QoS 0 and 1 go different ways: no order between them is promised
			q, err := s.read()
			if err != nil {
				t.Fatal(err)
			}
			got := q.(*packet.Publish)
			if got.QoS > 0 {
				s.send(&packet.Puback{PacketID: got.PacketID})
				if !bytes.Equal(got.Payload, body) {
					t.Fatalf("payload of %d bytes came back with %d", size, len(got.Payload))
				}
			}
			seen[len(got.Payload)] = true
		}
		if !seen[size] || !seen[4] {
			t.Errorf("sizes %v came, want %d and 4", seen, size)
		}
	}
	p.write((&packet.Publish{Topic: []byte("t"), Payload: make([]byte, 1<<20)}).Append(nil, packet.V311))
	p.expect("closed")
}

// TestOrderAndCompleteness: what four publishers send with QoS 1 arrives complete, in the order of each, with a window
// that is smaller than the backlog. [MQTT-4.5.0-1], [MQTT-4.6.0-5], [MQTT-4.6.0-6]
func TestOrderAndCompleteness(t *testing.T) {
	const publishers, count = 4, 3000
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprintf("clean %v", clean), func(t *testing.T) {
			b := newBroker(t)
			s := b.connected("s", clean)
			s.subscribe("t/#", 1)
			var all sync.WaitGroup
			for i := range publishers {
				p := b.connected(fmt.Sprintf("p%d", i), true)
				all.Go(func() { // ends when everything is acknowledged
					var batch []byte
					for n := range count {
						q := packet.Publish{Topic: fmt.Appendf(nil, "t/%d", i), QoS: 1, PacketID: uint16(n + 1), Payload: fmt.Append(nil, n)}
						batch = q.Append(batch, packet.V311)
					}
					all.Go(func() { p.write(batch) }) // ends when it is written
					for n := range count {
						p.expect(fmt.Sprintf("puback %d", n+1))
					}
				})
			}
			next := make(map[string]int)
			for range publishers * count {
				q, err := s.read()
				if err != nil {
					t.Fatal(err)
				}
				m, ok := q.(*packet.Publish)
				if !ok || string(m.Payload) != fmt.Sprint(next[string(m.Topic)]) || m.Dup {
					t.Fatalf("got %s, want number %d", describe(q), next[string(m.Topic)])
				}
				next[string(m.Topic)]++
				s.send(&packet.Puback{PacketID: m.PacketID})
			}
			all.Wait()
			s.settle()
		})
	}
}

// TestSlowConsumer: a subscriber that does not read loses messages of QoS 0, which are counted, and holds up nobody.
func TestSlowConsumer(t *testing.T) {
	b := newBroker(t)
	slow := b.connected("slow", true)
	slow.subscribe("t", 0)
	p := b.connected("p", true)
	m := (&packet.Publish{Topic: []byte("t"), Payload: make([]byte, 64<<10)}).Append(nil, packet.V311)
	for range 400 { // 25 MiB, more than the outbox and the sockets hold
		p.write(m)
	}
	p.settle()
	if n := b.endpoint.Stats().Dropped.Load(); n == 0 || n > 400 {
		t.Errorf("%d messages were dropped", n)
	}
	got := uint64(0)
	for got+b.endpoint.Stats().Dropped.Load() < 400 {
		if _, err := slow.read(); err != nil {
			t.Fatal(err)
		}
		got++
	}
	slow.settle()
}

// TestClientThatReadsNothing: answers that a client does not read end its being heard, not the broker's memory.
func TestClientThatReadsNothing(t *testing.T) {
	b := newBroker(t)
	b.config.Limits.OutboxBytes = 64 << 10
	b.stop()
	b.start()
	p := b.connected("p", true)
	pings := bytes.Repeat([]byte{0xc0, 0}, 1<<20)
	done := make(chan error, 1)
	go func() { // ends when everything is written, or the connection is closed by the test's end
		for chunk := range bytesOf(pings, 32<<10) {
			if _, err := p.Conn.Write(chunk); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	got := 0
	for got < len(pings) {
		n, err := p.Conn.Read(make([]byte, 4096))
		if err != nil {
			t.Fatalf("after %d bytes of answers: %v", got, err)
		}
		got += n
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// bytesOf cuts b into pieces of at most n bytes.
func bytesOf(b []byte, n int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			k := min(n, len(b))
			if !yield(b[:k]) {
				return
			}
			b = b[k:]
		}
	}
}

// TestNothingFollowsDisconnect: a client that is sent as much as it reads gets nothing more behind DISCONNECT.
// [MQTT5-3.14.4-1], [MQTT5-3.14.4-2]
func TestNothingFollowsDisconnect(t *testing.T) {
	b := newBroker(t)
	p := b.connected("p", true)
	ended := make(chan struct{})
	var flood sync.WaitGroup
	flood.Go(func() { // ends when ended is closed
		for m := (&packet.Publish{Topic: []byte("t"), Payload: []byte("x")}).Append(nil, packet.V311); ; {
			select {
			case <-ended:
				return
			default:
				p.write(m)
			}
		}
	})
	connect := func() *peer {
		s := b.dial("s")
		s.version = packet.V5
		s.send(&packet.Connect{Version: packet.V5, ClientID: "s", CleanStart: true})
		s.expect("connack 00")
		s.subscribe("t", 0)
		return s
	}
	s := connect()
	for range 20 {
		next := connect()
		told := false
		for {
			q, err := s.read()
			if err != nil {
				break
			}
			if told {
				t.Fatalf("%s behind DISCONNECT", describe(q))
			}
			_, told = q.(*packet.Disconnect)
		}
		if !told {
			t.Fatal("no DISCONNECT")
		}
		s = next
	}
	close(ended)
	flood.Wait()
}

// TestLongestTopic: names and filters may have 65,535 bytes. [MQTT-4.7.3-3]
func TestLongestTopic(t *testing.T) {
	b := newBroker(t)
	p := b.connected("p", true)
	name := strings.Repeat("n", 65535)
	p.subscribe(name, 0)
	p.send(&packet.Publish{Topic: []byte(name), Payload: []byte("x")})
	q, err := p.read()
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := q.(*packet.Publish); !ok || string(m.Topic) != name || string(m.Payload) != "x" {
		t.Errorf("got %s", describe(q))
	}
}

// TestTakeoverStorm: of many connections with one client id at a time the last one is left, with a session that works.
func TestTakeoverStorm(t *testing.T) {
	const clients = 100
	b := newBroker(t)
	connect := (&packet.Connect{Version: packet.V311, ClientID: "same"}).Append(nil, packet.V311)
	var answered, all sync.WaitGroup
	answered.Add(clients)
	for i := range clients {
		p := b.dial(fmt.Sprint(i))
		all.Go(func() { // ends when the connection is displaced
			p.write(connect)
			_, err := p.read() // CONNACK, unless another one came at once
			answered.Done()
			for err == nil {
				_, err = p.read()
			}
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		})
	}
	answered.Wait()
	last := b.connected("same", false)
	all.Wait()
	last.subscribe("t", 1)
	p := b.connected("p", true)
	p.send(&packet.Publish{Topic: []byte("t"), QoS: 1, PacketID: 9, Payload: []byte("x")})
	p.expect("puback 9")
	last.expect(`publish t "x" qos=1 id=1`)
	if b.endpoint.Stats().TakenOver.Load() == 0 {
		t.Error("no connection was displaced")
	}
}
