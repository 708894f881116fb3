package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A record lies in a segment as
//
//	0     4     8      9     12      16        24     32      40
//	| crc | len | type | 000 | group | segment | term | index | data … |
//
// Numbers are little-endian. The CRC (CRC-32C) covers everything of the record after itself, the sequence number of the
// segment too: what an earlier use of a recycled file left behind is not taken for a record.
const recordHeader = 40

// RecordOverhead is what a record takes beside its data, footer included.
const RecordOverhead = recordHeader + maxIndexed

// Type is the kind of a record. The values are on disk: never renumber them.
type Type uint8

// The types of records. Batch, Footer, Free and LooseBatch are the journal's own.
const (
	Entry      Type = 1 // an entry of a group
	HardState  Type = 2 // what a group must not forget: term, vote
	Batch      Type = 3 // the first record of each group commit
	Relocation Type = 4 // an entry that was moved
	Checkpoint Type = 5 // where a group's checkpoint is
	Footer     Type = 6 // the index of a sealed segment, its last record
	Free       Type = 7 // which segments are released beside those before the oldest
	Membership Type = 8 // an entry that changes the members of its group
	LooseBatch Type = 9 // a Batch before which not everything was durable when it was written
)

// callers says whether Append takes records of the type.
func (t Type) callers() bool {
	return t == Entry || t == HardState || t == Relocation || t == Checkpoint || t == Membership
}

// Record is one record. Who reads one must look at the owner of Data: see Replay and Read.
type Record struct {
	Type  Type
	Group uint32
	Term  uint64
	Index uint64
	Data  []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// append writes the record as it lies in a segment.
func (r *Record) append(dst []byte, segment uint64) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Data)))
	dst = append(dst, byte(r.Type), 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, r.Group)
	dst = binary.LittleEndian.AppendUint64(dst, segment)
	dst = binary.LittleEndian.AppendUint64(dst, r.Term)
	dst = binary.LittleEndian.AppendUint64(dst, r.Index)
	dst = append(dst, r.Data...)
	binary.LittleEndian.PutUint32(dst[start:], crc32.Checksum(dst[start+4:], castagnoli))
	return dst
}

var (
	errShort    = errors.New("the record does not end within the segment")
	errChecksum = errors.New("the checksum of the record is wrong")
	errOther    = errors.New("there is no record of this segment")
)

// decodeRecord reads the record at the start of src, whose data it aliases, and answers its size.
func decodeRecord(src []byte, segment uint64) (r Record, size int, err error) {
	if len(src) < recordHeader {
		return r, 0, errShort
	}
	if binary.LittleEndian.Uint64(src[16:]) != segment {
		return r, 0, errOther
	}
	n := binary.LittleEndian.Uint32(src[4:])
	if uint64(n) > uint64(len(src)-recordHeader) {
		return r, 0, errShort
	}
	size = recordHeader + int(n)
	if crc32.Checksum(src[4:size], castagnoli) != binary.LittleEndian.Uint32(src) {
		return r, 0, errChecksum
	}
	r.Type = Type(src[8])
	if r.Type < Entry || r.Type > LooseBatch || src[9]|src[10]|src[11] != 0 {
		return r, 0, fmt.Errorf("the record has type %d, which this program does not know", binary.LittleEndian.Uint32(src[8:]))
	}
	r.Group = binary.LittleEndian.Uint32(src[12:])
	r.Term = binary.LittleEndian.Uint64(src[24:])
	r.Index = binary.LittleEndian.Uint64(src[32:])
	r.Data = src[recordHeader:size:size]
	return r, size, nil
}

// batch is the data of a Batch record:
//
//	0         4       8        16
//	| durable | bytes | oldest |
type batch struct {
	durable uint32 // everything before this offset of the segment, which is the record's own, was durable when it was written, unless the batch is loose
	bytes   uint32 // of the records after it that belong to the commit
	oldest  uint64 // segments before this one were released
}

const (
	batchData   = 16
	batchRecord = recordHeader + batchData
)

func (b batch) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, b.durable)
	dst = binary.LittleEndian.AppendUint32(dst, b.bytes)
	return binary.LittleEndian.AppendUint64(dst, b.oldest)
}

// decodeBatch reads the data of the Batch record at an offset.
func decodeBatch(data []byte, offset int64) (b batch, err error) {
	if len(data) != batchData {
		return b, fmt.Errorf("a batch record has %d bytes instead of %d", len(data), batchData)
	}
	b.durable = binary.LittleEndian.Uint32(data)
	b.bytes = binary.LittleEndian.Uint32(data[4:])
	b.oldest = binary.LittleEndian.Uint64(data[8:])
	if int64(b.durable) != offset {
		return b, fmt.Errorf("the batch record says that it is at offset %d", b.durable)
	}
	return b, nil
}
