package queue

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/message"
)

var rewrite = flag.Bool("rewrite", false, "write what the scenarios print into testdata")

// TestScenarios runs testdata/*.txt: a line `> command` and, below it, what it prints.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(string(want))
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal(want, got) {
				t.Errorf("%s prints\n%s\nwant\n%s", file, got, want)
			}
		})
	}
}

// stage is a queue with named consumers and a clock that the scenario sets.
type stage struct {
	queue     *Queue
	consumers map[string]*Consumer
	now       int64
	out       bytes.Buffer
}

func play(script string) []byte {
	s := &stage{consumers: map[string]*Consumer{}}
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "#") || line == "" {
			fmt.Fprintln(&s.out, line)
		}
		if command, ok := strings.CutPrefix(line, "> "); ok {
			fmt.Fprintln(&s.out, line)
			s.run(strings.Fields(command))
		}
	}
	return s.out.Bytes()
}

func (s *stage) run(words []string) {
	arg := func(name string) (string, bool) {
		for _, w := range words[1:] {
			if v, ok := strings.CutPrefix(w, name+"="); ok {
				return v, true
			}
		}
		return "", false
	}
	number := func(name string) int64 {
		v, _ := arg(name)
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	switch words[0] {
	case "new":
		_, ttl := arg("ttl")
		_, limit := arg("delivery-limit")
		_, maxLength := arg("max-length")
		_, maxBytes := arg("max-bytes")
		dead := slices.Contains(words, "dead-letter")
		overflow := map[string]Overflow{"": DropHead, "reject-publish": RejectPublish}
		mode, _ := arg("overflow")
		s.queue = New(Options{
			MaxLength: number("max-length"), HasMaxLength: maxLength, MaxBytes: number("max-bytes"), HasMaxBytes: maxBytes, Overflow: overflow[mode], HasTTL: ttl, TTL: number("ttl"),
			HasDeliveryLimit: limit, DeliveryLimit: uint32(number("delivery-limit")), MaxPriority: uint8(number("max-priority")),
			SingleActive: slices.Contains(words, "single-active"), DeadLetterless: !dead,
			SentStays: slices.Contains(words, "sent-stays"), LastValue: slices.Contains(words, "last-value"),
			GroupBuckets: uint32(number("groups")), GroupsStay: slices.Contains(words, "groups-stay"),
		})
		return
	case "at":
		s.now, _ = strconv.ParseInt(words[1], 10, 64)
		s.queue.Pump(s.now)
	case "publish":
		for _, body := range words[1:] {
			if strings.Contains(body, "=") || body == "closes" {
				continue
			}
			m := &message.Message{Payload: []byte(body), Owned: true}
			s.queue.Enqueue(s.now, Item{
				Key: uint64(number("key")), Closes: slices.Contains(words, "closes"),
				Message: m, Size: uint32(len(body)), Expiry: number("expiry"), Priority: uint8(number("priority")), QoS: uint8(number("qos")), Durable: true})
		}
	case "join":
		o := ConsumerOptions{
			NoAck: slices.Contains(words, "no-ack"), Passive: slices.Contains(words, "passive"), Browse: slices.Contains(words, "browse"),
			Limit: int(number("limit")), Priority: int(number("priority")), Of: words[1],
		}
		if prefix, ok := arg("select"); ok {
			o.Filter = func(it *Item) bool {
				fmt.Fprintf(&s.out, "%s looks at %s\n", words[1], it.Message.Payload)
				return strings.HasPrefix(string(it.Message.Payload), prefix)
			}
		}
		s.consumers[words[1]] = s.queue.Join(o)
		s.queue.Pump(s.now)
	case "leave":
		s.queue.Leave(s.consumers[words[1]])
		s.queue.Pump(s.now)
	case "stop":
		s.queue.Stop(s.consumers[words[1]])
	case "pause", "resume":
		s.consumers[words[1]].Pause(words[0] == "pause")
		s.queue.Pump(s.now)
	case "limit":
		n, _ := strconv.Atoi(words[2])
		s.consumers[words[1]].SetLimit(n)
		s.queue.Pump(s.now)
	case "get":
		d, remaining, ok := s.queue.Get(s.now, s.consumers[words[1]])
		if ok {
			fmt.Fprintf(&s.out, "%s remaining=%d\n", describe(d), remaining)
		} else {
			fmt.Fprintln(&s.out, "empty")
		}
	case "accept", "reject", "requeue", "release":
		o := map[string]Outcome{"accept": Accept, "reject": Reject, "requeue": Requeue, "release": Release}[words[0]]
		from, to, _ := strings.Cut(words[2], "-")
		first, _ := strconv.ParseUint(from, 10, 64)
		last := first
		if to != "" {
			last, _ = strconv.ParseUint(to, 10, 64)
		}
		if n := s.queue.Settle(s.consumers[words[1]], first, last, o); n != int(last-first+1) {
			fmt.Fprintf(&s.out, "settled %d\n", n)
		}
		s.queue.Pump(s.now)
	case "purge":
		fmt.Fprintf(&s.out, "purged %d\n", s.queue.Purge())
	case "configure":
		s.queue.Configure(Options{DeadLetterless: true, LastValue: slices.Contains(words, "last-value"), GroupBuckets: uint32(number("groups"))})
		s.queue.Pump(s.now)
	case "full":
		fmt.Fprintln(&s.out, s.queue.Full(0, 0))
	default:
		fmt.Fprintf(&s.out, "unknown command %q\n", words[0])
	}
	s.show()
}

func describe(d Delivery) string {
	text := fmt.Sprintf("%s tag=%d", d.Message.Payload, d.Tag)
	if d.Returned {
		text += fmt.Sprintf(" returned count=%d", d.Count)
	}
	return text
}

func (s *stage) show() {
	gone, dead := s.queue.Take(func(c *Consumer, ds []Delivery) {
		for _, d := range ds {
			fmt.Fprintf(&s.out, "%s <- %s\n", c.Of, describe(d))
		}
	})
	for _, it := range gone {
		fmt.Fprintf(&s.out, "gone %d\n", it.ID)
	}
	for _, d := range dead {
		fmt.Fprintf(&s.out, "dead %d %s\n", d.ID, d.Why)
	}
	fmt.Fprintf(&s.out, "ready=%d unacked=%d bytes=%d\n", s.queue.Ready(), s.queue.Unacked(), s.queue.Bytes())
}

// TestAgainstModel plays random operations on a queue and on a naive model of it, and compares what each consumer got.
func TestAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range uint64(200) {
		compare(t, rand.New(rand.NewPCG(seed, round)))
		if t.Failed() {
			t.Fatalf("seed %d round %d", seed, round)
		}
	}
}

