package hub

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/cluster"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
)

// TestPreparedDelaysOutliveCheckpoints ends the process when parts of two transactions are in checkpoints, of which one is decided:
// what that lets wait does so afterwards, and what the other brought is gone.
func TestPreparedDelaysOutliveCheckpoints(t *testing.T) {
	c := config.Default()
	c.Storage.Shards = 4
	fs := vfs.NewMemory()
	start := func() (*Hub, *VirtualHost) {
		h, err := Open(Options{Config: c, FS: fs, Dir: "data", Incarnation: "test", Fatal: func(err error) { t.Errorf("journal: %v", err) }})
		if err != nil {
			t.Fatal(err)
		}
		v, err := h.VirtualHost("/")
		if err != nil {
			t.Fatal(err)
		}
		return h, v
	}
	h, v := start()
	access, err := h.Authority().Authenticate(context.Background(), auth.Credentials{User: "guest", Password: "guest", Peer: netip.MustParseAddr("127.0.0.1"), VirtualHost: "/"})
	if err != nil {
		t.Fatal(err)
	}
	for i, decided := range []bool{true, false} {
		p := v.NewPublisher(PublisherOptions{Access: access, Encoding: message.AMQP091})
		for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} { // of several shards
			r, err := p.Route([]byte("amq.direct"), []byte(key))
			if err != nil {
				t.Fatal(err)
			}
			p.Postpone(time.Hour)
			if _, err := p.Publish(r, &message.Message{Exchange: r.Exchange, Key: r.Key, Encoding: message.AMQP091, Durable: true, QoS: 1, Payload: []byte("x")}, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Hold(); err != nil {
			t.Fatal(err)
		}
		parts, id := p.held.parts, txID{byte(i)}
		if len(parts) < 2 {
			t.Fatalf("%d parts", len(parts))
		}
		first := parts[0].shard
		prepare := func(p *txPart, done chan error) op {
			return &txOp{part: p, done: done, prepare: &prepared{id: id, coordinator: first.number}}
		}
		if err := waitFor(parts, prepare); err != nil {
			t.Fatal(err)
		}
		if decided {
			if err := waitFor(parts[:1], func(_ *txPart, done chan error) op { return &decideOp{id: id, done: done} }); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, own := range h.owners() {
		var write func(func(cluster.Checkpoint, error))
		if own(func(g *cluster.Group) { write = g.Capture() }); write != nil {
			h.checkpoint(own, write)
		}
	}
	for range 2 {
		if err := h.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		h, v = start()
		if n := v.delayed.Load(); n != 8 {
			t.Errorf("%d messages wait", n)
		}
		waits := 0
		for _, s := range h.shards {
			s.ask(func(s *shard) {
				waits += s.delays.Len()
				if n := len(s.prepared); n > 0 {
					t.Errorf("%d parts are open", n)
				}
			})
		}
		if waits != 8 {
			t.Errorf("%d messages wait in the shards", waits)
		}
	}
	if err := h.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}
