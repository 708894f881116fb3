package mqtt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests of this file load a broker from outside and look at what others feel of it: that they get on, and what the
// process holds. Their bounds are far from what is usual, for machines that do other things as well.

// raw is a client that writes and reads packets as bytes.
type raw struct {
	net.Conn
	t *testing.T
}

// connect opens a connection of MQTT 3.1.1.
func (b *broker) connect(t *testing.T, id string, clean bool) *raw {
	t.Helper()
	c := &raw{b.dial(t), t}
	c.write(connectOf(id, clean))
	c.expect(0x20)
	return c
}

func connectOf(id string, clean bool) []byte {
	flags := byte(0)
	if clean {
		flags = 2
	}
	return framed(0x10, text(append(text(nil, "MQTT"), 4, flags, 0, 0), id))
}

func text(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func framed(first byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...) // the same as remaining length
}

func publishOf(topic string, qos byte, id uint16, payload []byte) []byte {
	body := text(nil, topic)
	if qos > 0 {
		body = binary.BigEndian.AppendUint16(body, id)
	}
	return framed(0x30|qos<<1, append(body, payload...))
}

func (c *raw) write(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *raw) subscribe(filter string, qos byte) {
	c.t.Helper()
	c.write(framed(0x82, append(text([]byte{0, 1}, filter), qos)))
	if p := c.expect(0x90); p[len(p)-1] != qos {
		c.t.Fatalf("SUBACK % x", p)
	}
}

// expect reads a packet of a type and answers what is behind its fixed header.
func (c *raw) expect(kind byte) []byte {
	c.t.Helper()
	got, body, err := nextPacket(c.Conn)
	if err != nil || got&0xf0 != kind {
		c.t.Fatalf("got packet %#x, %v; want %#x", got, err, kind)
	}
	return body
}

func nextPacket(r io.Reader) (first byte, body []byte, err error) {
	var b [1]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, nil, err
	}
	first = b[0]
	n, err := binary.ReadUvarint(oneByOne{r})
	if err != nil {
		return first, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return first, body, err
}

type oneByOne struct{ io.Reader }

func (r oneByOne) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r, b[:])
	return b[0], err
}

// pair is a publisher and its subscriber, who feel what others do to the broker.
type pair struct {
	publisher, subscriber *raw
	topic                 string
}

func (b *broker) pair(t *testing.T) *pair {
	t.Helper()
	p := &pair{b.connect(t, "pair-publisher", true), b.connect(t, "pair-subscriber", true), "pair"}
	p.subscriber.subscribe(p.topic, 1)
	return p
}

// pass brings a message with QoS 1 from the one to the other, and says how long that took.
func (p *pair) pass(payload string) time.Duration {
	p.publisher.t.Helper()
	for _, c := range []*raw{p.publisher, p.subscriber} {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			c.t.Fatal(err)
		}
	}
	began := time.Now()
	p.publisher.write(publishOf(p.topic, 1, 7, []byte(payload)))
	got := p.subscriber.expect(0x30)
	at := 2 + len(p.topic)
	if string(got[at+2:]) != payload {
		p.publisher.t.Fatalf("got %q, want %q", got[at+2:], payload)
	}
	p.subscriber.write([]byte{0x40, 2, got[at], got[at+1]})
	p.publisher.expect(0x40)
	return time.Since(began)
}

