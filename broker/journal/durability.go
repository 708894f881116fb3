package journal

import "time"

// Durability says when what is appended may be called done. What is not Always may be lost by a crash of the machine, and
// all that was appended behind it, up to the next fsync, with it: never something in the middle, since the journal is one
// log. A crash of the process alone loses nothing that was written.
type Durability uint8

// The kinds of durability, the strongest first.
const (
	Always   Durability = iota // after the fsync
	Interval                   // after the write; an fsync follows within Options.SyncEvery
	None                       // after the write; an fsync comes when something else needs one
)

// defaultSyncEvery is how long a write of durability Interval may wait for its fsync.
const defaultSyncEvery = 100 * time.Millisecond

// unsynced is what was written and not made durable yet.
type unsynced struct {
	bytes int64
	timer *time.Timer // wakes the journal for an Interval; nil when none runs
}

// need is the durability of a commit: that of the request that asks for most.
func need(requests []request) Durability {
	d := None
	for i := range requests {
		if requests[i].own {
			return Always
		}
		d = min(d, requests[i].durability)
	}
	return d
}

// later lets an fsync follow what was written without one.
func (j *Journal) later(d Durability) {
	j.unsynced.bytes += int64(len(j.buf))
	j.counters.unsynced.Store(uint64(j.unsynced.bytes))
	j.counters.relaxed.Add(1)
	if d != Interval || j.unsynced.timer != nil || j.manual {
		return
	}
	j.unsynced.timer = time.AfterFunc(j.syncEvery, func() {
		j.mu.Lock()
		j.syncDue = true
		j.mu.Unlock()
		j.filled.Signal()
	})
}

// catchUp makes durable what was written without an fsync.
func (j *Journal) catchUp() error {
	if j.fatal != nil || j.unsynced.bytes == 0 {
		return j.fatal
	}
	start := time.Since(j.opened)
	j.counters.syncSince.Store(int64(start) + 1)
	defer j.counters.syncSince.Store(0)
	if err := j.sync(); err != nil {
		return err
	}
	j.counters.synced(time.Since(j.opened) - start)
	return nil
}

// allSynced says that nothing is left that an fsync would make durable.
func (j *Journal) allSynced() {
	j.unsynced.bytes = 0
	j.counters.unsynced.Store(0)
	if j.unsynced.timer != nil {
		j.unsynced.timer.Stop()
		j.unsynced.timer = nil
	}
}
