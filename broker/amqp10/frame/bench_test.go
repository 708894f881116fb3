package frame_test

import (
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

func benchTransfer(b *testing.B) *frame.Transfer {
	b.Helper()
	header := frame.Header{Durable: true, Priority: frame.DefaultPriority}
	properties := frame.Properties{MessageID: readValue(b, frame.AppendUlong(nil, 300)), To: []byte("/queues/orders"), ContentType: []byte("text/plain")}
	message := frame.AppendData(properties.Append(header.Append(nil)), make([]byte, 64))
	return &frame.Transfer{Handle: 1, DeliveryID: frame.Some(uint32(1000)), DeliveryTag: []byte("12345678"), MessageFormat: frame.Some(uint32(0)), Payload: message}
}

func BenchmarkTransferDecode(b *testing.B) {
	body := benchTransfer(b).Append(nil)
	var t frame.Transfer
	for b.Loop() {
		if err := t.Decode(body, generous); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTransferAppend(b *testing.B) {
	t := benchTransfer(b)
	buf := make([]byte, 0, 4096)
	for b.Loop() {
		if _, _, err := frame.AppendTransfer(buf, 1, t, nil, 4096); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDispositionDecode(b *testing.B) {
	body := (&frame.Disposition{Role: frame.Receiver, First: 1000, Settled: true, State: frame.Accepted}).Append(nil)
	var d frame.Disposition
	for b.Loop() {
		if err := d.Decode(body, generous); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFlowDecode(b *testing.B) {
	body := (&frame.Flow{NextIncomingID: frame.Some(uint32(1000)), IncomingWindow: 2048, NextOutgoingID: 1, OutgoingWindow: 2048,
		Handle: frame.Some(uint32(1)), DeliveryCount: frame.Some(uint32(1000)), LinkCredit: frame.Some(uint32(100))}).Append(nil)
	var f frame.Flow
	for b.Loop() {
		if err := f.Decode(body, generous); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMessageScan(b *testing.B) {
	for _, x := range []struct {
		name    string
		message []byte
	}{{"small", benchTransfer(b).Payload}, {"all sections", whole(b)}} {
		b.Run(x.name, func(b *testing.B) {
			var m frame.Message
			for b.Loop() {
				if err := m.Scan(x.message, generous); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
