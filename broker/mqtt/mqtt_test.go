package mqtt_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/mqtt"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// broker is a hub in memory with an MQTT endpoint.
type broker struct {
	testing.TB
	fs       vfs.FS
	config   config.Config
	hub      *hub.Hub
	endpoint *mqtt.Endpoint
	listener net.Listener
	accepted sync.WaitGroup
}

func newBroker(t testing.TB) *broker {
	c := config.Default()
	c.Storage.Shards = 4
	c.Storage.SegmentBytes = 8 << 20
	c.Limits.Subscriptions = 4
	c.Limits.TopicLevels = 8
	c.Limits.InFlight = 16
	c.Limits.PacketBytes = 1 << 20
	c.Limits.MessageBytes = 1 << 20
	b := &broker{TB: t, fs: vfs.NewMemory(), config: c}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() {
	b.Helper()
	logger := slog.New(slog.NewTextHandler(b.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	h, err := hub.Open(hub.Options{Config: b.config, FS: b.fs, Dir: "data", Incarnation: "test", Logger: logger, Fatal: func(err error) { b.Errorf("journal: %v", err) }})
	if err != nil {
		b.Fatal(err)
	}
	b.hub, b.endpoint = h, mqtt.New(h, logger)
}

// listen accepts on the loopback interface, unless it does already. A test that owns the time cannot: it uses pipe.
func (b *broker) listen() {
	b.Helper()
	if b.listener != nil {
		return
	}
	var err error
	if b.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		b.Fatal(err)
	}
	l, e := b.listener, b.endpoint
	b.accepted.Go(func() { // ends when the listener is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.accepted.Go(func() { e.Serve(conn) }) // ends with the connection
		}
	})
}

func (b *broker) stop() {
	b.Helper()
	if b.listener != nil {
		b.listener.Close() //nolint:errcheck // it was open
		b.listener = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.endpoint.Shutdown(ctx); err != nil {
		b.Errorf("shutdown: %v", err)
	}
	b.accepted.Wait()
	if err := b.hub.Close(ctx); err != nil {
		b.Errorf("close: %v", err)
	}
}

// apply makes objects, each as kind and spec.
func (b *broker) apply(objects ...object.Object) {
	b.Helper()
	var changes []object.Change
	for _, o := range objects {
		changes = append(changes, object.Change{Object: o})
	}
	results, err := b.hub.Apply(context.Background(), "", changes, hub.ApplyOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range results {
		if r.Outcome == object.Refused {
			b.Fatalf("apply: %+v", r)
		}
	}
}

// peer is a client that speaks packets.
type peer struct {
	testing.TB
	net.Conn
	name    string
	version packet.Version
	buf     []byte
}

func (b *broker) dial(name string) *peer {
	b.Helper()
	b.listen()
	conn, err := net.Dial("tcp", b.listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() }) //nolint:errcheck // mostly closed already
	return &peer{TB: b, Conn: conn, name: name, version: packet.V311}
}

// read waits for a packet; io.EOF when the broker closed the connection.
func (p *peer) read() (packet.Packet, error) {
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	for {
		size, err := packet.Next(p.buf, 1<<28)
		if err != nil {
			return nil, err
		}
		if size > 0 && size <= len(p.buf) {
			q := packet.New(packet.TypeOf(p.buf))
			err := q.Decode(p.buf[:size:size], p.version)
			p.buf = p.buf[size:]
			return q, err
		}
		chunk := make([]byte, 4096)
		n, err := p.Conn.Read(chunk)
		p.buf = append(p.buf, chunk[:n]...)
		if n == 0 {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, err
			}
			return nil, io.EOF
		}
	}
}

func (p *peer) send(q packet.Packet) {
	p.Helper()
	p.write(q.Append(nil, p.version))
}

func (p *peer) write(b []byte) {
	p.Helper()
	if _, err := p.Conn.Write(b); err != nil && p.TB != nil {
		p.Logf("%s: write: %v", p.name, err) // the broker may have closed already; a read tells
	}
}

func (p *peer) expect(want string) {
	p.Helper()
	q, err := p.read()
	got := "closed"
	if err == nil {
		got = describe(q)
	} else if err != io.EOF {
		got = err.Error()
	}
	if got != want {
		p.Fatalf("%s: got %s, want %s", p.name, got, want)
	}
}

// settle returns when what was sent before has been handed over, and nothing came for it but what is expected.
func (p *peer) settle() {
	p.Helper()
	for range 2 { // the second PINGREQ comes with another read than what is before the first
		p.send(&packet.Pingreq{})
		p.expect("pingresp")
	}
}

// describe is a packet as the scenarios write it.
func describe(p packet.Packet) string {
	switch p := p.(type) {
	case *packet.Connack:
		s := fmt.Sprintf("connack %02x", byte(p.Reason))
		if p.SessionPresent {
			s += " present"
		}
		return s
	case *packet.Publish:
		s := fmt.Sprintf("publish %s %q", p.Topic, p.Payload)
		if p.QoS > 0 {
			s += fmt.Sprintf(" qos=%d id=%d", p.QoS, p.PacketID)
		}
		if p.Retain {
			s += " retain"
		}
		if p.Dup {
			s += " dup"
		}
		return s
	case *packet.Puback:
		return fmt.Sprintf("puback %d", p.PacketID)
	case *packet.Suback:
		s := fmt.Sprintf("suback %d", p.PacketID)
		for _, r := range p.Reasons {
			s += fmt.Sprintf(" %02x", byte(r))
		}
		return s
	case *packet.Unsuback:
		return fmt.Sprintf("unsuback %d", p.PacketID)
	case *packet.Pingresp:
		return "pingresp"
	}
	return fmt.Sprintf("%T", p)
}

// parse makes the packet that a scenario describes: a word, then values and key=value in any order.
func (p *peer) parse(words []string) []byte {
	p.Helper()
	key := func(name string) (string, bool) {
		for _, w := range words {
			if v, ok := strings.CutPrefix(w, name+"="); ok {
				return v, true
			}
			if w == name {
				return "", true
			}
		}
		return "", false
	}
	text := func(name string) string { v, _ := key(name); return v }
	number := func(name string) uint16 { n, _ := strconv.Atoi(text(name)); return uint16(n) }
	has := func(name string) bool { _, ok := key(name); return ok }
	switch words[0] {
	case "raw":
		b, err := hex.DecodeString(strings.Join(words[1:], ""))
		if err != nil {
			p.Fatal(err)
		}
		return b
	case "connect":
		q := &packet.Connect{Version: p.version, ClientID: text("id"), CleanStart: has("clean"), KeepAlive: number("keepalive")}
		if has("user") {
			q.Username = []byte(text("user"))
		}
		if has("password") {
			q.Password = []byte(text("password"))
		}
		if has("will") {
			q.Will = &packet.Will{Topic: text("will"), Payload: []byte(text("payload")), QoS: uint8(number("qos")), Retain: has("retain")}
		}
		return q.Append(nil, p.version)
	case "publish":
		q := &packet.Publish{Topic: []byte(words[1]), Payload: []byte(text("payload")), QoS: uint8(number("qos")), PacketID: number("id"), Retain: has("retain"), Dup: has("dup")}
		return q.Append(nil, p.version)
	case "subscribe":
		q := &packet.Subscribe{PacketID: number("id")}
		for _, w := range words[1:] {
			if at := strings.LastIndexByte(w, ':'); at > 0 {
				q.Subscriptions = append(q.Subscriptions, packet.Subscription{Filter: w[:at], QoS: w[at+1] - '0'})
			}
		}
		return q.Append(nil, p.version)
	case "unsubscribe":
		q := &packet.Unsubscribe{PacketID: number("id")}
		for _, w := range words[1:] {
			if !strings.HasPrefix(w, "id=") {
				q.Filters = append(q.Filters, w)
			}
		}
		return q.Append(nil, p.version)
	case "puback":
		n, _ := strconv.Atoi(words[1])
		return (&packet.Puback{PacketID: uint16(n)}).Append(nil, p.version)
	case "pingreq":
		return (&packet.Pingreq{}).Append(nil, p.version)
	case "disconnect":
		return (&packet.Disconnect{}).Append(nil, p.version)
	}
	p.Fatalf("unknown packet %q", words)
	return nil
}

// TestScenarios plays the text files in testdata. Their lines are:
//
//	NAME > PACKET     the client sends; it connects with its first packet, and again after it was closed
//	NAME < PACKET     the client receives, as its next packet
//	NAME settled      what the client sent has been handed over, and it received nothing more
//	NAME closed       the broker closed the connection
//	NAME drops        the client closes its connection without DISCONNECT
//	NAME version V    the client speaks 3.1, 3.1.1 or 5 from now on
//	restart           the broker stops and starts on the same data
//	user NAME         a user with its name as password is made, and may publish and subscribe under ok/ alone
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range strings.Split(string(data), "\n== ") {
			title, body, _ := strings.Cut(text, "\n")
			if i == 0 {
				continue // the file's comment
			}
			t.Run(strings.TrimSuffix(filepath.Base(f), ".txt")+"/"+strings.TrimSpace(title), func(t *testing.T) {
				(&scenario{broker: newBroker(t), peers: make(map[string]*peer)}).play(body)
			})
		}
	}
}

