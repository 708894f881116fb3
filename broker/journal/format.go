package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A segment file begins with a header:
//
//	0       4        8              16     20
//	| magic | version | sequence u64 | crc |
//
// and goes on with records, one directly after the other:
//
//	0     4     8      9     12      16       24       32
//	| crc | len | type | 000 | group | term   | index  | data … |
//
// Numbers are little-endian. The CRC (CRC-32C) of a record covers the sequence number of its segment and everything of
// the record after the CRC: what an earlier use of a recycled file left behind is not taken for a record.
const (
	magic        = 0x4a4e5354 // "TSNJ"
	version      = 1
	headerSize   = 20
	recordHeader = 32
	// MaxRecord bounds the data of one record.
	MaxRecord = 1 << 30
)

// Type is the kind of a record. The values are on disk: never renumber them.
type Type uint8

// The types of records.
const (
	Entry      Type = 1 // an entry of a group
	HardState  Type = 2 // what a group must not forget: term, vote
	Batch      Type = 3 // the first record of a group commit: everything before the offset in its data is durable
	Relocation Type = 4 // an entry that was moved
	Checkpoint Type = 5 // where a group's checkpoint is
	Seal       Type = 6 // the last record of a segment; its index is the count of records before it
)

// Record is one record. Data belongs to whoever made the record.
type Record struct {
	Type  Type
	Group uint32
	Term  uint64
	Index uint64
	Data  []byte
	// Reserved records may use the space that is kept for acknowledgements and votes when the disk is full. It is not stored.
	Reserved bool
}

func (r *Record) size() int { return recordHeader + len(r.Data) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(segment uint64, record []byte) uint32 {
	var seq [8]byte
	binary.LittleEndian.PutUint64(seq[:], segment)
	return crc32.Update(crc32.Update(0, castagnoli, seq[:]), castagnoli, record[4:])
}

func appendHeader(dst []byte, segment uint64) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, magic)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = binary.LittleEndian.AppendUint64(dst, segment)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[len(dst)-16:], castagnoli))
}

var errNoHeader = errors.New("there is no segment header")

// decodeHeader answers the sequence number of a segment.
func decodeHeader(src []byte) (segment uint64, err error) {
	if len(src) < headerSize || binary.LittleEndian.Uint32(src) != magic || crc32.Checksum(src[:16], castagnoli) != binary.LittleEndian.Uint32(src[16:]) {
		return 0, errNoHeader
	}
	if v := binary.LittleEndian.Uint32(src[4:]); v != version {
		return 0, fmt.Errorf("the format has version %d, this program reads version %d", v, version)
	}
	return binary.LittleEndian.Uint64(src[8:]), nil
}

// append writes the record for a segment.
func (r *Record) append(dst []byte, segment uint64) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Data)))
	dst = append(dst, byte(r.Type), 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, r.Group)
	dst = binary.LittleEndian.AppendUint64(dst, r.Term)
	dst = binary.LittleEndian.AppendUint64(dst, r.Index)
	dst = append(dst, r.Data...)
	binary.LittleEndian.PutUint32(dst[start:], checksum(segment, dst[start:]))
	return dst
}

var errBadRecord = errors.New("record is damaged or was never written")

// decodeRecord reads the record at the start of src, whose data it aliases, and answers its size.
func decodeRecord(src []byte, segment uint64) (r Record, size int, err error) {
	if len(src) < recordHeader {
		return r, 0, errBadRecord
	}
	n := binary.LittleEndian.Uint32(src[4:])
	if n > MaxRecord || int(n) > len(src)-recordHeader {
		return r, 0, errBadRecord
	}
	size = recordHeader + int(n)
	if checksum(segment, src[:size]) != binary.LittleEndian.Uint32(src) {
		return r, 0, errBadRecord
	}
	r.Type = Type(src[8])
	r.Group = binary.LittleEndian.Uint32(src[12:])
	r.Term = binary.LittleEndian.Uint64(src[16:])
	r.Index = binary.LittleEndian.Uint64(src[24:])
	r.Data = src[recordHeader:size:size]
	return r, size, nil
}
