package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"

	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

// segment is one file of the journal.
type segment struct {
	sequence uint64
	file     vfs.File
	name     string
	size     int64 // of the file
	end      int64 // of the records before the footer; 0 while the segment is written
	records  int   // in the footer; 0 while the segment is written
	written  bool  // of a spare: all of it was written once

	// Guarded by Journal.mu.

	readers int  // reads that are under way
	gone    bool // released; the last reader gives the file back
}

const segmentSuffix = ".seg"

func segmentName(dir string, sequence uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", sequence, segmentSuffix))
}

// header begins a segment:
//
//	0       4         8          16       24             28    32
//	| magic | version | sequence | oldest | previous end | crc |
type header struct {
	sequence    uint64
	oldest      uint64 // segments before this one had been released when the segment began
	previousEnd uint32 // where the records of the segment before end; 0 in the first
}

const (
	headerMagic = 0x4a4e5354 // "TSNJ"
	version     = 2
	headerSize  = 32
)

func (h header) append(dst []byte) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, headerMagic)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = binary.LittleEndian.AppendUint64(dst, h.sequence)
	dst = binary.LittleEndian.AppendUint64(dst, h.oldest)
	dst = binary.LittleEndian.AppendUint32(dst, h.previousEnd)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

var errNoHeader = errors.New("there is no segment header")

func decodeHeader(src []byte) (h header, err error) {
	if len(src) < headerSize || binary.LittleEndian.Uint32(src) != headerMagic {
		return h, errNoHeader
	}
	// The version comes first: the rest of the header is what it says.
	if v := binary.LittleEndian.Uint32(src[4:]); v != version {
		return h, fmt.Errorf("the format has version %d, this program reads version %d", v, version)
	}
	if crc32.Checksum(src[:headerSize-4], castagnoli) != binary.LittleEndian.Uint32(src[headerSize-4:]) {
		return h, errors.New("the checksum of the segment header is wrong")
	}
	h.sequence = binary.LittleEndian.Uint64(src[8:])
	h.oldest = binary.LittleEndian.Uint64(src[16:])
	h.previousEnd = binary.LittleEndian.Uint32(src[24:])
	return h, nil
}

// load reads the file up to an offset into buf, which it replaces when it is too small.
func (s *segment) load(buf []byte, end int64) ([]byte, error) {
	if int64(cap(buf)) < end {
		buf = make([]byte, end)
	}
	buf = buf[:end]
	return buf, s.readAt(buf, 0)
}

func (s *segment) readAt(buf []byte, at int64) error {
	if n, err := s.file.ReadAt(buf, at); err != nil && (n < len(buf) || !errors.Is(err, io.EOF)) {
		return fmt.Errorf("read %s at %d: %w", s.name, at, err)
	}
	return nil
}

// roll seals the present segment and begins the next one in a spare file.
//
// The next segment has its name before the present one gets its footer, and no record before that is durable. So a
// footer in the newest segment says that a file was lost, and a segment without one that is not the newest is damaged,
// unless the newest is still empty: then a crash came in between, and Open writes the footer again.
func (j *Journal) roll(next *segment) error {
	h := header{sequence: 1, oldest: 1}
	if err := j.catchUp(); err != nil { // a segment that is not the newest is durable
		return err
	}
	if j.current != nil {
		h = header{sequence: j.current.sequence + 1, oldest: j.releasing, previousEnd: uint32(j.end)}
	}
	if _, err := next.file.WriteAt(h.append(nil), 0); err != nil {
		return fmt.Errorf("write header of segment %d: %w", h.sequence, err)
	}
	if err := next.file.Sync(); err != nil {
		return fmt.Errorf("sync header of segment %d: %w", h.sequence, err)
	}
	name := segmentName(j.dir, h.sequence)
	if err := j.fs.Rename(next.name, name); err != nil {
		// Nothing has changed: this is a disk that refuses, not one that lost something.
		j.pool.put(next)
		return fmt.Errorf("%w: %s: %w", ErrFull, j.dir, err)
	}
	if err := j.fs.SyncDir(j.dir); err != nil {
		return fmt.Errorf("sync directory of segment %d: %w", h.sequence, err)
	}
	if j.current != nil {
		if err := j.current.seal(j.index, j.end); err != nil {
			return err
		}
	}
	next.name, next.sequence = name, h.sequence
	j.begin(next, h)
	return nil
}

// begin makes an empty segment the one that is written.
func (j *Journal) begin(next *segment, h header) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.current != nil {
		j.current.end, j.current.records = j.end, j.index.count
	}
	j.segments[h.sequence] = next
	j.newest = h.sequence
	if j.oldest == 0 {
		j.oldest = h.sequence
	}
	j.current, j.end, j.releasing = next, headerSize, h.oldest
	j.carried.due, j.wanted = true, false
	j.index.reset()
}
