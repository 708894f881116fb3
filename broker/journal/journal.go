// Package journal is the segmented durable log of one pod. It serves every group (the metadata and the shards) and is
// their log and the store of their messages in one: what is appended is written once and read back by its position.
//
// It knows bytes and positions. What an entry means, which of them are still needed and when a segment may go is the
// owner's business. The format is described in docs/formats/journal.md.
//
// # Group commit
//
// Append hands records to one goroutine and returns. The goroutine takes what waits (at most 4 MiB), writes it with one
// write, makes it durable with one fdatasync and then calls back everybody in the order of their appends. While it does,
// the next batch gathers: there is no timer. Durable, then acknowledged, is visible in one function, (*Journal).commit.
//
// # Failure
//
// A write or an fsync that fails is fatal: what the disk then holds is unknown, so nothing is retried, every append
// fails, and the process has to end. A disk without space is not fatal: segments are made ahead of need, and Admit
// answers ErrFull from when the next one cannot be made until it can. What is appended all the same uses the reserve,
// and then waits for space; releases overtake it. Damage is never repaired by deleting; see Open.
package journal

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

// Options of Open. FS, SegmentBytes, Spares and Logger have defaults.
type Options struct {
	FS           vfs.FS // vfs.OS
	Dir          string
	SegmentBytes int64 // of a new segment file; 64 MiB
	Spares       int   // segment files kept back for what is appended though Admit says no; 2
	// SyncEvery is how long what is appended with durability Interval may wait for its fsync; 100 ms.
	SyncEvery time.Duration
	Logger    *slog.Logger
	// Manual journals have no goroutine: what waits is committed by Work alone. For simulations under one seed.
	Manual bool
	// OnFatal is called once, by the journal's goroutine, when a write or an fsync failed: the process must end.
	OnFatal func(error)
}

// Position is where a record begins: the sequence number of its segment and the offset in it. The zero Position is
// before every record.
type Position struct {
	Segment uint64
	Offset  uint32
}

// Compare is negative when p is before q, positive when it is after it, and zero when they are equal.
func (p Position) Compare(q Position) int {
	switch {
	case p == q:
		return 0
	case p.Segment < q.Segment || p.Segment == q.Segment && p.Offset < q.Offset:
		return -1
	}
	return 1
}

// ErrFull: there is no room for more. It comes with the directory and the reason.
var ErrFull = errors.New("journal is full")

// ErrClosed is the error of appends to a closed journal.
var ErrClosed = errors.New("journal is closed")

// ErrTooLarge is the error of appends that do not fit into a segment.
var ErrTooLarge = errors.New("records do not fit into a segment")

// Journal is an open journal. Its methods are safe for concurrent use.
type Journal struct {
	fs           vfs.FS
	dir          string
	logger       *slog.Logger
	onFatal      func(error)
	manual       bool
	syncEvery    time.Duration
	opened       time.Time
	recovered    Recovery
	foundIn      uint64 // the newest segment when Open found it
	found        []byte // and its index
	foundRecords uint32
	counters     counters
	pool         pool
	done         chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	filled   sync.Cond // something was appended, or the journal was closed
	room     sync.Cond // what waited was taken
	idle     sync.Cond // a segment has no more readers
	waiting  []request // guarded by mu, as all below
	bytes    int       // of what waits
	closed   bool
	syncDue  bool // an Interval is over
	ended    bool // the files are closed
	segments map[uint64]*segment
	oldest   uint64
	newest   uint64

	// Owned by the journal's goroutine.

	current   *segment
	end       int64  // where the next record goes
	index     index  // of the current segment
	releasing uint64 // segments before this one are released
	gaps      freed  // and these
	carried   carried
	wanted    bool // the pool was told that the next segment will be needed soon
	dirty     bool // the last commit is not followed by a Batch record that says that it was durable
	unsynced  unsynced
	buf       []byte
	at        []Position
	fatal     error
}

