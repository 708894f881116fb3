package frame_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// examples are whole frames, written by hand from the grammar of the specification, with what they say.
var examples = []struct {
	name    string
	bytes   string
	channel uint16
	method  frame.Method
}{
	{"tune", "01 0000 0000000c 000a001e 07ff 00020000 003c ce", 0,
		&frame.ConnectionTune{ChannelMax: 2047, FrameMax: 131072, Heartbeat: 60}},
	{"open", "01 0000 00000008 000a0028 01 2f 00 00 ce", 0, &frame.ConnectionOpen{VirtualHost: "/"}},
	{"close", "01 0000 00000010 000a0032 0140 05 62 79 65 21 21 0000 0000 ce", 0,
		&frame.ConnectionClose{ReplyCode: 320, ReplyText: "bye!!"}},
	{"channel open", "01 0001 00000005 0014000a 00 ce", 1, &frame.ChannelOpen{}},
	{"queue declare", "01 0001 0000001d 0032000a 0000 01 71 0a 00000010 0c 782d6d61782d6c656e677468 75 ffff ce", 1,
		&frame.QueueDeclare{Queue: "q", Durable: true, AutoDelete: true, Arguments: frame.Table("\x0cx-max-lengthu\xff\xff")}},
	{"publish", "01 0001 0000000b 003c0028 0000 01 78 01 6b 01 ce", 1,
		&frame.BasicPublish{Exchange: []byte("x"), RoutingKey: []byte("k"), Mandatory: true}},
	{"ack", "01 0002 0000000d 003c0050 00000000000001f4 01 ce", 2, &frame.BasicAck{DeliveryTag: 500, Multiple: true}},
	{"nack", "01 0002 0000000d 003c0078 0000000000000007 02 ce", 2, &frame.BasicNack{DeliveryTag: 7, Requeue: true}},
}

func TestExamples(t *testing.T) {
	for _, x := range examples {
		t.Run(x.name, func(t *testing.T) {
			want := unhex(t, x.bytes)
			if got := frame.AppendMethod(nil, x.channel, x.method); !bytes.Equal(got, want) {
				t.Errorf("written: %x\nwant:    %x", got, want)
			}
			f, n, err := frame.Read(want, frame.MinMax)
			if err != nil || n != len(want) || f.Channel != x.channel || f.Type != frame.TypeMethod {
				t.Fatalf("read %+v, %d bytes, %v", f, n, err)
			}
			id, args, err := frame.CutID(f.Payload)
			if err != nil || id != x.method.ID() {
				t.Fatalf("method %v, %v", id, err)
			}
			m := id.New()
			if err := m.Decode(args); err != nil {
				t.Fatal(err)
			}
			if got := frame.AppendMethod(nil, x.channel, m); !bytes.Equal(got, want) {
				t.Errorf("read and written: %x\nwant:             %x", got, want)
			}
		})
	}
}

func TestReadIncomplete(t *testing.T) {
	whole := frame.AppendMethod(nil, 1, &frame.QueueDeclare{Queue: "orders"})
	for n := range whole {
		if _, got, err := frame.Read(whole[:n], frame.MinMax); got != 0 || err != nil {
			t.Errorf("%d of %d bytes: read %d, %v", n, len(whole), got, err)
		}
	}
	if got := frame.Size(whole[:7]); got != len(whole) {
		t.Errorf("size %d, want %d", got, len(whole))
	}
}

func TestReadRefuses(t *testing.T) {
	for _, x := range []struct{ name, bytes, text string }{
		{"unknown type", "04 0000 00000000 ce", "unknown frame type 4"},
		{"unknown type, first byte alone", "16", "unknown frame type 22"},
		{"too long", "03 0001 00000ff9 ", "frame of 4097 bytes is larger than the maximum of 4096"},
		{"longer than memory", "03 0001 ffffffff ", "frame of 4294967303 bytes is larger than the maximum of 4096"},
		{"wrong end", "08 0000 00000000 cd", "frame ends with 0xcd, not 0xce"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, _, err := frame.Read(unhex(t, x.bytes), frame.MinMax)
			var e *frame.Error
			if !errors.As(err, &e) || e.Code != frame.FrameError || e.Text != x.text {
				t.Errorf("got %v, want %s", err, x.text)
			}
		})
	}
}

func TestMethodRefuses(t *testing.T) {
	for _, x := range []struct {
		name, bytes string
		id          frame.ID
		text        string
	}{
		{"short field", "00", frame.BasicQosID, "long is cut short"},
		{"string", "0000 05 6162", frame.QueueDeleteID, "short string is cut short"},
		{"table", "0000 00 00 7fffffff", frame.QueueDeclareID, "table is cut short"},
		{"more than its fields", "0000000000000001 00 00", frame.BasicAckID, "1 bytes follow the last field"},
	} {
		t.Run(x.name, func(t *testing.T) {
			err := x.id.New().Decode(unhex(t, x.bytes))
			var e *frame.Error
			if !errors.As(err, &e) || e.Code != frame.SyntaxError || e.Text != x.text {
				t.Errorf("got %v, want %s", err, x.text)
			}
		})
	}
}

