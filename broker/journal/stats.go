package journal

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// SyncBuckets is the number of buckets of Stats.SyncTimes: bucket i counts write and fsync pairs of less than 2^i
// microseconds that are not in a bucket before, the last one all that took longer.
const SyncBuckets = 26

// Stats are totals since Open and the present state.
type Stats struct {
	Commits     uint64              // group commits, one fsync each but for the relaxed
	Relaxed     uint64              // commits that were called done without an fsync
	Unsynced    uint64              // bytes that were written and are not durable yet
	Records     uint64              // written
	Bytes       uint64              // written; Bytes/Commits is the mean batch
	Refused     uint64              // times when Admit answered ErrFull, or there was no space
	SyncTime    time.Duration       // spent in write and fsync
	SyncTimes   [SyncBuckets]uint64 // how often they took how long
	SyncPending time.Duration       // how long the present write and fsync has taken; zero when there is none
	Segments    int
	Waiting     int // bytes that wait to be written
}

type counters struct {
	commits, relaxed, unsynced, records, bytes, refused, syncNanos atomic.Uint64
	syncTimes                                                      [SyncBuckets]atomic.Uint64
	syncSince                                                      atomic.Int64 // nanoseconds since Journal.opened plus 1, 0 when nothing is synced
}

func (c *counters) synced(took time.Duration) {
	c.syncNanos.Add(uint64(took))
	c.syncTimes[min(bits.Len64(uint64(took.Microseconds())), SyncBuckets-1)].Add(1)
}

// Stats reads the counters.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	s := Stats{Segments: len(j.segments), Waiting: j.bytes}
	j.mu.Unlock()
	c := &j.counters
	s.Commits, s.Records, s.Bytes, s.Refused = c.commits.Load(), c.records.Load(), c.bytes.Load(), c.refused.Load()
	s.Relaxed, s.Unsynced = c.relaxed.Load(), c.unsynced.Load()
	s.SyncTime = time.Duration(c.syncNanos.Load())
	for i := range s.SyncTimes {
		s.SyncTimes[i] = c.syncTimes[i].Load()
	}
	if since := c.syncSince.Load(); since != 0 {
		s.SyncPending = time.Since(j.opened) - time.Duration(since-1)
	}
	return s
}

// SegmentStats describes one segment.
type SegmentStats struct {
	Sequence uint64
	Size     int64 // of the file
	Sealed   bool
	Bytes    int64 // up to the end of the records, when it is sealed
	Records  int   // when it is sealed
}

// Segments describes the segments, the oldest first.
func (j *Journal) Segments() []SegmentStats {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]SegmentStats, 0, len(j.segments))
	for n := j.oldest; n <= j.newest; n++ {
		s := j.segments[n]
		if s == nil {
			continue
		}
		all = append(all, SegmentStats{Sequence: n, Size: s.size, Sealed: s.end != 0, Bytes: s.end, Records: s.records})
	}
	return all
}
