package frame_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// generous limits what the tests read.
var generous = frame.Limits{Depth: 16, Elements: 4096}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// refused wants a fault with a condition, a scope and a text.
func refused(t *testing.T, err error, condition frame.Condition, scope frame.Scope, text string) {
	t.Helper()
	var f *frame.Fault
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want %s", err, text)
	}
	if f.Condition != condition || f.Scope != scope || f.Text != text {
		t.Errorf("got %s of %s: %s\nwant %s of %s: %s", f.Condition, f.Scope, f.Text, condition, scope, text)
	}
	if w := f.Wire(); w.Condition != condition || w.Description != text {
		t.Errorf("the peer is told %+v", w)
	}
}

func TestProtocolHeader(t *testing.T) {
	for _, x := range []struct {
		name, bytes string
		want        frame.ProtocolHeader
		supported   bool
	}{
		{"AMQP", "414d5150 00 01 00 00", frame.Version10(frame.ProtocolAMQP), true},
		{"TLS", "414d5150 02 01 00 00", frame.Version10(frame.ProtocolTLS), true},
		{"SASL", "414d5150 03 01 00 00", frame.Version10(frame.ProtocolSASL), true},
		{"0-9-1", "414d5150 00 00 09 01", frame.ProtocolHeader{Minor: 9, Revision: 1}, false},
		{"a layer of others", "414d5150 01 01 00 00", frame.ProtocolHeader{ID: 1, Major: 1}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			src := unhex(t, x.bytes)
			h, n, err := frame.ReadProtocolHeader(append(src, 0xff))
			if err != nil || n != frame.ProtocolHeaderSize || h != x.want || h.Supported() != x.supported {
				t.Errorf("got %+v, %d bytes, %v, supported %t", h, n, err, h.Supported())
			}
			if got := x.want.Append(nil); !bytes.Equal(got, src) {
				t.Errorf("written: %x", got)
			}
			for n := range src {
				if _, got, err := frame.ReadProtocolHeader(src[:n]); got != 0 || err != nil {
					t.Errorf("%d bytes: read %d, %v", n, got, err)
				}
			}
		})
	}
	_, _, err := frame.ReadProtocolHeader([]byte("AMP"))
	refused(t, err, frame.FramingError, frame.ScopeConnection, `protocol header does not begin with "AMQP"`)
}

// TestRead: 2 §2.3.1
func TestRead(t *testing.T) {
	for _, x := range []struct {
		name, bytes string
		want        frame.Frame
	}{
		{"heartbeat", "00000008 02 00 0000", frame.Frame{Body: []byte{}}},
		{"body", "0000000a 02 00 0102 abcd", frame.Frame{Channel: 0x102, Body: []byte{0xab, 0xcd}}},
		{"extended header", "0000000e 03 00 0001 ffffffff abcd", frame.Frame{Channel: 1, Body: []byte{0xab, 0xcd}}},
		{"heartbeat with an extended header", "0000000c 03 00 0000 ffffffff", frame.Frame{Body: []byte{}}},
		{"SASL has no channel", "00000009 02 01 ffff 01", frame.Frame{Type: frame.TypeSASL, Body: []byte{1}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			src := unhex(t, x.bytes)
			f, n, err := frame.Read(append(src, 0xff), frame.MinMax)
			if err != nil || n != len(src) || !reflect.DeepEqual(f, x.want) {
				t.Fatalf("got %+v, %d bytes, %v", f, n, err)
			}
			again, _, err := frame.Read(f.Append(nil), frame.MinMax)
			if err != nil || !reflect.DeepEqual(again, f) {
				t.Errorf("written and read: %+v, %v", again, err)
			}
			for n := range src {
				if _, got, err := frame.Read(src[:n], frame.MinMax); got != 0 || err != nil {
					t.Errorf("%d bytes: read %d, %v", n, got, err)
				}
				if size := frame.Size(src[:n]); n >= 4 && size != len(src) || n < 4 && size != 8 {
					t.Errorf("%d bytes: size %d", n, size)
				}
			}
		})
	}
	if got := frame.AppendHeartbeat(nil); !bytes.Equal(got, unhex(t, "00000008 02 00 0000")) {
		t.Errorf("heartbeat is %x", got)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, x := range []struct{ name, bytes, text string }{
		{"shorter than its header", "00000007", "frame of 7 bytes is shorter than its header"},
		{"too long", "00000201", "frame of 513 bytes is larger than the maximum of 512"},
		{"longer than memory", "ffffffff", "frame of 4294967295 bytes is larger than the maximum of 512"},
		{"HTTP", "47455420", "frame of 1195725856 bytes is larger than the maximum of 512"},
		{"body in the header", "00000008 01", "frame's data offset is 1, less than 2"},
		{"body behind the frame", "0000000b 03", "frame's data offset is 3, behind its 11 bytes"},
		{"type", "00000008 02 02", "unknown frame type 2"},
		{"empty SASL frame", "00000008 02 01 0000", "SASL frame is empty"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, _, err := frame.Read(unhex(t, x.bytes), frame.MinMax)
			refused(t, err, frame.FramingError, frame.ScopeConnection, x.text)
		})
	}
}