func TestContent(t *testing.T) {
	p := (&frame.Basic{ContentType: []byte("text/plain"), DeliveryMode: 2, Priority: 5}).Append(nil)
	body := bytes.Repeat([]byte("0123456789"), 1000)
	raw := frame.AppendContent(nil, 3, p, body, frame.MinMax)
	f, n, err := frame.Read(raw, frame.MinMax)
	if err != nil || f.Type != frame.TypeHeader {
		t.Fatalf("%v, %v", f.Type, err)
	}
	var h frame.ContentHeader
	if err := h.Decode(f.Payload); err != nil || h.Class != frame.ClassBasic || h.BodySize != uint64(len(body)) || !bytes.Equal(h.Properties, p) {
		t.Fatalf("header %+v, %v", h, err)
	}
	var got []byte
	for raw = raw[n:]; len(raw) > 0; raw = raw[n:] {
		if f, n, err = frame.Read(raw, frame.MinMax); err != nil || n == 0 || f.Type != frame.TypeBody || f.Channel != 3 {
			t.Fatalf("%+v, %d bytes, %v", f, n, err)
		}
		got = append(got, f.Payload...)
	}
	if !bytes.Equal(got, body) {
		t.Errorf("body of %d bytes differs from %d sent", len(got), len(body))
	}
}

func TestContentHeaderRefuses(t *testing.T) {
	for _, x := range []struct{ name, bytes, text string }{
		{"cut", "003c 0000 00000000", "longlong is cut short"},
		{"weight", "003c 0001 0000000000000000 0000", "content header has weight 1"},
		{"no flags", "003c 0000 0000000000000000", "content header has no property flags"},
	} {
		t.Run(x.name, func(t *testing.T) {
			var h frame.ContentHeader
			if err := h.Decode(unhex(t, x.bytes)); err == nil || err.Error() != x.text {
				t.Errorf("got %v, want %s", err, x.text)
			}
		})
	}
}

func full() frame.Basic {
	return frame.Basic{
		ContentType: []byte("application/json"), ContentEncoding: []byte("gzip"), Headers: frame.NewTable(map[string]any{"a": int64(1)}),
		DeliveryMode: 2, Priority: 9, CorrelationID: []byte("c"), ReplyTo: []byte("r"), Expiration: []byte("60000"),
		MessageID: []byte("m"), Timestamp: 1700000000, Type: []byte("t"), UserID: []byte("guest"), AppID: []byte("app"), ClusterID: []byte("x"),
	}
}

var generous = frame.Limits{Depth: 8, Entries: 100}

func TestProperties(t *testing.T) {
	b := full()
	raw := frame.Properties(b.Append(nil))
	var back frame.Basic
	if err := back.Decode(raw); err != nil {
		t.Fatal(err)
	}
	if again := back.Append(nil); !bytes.Equal(again, raw) {
		t.Errorf("written again: %x\nwant:          %x", again, raw)
	}
	var s frame.Summary
	err := raw.Scan(generous, &s)
	if err != nil || s.DeliveryMode != 2 || s.Priority != 9 || string(s.Expiration) != "60000" || string(s.UserID) != "guest" || !bytes.Equal(s.Headers, b.Headers) {
		t.Errorf("scanned %+v, %v", s, err)
	}
	for n := range raw {
		if err := raw[:n].Scan(generous, new(frame.Summary)); err == nil {
			t.Errorf("%d of %d bytes pass", n, len(raw))
		}
		if err := back.Decode(raw[:n]); err == nil {
			t.Errorf("%d of %d bytes decode", n, len(raw))
		}
	}
	if err := (frame.Properties{0, 1}).Scan(generous, new(frame.Summary)); err == nil {
		t.Error("a flag of no property passes")
	}
}

// TestGenerated holds that methods_gen.go is what the generator makes of methods.txt today.
func TestGenerated(t *testing.T) {
	out := filepath.Join(t.TempDir(), "methods_gen.go")
	if msg, err := exec.Command("go", "run", "../../../hack/amqp091methods", "methods.txt", out).CombinedOutput(); err != nil {
		t.Fatalf("generator: %v\n%s", err, msg)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if want, err := os.ReadFile("methods_gen.go"); err != nil || !bytes.Equal(got, want) {
		t.Error("methods_gen.go is not what methods.txt says: run go generate ./broker/amqp091/frame")
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	publish := frame.BasicPublish{Exchange: []byte("amq.topic"), RoutingKey: []byte("a.b.c")}
	wire := publish.Append(nil)
	b := full()
	properties := frame.Properties(b.Append(nil))
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		var p frame.BasicPublish
		if p.Decode(wire) != nil {
			panic("publish")
		}
		if err := properties.Scan(generous, new(frame.Summary)); err != nil {
			panic(err)
		}
		dst = frame.AppendDeliver(dst[:0], 1, &frame.BasicDeliver{ConsumerTag: "tag", DeliveryTag: 1, Exchange: "x", RoutingKey: "k"})
		dst = frame.AppendContent(dst, 1, properties, wire, frame.MinMax)
		dst = frame.AppendAck(dst, 1, &frame.BasicAck{DeliveryTag: 1})
		var a frame.BasicAck
		if a.Decode(dst[len(dst)-10:len(dst)-1]) != nil {
			panic("ack")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPublish(b *testing.B) {
	raw := frame.AppendPublish(nil, 1, &frame.BasicPublish{Exchange: []byte("amq.topic"), RoutingKey: []byte("a.b.c")})
	raw = frame.AppendContent(raw, 1, frame.Properties{0x10, 0, 1}, make([]byte, 64), frame.MinMax)
	for b.Loop() {
		for rest := raw; len(rest) > 0; {
			f, n, err := frame.Read(rest, frame.MinMax)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
			switch f.Type {
			case frame.TypeMethod:
				var m frame.BasicPublish
				err = m.Decode(f.Payload[4:])
			case frame.TypeHeader:
				var h frame.ContentHeader
				if err = h.Decode(f.Payload); err == nil {
					err = h.Properties.Scan(generous, new(frame.Summary))
				}
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
