package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

// Recovery is what Open found.
type Recovery struct {
	Segments int
	Records  uint64 // without those of the journal itself
	// CutBytes is how much of an unfinished commit was cut off the newest segment, at CutAt of CutFile.
	CutBytes int64
	CutFile  string
	CutAt    int64
}

// DamageError says that the journal does not hold what it once made durable. Nothing was changed.
type DamageError struct {
	File   string
	Offset int64
	What   string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("journal is damaged: %s at offset %d: %s; nothing was deleted: restore the data directory from a copy, or move it away to begin empty", e.File, e.Offset, e.What)
}

// Open opens the journal in a directory, which it makes if need be.
//
// The newest segment may end in a commit that a crash cut short: what follows its last whole record is cut off and counted
// in Recovery. A bad record before something that is known to have been durable is damage, and so is a missing segment:
// Open (of sealed segments: Replay, Read) fails with a DamageError and deletes nothing.
func Open(o Options) (*Journal, error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegment
	}
	if o.SegmentBytes < minSegment || o.SegmentBytes > maxSegment {
		return nil, fmt.Errorf("journal segments of %d bytes: not within %d and %d", o.SegmentBytes, minSegment, maxSegment)
	}
	if o.SyncEvery <= 0 {
		o.SyncEvery = defaultSyncEvery
	}
	if o.Spares <= 0 {
		o.Spares = defaultSpares
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	j := &Journal{
		fs: o.FS, dir: o.Dir, logger: o.Logger, onFatal: o.OnFatal, manual: o.Manual, opened: time.Now(), syncEvery: o.SyncEvery,
		segments: make(map[uint64]*segment), gaps: make(freed), done: make(chan struct{}),
		pool: pool{
			fs: o.FS, dir: o.Dir, size: o.SegmentBytes, reserve: o.Spares, logger: o.Logger, manual: o.Manual,
			wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
		},
	}
	j.filled.L, j.room.L, j.idle.L, j.pool.change.L = &j.mu, &j.mu, &j.mu, &j.pool.mu
	if err := j.fs.MkdirAll(j.dir); err != nil {
		return nil, fmt.Errorf("journal directory: %w", err)
	}
	if err := j.recover(); err != nil {
		return nil, errors.Join(err, j.closeFiles(), j.pool.closeFiles())
	}
	if !j.manual {
		j.pool.start()
		go j.run() // ends when Close closes the journal
	}
	return j, nil
}

// recover opens the files. Until everything was found in order it changes nothing.
func (j *Journal) recover() error {
	spares, err := j.openFiles()
	if err != nil {
		return err
	}
	if j.newest == 0 {
		if err := j.adoptSpares(spares); err != nil {
			return err
		}
		return j.firstSegment()
	}
	tail, err := j.readNewest()
	if err != nil {
		return err
	}
	if err := j.findCarried(tail); err != nil {
		return err
	}
	old := j.splitReleased(tail.oldest)
	if err := j.checkSealed(tail); err != nil {
		return errors.Join(err, closeAll(old))
	}
	if err := j.cut(tail); err != nil {
		return errors.Join(err, closeAll(old))
	}
	j.recovered.Segments = len(j.segments)
	if err := j.adoptSpares(spares); err != nil {
		return errors.Join(err, closeAll(old))
	}
	for _, s := range old {
		j.pool.recycle(s)
	}
	return nil
}

func closeAll(segments []*segment) error {
	var errs []error
	for _, s := range segments {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(errs...)
}

// openFiles opens the segments and answers the names of spare files.
func (j *Journal) openFiles() (spares []string, err error) {
	names, err := j.fs.List(j.dir)
	if err != nil {
		return nil, fmt.Errorf("list journal directory: %w", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, spareSuffix) {
			spares = append(spares, name)
		}
		digits, ok := strings.CutSuffix(name, segmentSuffix)
		if !ok {
			continue // not ours
		}
		sequence, err := strconv.ParseUint(digits, 16, 64)
		if err != nil || sequence == 0 || segmentName(j.dir, sequence) != filepath.Join(j.dir, name) {
			return nil, &DamageError{File: filepath.Join(j.dir, name), What: "the name is not that of a segment"}
		}
		s, err := j.openFile(name)
		if err != nil {
			return nil, err
		}
		s.sequence = sequence
		j.segments[sequence] = s
		j.newest = max(j.newest, sequence)
	}
	return spares, nil
}

func (j *Journal) openFile(name string) (*segment, error) {
	path := filepath.Join(j.dir, name)
	f, err := j.fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open journal file: %w", err)
	}
	size, err := f.Size()
	if err == nil && size > maxSegment {
		err = &DamageError{File: path, What: fmt.Sprintf("the file has %d bytes, no segment has", size)}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("size of %s: %w", path, err), f.Close())
	}
	return &segment{file: f, name: path, size: size}, nil
}

