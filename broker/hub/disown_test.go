package hub_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/session"
)

// moments is a disk that keeps what a loss of power would leave before and after every fsync, from watch on.
type moments struct {
	*vfs.Crash
	mu    sync.Mutex
	taken []*vfs.Crash
	on    bool
	each  int // how many of what may be left at one moment; zero is one
}

func (m *moments) take() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range max(1, m.each) {
		if m.on {
			m.taken = append(m.taken, m.PowerLoss(uint64(len(m.taken))))
		}
	}
}

func (m *moments) watch() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on = true
}

func (m *moments) Create(name string) (vfs.File, error) {
	f, err := m.Crash.Create(name)
	return &momentFile{File: f, disk: m}, err
}

func (m *moments) Open(name string) (vfs.File, error) {
	f, err := m.Crash.Open(name)
	return &momentFile{File: f, disk: m}, err
}

type momentFile struct {
	vfs.File
	disk *moments
}

func (f *momentFile) Sync() error {
	f.disk.take()
	defer f.disk.take()
	return f.File.Sync()
}

// tenant makes or deletes the virtual host "tenant".
func (b *bench) tenant(d object.Deletion) {
	b.Helper()
	o, err := object.New(object.KindVirtualHost, "", "tenant", object.VirtualHostSpec{})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := b.hub.Apply(context.Background(), "", []object.Change{{Object: o, Delete: d}}, hub.ApplyOptions{}); err != nil {
		b.Fatal(err)
	}
}

// inhabit gives the tenant a retained message in each shard or so, a delayed message and a session with a will.
func (b *bench) inhabit() {
	b.Helper()
	v, err := b.hub.VirtualHost("tenant")
	if err != nil {
		b.Fatal(err)
	}
	p := &publisher{bench: b, encoding: message.MQTT, came: make(chan struct{}, 1)}
	p.Publisher = v.NewPublisher(hub.PublisherOptions{Access: b.access, Encoding: message.MQTT, Confirmed: p.confirmed})
	for _, topic := range []string{"a", "b", "c", "d", "e", "f"} {
		m := durable("of " + topic)
		m.Retain = true
		p.send("amq.topic", topic, m)
		p.later(time.Hour, "amq.topic", topic, durable("later"))
	}
	p.settle()
	for _, client := range []string{"c1", "c2", "c3", "c4"} {
		m := durable("will")
		m.Exchange, m.Key, m.Encoding = "amq.topic", "will", message.MQTT
		st, _, err := v.OpenSession(context.Background(), hub.SessionOptions{
			ClientID: client, Expiry: session.Never, Access: b.access, Sink: newSink(), Origin: b.hub.NewOrigin(), Limit: 100,
			Will: &hub.Will{Message: &m, Delay: time.Hour.Milliseconds(), Lifetime: time.Hour.Milliseconds()},
		})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := st.Subscribe(context.Background(), []hub.Subscription{{Filter: "x/#"}}); err != nil {
			b.Fatal(err)
		}
	}
	s, err := v.OpenSender(context.Background(), "sender", session.Never)
	if err != nil {
		b.Fatal(err)
	}
	r, err := p.Route([]byte("amq.topic"), []byte("x/1"))
	if err != nil {
		b.Fatal(err)
	}
	m := durable("tagged")
	m.Exchange, m.Key, m.Encoding = r.Exchange, r.Key, message.MQTT
	p.token++
	if routed, err := p.PublishTagged(r, &m, nil, p.token, s, "tag"); err != nil || routed == 0 {
		b.Fatal(routed, err)
	}
	p.settle()
}

// remains is what there is of the tenant: retained and delayed messages, and sessions and tags of a sender, which it opens.
func (b *bench) remains() (retained, delayed, others int) {
	b.Helper()
	v, err := b.hub.VirtualHost("tenant")
	if err != nil {
		b.Fatal(err)
	}
	retained, delayed = b.hub.RetainedCount(), int(b.hub.DelayedCount())
	for _, client := range []string{"c1", "c2", "c3", "c4"} {
		_, present, err := v.OpenSession(context.Background(), hub.SessionOptions{
			ClientID: client, Expiry: session.Never, Access: b.access, Sink: newSink(), Origin: b.hub.NewOrigin(), Limit: 100,
		})
		if err != nil {
			b.Fatal(err)
		}
		if present {
			others++
		}
	}
	s, err := v.OpenSender(context.Background(), "sender", session.Never)
	if err != nil {
		b.Fatal(err)
	}
	s.Tags(func(string, bool) { others++ })
	return retained, delayed, others
}

