package hub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/session"
)

// An entry of a shard's log is the time of its proposal and a list of commands (docs/formats/commands.md):
//
//	entry    time varint (ms since 1970) | command…
//	enqueue  1 | count uvarint | count × (queue uvarint | item uvarint | qos u8) | message
//	settle   2 | queue uvarint | count uvarint | count × (first item uvarint | further items uvarint)
//	session  3 | vhost text | session record
//	end      4 | vhost text | session record (client id and queue alone)
//	retain   5 | vhost text | message (an empty payload clears the topic)
//	prepare  6 | transaction, 16 bytes | deciding shard uvarint | count uvarint | count × enqueue, settle, delay or due
//	decide   7 | transaction
//	resolve  8 | transaction | 1 takes effect, 0 is given up
//	forget   9 | transaction
//	return   10 | queue uvarint | count uvarint | count × (item uvarint | how often it came back uvarint)
//	receive  11 | as settle: the consumer of these items has them (QoS 2 after PUBREC)
//	receipt  12 | queue of a session uvarint | packet identifier uvarint: of the message of the next command
//	complete 13 | queue of a session uvarint | count uvarint | count × packet identifier uvarint
//	delay    14 | vhost text | when it is due varint (ms since 1970) | count uvarint | count × further key text | message
//	due      15 | vhost text | count uvarint | count × (when varint | entry uvarint | at uvarint | share uvarint): delayed
//	              messages that wait no longer
//	will     16 | vhost text | queue of a session uvarint | delay, wait and lifetime uvarint each | message
//	heir     17 | vhost text | queue of a session uvarint | what becomes of its will u8 | when it is due varint
//	change   18 | vhost text | session record with the subscriptions that are new alone | count uvarint | count × filter text: those that ended
//	sender   19 | vhost text | id uvarint | seconds that it outlives its connection uvarint | name text
//	leave    20 | vhost text | id of a sender uvarint
//	taken    21 | id of a sender uvarint | shards that take the message uvarint | tag text: of the message of the next command
//	settled  22 | id of a sender uvarint | count uvarint | count × tag text
//	disown   23 | vhost text: what the shard has of the virtual host is nobody's
//	note     24 | queue uvarint | note text | count uvarint | count × item uvarint: what consumers left on these items from now on
//
// The kinds are written to disk: never renumber them.
const (
	commandEnqueue byte = 1 + iota
	commandSettle
	commandSession
	commandEnd
	commandRetain
	commandPrepare
	commandDecide
	commandResolve
	commandForget
	commandReturn
	commandReceive
	commandReceipt
	commandComplete
	commandDelay
	commandDue
	commandWill
	commandHeir
	commandChange
	commandSender
	commandLeave
	commandTaken
	commandSettled
	commandDisown
	commandNote
)

// itemRef is one queue's share in an enqueue.
type itemRef struct {
	queue uint64
	item  uint64
	qos   uint8 // and its flags
}

func appendEnqueue(dst []byte, refs []itemRef, m *message.Message) []byte {
	dst = append(dst, commandEnqueue)
	dst = binary.AppendUvarint(dst, uint64(len(refs)))
	for _, r := range refs {
		dst = binary.AppendUvarint(dst, r.queue)
		dst = binary.AppendUvarint(dst, r.item)
		dst = append(dst, r.qos)
	}
	return m.Append(dst)
}

func appendSettle(dst []byte, q uint64, items []queue.Item) []byte {
	return appendRuns(append(dst, commandSettle), q, items)
}

func appendReceive(dst []byte, q uint64, items []queue.Item) []byte {
	return appendRuns(append(dst, commandReceive), q, items)
}

