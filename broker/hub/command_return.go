package hub

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/turnstone-mq/turnstone/broker/queue"
)

// The commands of what comes back to its queue: how often it did, and what consumers left on it.

func appendReturn(dst []byte, q uint64, items []queue.Return) []byte {
	dst = binary.AppendUvarint(append(dst, commandReturn), q)
	dst = binary.AppendUvarint(dst, uint64(len(items)))
	for i := range items {
		dst = binary.AppendUvarint(dst, items[i].ID)
		dst = binary.AppendUvarint(dst, uint64(items[i].Count))
	}
	return dst
}

func visitReturn(src []byte, v commandVisitor) (rest []byte, err error) {
	q, src, okQueue := cutNumber(src)
	n, src, okCount := cutNumber(src)
	if !okQueue || !okCount || n > uint64(len(src))/2 {
		return nil, errShortEntry
	}
	for range n {
		var id, count uint64
		var okID, okTimes bool
		id, src, okID = cutNumber(src)
		count, src, okTimes = cutNumber(src)
		if !okID || !okTimes {
			return nil, errShortEntry
		}
		v.returned(q, id, uint32(min(count, math.MaxUint32)))
	}
	return src, nil
}

// appendNotes writes the notes of those items that have new ones; neighbours with the same note share it.
func appendNotes(dst []byte, q uint64, items []queue.Return) []byte {
	for i := 0; i < len(items); {
		n := 1
		for i+n < len(items) && bytes.Equal(items[i+n].Note, items[i].Note) {
			n++
		}
		if len(items[i].Note) > 0 {
			dst = appendNote(dst, q, items[i:i+n])
		}
		i += n
	}
	return dst
}

// appendNote writes the note that items have in common.
func appendNote(dst []byte, q uint64, items []queue.Return) []byte {
	dst = binary.AppendUvarint(append(dst, commandNote), q)
	dst = binary.AppendUvarint(dst, uint64(len(items[0].Note)))
	dst = append(dst, items[0].Note...)
	dst = binary.AppendUvarint(dst, uint64(len(items)))
	for i := range items {
		dst = binary.AppendUvarint(dst, items[i].ID)
	}
	return dst
}

func visitNote(src []byte, v commandVisitor) (rest []byte, err error) {
	q, src, okQueue := cutNumber(src)
	size, src, okSize := cutNumber(src)
	if !okQueue || !okSize || size > uint64(len(src)) {
		return nil, errShortEntry
	}
	text, src := src[:size:size], src[size:]
	n, src, ok := cutNumber(src)
	if !ok || n > uint64(len(src)) {
		return nil, errShortEntry
	}
	for range n {
		var id uint64
		if id, src, ok = cutNumber(src); !ok {
			return nil, errShortEntry
		}
		v.noted(q, id, text)
	}
	return src, nil
}
