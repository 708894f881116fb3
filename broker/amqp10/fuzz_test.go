package amqp10_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// FuzzConnection sends anything over a connection with a session, links of every kind and deliveries that are not settled.
// The broker must end the connection or go on, and serve the next one either way.
func FuzzConnection(f *testing.F) {
	first := frame.Some[uint32](0)
	firstTxn := []byte{0, 0, 0, 0, 0, 0, 0, 1}
	for _, p := range []frame.Performative{
		&frame.Begin{HandleMax: 5}, &frame.End{}, &frame.Close{}, &frame.Open{ContainerID: "c", MaxFrameSize: 512},
		&frame.Attach{Name: "r2", Handle: 8, Role: frame.Receiver, Source: &frame.Source{Address: "/topic/a.#", ExpiryPolicy: frame.ExpireNever, Durable: 2}},
		&frame.Attach{Name: "s", Handle: 6, Role: frame.Sender, InitialDeliveryCount: first, Target: &frame.Target{Dynamic: true, ExpiryPolicy: frame.ExpireSessionEnd}},
		&frame.Attach{Name: "m", Handle: 7, Role: frame.Receiver, Source: &frame.Source{Address: "/management", ExpiryPolicy: frame.ExpireSessionEnd}},
		&frame.Detach{Handle: 1}, &frame.Detach{Handle: 2, Closed: true},
		&frame.Flow{NextIncomingID: first, IncomingWindow: 3, Handle: frame.Some[uint32](2), LinkCredit: frame.Some[uint32](9), DeliveryCount: frame.Some[uint32](2), Drain: true, Echo: true},
		&frame.Transfer{Handle: 1, DeliveryID: frame.Some[uint32](9), DeliveryTag: []byte("t"), Payload: frame.AppendData(nil, []byte("x"))},
		&frame.Transfer{Handle: 3, DeliveryID: frame.Some[uint32](9), Settled: true, More: true}, &frame.Transfer{Handle: 1, Aborted: true},
		&frame.Transfer{Handle: 4, DeliveryID: frame.Some[uint32](9), Payload: append((&frame.Properties{To: []byte("/queues/fuzz"), Subject: []byte("GET"), ReplyTo: []byte("$me")}).Append(nil), frame.AppendData(nil, nil)...)},
		&frame.Disposition{Role: frame.Receiver, First: 0, Last: frame.Some[uint32](1), Settled: true, State: frame.Accepted},
		&frame.Disposition{Role: frame.Receiver, First: 0, State: (&frame.Modified{DeliveryFailed: true}).State()},
		&frame.Transfer{Handle: 5, DeliveryID: frame.Some[uint32](9), Payload: append([]byte{0, 0x53, 0x77}, (&frame.Declare{}).Append(nil)...)},
		&frame.Transfer{Handle: 5, DeliveryID: frame.Some[uint32](9), Payload: append([]byte{0, 0x53, 0x77}, (&frame.Discharge{TxnID: firstTxn, Fail: true}).Append(nil)...)},
		&frame.Transfer{Handle: 5, DeliveryID: frame.Some[uint32](9), Payload: append([]byte{0, 0x53, 0x77}, (&frame.Discharge{TxnID: firstTxn}).Append(nil)...)},
		&frame.Transfer{Handle: 1, DeliveryID: frame.Some[uint32](9), State: in(firstTxn, frame.State{}), Payload: frame.AppendData(nil, []byte("x"))},
		&frame.Disposition{Role: frame.Receiver, First: 0, Last: frame.Some[uint32](1), State: in(firstTxn, frame.Accepted)},
		&frame.Detach{Handle: 5, Closed: true},
		&frame.Disposition{Role: frame.Sender, First: 4294967295, Last: frame.Some[uint32](1), Settled: true},
	} {
		raw, err := frame.AppendFrame(nil, 0, p, 4096)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	number := func(n byte) []byte { return []byte{0, 0, 0, 0, 0, 0, 0, n} }
	maps := unsettledMap(entry{tag: number(1)}, entry{number(2), received(1, 2)}, entry{number(3), frame.Accepted}, entry{tag: []byte("t")}, entry{tag: []byte{0}})
	never := &frame.Target{Address: "/queues/fuzz", Durable: frame.DurabilityUnsettledState, ExpiryPolicy: frame.ExpireNever}
	acquire := &frame.Flow{NextIncomingID: first, IncomingWindow: 9, Handle: frame.Some[uint32](2), LinkCredit: frame.Some[uint32](9), DeliveryCount: first, Drain: true,
		Properties: frame.Map(frame.AppendBinary(frame.AppendSymbol(nil, "txn-id"), firstTxn))}
	discharge := &frame.Transfer{Handle: 5, DeliveryID: frame.Some[uint32](9), Payload: append([]byte{0, 0x53, 0x77}, (&frame.Discharge{TxnID: firstTxn, Fail: true}).Append(nil)...)}
	settled := &frame.Attach{Name: "s", Handle: 9, Role: frame.Receiver, SenderSettleMode: frame.SenderSettled, Source: &frame.Source{Address: "/queues/fuzz", ExpiryPolicy: frame.ExpireSessionEnd}}
	acquireSettled := *acquire
	acquireSettled.Handle = frame.Some[uint32](9)
	for _, resumed := range [][]frame.Performative{ // links that acquire in a transaction, and links that are attached again, with maps
		{acquire, &frame.Transfer{Handle: 1, DeliveryID: frame.Some[uint32](3), DeliveryTag: []byte("t"), Payload: data("x")},
			&frame.Disposition{Role: frame.Receiver, First: 0, Last: frame.Some[uint32](9), State: in(firstTxn, frame.Accepted)}, discharge},
		{settled, &acquireSettled, &frame.Disposition{Role: frame.Receiver, First: 0, Last: frame.Some[uint32](9), Settled: true, State: frame.Released}, discharge},
		{&frame.Detach{Handle: 2}, &frame.Attach{Name: "r", Handle: 9, Role: frame.Receiver, Unsettled: maps, Source: lasting("/queues/fuzz")},
			&frame.Flow{NextIncomingID: first, IncomingWindow: 9, Handle: frame.Some[uint32](9), LinkCredit: frame.Some[uint32](9)}},
		{&frame.Attach{Name: "r", Handle: 9, Role: frame.Receiver, Unsettled: maps, IncompleteUnsettled: true, Source: lasting("/queues/fuzz")}},
		{&frame.Attach{Name: "d", Handle: 9, Role: frame.Receiver, Unsettled: maps, Source: &frame.Source{Address: "/topic/a", Durable: frame.DurabilityUnsettledState, ExpiryPolicy: frame.ExpireNever}}},
		{&frame.Attach{Name: "n", Handle: 9, Role: frame.Sender, InitialDeliveryCount: first, ReceiverSettleMode: frame.ReceiverSecond, Unsettled: maps, Target: never},
			&frame.Transfer{Handle: 9, DeliveryID: frame.Some[uint32](9), DeliveryTag: []byte("t"), Payload: data("x")},
			&frame.Transfer{Handle: 9, DeliveryID: frame.Some[uint32](10), DeliveryTag: []byte("t"), Resume: true, State: frame.Released},
			&frame.Transfer{Handle: 9, DeliveryID: frame.Some[uint32](11), DeliveryTag: []byte("p"), More: true, Payload: data("x")[:4]},
			&frame.Detach{Handle: 9}, &frame.Attach{Name: "n", Handle: 9, Role: frame.Sender, InitialDeliveryCount: first, Unsettled: unsettledMap(entry{tag: []byte("p")}), Target: never},
			&frame.Transfer{Handle: 9, DeliveryID: frame.Some[uint32](12), DeliveryTag: []byte("p"), Resume: true, State: received(0, 1), Payload: data("x")[1:]}},
	} {
		var raw []byte
		for _, p := range resumed {
			var err error
			if raw, err = frame.AppendFrame(raw, 0, p, 4096); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(raw)
	}
	f.Add([]byte{0, 0, 0, 8, 2, 0, 0, 0})
	for _, body := range [][]byte{
		composite(0x99), composite(0x12, nameL, handle5, yes, null, null, composite(0x99)), composite(0x12, recursive(3), handle5, yes),
		append(composite(0x14, []byte{0x52, 1}, []byte{0x52, 9}, []byte{0xa0, 1, 't'}), append([]byte{0, 0x53, 0x78}, recursive(50)...)...),
		append(composite(0x14, []byte{0x52, 1}, []byte{0x52, 9}, []byte{0xa0, 1, 't'}), 0, 0x53, 0x77, 0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40),
		composite(0x15, yes, []byte{0x43}, null, yes, composite(0x99)), composite(0x16, handle5, yes, null, null),
	} {
		f.Add(append(binary.BigEndian.AppendUint32(nil, uint32(8+len(body))), append([]byte{2, 0, 0, 0}, body...)...))
	}
	c := defaults()
	c.Limits.ConnectTimeoutMillis = 60_000
	b := start(f, c)
	b.queue("fuzz", nil)
	f.Fuzz(func(t *testing.T, input []byte) {
		b.TB = t
		p := b.open()
		p.sender(1, "/queues/fuzz")
		p.transfer(1, 0, data("a"))
		p.transfer(1, 1, data("b"))
		p.send(0, &frame.Attach{Name: "r", Handle: 2, Role: frame.Receiver, Source: &frame.Source{Address: "/queues/fuzz", ExpiryPolicy: frame.ExpireSessionEnd}})
		p.credit(2, 0, 2, false)
		p.send(0, &frame.Attach{Name: "a", Handle: 3, Role: frame.Sender, InitialDeliveryCount: first, Target: &frame.Target{ExpiryPolicy: frame.ExpireSessionEnd}})
		p.send(0, &frame.Attach{Name: "m", Handle: 4, Role: frame.Sender, InitialDeliveryCount: first, Target: &frame.Target{Address: "/management", ExpiryPolicy: frame.ExpireSessionEnd}})
		p.send(0, &frame.Attach{Name: "t", Handle: 5, Role: frame.Sender, InitialDeliveryCount: first, Coordinator: &frame.Coordinator{}})
		p.transfer(5, 2, append([]byte{0, 0x53, 0x77}, (&frame.Declare{}).Append(nil)...))
		p.conn.Write(input)                //nolint:errcheck // the broker may have ended the connection before it was sent all
		p.conn.(*net.TCPConn).CloseWrite() //nolint:errcheck // likewise
		check(t, p.conn.SetReadDeadline(time.Now().Add(patience)))
		if _, err := io.Copy(io.Discard, p.conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection does not end")
		}
	})
}
