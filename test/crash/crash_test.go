// Package crash kills the broker's process under load, again and again, and compares what is left with what clients know.
package crash

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

var (
	kills    = flag.Int("crash.kills", 200, "how often the broker is killed, at most")
	duration = flag.Duration("crash.for", 100*time.Second, "how long the test goes on, at most")
	seed     = flag.Uint64("crash.seed", 1, "what is done when; what the kernel makes of it differs from run to run")
)

const (
	patience   = 30 * time.Second
	queues     = 4
	publishers = 2 // of each queue
	// window is how much later than an acknowledgement a message must have been published to the same queue for its confirm
	// to make the acknowledgement certain: the two came on different connections. Time alone makes nothing certain, since a
	// disk may take long to answer; then nothing is confirmed either.
	window = 100 * time.Millisecond
)

// message is who published what in its place.
type message struct {
	queue, publisher uint32
	number           uint64
}

func (m message) encode(size int) []byte {
	b := make([]byte, max(size, 16))
	binary.LittleEndian.PutUint32(b, m.queue)
	binary.LittleEndian.PutUint32(b[4:], m.publisher)
	binary.LittleEndian.PutUint64(b[8:], m.number)
	return b
}

func decode(b []byte) (m message, err error) {
	if len(b) < 16 {
		return m, fmt.Errorf("a body of %d bytes", len(b))
	}
	return message{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint64(b[8:])}, nil
}

// history is what clients know.
type history struct {
	mu        sync.Mutex
	published map[message]bool
	confirmed map[message]bool
	acked     map[message]time.Time // when the acknowledgement was sent; zero when it may not have arrived
	final     map[message]certain   // acknowledged for certain
	proven    map[uint32]time.Time  // by queue: when the newest message that was confirmed had been published
	kills     int
	next      map[[2]uint32]uint64 // by queue and publisher
	faults    []string
}

// certain says how an acknowledgement became so: the kill behind it, and how long before something that was confirmed it
// had been sent.
type certain struct {
	kill   int
	before time.Duration
}

func (h *history) fault(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.faults) < 20 {
		h.faults = append(h.faults, fmt.Sprintf(format, args...))
	}
}

// killed makes acknowledgements certain that were sent long enough before something that was confirmed before the kill; the
// others may have been lost by it.
func (h *history) killed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for m, sent := range h.acked {
		if before := h.proven[m.queue].Sub(sent); !sent.IsZero() && before > window {
			h.final[m] = certain{h.kills, before}
		}
		h.acked[m] = time.Time{}
	}
	h.kills++
}

func TestKills(t *testing.T) {
	b := newBroker(t)
	h := &history{
		published: make(map[message]bool), confirmed: make(map[message]bool), acked: make(map[message]time.Time),
		final: make(map[message]certain), next: make(map[[2]uint32]uint64), proven: make(map[uint32]time.Time),
	}
	rng := rand.New(rand.NewPCG(*seed, 1))
	b.start()
	b.declare()
	began, killed := time.Now(), 0
	for ; killed < *kills && time.Since(began) < *duration && len(h.faults) == 0; killed++ {
		var clients sync.WaitGroup
		stop, end := context.WithCancel(t.Context())
		for q := range uint32(queues) {
			for p := range uint32(publishers) {
				clients.Go(func() { publish(stop, b.url, h, q, p) })
			}
			if rng.IntN(4) > 0 { // else a backlog grows
				clients.Go(func() { consume(stop, b.url, h, q) })
			}
		}
		wait := time.NewTimer(time.Duration(rng.IntN(500)) * time.Millisecond)
		<-wait.C
		b.kill()
		end()
		clients.Wait() // all that was confirmed is known
		h.killed()
		b.start()
	}
	drain(t, b.url, h)
	h.judge(t)
	t.Logf("%d kills, %d messages confirmed, %d acknowledged", killed, len(h.confirmed), len(h.acked))
	if killed == 0 || len(h.confirmed) == 0 || len(h.final) == 0 {
		t.Error("the test did too little")
	}
}

// judge says which promises were broken.
func (h *history) judge(t *testing.T) {
	for _, f := range h.faults {
		t.Error(f)
	}
	lost := 0
	for m := range h.confirmed {
		if _, ok := h.acked[m]; !ok {
			if lost++; lost <= 20 {
				t.Errorf("confirmed message %+v is lost", m)
			}
		}
	}
	if lost > 20 {
		t.Errorf("%d confirmed messages are lost", lost)
	}
}

// publish publishes to one queue until the broker is gone, with at most 100 unconfirmed.
func publish(stop context.Context, url string, h *history, q, p uint32) {
	ch, closed := channel(url)
	if ch == nil {
		return
	}
	defer closed()
	if err := ch.Confirm(false); err != nil {
		return
	}
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, 1000))
	type sent struct {
		message
		at time.Time
	}
	waiting := make(chan sent, 100)
	var reader sync.WaitGroup
	reader.Go(func() { // ends when the connection does
		for c := range confirms {
			m := <-waiting
			if c.Ack {
				h.mu.Lock()
				h.confirmed[m.message] = true
				if m.at.After(h.proven[q]) {
					h.proven[q] = m.at
				}
				h.mu.Unlock()
			}
		}
	})
	defer reader.Wait()
	defer closed()
	for {
		h.mu.Lock()
		m := message{q, p, h.next[[2]uint32{q, p}]}
		h.next[[2]uint32{q, p}]++
		h.published[m] = true
		h.mu.Unlock()
		select {
		case waiting <- sent{m, time.Now()}:
		case <-stop.Done():
			return
		}
		err := ch.PublishWithContext(stop, "", queueName(q), false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: m.encode(int(m.number % 600))})
		if err != nil {
			return
		}
	}
}