func TestPerformativeOfFrame(t *testing.T) {
	for _, x := range []struct {
		name string
		f    frame.Frame
		want frame.Descriptor
	}{
		{"number", frame.Frame{Body: unhex(t, "00 53 14 45")}, frame.CodeTransfer},
		{"long number", frame.Frame{Body: unhex(t, "00 80 0000000000000018 45")}, frame.CodeClose},
		{"symbol", frame.Frame{Body: append([]byte("\x00\xa3\x0eamqp:open:list"), 0x45)}, frame.CodeOpen},
		{"SASL", frame.Frame{Type: frame.TypeSASL, Body: unhex(t, "00 53 41 45")}, frame.CodeSASLInit},
	} {
		if d, err := x.f.Performative(); err != nil || d != x.want {
			t.Errorf("%s: %s, %v", x.name, d, err)
		}
	}
	for _, x := range []struct {
		name      string
		f         frame.Frame
		condition frame.Condition
		text      string
	}{
		{"not described", frame.Frame{Body: []byte{0x45}}, frame.DecodeError, "frame does not begin with a performative"},
		{"cut short", frame.Frame{Body: []byte{0, 0x53}}, frame.DecodeError, "ulong is cut short"},
		{"reserved descriptor", frame.Frame{Body: unhex(t, "00 52 10 45")}, frame.DecodeError, "a descriptor of encoding 0x52 is neither ulong nor symbol"},
		{"described descriptor", frame.Frame{Body: unhex(t, "00 00 53 10 45")}, frame.DecodeError, "a descriptor of encoding 0x00 is neither ulong nor symbol"},
		{"unknown number", frame.Frame{Body: unhex(t, "00 53 19 45")}, frame.NotImplemented, "there is no performative with the descriptor 0x19"},
		{"unknown symbol", frame.Frame{Body: []byte("\x00\xa3\x01x\x45")}, frame.NotImplemented, `there is no performative with the descriptor "x"`},
		{"no performative", frame.Frame{Body: unhex(t, "00 53 28 45")}, frame.NotImplemented, "there is no performative with the descriptor 0x28"},
		{"open in a SASL frame", frame.Frame{Type: frame.TypeSASL, Body: unhex(t, "00 53 10 45")}, frame.NotAllowed, "open came in a frame for SASL"},
		{"sasl-init in an AMQP frame", frame.Frame{Body: unhex(t, "00 53 41 45")}, frame.NotAllowed, "sasl-init came in a frame for AMQP"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := x.f.Performative()
			refused(t, err, x.condition, frame.ScopeConnection, x.text)
		})
	}
	if frame.New(0x19) != nil {
		t.Error("New makes what is no performative")
	}
}

func TestAppendFrameKeepsToTheMaximum(t *testing.T) {
	p := &frame.Open{ContainerID: strings.Repeat("c", 600), MaxFrameSize: frame.Unlimited, ChannelMax: math.MaxUint16}
	before := []byte("before")
	got, err := frame.AppendFrame(before, 0, p, frame.MinMax)
	refused(t, err, frame.FrameSizeTooSmall, frame.ScopeConnection, "open needs a frame of 625 bytes, the maximum is 512")
	if !bytes.Equal(got, before) {
		t.Errorf("dst is %q", got)
	}
	got, err = frame.AppendFrame(before, 7, p, 625)
	if err != nil {
		t.Fatal(err)
	}
	f, n, err := frame.Read(got[len(before):], 625)
	if err != nil || n != 625 || f.Channel != 7 {
		t.Fatalf("read %d bytes on channel %d, %v", n, f.Channel, err)
	}
	var again frame.Open
	if err := again.Decode(f.Body, generous); err != nil || !reflect.DeepEqual(&again, p) {
		t.Errorf("got %+v, %v", again, err)
	}
}

