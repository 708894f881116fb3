package hub_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// TestJoinWhileAQueueGoes: who joins a queue while it is removed is told that there is none, and never joins what goes.
func TestJoinWhileAQueueGoes(t *testing.T) {
	for name, spec := range map[string]object.QueueSpec{"transient": {AutoDelete: true}, "durable": {AutoDelete: true, Durable: true}} {
		t.Run(name, func(t *testing.T) {
			b := open(t, vfs.NewMemory(), small())
			var members sync.WaitGroup
			for origin := range uint64(3) {
				members.Go(func() { // ends after its rounds
					for range 100 {
						if !b.joins(origin, spec) {
							return
						}
					}
				})
			}
			members.Wait()
		})
	}
}

// joins joins a queue that goes with its last consumer, and leaves it; false: something went wrong.
func (b *bench) joins(origin uint64, spec object.QueueSpec) bool {
	ctx := context.Background()
	for {
		_, err := b.host.DeclareQueue(ctx, b.access, hub.QueueDeclaration{Name: "q", Spec: spec, Origin: origin})
		if err == nil || hub.CodeOf(err) == hub.NotFound {
			err = b.host.Bind(ctx, b.access, hub.Binding{Source: "amq.fanout", Destination: "q", Origin: origin})
		}
		if hub.CodeOf(err) == hub.NotFound {
			continue // it went in between
		}
		if err != nil {
			b.Error(err)
			return false
		}
		s := newSink()
		c, err := b.host.Consume(b.access, "q", hub.ConsumerOptions{Sink: s, Origin: origin})
		if hub.CodeOf(err) == hub.NotFound {
			continue
		}
		if err != nil {
			b.Error(err)
			return false
		}
		c.Resume()
		c.Queue().Count() // behind what was on its way
		s.mu.Lock()
		gone := s.cancelled
		s.mu.Unlock()
		if gone {
			b.Error("the queue went, with a consumer that had joined")
			return false
		}
		c.Close()
		return true
	}
}

// stalling is a disk whose fsyncs wait, from stall until goOn.
type stalling struct {
	*vfs.Crash
	stalled  atomic.Bool
	released chan struct{} // closed by goOn
}

func newStalling() *stalling {
	d := &stalling{Crash: vfs.NewCrash(), released: make(chan struct{})}
	d.Before = func(op vfs.Op, _ string) {
		if op == vfs.OpSync && d.stalled.Load() {
			<-d.released
		}
	}
	return d
}

func (d *stalling) stall() { d.stalled.Store(true) }

func (d *stalling) goOn() {
	d.stalled.Store(false)
	close(d.released)
}

// TestJoinWaitsForADeletion: who joins a durable queue while its deletion is on the way to the disk is told what came of it.
func TestJoinWaitsForADeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newStalling()
		b := open(t, disk, small())
		b.queue("q", object.QueueSpec{Durable: true})
		disk.stall()
		deleted, joined := make(chan error, 1), make(chan error, 1)
		go func() { // ends when the disk goes on
			_, err := b.host.DeleteQueue(context.Background(), b.access, "q", 1, true, false)
			deleted <- err
		}()
		synctest.Wait()
		go func() { // ends with the deletion
			_, err := b.host.Consume(b.access, "q", hub.ConsumerOptions{Sink: newSink(), Origin: 1})
			joined <- err
		}()
		synctest.Wait()
		select {
		case err := <-joined:
			t.Errorf("joined before it is known whether the queue goes: %v", err)
			joined <- err
		case err := <-deleted:
			t.Errorf("deleted before that is durable: %v", err)
			deleted <- err
		default:
		}
		disk.goOn()
		if err := <-deleted; err != nil {
			t.Error(err)
		}
		if err := <-joined; hub.CodeOf(err) != hub.NotFound {
			t.Errorf("joined: %v", err)
		}
	})
}