// request is what one Append hands over.
type request struct {
	records []Record
	bytes   int      // of the records as they are stored
	own     bool     // the journal's: one record, may use the last bytes of a segment
	release []uint64 // of an own one: the segments
	invalid error
	done    func([]Position, error)

	durability Durability
}

const (
	defaultSegment = 64 << 20
	defaultSpares  = 2
	minSegment     = 4 << 10
	maxSegment     = 1<<32 - 1 // offsets have 32 bits
	maxBatch       = 4 << 20   // bytes of one write, unless one append is larger
	maxWaiting     = 64 << 20  // bytes from which Append blocks
	// ownReserve bytes of each segment are for the journal's own commits: Release must be possible when the disk is full.
	ownReserve = 8 * batchRecord
)

// Append hands records over. It blocks only while more than 64 MiB wait. The records and their data belong to the journal
// until done was called: by the journal's goroutine, in the order of appends, with the position of each record (valid
// during the call) when all of them are durable, or with the reason why they never will be. Done must not call Append,
// Release or Close: it would wait for itself.
func (j *Journal) Append(records []Record, done func(at []Position, err error)) {
	j.AppendAs(Always, records, done)
}

// AppendAs is Append with another word for done: what Durability says of d.
func (j *Journal) AppendAs(d Durability, records []Record, done func(at []Position, err error)) {
	r := request{records: records, done: done, durability: d}
	for i := range records {
		r.bytes += recordHeader + len(records[i].Data)
		if !records[i].Type.callers() {
			r.invalid = fmt.Errorf("records of type %d cannot be appended", records[i].Type)
		}
	}
	j.enqueue(r)
}

// MaxAppend is about how many bytes of records, RecordOverhead included, one Append may have.
func (j *Journal) MaxAppend() int { return int(j.pool.size / 4) }

// Admit answers why only what frees space, or is small and must be, should be appended now; nil means anything.
func (j *Journal) Admit() error {
	if err := j.pool.lean(); err != nil {
		return j.full(err)
	}
	return nil
}

func (j *Journal) enqueue(r request) {
	j.mu.Lock()
	for j.bytes > maxWaiting && !j.closed {
		j.room.Wait()
	}
	if j.closed {
		j.mu.Unlock()
		<-j.done // after what was appended before
		r.done(nil, ErrClosed)
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
		taken, due, ok := j.take(spare)
		if !ok {
			j.markClean()
			return
		}
		for rest := taken; len(rest) > 0; {
			n := j.commit(rest)
			if rest = rest[n:]; n == 0 {
				rest = j.stall(rest)
			}
		}
		clear(taken)
		spare = taken[:0]
		if due {
			j.catchUp() //nolint:errcheck // it was told to OnFatal, and is to everybody who appends
		}
	}
}

// Work commits once for a Manual journal; false when nothing waits or there is no space.
func (j *Journal) Work() bool {
	if !j.manual {
		return false
	}
	j.mu.Lock()
	taken := j.waiting
	j.waiting, j.bytes = nil, 0
	j.mu.Unlock()
	if len(taken) == 0 {
		return false
	}
	slices.SortStableFunc(taken, func(a, b request) int { return cmp.Compare(b.first(), a.first()) })
	n := j.commit(taken)
	j.mu.Lock()
	j.waiting = append(taken[n:], j.waiting...)
	j.mu.Unlock()
	return n > 0
}

// first is 1 for releases, which make space for the others.
func (r request) first() int {
	if r.own {
		return 1
	}
	return 0
}

// take waits for something to commit, or for the end of an interval, after which what was written is due to become durable.
// It answers false when the journal is closed.
func (j *Journal) take(spare []request) (taken []request, due, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.waiting) == 0 && !j.syncDue {
		if j.closed {
			return nil, false, false
		}
		j.filled.Wait()
	}
	due, j.syncDue = j.syncDue, false
	taken = j.waiting
	j.waiting, j.bytes = spare, 0
	j.room.Broadcast()
	return taken, due, true
}