// consume takes messages from one queue and acknowledges most of them, until the broker is gone.
func consume(stop context.Context, url string, h *history, q uint32) {
	ch, closed := channel(url)
	if ch == nil {
		return
	}
	defer closed()
	if err := ch.Qos(200, 0, false); err != nil {
		return
	}
	deliveries, err := ch.ConsumeWithContext(stop, queueName(q), "", false, false, false, false, nil)
	if err != nil {
		return
	}
	last := make(map[uint32]uint64) // number after the newest, by publisher
	n := 0
	for d := range deliveries {
		m, err := decode(d.Body)
		if err != nil {
			h.fault("queue %d: %v", q, err)
			return
		}
		h.deliver(m, q)
		if m.number < last[m.publisher] {
			h.fault("queue %d: message %+v comes after number %d", q, m, last[m.publisher]-1)
		}
		last[m.publisher] = m.number + 1
		if n++; n%10 == 0 {
			if err := d.Ack(true); err != nil {
				return
			}
		}
		h.mu.Lock()
		h.acked[m] = time.Time{} // by the next Ack, or it comes again
		if n%10 == 0 {
			h.acked[m] = time.Now()
		}
		h.mu.Unlock()
	}
}

// deliver judges a delivery.
func (h *history) deliver(m message, q uint32) {
	h.mu.Lock()
	published := h.published[m]
	acked, final := h.final[m]
	now := h.kills
	h.mu.Unlock()
	if !published || m.queue != q {
		h.fault("queue %d delivers %+v, which was never published to it", q, m)
	}
	if final {
		h.fault("queue %d delivers %+v again after %d kills, which was acknowledged %v before something that was confirmed before kill %d", q, m, now, acked.before, acked.kill)
	}
}

// drain takes out what is left.
func drain(t *testing.T, url string, h *history) {
	t.Helper()
	ch, closed := channel(url)
	if ch == nil {
		t.Fatal("no connection to drain the queues")
	}
	defer closed()
	for q := range uint32(queues) {
		state, err := ch.QueueDeclarePassive(queueName(q), true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		deliveries, err := ch.Consume(queueName(q), "", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range state.Messages {
			d, ok := <-deliveries
			m, err := decode(d.Body)
			if !ok || err != nil {
				t.Fatalf("queue %d ends before its %d messages came: %v", q, state.Messages, err)
			}
			h.deliver(m, q)
			h.acked[m] = time.Time{}
		}
	}
}

func queueName(q uint32) string { return fmt.Sprint("crash-", q) }

// channel opens a connection with a channel; nil when the broker is gone.
func channel(url string) (ch *amqp.Channel, closed func()) {
	conn, err := amqp.Dial(url)
	if err != nil {
		return nil, nil
	}
	ch, err = conn.Channel()
	if err != nil {
		conn.Close() //nolint:errcheck // the broker is gone
		return nil, nil
	}
	return ch, func() { conn.Close() } //nolint:errcheck // the broker may be gone
}

// broker is the process that is killed.
type broker struct {
	*testing.T
	binary, data, url string
	mqtt              string // address
	cmd               *exec.Cmd
	ended             chan error
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{T: t, binary: filepath.Join(t.TempDir(), "turnstone"), data: t.TempDir()}
	if out, err := exec.Command("go", "build", "-o", b.binary, "github.com/turnstone-mq/turnstone/broker").CombinedOutput(); err != nil {
		t.Fatalf("build the broker: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if b.cmd != nil {
			b.kill()
		}
	})
	return b
}

// start starts the broker and waits until it is ready.
func (b *broker) start() {
	b.Helper()
	b.cmd = exec.Command(b.binary, "serve", "--log-format", "json", "--data", b.data, "--listen", "amqp://127.0.0.1:0", "--listen", "mqtt://127.0.0.1:0")
	log, err := b.cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ready := make(chan [2]string, 1)
	cmd, ended := b.cmd, make(chan error, 1)
	b.ended = ended
	go func() { // ends with the process
		var last string
		for s := bufio.NewScanner(log); s.Scan(); last = s.Text() {
			var line struct{ Msg, AMQP, MQTT, Level string }
			if json.Unmarshal(s.Bytes(), &line) == nil && line.Msg == "ready" {
				ready <- [2]string{line.AMQP, line.MQTT}
			}
			if line.Level == "ERROR" {
				fmt.Fprintln(os.Stderr, s.Text())
			}
		}
		ended <- errors.Join(cmd.Wait(), errors.New(last))
	}()
	select {
	case address := <-ready:
		b.url, b.mqtt = "amqp://guest:guest@"+address[0]+"/", address[1]
	case err := <-b.ended:
		b.cmd = nil
		b.Fatalf("the broker does not start: %v", err)
	case <-time.After(patience):
		b.Fatalf("the broker is not ready after %v", patience)
	}
}

func (b *broker) kill() {
	b.Helper()
	if err := b.cmd.Process.Kill(); err != nil {
		b.Error(err)
	}
	<-b.ended
	b.cmd = nil
}

func (b *broker) declare() {
	b.Helper()
	ch, closed := channel(b.url)
	if ch == nil {
		b.Fatal("no connection")
	}
	defer closed()
	for q := range uint32(queues) {
		if _, err := ch.QueueDeclare(queueName(q), true, false, false, false, nil); err != nil {
			b.Fatal(err)
		}
	}
}
