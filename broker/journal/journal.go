// Package journal is the segmented durable log of one pod. It serves every group (the metadata and the shards) and is
// their log and the store of their messages in one: what is appended is written once and read back by its position.
//
// It knows bytes and positions. What an entry means, which of them are still needed and when a segment may go is up to
// package hub.
//
// # Group commit
//
// Append hands records to one goroutine and returns. The goroutine takes everything that waits (at most 4 MiB), writes
// it with one write, makes it durable with one fdatasync and then calls back everybody in the order of their appends.
// While it does, the next batch gathers: there is no timer. Durable, then acknowledged, is visible in one function,
// (*Journal).commit.
//
// # Failure
//
// A write or an fsync that fails is fatal: what the kernel then holds is unknown, so nothing is retried, every append
// fails, and the process has to end. A disk without space is not fatal: segments are made ahead of need, appends are
// refused with ErrFull while the next one cannot be made, and go on by themselves when it can. Damage is never repaired
// by deleting; see Open.
package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

// Options of Open. SegmentBytes and Spares have defaults.
type Options struct {
	FS           vfs.FS
	Dir          string
	SegmentBytes int64 // of a segment file; 64 MiB
	Spares       int   // segments made ahead; 2
	Logger       *slog.Logger
	// OnFatal is called once, by the journal's goroutine, when a write or an fsync failed: the process must end.
	OnFatal func(error)
}

// Position is where a record begins: the sequence number of its segment and the offset in it. The zero Position is
// before every record.
type Position struct {
	Segment uint64
	Offset  uint32
}

// ErrFull: there is no room for the records; nothing was written. It wraps the reason.
var ErrFull = errors.New("journal is full")

// ErrClosed is the error of appends to a closed journal.
var ErrClosed = errors.New("journal is closed")

// Journal is an open journal. Its methods are safe for concurrent use.
type Journal struct {
	fs      vfs.FS
	dir     string
	size    int64
	spares  int
	logger  *slog.Logger
	onFatal func(error)

	recovered Recovery

	mu       sync.Mutex
	filled   sync.Cond // something was appended, or the journal was closed
	room     sync.Cond // what waited was taken
	waiting  []request
	bytes    int // of what waits
	closed   bool
	segments map[uint64]*segment // guarded by mu
	oldest   uint64
	newest   uint64
	released []*segment // files to reuse

	// Owned by the journal's goroutine.

	current *segment
	end     int64 // where the next record goes
	cut     bool  // a torn write lies after end: nothing more goes into this segment
	records uint64
	buf     []byte
	at      []Position
	fatal   error

	pool  pool
	stats counters
	done  chan struct{} // closed when the goroutine has ended
}

type request struct {
	records []Record
	bytes   int
	done    func([]Position, error)
}

const (
	defaultSegment = 64 << 20
	defaultSpares  = 2
	maxBatch       = 4 << 20  // bytes of one write
	maxWaiting     = 64 << 20 // bytes from which Append blocks
)

// Append hands records over. It blocks only while more than 64 MiB wait. The records' data belong to the journal until
// done was called: by the journal's goroutine, in the order of appends, with the position of each record (valid during
// the call) when all of them are durable, or with the reason why they are not. Done must not call Append and wait for it.
func (j *Journal) Append(records []Record, done func(at []Position, err error)) {
	r := request{records: records, done: done}
	for i := range records {
		r.bytes += records[i].size()
	}
	j.mu.Lock()
	for j.bytes > maxWaiting && !j.closed {
		j.room.Wait()
	}
	if j.closed {
		j.mu.Unlock()
		done(nil, ErrClosed)
		return
	}
	j.waiting = append(j.waiting, r)
	j.bytes += r.bytes
	j.mu.Unlock()
	j.filled.Signal()
}

// run is the journal's goroutine; it ends when the journal is closed and nothing waits.
func (j *Journal) run() {
	defer close(j.done)
	var spare []request
	for {
		batch, ok := j.take(spare)
		if !ok {
			return
		}
		for rest := batch; len(rest) > 0; {
			n := j.fit(rest)
			j.commit(rest[:n])
			rest = rest[n:]
		}
		clear(batch)
		spare = batch[:0]
	}
}

func (j *Journal) take(spare []request) ([]request, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.waiting) == 0 {
		if j.closed {
			return nil, false
		}
		j.filled.Wait()
	}
	batch := j.waiting
	j.waiting, j.bytes = spare, 0
	j.room.Broadcast()
	return batch, true
}

// fit is how many requests go into one commit: at least one.
func (j *Journal) fit(requests []request) int {
	bytes := 0
	for i := range requests {
		bytes += requests[i].bytes
		if bytes > maxBatch && i > 0 {
			return i
		}
	}
	return len(requests)
}

// batchRecord is the size of the record that begins a commit.
const batchRecord = recordHeader + 4

// commit writes requests, makes them durable, and says so to each.
func (j *Journal) commit(requests []request) {
	at, err := j.write(requests)
	for i := range requests {
		if err != nil {
			requests[i].done(nil, err)
			continue
		}
		n := len(requests[i].records)
		requests[i].done(at[:n], nil)
		at = at[n:]
	}
}

