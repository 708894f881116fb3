package journal_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

// TestDurability counts fsyncs: what is relaxed is done without one, an interval brings one, and what needs one takes
// along what was before it.
func TestDurability(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewCrash()
		var syncs atomic.Int64
		disk.Before = func(op vfs.Op, _ string) {
			if op == vfs.OpSync {
				syncs.Add(1)
			}
		}
		j, err := journal.Open(journal.Options{FS: disk, Dir: "log", SegmentBytes: 1 << 20, SyncEvery: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer closed(t, j)
		next := uint64(0)
		append1 := func(d journal.Durability) (unsynced bool) {
			t.Helper()
			done := make(chan error, 1)
			j.AppendAs(d, []journal.Record{entry(next, "x")}, func(_ []journal.Position, err error) { done <- err })
			next++
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			return j.Stats().Unsynced > 0
		}
		append1(journal.Always)
		synctest.Wait()
		syncs.Store(0)
		for range 3 {
			if !append1(journal.None) {
				t.Error("what was appended without an fsync counts as durable")
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := syncs.Load(); n != 0 || j.Stats().Unsynced == 0 || j.Stats().Relaxed != 3 {
			t.Errorf("durability none: %d fsyncs, %+v", n, j.Stats())
		}
		if append1(journal.Always) || syncs.Load() != 1 {
			t.Errorf("an append that needs it left %d bytes, with %d fsyncs", j.Stats().Unsynced, syncs.Load())
		}
		for range 2 {
			if !append1(journal.Interval) {
				t.Error("durability interval: the fsync came at once")
			}
		}
		time.Sleep(time.Second - time.Millisecond)
		synctest.Wait()
		if syncs.Load() != 1 {
			t.Errorf("%d fsyncs before the interval is over", syncs.Load())
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if syncs.Load() != 2 || j.Stats().Unsynced != 0 {
			t.Errorf("after the interval: %d fsyncs, %d bytes unsynced", syncs.Load(), j.Stats().Unsynced)
		}
		syncs.Store(0)
		for range 100 { // for ten seconds
			append1(journal.Interval)
			time.Sleep(100 * time.Millisecond)
		}
		if n := syncs.Load(); n < 8 || n > 10 {
			t.Errorf("%d fsyncs in ten intervals with something to write all the time", n)
		}
	})
}