// model is the plainest queue that requeues to the original place: a sorted list of IDs.
type model struct {
	ready   []uint64
	unacked map[uint64]uint64 // tag to ID, of the one consumer
	tag     uint64
	limit   int
}

func (m *model) pump() (delivered []uint64) {
	for len(m.ready) > 0 && len(m.unacked) < m.limit {
		m.tag++
		m.unacked[m.tag] = m.ready[0]
		delivered = append(delivered, m.ready[0])
		m.ready = m.ready[1:]
	}
	return delivered
}

func compare(t *testing.T, r *rand.Rand) {
	limit := 1 + r.IntN(2000)
	q, m := New(Options{DeadLetterless: true}), &model{unacked: map[uint64]uint64{}, limit: limit}
	c := q.Join(ConsumerOptions{Limit: limit})
	next := uint64(1)
	for range 300 {
		switch r.IntN(3) {
		case 0:
			for range r.IntN(100) {
				q.Enqueue(0, Item{Message: &message.Message{Owned: true}})
				m.ready = append(m.ready, next)
				next++
			}
		default:
			tags := make([]uint64, 0, len(m.unacked))
			for tag := range m.unacked {
				tags = append(tags, tag)
			}
			slices.Sort(tags)
			for _, tag := range tags {
				if r.IntN(3) > 0 {
					continue
				}
				o := Outcome(r.IntN(4))
				if q.Settle(c, tag, tag, o) != 1 {
					t.Fatalf("tag %d is not held", tag)
				}
				if o == Requeue || o == Release {
					at, _ := slices.BinarySearch(m.ready, m.unacked[tag])
					m.ready = slices.Insert(m.ready, at, m.unacked[tag])
				}
				delete(m.unacked, tag)
			}
		}
		q.Pump(0)
		var got []uint64
		q.Take(func(_ *Consumer, ds []Delivery) {
			for _, d := range ds {
				got = append(got, d.ID)
			}
		})
		if want := m.pump(); !slices.Equal(got, want) {
			t.Fatalf("delivered %v, want %v", got, want)
		}
		if q.Ready() != len(m.ready) || q.Unacked() != len(m.unacked) {
			t.Fatalf("ready %d unacked %d, want %d and %d", q.Ready(), q.Unacked(), len(m.ready), len(m.unacked))
		}
	}
}

func BenchmarkEnqueueDeliverSettle(b *testing.B) {
	q := New(Options{DeadLetterless: true})
	c := q.Join(ConsumerOptions{Limit: 500})
	m := &message.Message{Payload: make([]byte, 64), Owned: true}
	b.ReportAllocs()
	var last uint64
	for i := 0; b.Loop(); i++ {
		q.Enqueue(0, Item{Message: m, Size: 64})
		if i%100 == 99 {
			q.Take(func(_ *Consumer, ds []Delivery) { last = ds[len(ds)-1].Tag })
			q.Settle(c, 1, last, Accept)
		}
	}
}
