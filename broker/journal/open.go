package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
)

// Recovery is what Open found.
type Recovery struct {
	Segments int
	Records  uint64 // without those of the journal itself
	// CutBytes is how much of an unfinished write was cut off the newest segment, at CutAt of CutFile.
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
// The newest segment may end in a write that was cut short by a crash: what follows its last whole record is cut off and
// counted in Recovery. A record that is bad before something that is known to have been durable is damage, and so is a
// missing segment: Open fails with a DamageError and deletes nothing.
func Open(o Options) (*Journal, error) {
	j := &Journal{
		fs: o.FS, dir: o.Dir, size: o.SegmentBytes, spares: o.Spares, logger: o.Logger, onFatal: o.OnFatal,
		segments: make(map[uint64]*segment), done: make(chan struct{}),
	}
	j.filled.L, j.room.L = &j.mu, &j.mu
	if j.size == 0 {
		j.size = defaultSegment
	}
	if j.spares == 0 {
		j.spares = defaultSpares
	}
	if j.logger == nil {
		j.logger = slog.New(slog.DiscardHandler)
	}
	if err := j.fs.MkdirAll(j.dir); err != nil {
		return nil, fmt.Errorf("journal directory: %w", err)
	}
	if err := j.load(); err != nil {
		return nil, errors.Join(err, j.closeFiles())
	}
	j.pool.open(j.fs, j.dir, j.size, j.spares, j.logger)
	go j.run() // ends when Close closes the journal
	return j, nil
}

func (j *Journal) closeFiles() error {
	var errs []error
	for _, s := range j.segments {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(errs...)
}

// load opens the segments and finds the end of the newest one.
func (j *Journal) load() error {
	names, err := j.fs.List(j.dir)
	if err != nil {
		return fmt.Errorf("list journal directory: %w", err)
	}
	for _, name := range names {
		if isSpare(name) { // holds nothing
			if err := j.fs.Remove(filepath.Join(j.dir, name)); err != nil {
				return fmt.Errorf("remove spare segment: %w", err)
			}
			continue
		}
		if err := j.openSegment(name); err != nil {
			return err
		}
	}
	for n := j.oldest; n <= j.newest && n != 0; n++ {
		if j.segments[n] == nil {
			return &DamageError{File: segmentName(j.dir, n), What: "the file is missing between others"}
		}
	}
	return j.scan()
}

func (j *Journal) openSegment(name string) error {
	digits, ok := strings.CutSuffix(name, ".seg")
	if !ok {
		return nil // not ours
	}
	path := filepath.Join(j.dir, name)
	sequence, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return &DamageError{File: path, What: "the name is not that of a segment"}
	}
	f, err := j.fs.Open(path)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	j.segments[sequence] = &segment{sequence: sequence, file: f, name: path}
	if j.oldest == 0 || sequence < j.oldest {
		j.oldest = sequence
	}
	j.newest = max(j.newest, sequence)
	return nil
}

// scan reads every segment once, and sets where the newest one goes on.
func (j *Journal) scan() error {
	for n := j.oldest; n <= j.newest && n != 0; n++ {
		s := j.segments[n]
		end, records, err := j.walk(s, n == j.newest, func(r Record, _ Position) error {
			j.recovered.Records++
			return nil
		})
		if err != nil {
			return err
		}
		j.current, j.end, j.records = s, end, records
		j.recovered.Segments++
	}
	return nil
}

// Recovered is what Open found.
func (j *Journal) Recovered() Recovery { return j.recovered }

// Replay calls fn for every record, in the order in which they were appended, before the first Append. Data is valid
// during the call. Records of the journal itself (Batch, Seal) are left out.
func (j *Journal) Replay(fn func(Record, Position) error) error {
	for n := j.oldest; n <= j.newest && n != 0; n++ {
		if _, _, err := j.walk(j.segments[n], n == j.newest, fn); err != nil {
			return err
		}
	}
	return nil
}

// walk reads the records of a segment. Last says that it is the newest, which may end in a torn write.
func (j *Journal) walk(s *segment, last bool, fn func(Record, Position) error) (end int64, records uint64, err error) {
	data, err := s.load()
	if err != nil {
		return 0, 0, err
	}
	sequence, err := decodeHeader(data)
	if err == nil && sequence != s.sequence {
		err = fmt.Errorf("the header is that of segment %d", sequence)
	}
	if err != nil {
		return 0, 0, &DamageError{File: s.name, What: err.Error()}
	}
	end = headerSize
	for {
		r, size, err := decodeRecord(data[end:], s.sequence)
		switch {
		case err != nil && last:
			return end, records, j.torn(s, data, end)
		case err != nil:
			return 0, 0, &DamageError{File: s.name, Offset: end, What: err.Error()}
		case r.Type == Seal:
			if r.Index != records {
				return 0, 0, &DamageError{File: s.name, Offset: end, What: fmt.Sprintf("the segment was sealed with %d records and has %d", r.Index, records)}
			}
			return end, records, nil
		case r.Type == Batch:
		default:
			if err := fn(r, Position{Segment: s.sequence, Offset: uint32(end)}); err != nil {
				return 0, 0, err
			}
		}
		records++
		end += int64(size)
	}
}

// load reads the whole file.
func (s *segment) load() ([]byte, error) {
	size, err := s.file.Size()
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", s.name, err)
	}
	data := make([]byte, size)
	if _, err := s.file.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read segment %s: %w", s.name, err)
	}
	return data, nil
}

// torn decides whether the bad record at an offset of the newest segment is a write that a crash cut short. It is not, if
// a batch that was written later says that everything before it was durable.
func (j *Journal) torn(s *segment, data []byte, at int64) error {
	used := at
	for i := at + 1; i+batchRecord <= int64(len(data)); i++ {
		if data[i] != 0 {
			used = i + 1
		}
		if binary.LittleEndian.Uint32(data[i+4:]) != 4 || Type(data[i+8]) != Batch {
			continue
		}
		r, _, err := decodeRecord(data[i:], s.sequence)
		if err == nil && r.Type == Batch && int64(binary.LittleEndian.Uint32(r.Data)) > at {
			return &DamageError{File: s.name, Offset: at, What: fmt.Sprintf("%v, and what was written after it was durable", errBadRecord)}
		}
	}
	if used == at || j.recovered.CutFile != "" {
		return nil
	}
	j.cut = true
	j.recovered.CutFile, j.recovered.CutAt, j.recovered.CutBytes = s.name, at, used-at
	j.logger.Warn("the journal ended in an unfinished write, which was cut off", "file", s.name, "offset", at, "bytes", used-at)
	return nil
}