func (j *Journal) write(requests []request) ([]Position, error) {
	if j.fatal != nil {
		return nil, j.fatal
	}
	size, reserved := int64(batchRecord), true
	for i := range requests {
		size += int64(requests[i].bytes)
		for _, r := range requests[i].records {
			reserved = reserved && r.Reserved
		}
	}
	if size > j.size-headerSize-recordHeader {
		return nil, fmt.Errorf("%d bytes do not fit into a segment of %d", size, j.size)
	}
	if err := j.makeRoom(size, reserved); err != nil {
		return nil, err
	}
	j.encode(requests)
	if err := j.flush(); err != nil {
		j.fatal = err
		if j.onFatal != nil {
			j.onFatal(err)
		}
		return nil, err
	}
	return j.at, nil
}

// encode fills the write buffer with a batch record and the requests' records.
func (j *Journal) encode(requests []request) {
	var durable [4]byte
	putUint32(durable[:], uint32(j.end))
	first := Record{Type: Batch, Data: durable[:]}
	j.buf = first.append(j.buf[:0], j.current.sequence)
	j.at = j.at[:0]
	j.records++
	for i := range requests {
		for k := range requests[i].records {
			j.at = append(j.at, Position{Segment: j.current.sequence, Offset: uint32(j.end + int64(len(j.buf)))})
			j.buf = requests[i].records[k].append(j.buf, j.current.sequence)
			j.records++
		}
	}
}

// flush writes the buffer at the end of the segment and makes it durable.
func (j *Journal) flush() error {
	start := time.Now()
	j.stats.syncSince.Store(start.UnixNano())
	defer j.stats.syncSince.Store(0)
	if _, err := j.current.file.WriteAt(j.buf, j.end); err != nil {
		return fmt.Errorf("write segment %d: %w", j.current.sequence, err)
	}
	if err := j.current.file.Sync(); err != nil {
		return fmt.Errorf("sync segment %d: %w", j.current.sequence, err)
	}
	j.end += int64(len(j.buf))
	j.stats.commits.Add(1)
	j.stats.bytes.Add(uint64(len(j.buf)))
	j.stats.syncNanos.Add(uint64(time.Since(start)))
	const keep = 2 * maxBatch
	if cap(j.buf) > keep {
		j.buf = nil
	}
	return nil
}

// Read answers the record at a position. Data aliases buf if it fits there. The checksum is verified.
func (j *Journal) Read(p Position, buf []byte) (Record, error) {
	s, err := j.hold(p.Segment)
	if err != nil {
		return Record{}, err
	}
	defer j.letGo(s)
	return s.read(p.Offset, buf)
}

// hold finds a segment and keeps its file from being reused until letGo.
func (j *Journal) hold(sequence uint64) (*segment, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.segments[sequence]
	if s == nil {
		return nil, fmt.Errorf("segment %d is not in the journal (%d to %d)", sequence, j.oldest, j.newest)
	}
	s.readers++
	return s, nil
}

func (j *Journal) letGo(s *segment) {
	j.mu.Lock()
	s.readers--
	idle := s.gone && s.readers == 0
	j.mu.Unlock()
	if idle {
		j.pool.give(s)
	}
}

// Oldest and Newest are the sequence numbers of the first and the last segment.
func (j *Journal) Oldest() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.oldest
}

// Newest is the sequence number of the segment that is being written.
func (j *Journal) Newest() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.newest
}

// Release says that segments before a sequence number are no longer needed. Their files are used again. The newest
// segment is always kept.
func (j *Journal) Release(before uint64) error {
	j.mu.Lock()
	var idle []*segment
	for before = min(before, j.newest); j.oldest < before; j.oldest++ {
		s := j.segments[j.oldest]
		delete(j.segments, j.oldest)
		s.gone = true
		if s.readers == 0 {
			idle = append(idle, s)
		}
	}
	j.mu.Unlock()
	for _, s := range idle {
		j.pool.give(s)
	}
	return nil
}

// Stats are totals since Open and the present state.
type Stats struct {
	Commits     uint64        // group commits, one fsync each
	Bytes       uint64        // written
	SyncTime    time.Duration // spent in write and fsync
	SyncPending time.Duration // how long the present write and fsync has taken; zero when there is none
	Segments    int
	Waiting     int // bytes that wait to be written
}

type counters struct {
	commits, bytes, syncNanos atomic.Uint64
	syncSince                 atomic.Int64
}

// Stats reads the counters.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	segments, waiting := len(j.segments), j.bytes
	j.mu.Unlock()
	s := Stats{
		Commits: j.stats.commits.Load(), Bytes: j.stats.bytes.Load(), SyncTime: time.Duration(j.stats.syncNanos.Load()),
		Segments: segments, Waiting: waiting,
	}
	if since := j.stats.syncSince.Load(); since != 0 {
		s.SyncPending = time.Since(time.Unix(0, since))
	}
	return s
}

// Close writes what waits and ends the journal. It is idempotent.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		<-j.done
		return nil
	}
	j.closed = true
	j.mu.Unlock()
	j.filled.Broadcast()
	j.room.Broadcast()
	<-j.done
	j.pool.close()
	var errs []error
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.segments {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(errs...)
}
