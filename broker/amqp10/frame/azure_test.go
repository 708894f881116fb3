package frame_test

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

func pointer[T any](v T) *T { return &v }

// theirs is a message of another codec, with as many types as it writes.
func theirs() *amqp.Message {
	at := time.UnixMilli(1700000000123).UTC()
	return &amqp.Message{
		Header:              &amqp.MessageHeader{Durable: true, Priority: 9, TTL: 1500 * time.Millisecond, DeliveryCount: 3},
		DeliveryAnnotations: amqp.Annotations{"x-opt-a": int64(-5)},
		Annotations:         amqp.Annotations{"x-opt-b": amqp.Symbol("symbol")},
		Properties: &amqp.MessageProperties{MessageID: uint64(300), UserID: []byte("guest"), To: pointer("/queues/orders"), Subject: pointer("s"), ReplyTo: pointer("r"),
			CorrelationID: "c", ContentType: pointer("text/plain"), ContentEncoding: pointer("gzip"), AbsoluteExpiryTime: &at, CreationTime: &at,
			GroupID: pointer("g"), GroupSequence: pointer(uint32(4)), ReplyToGroupID: pointer("h")},
		ApplicationProperties: map[string]any{"bool": true, "ubyte": uint8(1), "ushort": uint16(2), "uint": uint32(0), "uint1": uint32(300), "ulong": uint64(1 << 40), "byte": int8(-1),
			"short": int16(-2), "int": int32(-3), "int1": int32(-300), "long": int64(-4), "float": float32(1.5), "double": 2.5, "time": at, "uuid": amqp.UUID{1, 2}, "binary": []byte{0, 255},
			"string": "€", "symbol": amqp.Symbol("y"), "long string": text, "null": nil},
		Data:   [][]byte{[]byte("first"), []byte(text)},
		Footer: amqp.Annotations{"x-opt-f": "f"},
	}
}

// go-amqp is a codec that knows nothing of this one.
func TestMessageOfGoAMQP(t *testing.T) {
	src, err := theirs().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var m frame.Message
	if err := m.Scan(src, generous); err != nil {
		t.Fatal(err)
	}
	if want := (frame.Header{Durable: true, Priority: 9, TTL: frame.Some(uint32(1500)), DeliveryCount: 3}); m.Header != want {
		t.Errorf("header is %+v", m.Header)
	}
	p := &m.Properties
	for _, x := range []struct{ got, want any }{
		{plain(t, p.MessageID), uint64(300)}, {string(p.UserID), "guest"}, {string(p.To), "/queues/orders"}, {string(p.Subject), "s"}, {string(p.ReplyTo), "r"},
		{plain(t, p.CorrelationID), "c"}, {string(p.ContentType), "text/plain"}, {string(p.ContentEncoding), "gzip"}, {p.AbsoluteExpiryTime, frame.Some(int64(1700000000123))},
		{p.CreationTime, frame.Some(int64(1700000000123))}, {string(p.GroupID), "g"}, {p.GroupSequence, frame.Some(uint32(4))}, {string(p.ReplyToGroupID), "h"},
	} {
		if x.got != x.want {
			t.Errorf("got %v, want %v", x.got, x.want)
		}
	}
	got := map[string]any{}
	for k, v := range m.Sections.ApplicationProperties.Map().All() {
		b, _ := k.Bytes()
		got[string(b)] = plain(t, v)
	}
	want := map[string]any{"bool": true, "ubyte": uint64(1), "ushort": uint64(2), "uint": uint64(0), "uint1": uint64(300), "ulong": uint64(1 << 40), "byte": int64(-1),
		"short": int64(-2), "int": int64(-3), "int1": int64(-300), "long": int64(-4), "float": 1.5, "double": 2.5, "time": int64(1700000000123), "uuid": [16]byte{1, 2}, "binary": "\x00\xff",
		"string": "€", "symbol": "y", "long string": text, "null": nil}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	var body []string
	for v := range m.Body() {
		b, _ := v.Bytes()
		body = append(body, string(b))
	}
	if !reflect.DeepEqual(body, []string{"first", text}) {
		t.Errorf("body is %q", body)
	}
	if v, _ := m.Sections.MessageAnnotations.Map().Lookup("x-opt-b"); v.Kind() != frame.KindSymbol || plain(t, v) != "symbol" {
		t.Errorf("annotation is %v", plain(t, v))
	}
}

// What this codec reads and writes anew is for the other one what it was.
func TestGoAMQPReadsWhatIsWritten(t *testing.T) {
	src, err := theirs().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var want amqp.Message // as it reads its own, since it reads some types as others
	if err := want.UnmarshalBinary(src); err != nil {
		t.Fatal(err)
	}
	var m frame.Message
	if err := m.Scan(src, generous); err != nil {
		t.Fatal(err)
	}
	s := &m.Sections
	again := m.Header.Append(nil)
	again = frame.AppendMapSection(again, frame.CodeDeliveryAnnotations, s.DeliveryAnnotations.Map())
	again = frame.AppendMapSection(again, frame.CodeMessageAnnotations, s.MessageAnnotations.Map())
	again = m.Properties.Append(again)
	again = frame.AppendMapSection(again, frame.CodeApplicationProperties, s.ApplicationProperties.Map())
	for v := range m.Body() {
		b, _ := v.Bytes()
		again = frame.AppendData(again, b)
	}
	again = frame.AppendMapSection(again, frame.CodeFooter, s.Footer.Map())
	var got amqp.Message
	if err := got.UnmarshalBinary(again); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Header, want.Header) || !reflect.DeepEqual(got.Properties, want.Properties) || !reflect.DeepEqual(got.ApplicationProperties, want.ApplicationProperties) {
		t.Errorf("got  %+v %+v %+v\nwant %+v %+v %+v", got.Header, got.Properties, got.ApplicationProperties, want.Header, want.Properties, want.ApplicationProperties)
	}
	if !reflect.DeepEqual(got.Annotations, want.Annotations) || !reflect.DeepEqual(got.DeliveryAnnotations, want.DeliveryAnnotations) || !reflect.DeepEqual(got.Footer, want.Footer) || !reflect.DeepEqual(got.Data, want.Data) {
		t.Errorf("got %+v", got)
	}
}

// Every encoding that both know has one value.
func TestGoAMQPReadsEncodings(t *testing.T) {
	list := frame.List{}
	var want []any
	for _, x := range encodings {
		switch x.kind {
		case frame.KindUint, frame.KindUlong, frame.KindInt, frame.KindLong, frame.KindBoolean, frame.KindString, frame.KindDouble:
			list = append(list, unhex(t, x.bytes)...)
			want = append(want, x.want)
		}
	}
	var m amqp.Message
	if err := m.UnmarshalBinary(frame.AppendSequence(nil, list)); err != nil {
		t.Fatal(err)
	}
	if len(m.Sequence) != 1 || len(m.Sequence[0]) != len(want) {
		t.Fatalf("got %v", m.Sequence)
	}
	for i, v := range m.Sequence[0] {
		switch n := v.(type) {
		case uint32:
			v = uint64(n)
		case int32:
			v = int64(n)
		}
		if v != want[i] {
			t.Errorf("got %v, want %v", v, want[i])
		}
	}
	// and the other way round
	src, err := m.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var ours frame.Message
	if err := ours.Scan(src, generous); err != nil {
		t.Fatal(err)
	}
	for v := range ours.Body() {
		if !reflect.DeepEqual(plain(t, v), want) {
			t.Errorf("got %v, want %v", plain(t, v), want)
		}
	}
	if !bytes.Contains(src, []byte{0x44}) {
		t.Error("no ulong0 was written")
	}
}
