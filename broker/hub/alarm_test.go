package hub_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// TestFullDiskHoldsPublishersBack: with a full disk publishers of stored messages wait, others and consumers go on, and
// when there is room again everything that was not refused is there.
func TestFullDiskHoldsPublishersBack(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMemory())
	b := open(t, disk, small())
	b.queue("stored", object.QueueSpec{Durable: true})
	b.queue("transient", object.QueueSpec{})
	disk.Inject(vfs.Fault{Op: vfs.OpPreallocate, Err: syscall.ENOSPC})
	p := b.publisher(message.AMQP091)
	const most = 1000
	body := string(make([]byte, 64<<10))
	var waited time.Duration
	published := make(chan struct{})
	go func() { // ends when the disk has room and everything is published
		defer close(published)
		for range most { // more than the segments that were made ahead and the inbox of a shard hold
			p.send("", "stored", durable(body))
			began := time.Now()
			p.Flush()
			waited = max(waited, time.Since(began))
		}
	}()
	deadline := time.Now().Add(patience)
	for b.hub.Alarm() != "low on disk" {
		if time.Now().After(deadline) {
			t.Fatalf("the alarm is %q", b.hub.Alarm())
		}
	}
	other := b.publisher(message.AMQP091)
	m := durable("goes on")
	m.Durable = false
	for range 100 {
		other.send("", "transient", m)
	}
	if refused := other.settle(); len(refused) > 0 {
		t.Errorf("transient messages were refused: %v", refused)
	}
	select {
	case <-published:
		t.Fatal("nobody waited for the disk")
	default:
	}
	disk.Clear()
	select {
	case <-published:
	case <-time.After(patience):
		t.Fatal("publishers still wait though the disk has room")
	}
	refused := p.settle()
	if b.hub.Alarm() != "" || waited < 100*time.Millisecond {
		t.Errorf("alarm %q, the longest wait was %v", b.hub.Alarm(), waited)
	}
	for _, r := range refused {
		if hub.CodeOf(r.Err) != hub.Unavailable {
			t.Errorf("message %d: %v", r.Token, r.Err)
		}
	}
	s := newSink()
	b.consume("stored", s, hub.ConsumerOptions{NoAck: true})
	s.wait(t, "what was confirmed", func() bool { return len(s.bodies) >= most-len(refused) })
	t.Logf("%d of %d were refused before the gate was shut", len(refused), most)
}