// TestNothingIsLeftToTheNextVirtualHost: a virtual host has nothing of a deleted one of its name, wherever in its deletion
// the broker lost its power.
func TestNothingIsLeftToTheNextVirtualHost(t *testing.T) {
	disk := &moments{Crash: vfs.NewCrash()}
	b := open(t, disk, small())
	b.tenant("")
	b.inhabit()
	disk.watch()
	b.tenant(object.DeleteAlways)
	b.tenant("")
	b.close()
	disk.take()
	if len(disk.taken) < 5 {
		t.Fatalf("only %d moments", len(disk.taken))
	}
	reborn := 0
	for i, at := range disk.taken {
		b := open(t, at, small())
		if _, err := b.hub.VirtualHost("tenant"); err != nil {
			b.tenant("")
			reborn++
		} else if b.hub.RetainedCount() == 6 {
			if r, d, s := b.remains(); d != 10 || s != 5 {
				t.Errorf("moment %d, before the deletion: %d retained, %d delayed messages and wills, %d sessions and tags", i, r, d, s)
			}
			b.close()
			continue
		}
		b.close()
		b = open(t, at, small())
		if r, d, s := b.remains(); r+d+s > 0 {
			t.Errorf("moment %d: %d retained, %d delayed messages, %d sessions and tags", i, r, d, s)
		}
		b.close()
	}
	if reborn == 0 {
		t.Error("no moment between the deletion and the next virtual host")
	}
}

// TestADeletedVirtualHostTakesNothing: what comes too late is not written.
func TestADeletedVirtualHostTakesNothing(t *testing.T) {
	fs := vfs.NewMemory()
	b := open(t, fs, small())
	b.tenant("")
	b.inhabit()
	v, err := b.hub.VirtualHost("tenant")
	if err != nil {
		t.Fatal(err)
	}
	b.tenant(object.DeleteAlways)
	late := &publisher{bench: b, encoding: message.MQTT, came: make(chan struct{}, 1)}
	late.Publisher = v.NewPublisher(hub.PublisherOptions{Access: b.access, Encoding: message.MQTT, Confirmed: late.confirmed})
	m := durable("late")
	m.Retain = true
	late.send("amq.topic", "late", m)
	late.settle()
	if _, _, err := v.OpenSession(context.Background(), hub.SessionOptions{ClientID: "late", Expiry: session.Never, Access: b.access, Sink: newSink(), Origin: 1, Limit: 1}); hub.CodeOf(err) != hub.NotFound {
		t.Errorf("a session in a deleted virtual host: %v", err)
	}
	b.tenant("")
	b.close()
	b = open(t, fs, small())
	if r, d, s := b.remains(); r+d+s > 0 {
		t.Errorf("%d retained, %d delayed messages, %d sessions and tags", r, d, s)
	}
}

// TestADeletedVirtualHostKeepsNothing: a message that is to wait, and reaches the disk while its virtual host is deleted, is not kept
// for the next one of the name, not by a checkpoint either.
func TestADeletedVirtualHostKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newStalling()
		b := open(t, disk, small())
		b.tenant("")
		v, err := b.hub.VirtualHost("tenant")
		if err != nil {
			t.Fatal(err)
		}
		p := &publisher{bench: b, encoding: message.MQTT, came: make(chan struct{}, 1)}
		p.Publisher = v.NewPublisher(hub.PublisherOptions{Access: b.access, Encoding: message.MQTT, Confirmed: p.confirmed})
		disk.stall()
		for i := range 20 { // in every shard
			p.later(time.Hour, "amq.topic", fmt.Sprint(i), durable("later"))
		}
		p.Flush()
		synctest.Wait()
		deleted := make(chan struct{})
		go func() { // ends when the disk goes on
			b.tenant(object.DeleteAlways)
			close(deleted)
		}()
		synctest.Wait()
		disk.goOn()
		<-deleted
		b.tenant("")
		b.queue("busy", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": 10}})
		b.publisher(message.AMQP091).turnOver("busy")
		b.close()
		b = open(t, disk, small())
		if n := b.hub.DelayedCount(); n != 0 {
			t.Errorf("%d messages wait in the next virtual host", n)
		}
	})
}
