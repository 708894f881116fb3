package crash

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// TestMQTTKills kills the broker under publishers of QoS 1 and 2 and persistent sessions that subscribe with both. Clients
// keep their side of the session over the kills, as MQTT wants it. What was acknowledged comes to every session; of QoS 2,
// nothing comes twice, and nothing comes to a client that has it.
func TestMQTTKills(t *testing.T) {
	const publishers = 4
	b := newBroker(t)
	b.start()
	w := new(world)
	var sessions []*subscriber
	for i := range 2 {
		for qos := byte(1); qos <= 2; qos++ {
			s := &subscriber{world: w, id: fmt.Sprintf("subscriber-%d-%d", i, qos), qos: qos, held: make(map[uint16]bool), times: make(map[letter]int), first: make(map[uint32]uint64)}
			s.subscribe(t, b.mqtt)
			sessions = append(sessions, s)
		}
	}
	var writers []*writer
	for i := range uint32(publishers) {
		writers = append(writers, &writer{world: w, id: i, flying: make(map[uint16]*flight), acked: make(map[letter]bool)})
	}
	rng := rand.New(rand.NewPCG(*seed, 2))
	began, killed := time.Now(), 0
	for ; killed < *kills && time.Since(began) < *duration && !w.broken(); killed++ {
		var clients sync.WaitGroup
		for _, c := range writers {
			clients.Go(func() { c.run(b.mqtt, rng.Uint64(), false) })
		}
		for _, s := range sessions {
			if rng.IntN(4) > 0 { // else it is away
				clients.Go(func() { s.run(b.mqtt, nil) })
			}
		}
		wait := time.NewTimer(time.Duration(rng.IntN(400)) * time.Millisecond)
		<-wait.C
		b.kill()
		clients.Wait()
		b.start()
	}
	var clients sync.WaitGroup
	for _, c := range writers { // what was begun is brought to an end
		clients.Go(func() { c.run(b.mqtt, 0, true) })
	}
	clients.Wait()
	acked := make(map[letter]bool)
	for _, c := range writers {
		for m := range c.acked {
			acked[m] = true
		}
	}
	for _, s := range sessions {
		clients.Go(func() { s.run(b.mqtt, acked) })
	}
	clients.Wait()
	for _, s := range sessions {
		missing := 0
		for m := range acked {
			if s.times[m] == 0 {
				missing++
			}
		}
		if missing > 0 {
			t.Errorf("%s misses %d of %d messages that were acknowledged", s.id, missing, len(acked))
		}
	}
	for _, f := range w.faults {
		t.Error(f)
	}
	t.Logf("%d kills, %d messages acknowledged", killed, len(acked))
	if killed == 0 || len(acked) == 0 {
		t.Error("the test did too little")
	}
}

// letter is who published what in its place, and how.
type letter struct {
	from   uint32
	qos    byte
	number uint64
}

func (m letter) encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, m.from)
	return binary.BigEndian.AppendUint64(append(b, m.qos), m.number)
}

func decodeLetter(b []byte) (m letter, ok bool) {
	if len(b) < 13 {
		return m, false
	}
	return letter{binary.BigEndian.Uint32(b), b[4], binary.BigEndian.Uint64(b[5:])}, true
}

// world is what all clients share.
type world struct {
	mu     sync.Mutex
	faults []string
}

func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.faults) < 20 {
		w.faults = append(w.faults, fmt.Sprintf(format, args...))
	}
}

func (w *world) broken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.faults) > 0
}

// wire is a connection of MQTT 3.1.1.
type wire struct {
	net.Conn
	in  *bufio.Reader
	out bytes.Buffer
}

// connect connects with a session that is kept; nil when the broker is gone.
func connect(address, id string) (w *wire, present bool) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, false
	}
	w = &wire{Conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
	body := append([]byte("\x00\x04MQTT\x04\x00\x00\x00"), byte(len(id)>>8), byte(len(id)))
	w.packet(0x10, append(body, id...))
	first, answer, err := w.exchange()
	if err != nil || first != 0x20 || answer[1] != 0 {
		conn.Close() //nolint:errcheck // the broker is gone
		return nil, false
	}
	return w, answer[0] == 1
}

// packet adds a packet to what flush writes.
func (w *wire) packet(first byte, body []byte) {
	w.out.WriteByte(first)
	n := len(body)
	for ; n >= 0x80; n >>= 7 {
		w.out.WriteByte(byte(n) | 0x80)
	}
	w.out.WriteByte(byte(n))
	w.out.Write(body)
}

func (w *wire) ack(first byte, id uint16) { w.packet(first, []byte{byte(id >> 8), byte(id)}) }

func (w *wire) flush() error {
	_, err := w.Write(w.out.Bytes())
	w.out.Reset()
	return err
}

func (w *wire) exchange() (first byte, body []byte, err error) {
	if err := w.flush(); err != nil {
		return 0, nil, err
	}
	return w.read()
}

func (w *wire) read() (first byte, body []byte, err error) {
	if first, err = w.in.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, shift := 0, 0
	for {
		b, err := w.in.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		n |= int(b&0x7f) << shift
		if shift += 7; b < 0x80 {
			break
		}
	}
	body = make([]byte, n)
	_, err = io.ReadFull(w.in, body)
	return first, body, err
}

// writer is a client that publishes, with its side of the session.
type writer struct {
	world  *world
	id     uint32
	next   uint64
	packet uint16
	flying map[uint16]*flight
	order  []uint16 // of the identifiers in use
	acked  map[letter]bool
	known  bool // the broker has its session
}

// flight is a publish that is not complete.
type flight struct {
	letter
	released bool // PUBREC came
}

const mostFlying = 50