// resident is how many bytes of memory the broker's process has.
func (b *broker) resident(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(b.command.Process.Pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kilobytes << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// metric is the sum of a metric's values, whatever their labels.
func (b *broker) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.addresses["http"]+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("guest", "guest") // lets in from this machine alone, while there is no user
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for line := range strings.Lines(string(body)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		fields := strings.Fields(rest)
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum, found = sum+v, true
	}
	if !found {
		t.Fatalf("there is no metric %s", name)
	}
	return sum
}

// TestSlowSubscribers: a subscriber that does not read is held to its own bounds, what it loses is counted, and nobody
// else feels it.
func TestSlowSubscribers(t *testing.T) {
	const (
		size     = 16 << 10
		messages = 4000 // 64 MB for each subscriber, if it were kept
		most     = 200  // messages that a session's queue takes
		allowed  = 48 << 20
	)
	for _, c := range []struct {
		name  string
		qos   byte
		clean bool
	}{
		{"QoS 0, clean", 0, true}, {"QoS 1, clean", 1, true}, {"QoS 0, persistent", 0, false}, {"QoS 1, persistent", 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := startWith(t, fmt.Sprintf("limits:\n  sessionQueueMessages: %d\n  inFlight: 20\n  outboxBytes: 1048576\n", most))
			slow := b.connect(t, "slow", c.clean)
			slow.subscribe("flood", c.qos)
			others := b.pair(t)
			others.pass("warm")
			before := b.resident(t)
			flood := b.connect(t, "flood", true)
			payload := make([]byte, size)
			var batch []byte
			for i := range messages {
				batch = append(batch, publishOf("flood", c.qos, uint16(i%100+1), payload)...)
				if i%100 < 99 {
					continue
				}
				if err := flood.SetDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				flood.write(batch)
				batch = batch[:0]
				for range 100 * int(c.qos) {
					flood.expect(0x40)
				}
				if took := others.pass(fmt.Sprint(i)); took > patience/3 {
					t.Fatalf("another pair's message took %v beside the flood", took)
				}
			}
			flood.write([]byte{0xc0, 0})
			flood.expect(0xd0)
			if grown := b.resident(t) - before; grown > allowed {
				t.Errorf("the broker grew by %d MB for a subscriber that does not read", grown>>20)
			}
			lost := b.metric(t, "turnstone_mqtt_dropped_total")
			if c.qos > 0 {
				lost = b.metric(t, "turnstone_messages_overflowed_total")
			}
			if lost < messages/2 || lost > messages {
				t.Errorf("%v of %d messages are said to be lost", lost, messages)
			}
			slow.Close() //nolint:errcheck // it never read
			others.pass("after")
			b.stop()
		})
	}
}

// stormy is how many clients come back at once.
const stormy = 10_000

// TestReconnectStorm: when all clients of a broker lose their connections and come back at once, with their sessions, all
// are served, others get on meanwhile, and the broker does not grow with each wave.
func TestReconnectStorm(t *testing.T) {
	b := startWith(t, "limits:\n  connectTimeoutMillis: 60000\nmqtt:\n  maxSessionExpirySeconds: 600\n")
	others := b.pair(t)
	others.pass("warm")
	var sizes []int64
	for wave := range 3 {
		conns := b.storm(t, others, wave)
		sizes = append(sizes, b.resident(t))
		for _, conn := range conns { // without DISCONNECT: the network is gone
			conn.Close() //nolint:errcheck // that is the test
		}
	}
	const perClient = 40 << 10
	if sizes[0] > stormy*perClient {
		t.Errorf("%d clients take %d MB", stormy, sizes[0]>>20)
	}
	if sizes[2] > 2*sizes[0]+64<<20 {
		t.Errorf("the broker grows with each wave: %v bytes", sizes)
	}
	others.pass("after")
}

// storm connects everybody at once and answers the connections when all are served.
func (b *broker) storm(t *testing.T, others *pair, wave int) []net.Conn {
	t.Helper()
	conns, errs := make([]net.Conn, stormy), make([]error, stormy)
	const dialers = 100 // that is how many SYNs are under way; what is behind them comes all the same at once
	var all sync.WaitGroup
	for d := range dialers {
		all.Go(func() { // ends when its connections are open, and have said what they want
			for i := d; i < stormy; i += dialers {
				if conns[i], errs[i] = net.Dial("tcp", b.addresses["mqtt"]); errs[i] == nil {
					// One in ten has a session that it comes back to.
					_, errs[i] = conns[i].Write(connectOf(fmt.Sprintf("storm-%d", i), i%10 > 0))
				}
			}
		})
	}
	opened := make(chan struct{})
	go func() { // ends with the dialers
		all.Wait()
		close(opened)
	}()
	for passed := 0; ; passed++ {
		if took := others.pass(fmt.Sprintf("%d-%d", wave, passed)); took > patience/3 {
			t.Fatalf("another pair's message took %v beside the storm", took)
		}
		select {
		case <-opened:
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			answered(t, conns, wave)
			return conns
		default:
		}
	}
}

// answered checks every CONNACK: sessions are there from the second wave on.
func answered(t *testing.T, conns []net.Conn, wave int) {
	t.Helper()
	for i, conn := range conns {
		if err := conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
			t.Fatal(err)
		}
		first, body, err := nextPacket(conn)
		if err != nil || first != 0x20 || body[1] != 0 {
			t.Fatalf("client %d: packet %#x % x, %v", i, first, body, err)
		}
		if present := i%10 == 0 && wave > 0; present != (body[0] == 1) {
			t.Fatalf("client %d in wave %d: session present %d", i, wave, body[0])
		}
	}
}