// appendRuns writes items, which come in any order, as runs of consecutive IDs.
func appendRuns(dst []byte, q uint64, items []queue.Item) []byte {
	dst = binary.AppendUvarint(dst, q)
	runs := 0
	for i := range items {
		if i == 0 || items[i].ID != items[i-1].ID+1 {
			runs++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(runs))
	for i := 0; i < len(items); {
		n := 1
		for i+n < len(items) && items[i+n].ID == items[i].ID+uint64(n) {
			n++
		}
		dst = binary.AppendUvarint(dst, items[i].ID)
		dst = binary.AppendUvarint(dst, uint64(n-1))
		i += n
	}
	return dst
}

func appendSession(dst []byte, vhost string, s session.State, end bool) []byte {
	if end {
		dst = append(dst, commandEnd)
	} else {
		dst = append(dst, commandSession)
	}
	dst = appendText(dst, vhost)
	return s.Append(dst)
}

func appendChange(dst []byte, vhost string, s session.State, removed []string) []byte {
	dst = s.Append(appendText(append(dst, commandChange), vhost))
	dst = binary.AppendUvarint(dst, uint64(len(removed)))
	for _, f := range removed {
		dst = appendText(dst, f)
	}
	return dst
}

func visitChange(vhost string, src []byte, v commandVisitor) (rest []byte, err error) {
	s, src, err := session.Decode(src)
	if err != nil {
		return nil, err
	}
	n, w := binary.Uvarint(src)
	if w <= 0 || n > uint64(len(src)) {
		return nil, errShortEntry
	}
	src = src[w:]
	var removed []string
	for range n {
		f, rest, ok := cutText(src)
		if !ok {
			return nil, errShortEntry
		}
		removed, src = append(removed, f), rest
	}
	v.change(vhost, s, removed)
	return src, nil
}

func appendRetain(dst []byte, vhost string, m *message.Message) []byte {
	dst = append(dst, commandRetain)
	dst = appendText(dst, vhost)
	return m.Append(dst)
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// commandVisitor takes the commands of an entry, each with its offset in the entry. Messages alias the entry.
type commandVisitor interface {
	enqueue(at uint32, refs []itemRef, m *message.Message)
	settle(q, first, last uint64)
	session(at uint32, vhost string, s session.State)
	// change brings a session new subscriptions and takes others away.
	change(vhost string, s session.State, removed []string)
	end(vhost string, s session.State)
	retain(at uint32, vhost string, m *message.Message)
	// prepare is before the commands of a part of a transaction, prepared behind them.
	prepare(id txID, coordinator int)
	prepared()
	decide(id txID)
	resolve(id txID, commits bool)
	forget(id txID)
	returned(q, item uint64, count uint32)
	// noted aliases the entry.
	noted(q, item uint64, text []byte)
	received(q, first, last uint64)
	receipt(r receipt, parts uint16)
	complete(r receipt)
	sender(vhost string, id uint64, expiry uint32, name string)
	leave(vhost string, id uint64)
	delay(at uint32, vhost string, due int64, also []string, m *message.Message)
	due(vhost string, due int64, ref queue.Ref)
	will(at uint32, vhost string, queue uint64, w *Will)
	heir(vhost string, queue uint64, what byte, due int64)
	disown(vhost string)
}

var errShortEntry = errors.New("entry is cut short")

// visitEntry reads an entry. Time is answered before the first command is visited, through begin.
func visitEntry(entry []byte, begin func(now int64), v commandVisitor) error {
	now, w := binary.Varint(entry)
	if w <= 0 {
		return errShortEntry
	}
	begin(now)
	rest := entry[w:]
	var err error
	for len(rest) > 0 {
		if rest, err = visitCommand(uint32(len(entry)-len(rest)), rest, v); err != nil {
			return err
		}
	}
	return nil
}

func visitCommand(at uint32, src []byte, v commandVisitor) (rest []byte, err error) {
	kind := src[0]
	src = src[1:]
	switch kind {
	case commandEnqueue:
		return visitEnqueue(at, src, v)
	case commandSettle:
		return visitRuns(src, v.settle)
	case commandReceive:
		return visitRuns(src, v.received)
	case commandReceipt, commandComplete:
		return visitReceipts(kind, src, v)
	case commandTaken, commandSettled:
		return visitTags(kind, src, v)
	case commandPrepare, commandDecide, commandResolve, commandForget:
		return visitTransaction(at, kind, src, v)
	case commandReturn:
		return visitReturn(src, v)
	case commandNote:
		return visitNote(src, v)
	}
	vhost, src, ok := cutText(src)
	if !ok {
		return nil, errShortEntry
	}
	switch kind {
	case commandDelay:
		return visitDelay(at, vhost, src, v)
	case commandDue:
		return visitDue(vhost, src, v)
	case commandSender, commandLeave:
		return visitSender(kind, vhost, src, v)
	case commandWill, commandHeir:
		return visitWill(at, kind, vhost, src, v)
	case commandSession, commandEnd:
		s, rest, err := session.Decode(src)
		if err != nil {
			return nil, err
		}
		if kind == commandEnd {
			v.end(vhost, s)
		} else {
			v.session(at, vhost, s)
		}
		return rest, nil
	case commandChange:
		return visitChange(vhost, src, v)
	case commandDisown:
		v.disown(vhost)
		return src, nil
	case commandRetain:
		m, rest, err := message.Decode(src)
		if err != nil {
			return nil, err
		}
		v.retain(at, vhost, &m)
		return rest, nil
	}
	return nil, fmt.Errorf("command %d is unknown: it was written by a newer version", kind)
}

func appendTx(dst []byte, kind byte, id txID) []byte { return append(append(dst, kind), id[:]...) }

func appendPrepare(dst []byte, id txID, coordinator, commands int) []byte {
	dst = binary.AppendUvarint(appendTx(dst, commandPrepare, id), uint64(coordinator))
	return binary.AppendUvarint(dst, uint64(commands))
}

func appendResolve(dst []byte, id txID, commits bool) []byte {
	dst = appendTx(dst, commandResolve, id)
	if commits {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// inTransactions says that a part of a transaction can have commands of a kind.
func inTransactions(kind byte) bool {
	return kind == commandEnqueue || kind == commandSettle || kind == commandDue || kind == commandDelay
}

// visitTransaction visits one of the commands of transactions, src being behind its kind.
func visitTransaction(at uint32, kind byte, src []byte, v commandVisitor) (rest []byte, err error) {
	var id txID
	if copy(id[:], src) < len(id) {
		return nil, errShortEntry
	}
	rest = src[len(id):]
	switch kind {
	case commandDecide:
		v.decide(id)
		return rest, nil
	case commandForget:
		v.forget(id)
		return rest, nil
	case commandResolve:
		if len(rest) == 0 {
			return nil, errShortEntry
		}
		v.resolve(id, rest[0] == 1)
		return rest[1:], nil
	}
	coordinator, rest, okShard := cutNumber(rest)
	n, rest, okCount := cutNumber(rest)
	if !okShard || !okCount || n > uint64(len(rest)) || coordinator > 1<<16 {
		return nil, errShortEntry
	}
	v.prepare(id, int(coordinator))
	for range n {
		if len(rest) == 0 || !inTransactions(rest[0]) {
			return nil, errShortEntry
		}
		begin := at + 1 + uint32(len(src)-len(rest))
		if rest, err = visitCommand(begin, rest, v); err != nil {
			return nil, err
		}
	}
	v.prepared()
	return rest, nil
}

func visitEnqueue(at uint32, src []byte, v commandVisitor) (rest []byte, err error) {
	n, src, ok := cutNumber(src)
	if !ok || n > uint64(len(src))/3 { // a reference has three bytes at least
		return nil, errShortEntry
	}
	refs := make([]itemRef, n)
	for i := range refs {
		if refs[i], src, ok = cutItemRef(src); !ok {
			return nil, errShortEntry
		}
	}
	m, rest, err := message.Decode(src)
	if err != nil {
		return nil, err
	}
	v.enqueue(at, refs, &m)
	return rest, nil
}

func cutItemRef(src []byte) (r itemRef, rest []byte, ok bool) {
	var okQueue, okItem bool
	r.queue, src, okQueue = cutNumber(src)
	r.item, src, okItem = cutNumber(src)
	if !okQueue || !okItem || len(src) == 0 {
		return r, nil, false
	}
	r.qos = src[0]
	return r, src[1:], true
}

// decodeEnqueued reads the message of an enqueue command into m and passes over who has it; false: the command is another.
func decodeEnqueued(command []byte, m *message.Message) (is bool, err error) {
	if len(command) == 0 || command[0] != commandEnqueue {
		return false, nil
	}
	n, src, ok := cutNumber(command[1:])
	if !ok {
		return true, errShortEntry
	}
	for ; n > 0; n-- {
		if _, src, ok = cutItemRef(src); !ok {
			return true, errShortEntry
		}
	}
	_, err = m.Decode(src)
	return true, err
}

func visitRuns(src []byte, run func(q, first, last uint64)) (rest []byte, err error) {
	q, src, okQueue := cutNumber(src)
	n, src, okCount := cutNumber(src)
	if !okQueue || !okCount || n > uint64(len(src))/2 {
		return nil, errShortEntry
	}
	for range n {
		var first, more uint64
		var okFirst, okMore bool
		first, src, okFirst = cutNumber(src)
		more, src, okMore = cutNumber(src)
		if !okFirst || !okMore {
			return nil, errShortEntry
		}
		run(q, first, first+more)
	}
	return src, nil
}

func appendReceipt(dst []byte, r receipt, parts uint16) []byte {
	if r.tag == "" {
		dst = binary.AppendUvarint(append(dst, commandReceipt), r.sender)
		return binary.AppendUvarint(dst, uint64(r.packet))
	}
	dst = binary.AppendUvarint(append(dst, commandTaken), r.sender)
	return appendText(binary.AppendUvarint(dst, uint64(parts)), r.tag)
}

// appendComplete voids receipts, which are all of packet identifiers or all of tags.
func appendComplete(dst []byte, sender uint64, list []label) []byte {
	kind := commandComplete
	if len(list) > 0 && list[0].tag != "" {
		kind = commandSettled
	}
	dst = binary.AppendUvarint(append(dst, kind), sender)
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, o := range list {
		if kind == commandSettled {
			dst = appendText(dst, o.tag)
		} else {
			dst = binary.AppendUvarint(dst, uint64(o.packet))
		}
	}
	return dst
}

func visitTags(kind byte, src []byte, v commandVisitor) (rest []byte, err error) {
	sender, src, okSender := cutNumber(src)
	n, src, ok := cutNumber(src) // shards, or tags
	if !ok || !okSender || kind == commandTaken && n > math.MaxUint16 {
		return nil, errShortEntry
	}
	parts := n
	if kind == commandTaken {
		n = 1
	}
	for ; n > 0; n-- {
		var tag string
		if tag, src, ok = cutText(src); !ok || tag == "" {
			return nil, errShortEntry
		}
		if r := (receipt{sender, label{tag: tag}}); kind == commandTaken {
			v.receipt(r, uint16(parts))
		} else {
			v.complete(r)
		}
	}
	return src, nil
}

func appendSender(dst []byte, vhost string, id uint64, expiry uint32, name string) []byte {
	dst = binary.AppendUvarint(appendText(append(dst, commandSender), vhost), id)
	return appendText(binary.AppendUvarint(dst, uint64(expiry)), name)
}

func appendLeave(dst []byte, vhost string, id uint64) []byte {
	return binary.AppendUvarint(appendText(append(dst, commandLeave), vhost), id)
}

// visitSender visits what is about a sender, src being behind the virtual host.
func visitSender(kind byte, vhost string, src []byte, v commandVisitor) (rest []byte, err error) {
	id, src, ok := cutNumber(src)
	if kind == commandLeave && ok {
		v.leave(vhost, id)
		return src, nil
	}
	expiry, src, okExpiry := cutNumber(src)
	name, src, okName := cutText(src)
	if !ok || !okExpiry || !okName || expiry > math.MaxUint32 {
		return nil, errShortEntry
	}
	v.sender(vhost, id, uint32(expiry), name)
	return src, nil
}

func visitReceipts(kind byte, src []byte, v commandVisitor) (rest []byte, err error) {
	session, src, ok := cutNumber(src)
	n, visit := uint64(1), func(r receipt) { v.receipt(r, 0) }
	if kind == commandComplete && ok {
		n, src, ok = cutNumber(src)
		visit = v.complete
	}
	for ; n > 0 && ok; n-- {
		var id uint64
		if id, src, ok = cutNumber(src); ok && id <= math.MaxUint16 {
			visit(receipt{session, label{packet: uint16(id)}})
		}
	}
	if !ok {
		return nil, errShortEntry
	}
	return src, nil
}

func appendDelay(dst []byte, vhost string, due int64, also []string, m *message.Message) []byte {
	dst = appendText(append(dst, commandDelay), vhost)
	dst = binary.AppendVarint(dst, due)
	dst = binary.AppendUvarint(dst, uint64(len(also)))
	for _, key := range also {
		dst = appendText(dst, key)
	}
	return m.Append(dst)
}

func visitDelay(at uint32, vhost string, src []byte, v commandVisitor) (rest []byte, err error) {
	due, src, okDue := cutSigned(src)
	n, src, ok := cutNumber(src)
	if !ok || !okDue || n > uint64(len(src)) {
		return nil, errShortEntry
	}
	var also []string
	for range n {
		var key string
		if key, src, ok = cutText(src); !ok {
			return nil, errShortEntry
		}
		also = append(also, key)
	}
	m, rest, err := message.Decode(src)
	if err != nil {
		return nil, err
	}
	v.delay(at, vhost, due, also, &m)
	return rest, nil
}

func appendDue(dst []byte, vhost string, entries []delayedEntry) []byte {
	dst = appendText(append(dst, commandDue), vhost)
	dst = binary.AppendUvarint(dst, uint64(len(entries)))
	for i := range entries {
		dst = appendDueRef(dst, entries[i].Due, entries[i].Value.ref)
	}
	return dst
}

func appendDueRef(dst []byte, due int64, ref queue.Ref) []byte {
	dst = binary.AppendVarint(dst, due)
	dst = binary.AppendUvarint(dst, ref.Index)
	dst = binary.AppendUvarint(dst, uint64(ref.At))
	return binary.AppendUvarint(dst, uint64(ref.Share))
}

func visitDue(vhost string, src []byte, v commandVisitor) (rest []byte, err error) {
	n, src, ok := cutNumber(src)
	if !ok || n > uint64(len(src))/4 { // each has four bytes at least
		return nil, errShortEntry
	}
	for range n {
		due, ref, rest, ok := cutDueRef(src)
		if !ok {
			return nil, errShortEntry
		}
		src = rest
		v.due(vhost, due, ref)
	}
	return src, nil
}

func cutDueRef(src []byte) (due int64, ref queue.Ref, rest []byte, ok bool) {
	due, src, okDue := cutSigned(src)
	index, src, okIndex := cutNumber(src)
	at, src, okAt := cutNumber(src)
	share, src, okShare := cutNumber(src)
	if !okDue || !okIndex || !okAt || !okShare || at > math.MaxUint32 || share > math.MaxUint32 {
		return 0, queue.Ref{}, nil, false
	}
	return due, queue.Ref{Index: index, At: uint32(at), Share: uint32(share)}, src, true
}

func appendWill(dst []byte, vhost string, queue uint64, w *Will) []byte {
	dst = appendText(append(dst, commandWill), vhost)
	for _, n := range []uint64{queue, uint64(w.Delay), uint64(w.Wait), uint64(w.Lifetime)} {
		dst = binary.AppendUvarint(dst, n)
	}
	return w.Message.Append(dst)
}

func appendHeir(dst []byte, vhost string, queue uint64, what byte, due int64) []byte {
	dst = appendText(append(dst, commandHeir), vhost)
	dst = append(binary.AppendUvarint(dst, queue), what)
	return binary.AppendVarint(dst, due)
}

// visitWill visits what is about the will of a session, src being behind the virtual host.
func visitWill(at uint32, kind byte, vhost string, src []byte, v commandVisitor) (rest []byte, err error) {
	q, src, ok := cutNumber(src)
	if kind == commandHeir {
		if !ok || len(src) == 0 || src[0] > heirLeaves {
			return nil, errShortEntry
		}
		due, rest, ok := cutSigned(src[1:])
		if !ok {
			return nil, errShortEntry
		}
		v.heir(vhost, q, src[0], due)
		return rest, nil
	}
	var millis [3]uint64
	for i := range millis {
		if ok {
			millis[i], src, ok = cutNumber(src)
		}
		if !ok || millis[i] > math.MaxInt64/4 { // sums of them are times, too
			return nil, errShortEntry
		}
	}
	m, rest, err := message.Decode(src)
	if err != nil {
		return nil, err
	}
	v.will(at, vhost, q, &Will{Message: &m, Delay: int64(millis[0]), Wait: int64(millis[1]), Lifetime: int64(millis[2])})
	return rest, nil
}

func cutSigned(src []byte) (n int64, rest []byte, ok bool) {
	n, w := binary.Varint(src)
	if w <= 0 {
		return 0, nil, false
	}
	return n, src[w:], true
}

func cutNumber(src []byte) (n uint64, rest []byte, ok bool) {
	n, w := binary.Uvarint(src)
	if w <= 0 {
		return 0, nil, false
	}
	return n, src[w:], true
}

func cutText(src []byte) (s string, rest []byte, ok bool) {
	n, src, ok := cutNumber(src)
	if !ok || n > uint64(len(src)) {
		return "", nil, false
	}
	return string(src[:n]), src[n:], true
}
