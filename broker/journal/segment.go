package journal

import (
	"encoding/binary"
	"fmt"
	"path/filepath"

	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

func putUint32(dst []byte, n uint32) { binary.LittleEndian.PutUint32(dst, n) }

// segment is one file of the journal.
type segment struct {
	sequence uint64
	file     vfs.File
	name     string

	// Guarded by Journal.mu.

	readers int  // reads that are under way
	gone    bool // released; the last reader gives the file back
}

func segmentName(dir string, sequence uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x.seg", sequence))
}

// read reads and verifies the record at an offset.
func (s *segment) read(offset uint32, buf []byte) (Record, error) {
	var head [recordHeader]byte
	if _, err := s.file.ReadAt(head[:], int64(offset)); err != nil {
		return Record{}, fmt.Errorf("read %s at %d: %w", s.name, offset, err)
	}
	n := binary.LittleEndian.Uint32(head[4:])
	if n > MaxRecord {
		return Record{}, fmt.Errorf("read %s at %d: %w", s.name, offset, errBadRecord)
	}
	size := recordHeader + int(n)
	if cap(buf) < size {
		size64, err := s.file.Size()
		if err != nil || int64(offset)+int64(size) > size64 { // believed only as far as the file goes
			return Record{}, fmt.Errorf("read %s at %d: %w", s.name, offset, errBadRecord)
		}
		buf = make([]byte, size)
	}
	buf = buf[:size]
	if _, err := s.file.ReadAt(buf, int64(offset)); err != nil {
		return Record{}, fmt.Errorf("read %s at %d: %w", s.name, offset, err)
	}
	r, _, err := decodeRecord(buf, s.sequence)
	if err != nil {
		return Record{}, fmt.Errorf("read %s at %d: %w", s.name, offset, err)
	}
	return r, nil
}

// makeRoom begins the next segment when the present one has no room for size bytes and its seal. Without reserved the
// last spare segment is not used.
func (j *Journal) makeRoom(size int64, reserved bool) error {
	if j.current != nil && !j.cut && j.end+size+recordHeader <= j.size {
		return nil
	}
	next, err := j.pool.take(reserved)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFull, j.dir, err)
	}
	if err := j.roll(next); err != nil {
		j.fatal = err
		if j.onFatal != nil {
			j.onFatal(err)
		}
		return err
	}
	return nil
}

// roll seals the present segment and makes a spare file the next one.
func (j *Journal) roll(next *segment) error {
	sequence := uint64(1)
	if j.current != nil {
		sequence = j.current.sequence + 1
		if err := j.seal(); err != nil {
			return err
		}
	}
	if _, err := next.file.WriteAt(appendHeader(nil, sequence), 0); err != nil {
		return fmt.Errorf("write header of segment %d: %w", sequence, err)
	}
	if err := next.file.Sync(); err != nil {
		return fmt.Errorf("sync header of segment %d: %w", sequence, err)
	}
	name := segmentName(j.dir, sequence)
	if err := j.fs.Rename(next.name, name); err != nil {
		return fmt.Errorf("name segment %d: %w", sequence, err)
	}
	if err := j.fs.SyncDir(j.dir); err != nil {
		return fmt.Errorf("sync directory of segment %d: %w", sequence, err)
	}
	next.name, next.sequence, next.gone = name, sequence, false
	j.current, j.end, j.records, j.cut = next, headerSize, 0, false
	j.mu.Lock()
	j.segments[sequence] = next
	j.newest = sequence
	if j.oldest == 0 {
		j.oldest = sequence
	}
	j.mu.Unlock()
	return nil
}

// seal ends the present segment. Until it is durable the segment is the newest, where a missing seal is no damage.
func (j *Journal) seal() error {
	r := Record{Type: Seal, Index: j.records}
	if _, err := j.current.file.WriteAt(r.append(nil, j.current.sequence), j.end); err != nil {
		return fmt.Errorf("seal segment %d: %w", j.current.sequence, err)
	}
	if err := j.current.file.Sync(); err != nil {
		return fmt.Errorf("seal segment %d: %w", j.current.sequence, err)
	}
	return nil
}