// stall waits until there may be space for what waits, and answers it again, with the releases that came first.
func (j *Journal) stall(rest []request) []request {
	retry := false
	t := time.AfterFunc(retryEvery, func() {
		j.mu.Lock()
		retry = true
		j.mu.Unlock()
		j.filled.Signal()
	})
	defer t.Stop()
	j.mu.Lock()
	defer j.mu.Unlock()
	for !retry && !j.closed && !slices.ContainsFunc(j.waiting, func(r request) bool { return r.own }) {
		j.filled.Wait()
	}
	var first []request
	for _, from := range [...]*[]request{&rest, &j.waiting} {
		*from = slices.DeleteFunc(*from, func(r request) bool {
			if r.own {
				first = append(first, r)
			}
			return r.own
		})
	}
	return append(first, rest...)
}

// commit writes the first requests, as many as belong together, makes them durable, and says so to each. It answers how
// many it has dealt with; none when there is no space.
func (j *Journal) commit(requests []request) int {
	if err := j.admit(&requests[0]); err != nil {
		if errors.Is(err, ErrFull) && !j.closing() {
			return 0
		}
		requests[0].done(nil, err)
		return 1
	}
	n := j.fit(requests)
	j.encode(requests[:n])
	err := j.flush(need(requests[:n]))
	at := j.at
	for i := range requests[:n] {
		r := &requests[i]
		if err != nil {
			r.done(nil, err)
			continue
		}
		r.done(at[:len(r.records)], nil)
		at = at[len(r.records):]
	}
	return n
}

func (j *Journal) closing() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.closed
}

// admit makes room for a request or says why there is none.
func (j *Journal) admit(r *request) error {
	if j.fatal != nil {
		return j.fatal
	}
	if r.invalid != nil {
		return r.invalid
	}
	if j.fits(r.bytes, len(r.records), r.own) {
		return nil
	}
	if most := j.pool.size - headerSize - batchRecord - recordHeader - trailerSize - ownReserve - j.carried.size() - int64(len(r.records))*maxIndexed; int64(r.bytes) > most {
		return fmt.Errorf("%d records of %d bytes: %w", len(r.records), r.bytes, ErrTooLarge)
	}
	next, err := j.pool.take()
	if err != nil {
		return j.full(err)
	}
	if err := j.roll(next); !errors.Is(err, ErrFull) {
		return j.fail(err)
	} else {
		j.counters.refused.Add(1)
		return err
	}
}

func (j *Journal) full(reason error) error {
	j.counters.refused.Add(1)
	return fmt.Errorf("%w: %s: %w", ErrFull, j.dir, reason)
}

// fail makes an error of the disk fatal.
func (j *Journal) fail(err error) error {
	if err == nil {
		return nil
	}
	j.fatal = fmt.Errorf("journal has stopped: %w", err)
	if j.onFatal != nil {
		j.onFatal(err)
	}
	return j.fatal
}

// fits says whether a commit has room in the current segment, with the footer that it makes necessary.
func (j *Journal) fits(bytes, records int, own bool) bool {
	need := batchRecord + int64(bytes) + j.index.size() + int64(records)*maxIndexed
	if j.carried.due {
		need += j.carried.size()
	}
	if !own {
		need += ownReserve
	}
	return j.end+need <= j.current.size
}

// fit is how many requests go into one commit: at least one, which admit has let in.
func (j *Journal) fit(requests []request) int {
	bytes, records := requests[0].bytes, len(requests[0].records)
	if requests[0].own {
		return 1
	}
	for i := 1; i < len(requests); i++ {
		r := &requests[i]
		bytes += r.bytes
		records += len(r.records)
		if bytes > maxBatch || r.own || r.invalid != nil || !j.fits(bytes, records, false) {
			return i
		}
	}
	return len(requests)
}