// adoptSpares takes the spare files over that have the right size and removes the others. They hold nothing.
func (j *Journal) adoptSpares(names []string) error {
	for _, name := range names {
		s, err := j.openFile(name)
		if err != nil {
			return err
		}
		if n, err := strconv.Atoi(strings.TrimSuffix(name, spareSuffix)); err == nil {
			j.pool.number = max(j.pool.number, n)
		}
		if s.size == j.pool.size && len(j.pool.files) <= j.pool.reserve {
			j.pool.files = append(j.pool.files, s)
			continue
		}
		if err := errors.Join(s.file.Close(), j.fs.Remove(s.name)); err != nil {
			return fmt.Errorf("remove spare segment: %w", err)
		}
	}
	return nil
}

func (j *Journal) firstSegment() error {
	var s *segment
	var err error
	if n := len(j.pool.files); n > 0 {
		s, j.pool.files = j.pool.files[n-1], j.pool.files[:n-1]
	} else if s, err = j.pool.create(); err != nil {
		return fmt.Errorf("first segment: %w", err)
	}
	return j.roll(s)
}

// tail is the newest segment as it was found.
type tail struct {
	scan
	segment *segment
	header  header
	data    []byte
	oldest  uint64 // segments before this one were released
}

func (j *Journal) readNewest() (t tail, err error) {
	t.segment = j.segments[j.newest]
	if t.data, err = t.segment.load(nil, t.segment.size); err != nil {
		return t, err
	}
	if t.header, err = t.segment.checkHeader(t.data); err != nil {
		return t, err
	}
	j.index.reset()
	t.scan, err = walk(t.data, t.segment.sequence, func(r Record, p Position) error {
		j.index.add(&r, p.Offset)
		j.carried.keep(&r)
		return nil
	})
	if err != nil {
		return t, err
	}
	if t.sealed {
		return t, &DamageError{File: segmentName(j.dir, j.newest+1), What: "the file is missing: the segment before it was sealed"}
	}
	if at, ok := laterBatch(t.data, t.end, j.newest); ok {
		return t, &DamageError{File: t.segment.name, Offset: t.end, What: fmt.Sprintf("%v, and it was durable before the commit at %d", t.bad, at)}
	}
	t.oldest = max(t.header.oldest, t.released)
	if t.oldest == 0 || t.oldest > j.newest {
		return t, &DamageError{File: t.segment.name, What: fmt.Sprintf("it names %d as the oldest segment", t.oldest)}
	}
	return t, nil
}

// checkHeader reads the header at the start of data.
func (s *segment) checkHeader(data []byte) (header, error) {
	h, err := decodeHeader(data)
	if err == nil && h.sequence != s.sequence {
		err = fmt.Errorf("the header is that of segment %d", h.sequence)
	}
	if err != nil {
		return h, &DamageError{File: s.name, What: err.Error()}
	}
	return h, nil
}

// findCarried completes what is carried from segment to segment. A newest segment without a whole commit does not have
// it, but the one before, which therefore cannot have been released.
func (j *Journal) findCarried(t tail) error {
	j.carried.due = t.whole == 0
	if s := j.segments[j.newest-1]; j.carried.due && s != nil {
		data, err := s.load(nil, int64(t.header.previousEnd))
		if err != nil {
			return err
		}
		keep := func(r Record, _ Position) error {
			j.carried.keep(&r)
			return nil
		}
		if _, err := walk(data, s.sequence, keep); err != nil {
			return err
		}
		if _, err := walk(t.data, t.segment.sequence, keep); err != nil { // what of it is there is newer
			return err
		}
	}
	free, ok := j.State(Free, 0)
	if !ok {
		return nil
	}
	gaps, err := decodeFreed(free.Data)
	if err != nil {
		return &DamageError{File: t.segment.name, What: err.Error()}
	}
	j.gaps = gaps
	return nil
}

// splitReleased takes out segments that were released, whose files a crash left.
func (j *Journal) splitReleased(oldest uint64) (old []*segment) {
	for n := range j.gaps {
		if n < oldest {
			delete(j.gaps, n)
		}
	}
	for n, s := range j.segments {
		if n < oldest || j.gaps[n] {
			delete(j.segments, n)
			old = append(old, s)
		}
	}
	j.oldest, j.releasing = oldest, oldest
	return old
}

