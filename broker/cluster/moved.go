package cluster

import (
	"encoding/binary"
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/journal"
)

// The data of a Relocation record are what is alive of an entry: pieces of it, each with where it begins in the whole
// entry, in rising order, and at the end a list of them:
//
//	piece … | count × (inside u32 | offset of the piece u32) | count u32
const (
	movedPiece = 8
	movedCount = 4
)

// relocation makes the record of an entry of which only the pieces at some offsets are needed, in rising order. Measure
// answers how long the piece is that begins some data.
func relocation(group uint32, index, term uint64, from Body, pieces []uint32, measure func([]byte) (int, error)) (journal.Record, error) {
	var moved, list []byte
	for _, at := range pieces {
		piece, err := from.At(at)
		n := 0
		if err == nil {
			n, err = measure(piece)
		}
		if err != nil {
			return journal.Record{}, fmt.Errorf("group %d: entry %d at %d: %w", group, index, at, err)
		}
		list = binary.LittleEndian.AppendUint32(list, at)
		list = binary.LittleEndian.AppendUint32(list, uint32(len(moved)))
		moved = append(moved, piece[:n]...)
	}
	moved = append(moved, list...)
	moved = binary.LittleEndian.AppendUint32(moved, uint32(len(pieces)))
	return journal.Record{Type: journal.Relocation, Group: group, Term: term, Index: index, Data: moved}, nil
}

// findMoved answers the piece that began at an offset of the whole entry.
func findMoved(data []byte, at uint32) ([]byte, error) {
	bad := fmt.Errorf("a relocated entry has no piece at %d: %w", at, ErrDamaged)
	if len(data) < movedCount {
		return nil, bad
	}
	n := uint64(binary.LittleEndian.Uint32(data[len(data)-movedCount:]))
	if n*movedPiece > uint64(len(data)-movedCount) {
		return nil, bad
	}
	pieces, list := data[:uint64(len(data)-movedCount)-n*movedPiece], data[uint64(len(data)-movedCount)-n*movedPiece:]
	low, high := uint64(0), n
	for low < high { // the first piece that does not begin before
		if mid := (low + high) / 2; binary.LittleEndian.Uint32(list[mid*movedPiece:]) < at {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == n || binary.LittleEndian.Uint32(list[low*movedPiece:]) != at {
		return nil, bad
	}
	from, to := uint64(binary.LittleEndian.Uint32(list[low*movedPiece+4:])), uint64(len(pieces))
	if low+1 < n {
		to = uint64(binary.LittleEndian.Uint32(list[(low+1)*movedPiece+4:]))
	}
	if from > to || to > uint64(len(pieces)) {
		return nil, bad
	}
	return pieces[from:to], nil
}
