package retain

import (
	"encoding/binary"
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// Place says where a message is in a log that the store's caller keeps; the zero Place is nowhere.
type Place struct {
	Index uint64 // of the entry
	At    uint32 // in the entry
	Share uint32 // bytes
}

// record is a message as the store keeps it, in one piece and without its topic:
//
//	index | at | share | origin | message without key, in the form of the journal
//
// where the first four are uvarints. A message is made of it when one is wanted.
type record []byte

func newRecord(m *message.Message, at Place) record {
	var space [512]byte
	b := binary.AppendUvarint(space[:0], at.Index)
	b = binary.AppendUvarint(b, uint64(at.At))
	b = binary.AppendUvarint(b, uint64(at.Share))
	b = binary.AppendUvarint(b, m.Origin)
	keyless := *m
	keyless.Key = ""
	b = keyless.Append(b)
	return append(make(record, 0, len(b)), b...) // with no room for more
}

// place is where the record's message is, rest what follows.
func (r record) place() (p Place, rest []byte) {
	var n [3]uint64
	rest = r
	for i := range n {
		v, w := binary.Uvarint(rest)
		n[i], rest = v, rest[w:]
	}
	return Place{Index: n[0], At: uint32(n[1]), Share: uint32(n[2])}, rest
}

// message makes the message of a topic. Its properties and payload are the record's.
func (r record) message(name string) *message.Message {
	_, rest := r.place()
	origin, w := binary.Uvarint(rest)
	m, _, err := message.Decode(rest[w:])
	if err != nil {
		panic(fmt.Sprintf("BUG: record of a retained message: %v", err))
	}
	m.Origin, m.Owned = origin, true
	if m.Key = name; m.Encoding != message.MQTT {
		m.Key = topic.Swap(name)
	}
	return &m
}