// run publishes until the broker is gone; with finish, it only brings to an end what was begun.
func (c *writer) run(address string, seed uint64, finish bool) {
	w, present := connect(address, fmt.Sprint("writer-", c.id))
	if w == nil {
		return
	}
	defer w.Close() //nolint:errcheck // the broker is gone
	if c.known && !present {
		c.world.fault("the session of writer %d is gone", c.id)
	}
	c.known = true
	for _, id := range c.order { // in the order of the first time
		if f := c.flying[id]; f.released {
			w.ack(0x62, id)
		} else {
			c.send(w, id, f.letter, 0x08)
		}
	}
	rng := rand.New(rand.NewPCG(seed, uint64(c.id)))
	for {
		for !finish && len(c.flying) < mostFlying {
			for c.packet++; c.packet == 0 || c.flying[c.packet] != nil; c.packet++ {
			}
			m := letter{c.id, byte(1 + rng.IntN(2)), c.next}
			c.next++
			c.flying[c.packet] = &flight{letter: m}
			c.order = append(c.order, c.packet)
			c.send(w, c.packet, m, 0)
		}
		if len(c.flying) == 0 {
			return
		}
		first, body, err := w.exchange()
		for ; err == nil; first, body, err = w.read() {
			c.answer(w, first, binary.BigEndian.Uint16(body))
			if w.in.Buffered() == 0 {
				break
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *writer) send(w *wire, id uint16, m letter, dup byte) {
	topic := fmt.Sprintf("crash/%d/%d", m.from, m.number%7)
	body := append([]byte{0, byte(len(topic))}, topic...)
	body = binary.BigEndian.AppendUint16(body, id)
	w.packet(0x30|m.qos<<1|dup, append(body, m.encode()...))
}

func (c *writer) answer(w *wire, first byte, id uint16) {
	f := c.flying[id]
	if f == nil {
		c.world.fault("writer %d: packet %#x for identifier %d, which is not in use", c.id, first, id)
		return
	}
	switch {
	case first == 0x40 && f.qos == 1, first == 0x70 && f.released:
		delete(c.flying, id)
		for i, other := range c.order {
			if other == id {
				c.order = append(c.order[:i], c.order[i+1:]...)
				break
			}
		}
	case first == 0x50 && f.qos == 2:
		f.released = true
		w.ack(0x62, id)
	default:
		c.world.fault("writer %d: packet %#x for %+v", c.id, first, *f)
		return
	}
	c.acked[f.letter] = true
}

// subscriber is a session, with the client's side of it.
type subscriber struct {
	world *world
	id    string
	qos   byte
	held  map[uint16]bool // identifiers of QoS 2 between PUBLISH and PUBREL
	times map[letter]int
	first map[uint32]uint64 // number behind the newest that came, by publisher
}

func (s *subscriber) subscribe(t *testing.T, address string) {
	t.Helper()
	w, _ := connect(address, s.id)
	if w == nil {
		t.Fatal("no connection")
	}
	defer w.Close() //nolint:errcheck // done
	w.packet(0x82, append([]byte("\x00\x01\x00\x07crash/#"), s.qos))
	if first, body, err := w.exchange(); err != nil || first != 0x90 || body[2] != s.qos {
		t.Fatalf("SUBACK %#x % x, %v", first, body, err)
	}
}

// run receives until the broker is gone, or until everything has come.
func (s *subscriber) run(address string, until map[letter]bool) {
	w, present := connect(address, s.id)
	if w == nil {
		return
	}
	defer w.Close() //nolint:errcheck // the broker may be gone
	if !present {
		s.world.fault("session %s is gone", s.id)
		return
	}
	for {
		if until != nil {
			if s.has(until) {
				return
			}
			if err := w.SetReadDeadline(time.Now().Add(patience)); err != nil {
				return
			}
		}
		first, body, err := w.read()
		for ; err == nil; first, body, err = w.read() {
			s.take(w, first, body)
			if w.in.Buffered() == 0 {
				break
			}
		}
		if err != nil || w.flush() != nil {
			return
		}
	}
}

func (s *subscriber) has(all map[letter]bool) bool {
	for m := range all {
		if s.times[m] == 0 {
			return false
		}
	}
	return true
}

func (s *subscriber) take(w *wire, first byte, body []byte) {
	if first == 0x62 {
		id := binary.BigEndian.Uint16(body)
		delete(s.held, id)
		w.ack(0x70, id)
		return
	}
	if first&0xf0 != 0x30 {
		s.world.fault("session %s: packet %#x", s.id, first)
		return
	}
	at := 2 + int(binary.BigEndian.Uint16(body))
	id := binary.BigEndian.Uint16(body[at:])
	m, ok := decodeLetter(body[at+2:])
	qos := first >> 1 & 3
	if want := min(m.qos, s.qos); !ok || qos != want {
		s.world.fault("session %s: %+v comes with QoS %d", s.id, m, qos)
		return
	}
	if qos == 1 {
		s.note(m)
		w.ack(0x40, id)
		return
	}
	if !s.held[id] {
		if s.note(m) > 1 {
			s.world.fault("session %s: %+v, of QoS 2, comes twice", s.id, m)
		}
		s.held[id] = true
	}
	w.ack(0x50, id)
}

// note counts a message. Those of one publisher come in their order, as often as each comes for the first time: their
// topics differ, but they go through the same queue.
func (s *subscriber) note(m letter) int {
	s.times[m]++
	if s.times[m] == 1 {
		if m.number < s.first[m.from] {
			s.world.fault("session %s: %+v comes for the first time behind number %d", s.id, m, s.first[m.from]-1)
		}
		s.first[m.from] = m.number + 1
	}
	return s.times[m]
}