type scenario struct {
	*broker
	peers map[string]*peer
}

func (s *scenario) play(body string) {
	for line := range strings.Lines(body) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "//") {
			continue
		}
		s.Log(strings.TrimSpace(line))
		s.line(words)
	}
}

func (s *scenario) line(words []string) {
	s.Helper()
	switch words[0] {
	case "restart":
		s.stop()
		s.start()
		clear(s.peers)
		return
	case "user":
		s.user(words[1])
		return
	}
	p := s.peers[words[0]]
	if p == nil {
		p = s.dial(words[0])
		s.peers[words[0]] = p
	}
	switch words[1] {
	case ">":
		p.write(p.parse(words[2:]))
	case "<":
		p.expect(strings.Join(words[2:], " "))
	case "settled":
		p.settle()
	case "closed":
		p.expect("closed")
		p.Close() //nolint:errcheck // done with it
		delete(s.peers, words[0])
	case "drops":
		p.Close() //nolint:errcheck // that is the point
		delete(s.peers, words[0])
	case "version":
		p.version = map[string]packet.Version{"3.1": packet.V31, "3.1.1": packet.V311, "5": packet.V5}[words[2]]
	default:
		s.Fatalf("unknown line %q", words)
	}
}

func (b *broker) user(name string) {
	b.Helper()
	user, err := object.New(object.KindUser, "", name, object.UserSpec{Password: name})
	if err != nil {
		b.Fatal(err)
	}
	permission, err := object.New(object.KindPermission, "/", name, object.PermissionSpec{
		Configure: ".*", Write: ".*", Read: ".*",
		Topics: []object.TopicRule{{Filter: "ok/#", Publish: true, Subscribe: true}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.apply(user, permission)
}