// A delivery of any size goes in frames that are full, of which only the last one says that nothing follows.
func TestAppendTransfer(t *testing.T) {
	for size := range 1200 {
		message := make([]byte, size)
		for i := range message {
			message[i] = byte(i)
		}
		head := message[:size/3]
		p := frame.Transfer{Handle: 3, DeliveryID: frame.Some(uint32(9)), DeliveryTag: []byte("tag"), MessageFormat: frame.Some(uint32(0)), Payload: message[size/3:]}
		var came []byte
		for frames := 0; ; frames++ {
			out, n, err := frame.AppendTransfer(nil, 1, &p, head, frame.MinMax)
			if err != nil {
				t.Fatal(err)
			}
			f, _, err := frame.Read(out, frame.MinMax)
			if err != nil {
				t.Fatal(err)
			}
			var got frame.Transfer
			if err := got.Decode(f.Body, generous); err != nil {
				t.Fatal(err)
			}
			if got.Handle != 3 || got.DeliveryID.Present != (frames == 0) || len(got.Payload) != n {
				t.Fatalf("size %d, frame %d: %+v", size, frames, got)
			}
			came = append(came, got.Payload...)
			if got.More != (len(came) < size) || got.More && len(out) != frame.MinMax {
				t.Fatalf("size %d, frame %d of %d bytes: %d came, more is %t", size, frames, len(out), len(came), got.More)
			}
			if !got.More {
				break
			}
			fromHead := min(n, len(head))
			p = frame.Transfer{Handle: 3, Payload: p.Payload[n-fromHead:]}
			head = head[fromHead:]
		}
		if !bytes.Equal(came, message) {
			t.Fatalf("size %d: the message is another one", size)
		}
	}
	p := frame.Transfer{DeliveryTag: make([]byte, 32), State: (&frame.Rejected{Error: &frame.Error{Condition: frame.Condition(strings.Repeat("c", 500))}}).State(), Payload: []byte("x")}
	got, n, err := frame.AppendTransfer([]byte("before"), 1, &p, nil, frame.MinMax)
	refused(t, err, frame.FrameSizeTooSmall, frame.ScopeSession, "transfer needs a frame of more than 512 bytes")
	if n != 0 || string(got) != "before" {
		t.Errorf("%d bytes of the message, dst is %q", n, got)
	}
}

// The frames that carry most messages are written and read without an allocation.
func TestHotPathsAllocateNothing(t *testing.T) {
	transfer := frame.Transfer{Handle: 1, DeliveryID: frame.Some(uint32(1000)), DeliveryTag: []byte("12345678"), MessageFormat: frame.Some(uint32(0)), Payload: whole(t)}
	disposition := frame.Disposition{Role: frame.Receiver, First: 7, Last: frame.Some(uint32(9)), Settled: true, State: frame.Accepted}
	transactional := frame.Disposition{Role: frame.Receiver, First: 7, State: (&frame.TransactionalState{TxnID: []byte("txn"), Outcome: frame.Accepted}).State()}
	flow := frame.Flow{IncomingWindow: 2048, OutgoingWindow: 2048, Handle: frame.Some(uint32(1)), LinkCredit: frame.Some(uint32(100))}
	var message frame.Message
	var state frame.TransactionalState
	buf := make([]byte, 0, 4096)
	encoded := [][]byte{transfer.Append(nil), disposition.Append(nil), flow.Append(nil), transactional.Append(nil)}
	for _, x := range []struct {
		name string
		do   func() error
	}{
		{"transfer written", func() error { _, _, err := frame.AppendTransfer(buf, 1, &transfer, nil, 4096); return err }},
		{"disposition written", func() error { _, err := frame.AppendDisposition(buf, 1, &disposition, 4096); return err }},
		{"flow written", func() error { _, err := frame.AppendFlow(buf, 1, &flow, 4096); return err }},
		{"transfer read", func() error { return transfer.Decode(encoded[0], generous) }},
		{"disposition read", func() error { return disposition.Decode(encoded[1], generous) }},
		{"flow read", func() error { return flow.Decode(encoded[2], generous) }},
		{"state of a transaction read", func() error {
			if err := disposition.Decode(encoded[3], generous); err != nil {
				return err
			}
			return state.Decode(disposition.State)
		}},
		{"frame read", func() error {
			f, _, err := frame.Read(frame.AppendHeartbeat(buf), 512)
			if err == nil && len(f.Body) > 0 {
				err = errors.New("body")
			}
			return err
		}},
		{"message scanned", func() error {
			if err := message.Scan(transfer.Payload, generous); err != nil {
				return err
			}
			for v := range message.Body() {
				if v.Kind() != frame.KindBinary {
					return errors.New("body")
				}
			}
			return nil
		}},
		{"properties written", func() error { message.Header.Append(buf); message.Properties.Append(buf); return nil }},
	} {
		if n := testing.AllocsPerRun(100, func() {
			if err := x.do(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", x.name, n)
		}
	}
}
