package journal

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// readAhead is what Read reads at first when it does not know the length.
const readAhead = 4096

// Read answers the record at a position; its checksum is verified. Data aliases buf if it fits there. Read may run beside
// everything else.
func (j *Journal) Read(p Position, buf []byte) (Record, error) {
	s, err := j.hold(p.Segment)
	if err != nil {
		return Record{}, err
	}
	defer j.letGo(s)
	return s.read(p.Offset, buf)
}

func (s *segment) read(offset uint32, buf []byte) (Record, error) {
	rest := s.size - int64(offset)
	if offset < headerSize || rest < recordHeader {
		return Record{}, fmt.Errorf("read %s at %d: no record can be there", s.name, offset)
	}
	if cap(buf) < recordHeader {
		buf = make([]byte, min(readAhead, rest))
	}
	have := min(cap(buf), readAhead, int(rest))
	buf = buf[:have]
	if err := s.readAt(buf, int64(offset)); err != nil {
		return Record{}, err
	}
	// The length is believed as far as the file goes.
	size := min(recordHeader+int64(binary.LittleEndian.Uint32(buf[4:])), rest)
	if size > int64(have) {
		if int64(cap(buf)) < size {
			buf = append(make([]byte, 0, size), buf...)
		}
		buf = buf[:size]
		if err := s.readAt(buf[have:], int64(offset)+int64(have)); err != nil {
			return Record{}, err
		}
	}
	r, _, err := decodeRecord(buf, s.sequence)
	if err != nil {
		return Record{}, &DamageError{File: s.name, Offset: int64(offset), What: err.Error()}
	}
	return r, nil
}

// hold finds a segment and keeps its file from being reused until letGo.
func (j *Journal) hold(sequence uint64) (*segment, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.segments[sequence]
	if s == nil || j.ended {
		return nil, fmt.Errorf("segment %d is not in the journal (%d to %d)", sequence, j.oldest, j.newest)
	}
	s.readers++
	return s, nil
}

func (j *Journal) letGo(s *segment) {
	j.mu.Lock()
	s.readers--
	idle := s.gone && s.readers == 0
	if s.readers == 0 {
		j.idle.Broadcast()
	}
	j.mu.Unlock()
	if idle {
		j.pool.recycle(s)
	}
}

// Oldest is the sequence number of the first segment.
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

// Release says that segments are no longer needed; those that are not in the journal are passed over, and the newest is
// always kept. The log says so first, durably, so that a missing file is known from a released one; then the files are
// used again. Release waits for the disk: do not call it from a done function.
func (j *Journal) Release(segments ...uint64) error {
	j.mu.Lock()
	segments = slices.DeleteFunc(slices.Clone(segments), func(n uint64) bool { return j.segments[n] == nil || n == j.newest })
	j.mu.Unlock()
	if len(segments) == 0 {
		return nil
	}
	answer := make(chan error, 1)
	j.enqueue(request{own: true, release: segments, done: func(_ []Position, err error) { answer <- err }})
	j.Work()
	if j.manual && len(answer) == 0 {
		return fmt.Errorf("release segments %v: %w", segments, ErrFull) // it waits, and counts at the next Open
	}
	if err := <-answer; err != nil {
		return fmt.Errorf("release segments %v: %w", segments, err)
	}
	for _, s := range j.drop(segments) {
		j.pool.recycle(s)
	}
	return nil
}

// drop takes segments out of the journal and answers those that nobody reads.
func (j *Journal) drop(segments []uint64) (idle []*segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, n := range segments {
		s := j.segments[n]
		delete(j.segments, n)
		s.gone = true
		if s.readers == 0 {
			idle = append(idle, s)
		}
	}
	for j.segments[j.oldest] == nil {
		j.oldest++
	}
	return idle
}
