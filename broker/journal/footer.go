package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A sealed segment ends with a Footer record, the index of its records, and in the last bytes of the file a trailer that
// says where it is:
//
//	0       4        8          16        20    24
//	| magic | offset | sequence | records | crc |
//
// The data of the footer are, for each record in the order of the segment, the bytes since the end of the record before
// it, its type, group, term, index and the length of its data, as unsigned LEB128.
const (
	trailerMagic = 0x494e5354 // "TSNI"
	trailerSize  = 24
	// maxIndexed is the most that a record takes in a footer: two of 5 bytes, a type, a group of 5, two of 10.
	maxIndexed = 5 + 1 + 5 + 10 + 10 + 5
)

// Indexed is a record without its data, as a footer knows it. Length is that of the data: the bytes that live with it.
type Indexed struct {
	Type        Type
	Group       uint32
	Term, Index uint64
	Offset      uint32
	Length      uint32
}

// index builds the data of a footer as its segment is written.
type index struct {
	data  []byte
	count int
	last  uint32 // end of the record that was added last
}

func (x *index) reset() { x.data, x.count, x.last = x.data[:0], 0, headerSize }

func (x *index) add(r *Record, offset uint32) {
	x.data = binary.AppendUvarint(x.data, uint64(offset-x.last))
	x.data = append(x.data, byte(r.Type))
	x.data = binary.AppendUvarint(x.data, uint64(r.Group))
	x.data = binary.AppendUvarint(x.data, r.Term)
	x.data = binary.AppendUvarint(x.data, r.Index)
	x.data = binary.AppendUvarint(x.data, uint64(len(r.Data)))
	x.last = offset + recordHeader + uint32(len(r.Data))
	x.count++
}

// size is that of the footer record and the trailer.
func (x *index) size() int64 { return recordHeader + int64(len(x.data)) + trailerSize }

// seal writes footer and trailer behind the records, which end at an offset.
func (s *segment) seal(x index, end int64) error {
	r := Record{Type: Footer, Index: uint64(x.count), Data: x.data}
	if _, err := s.file.WriteAt(r.append(nil, s.sequence), end); err != nil {
		return fmt.Errorf("seal segment %d: %w", s.sequence, err)
	}
	t := trailer{offset: uint32(end), sequence: s.sequence, records: uint32(x.count)}
	if _, err := s.file.WriteAt(t.append(nil), s.size-trailerSize); err != nil {
		return fmt.Errorf("seal segment %d: %w", s.sequence, err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("seal segment %d: %w", s.sequence, err)
	}
	return nil
}

type trailer struct {
	offset   uint32 // of the footer
	sequence uint64
	records  uint32
}

func (t trailer) append(dst []byte) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, trailerMagic)
	dst = binary.LittleEndian.AppendUint32(dst, t.offset)
	dst = binary.LittleEndian.AppendUint64(dst, t.sequence)
	dst = binary.LittleEndian.AppendUint32(dst, t.records)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

var errNoTrailer = errors.New("the segment was not sealed, or its trailer is damaged")

func decodeTrailer(src []byte, sequence uint64) (t trailer, err error) {
	if len(src) < trailerSize || binary.LittleEndian.Uint32(src) != trailerMagic ||
		crc32.Checksum(src[:trailerSize-4], castagnoli) != binary.LittleEndian.Uint32(src[trailerSize-4:]) {
		return t, errNoTrailer
	}
	t.offset = binary.LittleEndian.Uint32(src[4:])
	t.sequence = binary.LittleEndian.Uint64(src[8:])
	t.records = binary.LittleEndian.Uint32(src[16:])
	if t.sequence != sequence { // of an earlier use of the file
		return t, errNoTrailer
	}
	return t, nil
}

// readFooter finds and verifies the footer of a sealed segment.
func (s *segment) readFooter() (t trailer, data []byte, err error) {
	if s.size < headerSize+recordHeader+trailerSize {
		return t, nil, &DamageError{File: s.name, What: fmt.Sprintf("the file has only %d bytes", s.size)}
	}
	var tail [trailerSize]byte
	if err := s.readAt(tail[:], s.size-trailerSize); err != nil {
		return t, nil, err
	}
	if t, err = decodeTrailer(tail[:], s.sequence); err != nil {
		return t, nil, &DamageError{File: s.name, Offset: s.size - trailerSize, What: err.Error()}
	}
	if int64(t.offset) < headerSize || int64(t.offset) > s.size-trailerSize-recordHeader {
		return t, nil, &DamageError{File: s.name, Offset: s.size - trailerSize, What: fmt.Sprintf("the trailer places the footer at %d", t.offset)}
	}
	rest := make([]byte, s.size-trailerSize-int64(t.offset)) // at most the file
	if err := s.readAt(rest, int64(t.offset)); err != nil {
		return t, nil, err
	}
	r, _, err := decodeRecord(rest, s.sequence)
	if err == nil && (r.Type != Footer || r.Index != uint64(t.records)) {
		err = errors.New("footer and trailer do not agree")
	}
	if err == nil {
		err = eachIndexed(r.Data, t, func(Indexed) error { return nil })
	}
	if err != nil {
		return t, nil, &DamageError{File: s.name, Offset: int64(t.offset), What: err.Error()}
	}
	return t, r.Data, nil
}

var errFooter = errors.New("the footer cannot be read")

// eachIndexed calls fn for each record in the data of a footer.
func eachIndexed(data []byte, t trailer, fn func(Indexed) error) error {
	c := cursor{data: data}
	end, count := uint64(headerSize), uint32(0)
	for len(c.data) > 0 {
		gap := c.uvarint()
		kind, group, term, index, length := Type(c.byte()), c.uvarint(), c.uvarint(), c.uvarint(), c.uvarint()
		if c.bad || gap > uint64(t.offset) || length > uint64(t.offset) || group > 1<<32-1 || !kind.callers() && kind != Free {
			return errFooter
		}
		offset := end + gap
		end = offset + recordHeader + length
		if count++; end > uint64(t.offset) || count > t.records {
			return errFooter
		}
		if err := fn(Indexed{Type: kind, Group: uint32(group), Term: term, Index: index, Offset: uint32(offset), Length: uint32(length)}); err != nil {
			return err
		}
	}
	if count != t.records {
		return errFooter
	}
	return nil
}

// cursor reads fields; after the first that is not there all are zero.
type cursor struct {
	data []byte
	bad  bool
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.data)
	if n <= 0 {
		c.bad, c.data = true, nil
		return 0
	}
	c.data = c.data[n:]
	return v
}

func (c *cursor) byte() byte {
	if len(c.data) == 0 {
		c.bad = true
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return b
}

// Index calls fn for each record of a segment, without the data of the records if it is sealed. Batch records are left
// out. Of the newest segment it answers what Open found there.
func (j *Journal) Index(sequence uint64, fn func(Indexed) error) error {
	s, err := j.hold(sequence)
	if err != nil {
		return err
	}
	defer j.letGo(s)
	j.mu.Lock()
	sealed := s.end != 0
	j.mu.Unlock()
	if !sealed {
		if sequence != j.foundIn {
			return nil // it was begun since
		}
		return eachIndexed(j.found, trailer{offset: maxSegment, records: j.foundRecords}, fn)
	}
	t, data, err := s.readFooter()
	if err != nil {
		return err
	}
	return eachIndexed(data, t, fn)
}