// checkSealed verifies that every segment before the newest is there, and its footer.
func (j *Journal) checkSealed(t tail) error {
	for n := j.oldest; n < j.newest; n++ {
		s := j.segments[n]
		if s == nil && j.gaps[n] {
			continue
		}
		if s == nil {
			return &DamageError{File: segmentName(j.dir, n), What: "the file is missing"}
		}
		var head [headerSize]byte
		if s.size < headerSize {
			return &DamageError{File: s.name, What: fmt.Sprintf("the file has only %d bytes", s.size)}
		}
		if err := s.readAt(head[:], 0); err != nil {
			return err
		}
		if _, err := s.checkHeader(head[:]); err != nil {
			return err
		}
		f, _, err := s.readFooter()
		var damage *DamageError
		if errors.As(err, &damage) && n == j.newest-1 && t.end == headerSize {
			f, err = s.sealAgain(t.header.previousEnd, damage)
		}
		if err != nil {
			return err
		}
		s.end, s.records = int64(f.offset), int(f.records)
		j.recovered.Records += uint64(f.records)
	}
	return nil
}

// sealAgain writes the footer of a segment whose end is known from the header of the next one. Every record before that
// end was durable.
func (s *segment) sealAgain(end uint32, damage *DamageError) (t trailer, err error) {
	data, err := s.load(nil, s.size)
	if err != nil {
		return t, err
	}
	if int64(end) > s.size-trailerSize-recordHeader {
		return t, damage
	}
	var x index
	x.reset()
	found, err := walk(data[:end], s.sequence, func(r Record, p Position) error {
		x.add(&r, p.Offset)
		return nil
	})
	if err != nil {
		return t, err
	}
	if found.end != int64(end) {
		return t, &DamageError{File: s.name, Offset: found.end, What: found.bad.Error()}
	}
	if found.end+x.size() > s.size {
		return t, damage
	}
	return trailer{offset: end, sequence: s.sequence, records: uint32(x.count)}, s.seal(x, int64(end))
}

// cut ends the newest segment at its last whole record. What follows and could ever be taken for a record of this
// segment is overwritten: a commit that was cut short must not come back behind a later one. What remains may have been
// in the memory of the kernel alone and is made durable.
func (j *Journal) cut(t tail) error {
	whole, any := remains(t.data, t.end, j.newest)
	whole = max(whole, min(t.commitEnd, t.segment.size))
	if whole > t.end {
		j.recovered.CutFile, j.recovered.CutAt, j.recovered.CutBytes = t.segment.name, t.end, whole-t.end
		j.logger.Warn("the journal ended in an unfinished commit, which was cut off", "file", t.segment.name, "offset", t.end, "bytes", whole-t.end)
	}
	if any = max(any, whole); any > t.end {
		if _, err := t.segment.file.WriteAt(make([]byte, any-t.end), t.end); err != nil {
			return fmt.Errorf("cut segment %d: %w", j.newest, err)
		}
	}
	if err := t.segment.file.Sync(); err != nil {
		return fmt.Errorf("sync segment %d: %w", j.newest, err)
	}
	j.current, j.end = t.segment, t.end
	j.recovered.Records += uint64(j.index.count)
	j.foundIn, j.found, j.foundRecords = j.newest, slices.Clone(j.index.data), uint32(j.index.count)
	return nil
}

// laterBatch finds a Batch record behind an offset. It says that everything before it was durable.
func laterBatch(data []byte, after int64, sequence uint64) (int64, bool) {
	// Length, type, group and sequence number: what a peer puts into a body cannot make this slow.
	pattern := []byte{batchData, 0, 0, 0, byte(Batch), 0, 0, 0, 0, 0, 0, 0}
	pattern = binary.LittleEndian.AppendUint64(pattern, sequence)
	for at := after + 1; ; at++ {
		n := bytes.Index(data[min(at+4, int64(len(data))):], pattern) // the length is at 4
		if n < 0 {
			return 0, false
		}
		at += int64(n)
		if r, _, err := decodeRecord(data[at:], sequence); err == nil {
			if _, err := decodeBatch(r.Data, at); err == nil {
				return at, true
			}
		}
	}
}

// remains finds what a commit that was cut short left behind an offset: where the last record ends that is whole, and
// where the last bytes are that could be a part of one.
func remains(data []byte, from int64, sequence uint64) (whole, any int64) {
	pattern := binary.LittleEndian.AppendUint64(nil, sequence)
	budget := 4 * len(data) // of bytes to checksum: bodies of an earlier use may look like many long records
	for at := from; ; at++ {
		n := bytes.Index(data[min(at+16, int64(len(data))):], pattern) // the sequence number is at 16
		if n < 0 {
			return whole, any
		}
		at += int64(n)
		any = min(at+recordHeader, int64(len(data)))
		length := int(binary.LittleEndian.Uint32(data[at+4:]))
		if length > budget {
			continue // what could be a record is overwritten nevertheless, only not counted
		}
		budget -= min(length, len(data)-int(at))
		if _, size, err := decodeRecord(data[at:], sequence); err == nil {
			whole = max(whole, at+int64(size))
		} else if at == from && (data[at+8] == byte(Batch) || data[at+8] == byte(LooseBatch)) {
			whole = max(whole, at+batchRecord)
		}
	}
}
