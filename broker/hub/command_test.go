package hub

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"unsafe"

	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/router"
	"github.com/turnstone-mq/turnstone/broker/session"
)

// transcript writes down what an entry says, and writes the entry again.
type transcript struct {
	text  bytes.Buffer
	again []byte
}

func (v *transcript) enqueue(_ uint32, refs []itemRef, m *message.Message) {
	fmt.Fprintf(&v.text, "enqueue %v %q\n", refs, m.Payload)
	v.again = appendEnqueue(v.again, refs, m)
}

func (v *transcript) settle(q, first, last uint64) {
	fmt.Fprintf(&v.text, "settle %d %d-%d\n", q, first, last)
}

func (v *transcript) session(_ uint32, vhost string, s session.State) {
	fmt.Fprintf(&v.text, "session %s %s %d %v\n", vhost, s.ClientID, s.QueueID, s.Subscriptions)
	v.again = appendSession(v.again, vhost, s, false)
}

func (v *transcript) change(vhost string, s session.State, removed []string) {
	fmt.Fprintf(&v.text, "change %s %s %d %v without %v\n", vhost, s.ClientID, s.Expiry, s.Subscriptions, removed)
	v.again = appendChange(v.again, vhost, s, removed)
}

func (v *transcript) end(vhost string, s session.State) {
	fmt.Fprintf(&v.text, "end %s %s\n", vhost, s.ClientID)
	v.again = appendSession(v.again, vhost, s, true)
}

func (v *transcript) retain(_ uint32, vhost string, m *message.Message) {
	fmt.Fprintf(&v.text, "retain %s %s\n", vhost, m.Key)
	v.again = appendRetain(v.again, vhost, m)
}

func (v *transcript) prepare(id txID, coordinator int) {
	fmt.Fprintf(&v.text, "prepare %x shard %d\n", id[:2], coordinator)
}
func (v *transcript) prepared()      { fmt.Fprintln(&v.text, "prepared") }
func (v *transcript) decide(id txID) { fmt.Fprintf(&v.text, "decide %x\n", id[:2]) }
func (v *transcript) resolve(id txID, commits bool) {
	fmt.Fprintf(&v.text, "resolve %x %t\n", id[:2], commits)
}
func (v *transcript) forget(id txID) { fmt.Fprintf(&v.text, "forget %x\n", id[:2]) }

func (v *transcript) returned(q, item uint64, count uint32) {
	fmt.Fprintf(&v.text, "return %d %d %d\n", q, item, count)
	v.again = appendReturn(v.again, q, []queue.Return{{ID: item, Count: count}})
}

func (v *transcript) noted(q, item uint64, text []byte) {
	fmt.Fprintf(&v.text, "note %d %d %q\n", q, item, text)
	v.again = appendNote(v.again, q, []queue.Return{{ID: item, Note: text}})
}

func (v *transcript) received(q, first, last uint64) {
	fmt.Fprintf(&v.text, "receive %d %d-%d\n", q, first, last)
}

func (v *transcript) receipt(r receipt, parts uint16) {
	fmt.Fprintf(&v.text, "receipt %d %d %q %d\n", r.sender, r.packet, r.tag, parts)
	v.again = appendReceipt(v.again, r, parts)
}

func (v *transcript) sender(vhost string, id uint64, expiry uint32, name string) {
	fmt.Fprintf(&v.text, "sender %s %d %d %s\n", vhost, id, expiry, name)
	v.again = appendSender(v.again, vhost, id, expiry, name)
}

func (v *transcript) leave(vhost string, id uint64) {
	fmt.Fprintf(&v.text, "leave %s %d\n", vhost, id)
	v.again = appendLeave(v.again, vhost, id)
}

func (v *transcript) complete(r receipt) {
	fmt.Fprintf(&v.text, "complete %d %d %q\n", r.sender, r.packet, r.tag)
	v.again = appendComplete(v.again, r.sender, []label{r.label})
}

func (v *transcript) delay(_ uint32, vhost string, due int64, also []string, m *message.Message) {
	fmt.Fprintf(&v.text, "delay %s %d %s %q\n", vhost, due, m.Key, also)
	v.again = appendDelay(v.again, vhost, due, also, m)
}

func (v *transcript) due(vhost string, due int64, ref queue.Ref) {
	fmt.Fprintf(&v.text, "due %s %d %v\n", vhost, due, ref)
	v.again = appendDue(v.again, vhost, []delayedEntry{{Due: due, Value: delayed{ref: ref}}})
}

func (v *transcript) will(_ uint32, vhost string, queue uint64, w *Will) {
	fmt.Fprintf(&v.text, "will %s %d %d %d %d %s\n", vhost, queue, w.Delay, w.Wait, w.Lifetime, w.Message.Key)
	v.again = appendWill(v.again, vhost, queue, w)
}

func (v *transcript) heir(vhost string, queue uint64, what byte, due int64) {
	fmt.Fprintf(&v.text, "heir %s %d %d %d\n", vhost, queue, what, due)
	v.again = appendHeir(v.again, vhost, queue, what, due)
}

func (v *transcript) disown(vhost string) {
	fmt.Fprintf(&v.text, "disown %s\n", vhost)
	v.again = appendDisown(v.again, vhost)
}