// encode fills the write buffer with a Batch record and the requests' records, in a new segment after those that are
// carried over.
func (j *Journal) encode(requests []request) {
	bytes := 0
	for i := range requests {
		r := &requests[i]
		if r.own {
			r.records = []Record{j.release(r.release)}
			r.bytes = recordHeader + len(r.records[0].Data)
		}
		bytes += r.bytes
	}
	var carried []Record
	if j.carried.due {
		carried = j.carried.list()
		bytes += j.carried.bytes
		j.carried.due = false
	}
	j.at, j.dirty = j.at[:0], true
	j.buf = j.appendBatch(j.buf[:0], bytes)
	for i := range carried {
		j.put(&carried[i])
	}
	for i := range requests {
		for k := range requests[i].records {
			r := &requests[i].records[k]
			j.at = append(j.at, Position{Segment: j.current.sequence, Offset: uint32(j.end) + uint32(len(j.buf))})
			j.carried.keep(r)
			j.put(r)
		}
	}
}

func (j *Journal) put(r *Record) {
	j.index.add(r, uint32(j.end)+uint32(len(j.buf)))
	j.buf = r.append(j.buf, j.current.sequence)
}

func (j *Journal) appendBatch(dst []byte, bytes int) []byte {
	var data [batchData]byte
	b := batch{durable: uint32(j.end), bytes: uint32(bytes), oldest: j.releasing}
	r := Record{Type: Batch, Data: b.append(data[:0])}
	if j.unsynced.bytes > 0 {
		r.Type = LooseBatch // what is before it was written, and that is all that is known of it
	}
	return r.append(dst, j.current.sequence)
}

// flush writes the buffer at the end of the segment and, as it is asked, makes it durable.
func (j *Journal) flush(d Durability) error {
	start := time.Since(j.opened)
	j.counters.syncSince.Store(int64(start) + 1)
	defer j.counters.syncSince.Store(0)
	if _, err := j.current.file.WriteAt(j.buf, j.end); err != nil {
		return j.fail(fmt.Errorf("write segment %d: %w", j.current.sequence, err))
	}
	if d == Always {
		if err := j.sync(); err != nil {
			return err
		}
	} else {
		j.later(d)
	}
	j.end += int64(len(j.buf))
	if !j.wanted && j.end > j.current.size/2 {
		j.wanted = true
		j.pool.want()
	}
	j.counters.synced(time.Since(j.opened) - start)
	j.counters.commits.Add(1)
	j.counters.records.Add(uint64(len(j.at)))
	j.counters.bytes.Add(uint64(len(j.buf)))
	if cap(j.buf) > 2*maxBatch { // one large append must not hold memory for ever
		j.buf = nil
	}
	return nil
}

// sync makes everything durable that was written.
func (j *Journal) sync() error {
	if err := j.current.file.Sync(); err != nil {
		return j.fail(fmt.Errorf("sync segment %d: %w", j.current.sequence, err))
	}
	j.allSynced()
	return nil
}

// markClean says at the end that the last commit was durable: what is bad afterwards is damage, not a torn write.
func (j *Journal) markClean() {
	if err := j.catchUp(); err != nil || !j.dirty || !j.fits(0, 0, true) {
		return
	}
	j.at = j.at[:0]
	j.buf = j.appendBatch(j.buf[:0], 0)
	if err := j.flush(Always); err != nil {
		j.logger.Error("journal was not closed cleanly", "error", err)
	}
}

// Close writes what waits and ends the journal; it waits for reads that are under way. It is idempotent.
func (j *Journal) Close() error {
	j.mu.Lock()
	first := !j.closed
	j.closed = true
	j.mu.Unlock()
	j.filled.Broadcast()
	j.room.Broadcast()
	if first && j.manual {
		j.endManual()
	}
	<-j.done
	if !first {
		return nil
	}
	return errors.Join(j.closeFiles(), j.pool.close())
}

func (j *Journal) endManual() {
	for j.Work() {
		continue
	}
	for _, r := range j.waiting {
		r.done(nil, ErrClosed)
	}
	j.markClean()
	close(j.done)
}

func (j *Journal) closeFiles() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = true
	var errs []error
	for _, s := range j.segments {
		for s.readers > 0 {
			j.idle.Wait()
		}
		errs = append(errs, s.file.Close())
	}
	return errors.Join(errs...)
}
