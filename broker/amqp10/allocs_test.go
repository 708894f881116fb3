package amqp10_test

import (
	"io"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// TestNoAllocations: what is published and delivered allocates nothing for each message, neither transient nor selected.
func TestNoAllocations(t *testing.T) {
	const batch = 1000
	b := start(t, defaults())
	filter := frame.AppendString(frame.AppendSymbolDescriptor(frame.AppendSymbol(nil, "s"), "apache.org:selector-filter:string"), "color = 'red'")
	for name, source := range map[string]*frame.Source{
		"all":      {Dynamic: true, ExpiryPolicy: frame.ExpireSessionEnd},
		"selected": {Dynamic: true, ExpiryPolicy: frame.ExpireSessionEnd, Filter: filter},
	} {
		t.Run(name, func(t *testing.T) {
			in, out := b.open(), b.open()
			a := out.attach(&frame.Attach{Name: "r", Handle: 1, Role: frame.Receiver, SenderSettleMode: frame.SenderSettled, Source: source})
			in.sender(1, a.Source.Address)
			out.send(0, &frame.Flow{NextIncomingID: frame.Some[uint32](0), IncomingWindow: 1 << 31, Handle: frame.Some[uint32](1), DeliveryCount: frame.Some[uint32](0), LinkCredit: frame.Some[uint32](1 << 30)})
			colors := frame.AppendString(frame.AppendString(nil, "color"), "red")
			message := append(frame.AppendMapSection(nil, frame.CodeApplicationProperties, colors), data("0123456789abcdef0123456789abcdef")...)
			var raw []byte
			for id := range uint32(batch) { // again and again: the ids of settled deliveries are nobody's business
				raw, _ = frame.AppendFrame(raw, 0, &frame.Transfer{Handle: 1, DeliveryID: frame.Some(id), DeliveryTag: []byte{1}, Settled: true, Payload: message}, 4096)
			}
			go io.Copy(io.Discard, in.conn) //nolint:errcheck // ends with the connection
			received := append(make([]byte, 0, 4<<20), out.buf...)
			got := testing.AllocsPerRun(20, func() {
				in.write(raw)
				for n, at := 0, 0; n < batch; {
					f, size, err := frame.Read(received[at:], 1<<20)
					if err != nil {
						t.Fatal(err)
					}
					if at += size; size > 0 && len(f.Body) > 0 {
						n++
					}
					if size > 0 {
						continue
					}
					received, at = append(received[:0], received[at:]...), 0
					more, err := out.conn.Read(received[len(received):cap(received)])
					if err != nil {
						t.Fatal(err)
					}
					received = received[:len(received)+more]
				}
				received = received[:0]
			})
			if got > batch/10 {
				t.Errorf("%v allocations for %d messages", got, batch)
			}
		})
	}
}
