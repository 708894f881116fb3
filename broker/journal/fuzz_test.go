package journal

import (
	"bytes"
	"testing"
)

func FuzzRecord(f *testing.F) {
	for _, r := range []Record{{Type: Entry, Group: 7, Term: 1, Index: 1 << 40, Data: []byte("data")}, {Type: Checkpoint}} {
		f.Add(r.append(nil, 9), uint64(9))
	}
	f.Fuzz(func(t *testing.T, src []byte, segment uint64) {
		if r, size, err := decodeRecord(src, segment); err == nil && !bytes.Equal(r.append(nil, segment), src[:size]) {
			t.Errorf("%+v is not encoded as it was decoded", r)
		}
		r := Record{Type: Entry, Group: uint32(segment), Term: segment / 3, Index: segment / 5, Data: src}
		again, size, err := decodeRecord(r.append(nil, segment), segment)
		if err != nil || size != recordHeader+len(src) || again.Group != r.Group || again.Term != r.Term || again.Index != r.Index || !bytes.Equal(again.Data, src) {
			t.Errorf("%+v is decoded as %+v, %v", r, again, err)
		}
		if _, _, err := decodeRecord(r.append(nil, segment), segment+1); err == nil {
			t.Error("a record of another segment is decoded")
		}
	})
}

// FuzzFooter decodes footers, and encodes the records that it finds again.
func FuzzFooter(f *testing.F) {
	var x index
	x.reset()
	x.add(&Record{Type: Entry, Group: 3, Term: 1, Index: 5, Data: make([]byte, 300)}, 88)
	x.add(&Record{Type: HardState, Group: 1 << 31, Term: 1 << 63}, 428)
	f.Add(x.data, uint32(500), uint32(2))
	f.Fuzz(func(t *testing.T, data []byte, offset, records uint32) {
		var again index
		again.reset()
		count := uint32(0)
		err := eachIndexed(data, trailer{offset: offset, records: records}, func(i Indexed) error {
			count++
			if uint64(i.Offset)+recordHeader+uint64(i.Length) > uint64(offset) {
				t.Fatalf("%+v lies behind the footer at %d", i, offset)
			}
			if i.Length <= 1<<16 {
				again.add(&Record{Type: i.Type, Group: i.Group, Term: i.Term, Index: i.Index, Data: make([]byte, i.Length)}, i.Offset)
			}
			return nil
		})
		if err == nil && (count != records || len(again.data) > len(data)) {
			t.Errorf("%d records instead of %d, %d bytes instead of %d", count, records, len(again.data), len(data))
		}
	})
}

// FuzzSegment opens any bytes as a segment.
func FuzzSegment(f *testing.F) {
	h := header{sequence: 1, oldest: 1}
	whole := h.append(nil)
	b := Record{Type: Batch, Data: batch{durable: headerSize, bytes: recordHeader + 4, oldest: 1}.append(nil)}
	whole = b.append(whole, 1)
	e := Record{Type: Entry, Data: []byte("data")}
	whole = e.append(whole, 1)
	f.Add(whole)
	f.Add(append(bytes.Clone(whole), make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := decodeHeader(data)
		if err != nil {
			return
		}
		if !bytes.Equal(h.append(nil), data[:headerSize]) {
			t.Errorf("%+v is not encoded as it was decoded", h)
		}
		found, err := walk(data, h.sequence, func(Record, Position) error { return nil })
		if err != nil || found.end < headerSize || found.end > int64(len(data)) {
			t.Fatalf("walk ended at %d of %d, %v", found.end, len(data), err)
		}
		laterBatch(data, found.end, h.sequence)
		whole, any := remains(data, found.end, h.sequence)
		if whole > int64(len(data))+batchRecord || any > int64(len(data)) {
			t.Errorf("%d bytes remain as %d and %d", len(data), whole, any)
		}
		if trailer, err := decodeTrailer(data, h.sequence); err == nil && trailer.sequence != h.sequence {
			t.Error("a trailer of another segment is decoded")
		}
	})
}