func exampleEntry() []byte {
	m := &message.Message{Encoding: message.MQTT, Key: "a/b", QoS: 1, Durable: true, Payload: []byte("hello")}
	e := binary.AppendVarint(nil, 1_700_000_000_000)
	e = appendEnqueue(e, []itemRef{{queue: 7, item: 1, qos: 1}, {queue: sessionQueueBit | 3, item: 900, qos: 0}}, m)
	e = appendSettle(e, 7, []queue.Item{{ID: 4}, {ID: 5}, {ID: 6}, {ID: 2}, {ID: 9}})
	e = appendSession(e, "/", session.State{ClientID: "c", QueueID: 5, Subscriptions: map[string]router.Options{"x/#": {QoS: 1, NoLocal: true}}}, false)
	e = appendChange(e, "/", session.State{ClientID: "c", QueueID: 5, Expiry: 9, Subscriptions: map[string]router.Options{"y": {QoS: 2}}}, []string{"x/#", "z"})
	e = appendSession(e, "/", session.State{ClientID: "c", QueueID: 5}, true)
	e = appendRetain(e, "tenant", m)
	id := txID{1, 2, 3}
	e = appendDelay(e, "tenant", 1_700_000_060_000, []string{"b", "c"}, m)
	gone := []delayedEntry{{Due: 1_700_000_000_000, Value: delayed{ref: queue.Ref{Index: 5, At: 9, Share: 8}}}, {Due: -1}}
	e = appendDue(e, "/", gone)
	e = appendWill(e, "/", 5, &Will{Message: m, Delay: 1000, Wait: 2000, Lifetime: 3000})
	e = appendHeir(e, "/", 5, heirWaits, 1_700_000_001_000)
	e = appendDisown(e, "left")
	e = appendPrepare(e, id, 12, 4)
	e = appendDue(e, "/", gone[:1])
	e = appendSettle(e, 7, []queue.Item{{ID: 8}})
	e = appendEnqueue(e, []itemRef{{queue: 7, item: 2, qos: 1}}, m)
	e = appendDelay(e, "/", 1_700_000_090_000, nil, m)
	e = appendTx(e, commandDecide, id)
	e = appendResolve(e, id, true)
	e = appendTx(e, commandForget, id)
	e = appendReceipt(e, receipt{5, label{packet: 7}}, 0)
	e = appendComplete(e, 5, []label{{packet: 7}, {packet: 8}})
	e = appendSender(e, "/", 6, 60, "amqp/ann/container/link")
	e = appendReceipt(e, receipt{6, label{tag: "tag\x00"}}, 2)
	e = appendComplete(e, 6, []label{{tag: "a"}, {tag: "b"}})
	e = appendLeave(e, "/", 6)
	back := []queue.Return{{ID: 3, Count: 2}, {ID: 5, Count: 1, Note: []byte("a")}, {ID: 6, Note: []byte("a")}, {ID: 7, Note: []byte("b\x00")}}
	return appendNotes(appendReturn(e, 7, back), 7, back)
}

func TestEntry(t *testing.T) {
	var v transcript
	if err := visitEntry(exampleEntry(), func(now int64) { fmt.Fprintf(&v.text, "at %d\n", now) }, &v); err != nil {
		t.Fatal(err)
	}
	want := `at 1700000000000
enqueue [{7 1 1} {9223372036854775811 900 0}] "hello"
settle 7 4-6
settle 7 2-2
settle 7 9-9
session / c 5 map[x/#:{1 true false 0}]
change / c 9 map[y:{2 false false 0}] without [x/# z]
end / c
retain tenant a/b
delay tenant 1700000060000 a/b ["b" "c"]
due / 1700000000000 {5 9 8}
due / -1 {0 0 0}
will / 5 1000 2000 3000 a/b
heir / 5 1 1700000001000
disown left
prepare 0102 shard 12
due / 1700000000000 {5 9 8}
settle 7 8-8
enqueue [{7 2 1}] "hello"
delay / 1700000090000 a/b []
prepared
decide 0102
resolve 0102 true
forget 0102
receipt 5 7 "" 0
complete 5 7 ""
complete 5 8 ""
sender / 6 60 amqp/ann/container/link
receipt 6 0 "tag\x00" 2
complete 6 0 "a"
complete 6 0 "b"
leave / 6
return 7 3 2
return 7 5 1
return 7 6 0
return 7 7 0
note 7 5 "a"
note 7 6 "a"
note 7 7 "b\x00"
`
	if v.text.String() != want {
		t.Errorf("the entry says\n%s\nwant\n%s", v.text.String(), want)
	}
}

func TestADelayedMessageTakesFewBytes(t *testing.T) {
	if n := unsafe.Sizeof(delayedEntry{}); n > 40 {
		t.Errorf("%d bytes", n)
	}
}

func FuzzEntry(f *testing.F) {
	whole := exampleEntry()
	f.Add(whole)
	for n := 0; n < len(whole); n += 7 {
		f.Add(whole[:n])
	}
	f.Fuzz(func(t *testing.T, entry []byte) {
		var v transcript
		if visitEntry(entry, func(int64) {}, &v) != nil {
			return
		}
		first := binary.AppendVarint(nil, 0)
		var again transcript
		if err := visitEntry(append(first, v.again...), func(int64) {}, &again); err != nil {
			t.Fatalf("what was written again cannot be read: %v", err)
		}
		if !bytes.Equal(v.again, again.again) {
			t.Error("what was written again reads differently")
		}
	})
}
