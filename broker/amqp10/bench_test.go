package amqp10_test

import (
	"io"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// BenchmarkSettled is a settled, transient message from one link to another over the same connection, and what it costs the
// broker. The client's side is next to nothing: frames that were made before, and bytes that are read and counted.
func BenchmarkSettled(b *testing.B) {
	br := start(b, defaults())
	in, out := br.open(), br.open()
	a := out.attach(&frame.Attach{Name: "r", Handle: 1, Role: frame.Receiver, SenderSettleMode: frame.SenderSettled, Source: &frame.Source{Dynamic: true, ExpiryPolicy: frame.ExpireSessionEnd}})
	in.sender(1, a.Source.Address)
	out.send(0, &frame.Flow{NextIncomingID: frame.Some[uint32](0), IncomingWindow: 1 << 31, Handle: frame.Some[uint32](1), DeliveryCount: frame.Some[uint32](0), LinkCredit: frame.Some[uint32](1 << 30)})
	const batch = 400
	var raw []byte
	for id := range uint32(batch) { // again and again: the ids of settled deliveries are nobody's business
		raw, _ = frame.AppendFrame(raw, 0, &frame.Transfer{Handle: 1, DeliveryID: frame.Some(id), DeliveryTag: []byte{1}, Settled: true, Payload: data("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")}, 4096)
	}
	write := func() { in.write(raw) }
	go io.Copy(io.Discard, in.conn) //nolint:errcheck // ends with the connection
	received := append(make([]byte, 0, 1<<20), out.buf...)
	read := func(n int) {
		at := 0
		for n > 0 {
			f, size, err := frame.Read(received[at:], 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			if size == 0 {
				received, at = append(received[:0], received[at:]...), 0
				more, err := out.conn.Read(received[len(received):cap(received)])
				if err != nil {
					b.Fatal(err)
				}
				received = received[:len(received)+more]
				continue
			}
			if at += size; len(f.Body) > 0 {
				n--
			}
		}
		received = append(received[:0], received[at:]...)
	}
	write()
	read(batch)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N/batch + 1 {
		write()
		read(batch)
	}
}
