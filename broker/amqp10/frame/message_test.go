package frame_test

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// sections are all of a message, in their order.
func sections(t testing.TB) []frame.Section {
	t.Helper()
	header := frame.Header{Durable: true, Priority: 7, TTL: frame.Some(uint32(60000)), FirstAcquirer: true, DeliveryCount: 2}
	annotations := frame.Map(frame.AppendUlong(frame.AppendSymbol(nil, "x-opt-sequence"), 12))
	return []frame.Section{
		header.Append(nil),
		frame.AppendMapSection(nil, frame.CodeDeliveryAnnotations, annotations),
		frame.AppendMapSection(nil, frame.CodeMessageAnnotations, annotations),
		properties(t).Append(nil),
		frame.AppendMapSection(nil, frame.CodeApplicationProperties, frame.AppendTimestamp(frame.AppendString(nil, "at"), 5)),
		frame.AppendData(nil, []byte("first")),
		frame.AppendData(nil, []byte(text)),
		frame.AppendMapSection(nil, frame.CodeFooter, nil),
	}
}

func properties(t testing.TB) *frame.Properties {
	t.Helper()
	return &frame.Properties{
		MessageID: readValue(t, frame.AppendUlong(nil, 300)), UserID: []byte("guest"), To: []byte("/queues/orders"), Subject: []byte("s"),
		ReplyTo: []byte("r"), CorrelationID: readValue(t, frame.AppendUUID(nil, [16]byte{1})), ContentType: []byte("text/plain"), ContentEncoding: []byte("gzip"),
		AbsoluteExpiryTime: frame.Some(int64(1700000000000)), CreationTime: frame.Some(int64(1600000000000)), GroupID: []byte("g"), GroupSequence: frame.Some(uint32(4)), ReplyToGroupID: []byte("h"),
	}
}

// whole is a message with all sections.
func whole(t testing.TB) (b []byte) {
	t.Helper()
	for _, s := range sections(t) {
		b = append(b, s...)
	}
	return b
}

// TestScan: 3 §3.2, 3 §3.2.1 to 3 §3.2.14
func TestScan(t *testing.T) {
	all := sections(t)
	src := whole(t)
	var m frame.Message
	if err := m.Scan(src, generous); err != nil {
		t.Fatal(err)
	}
	want := frame.Message{
		Header:     frame.Header{Durable: true, Priority: 7, TTL: frame.Some(uint32(60000)), FirstAcquirer: true, DeliveryCount: 2},
		Properties: *properties(t),
		Sections: frame.Sections{Header: all[0], DeliveryAnnotations: all[1], MessageAnnotations: all[2], Properties: all[3], ApplicationProperties: all[4],
			Body: append(bytes.Clone(all[5]), all[6]...), Footer: all[7], Bare: bytes.Join([][]byte{all[3], all[4], all[5], all[6]}, nil)},
		BodyType: frame.CodeData, BodyCount: 2,
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got  %+v\nwant %+v", m, want)
	}
	var body []string
	for v := range m.Body() {
		b, _ := v.Bytes()
		body = append(body, string(b))
	}
	if !reflect.DeepEqual(body, []string{"first", text}) {
		t.Errorf("body is %q", body)
	}
	if v, ok := m.Sections.MessageAnnotations.Map().Lookup("x-opt-sequence"); !ok || plain(t, v) != uint64(12) {
		t.Error("annotation is lost")
	}
	if v, ok := m.Sections.ApplicationProperties.Map().Lookup("at"); !ok || plain(t, v) != int64(5) {
		t.Error("application property is lost")
	}
	if m.Sections.Footer.Map() == nil || frame.Section(nil).Map() != nil || m.Sections.Body.Map() != nil {
		t.Error("the map of a section is there or not as it should")
	}
	var h frame.Header
	var p frame.Properties
	if err := h.Decode(all[0]); err != nil || h != want.Header {
		t.Errorf("header is %+v, %v", h, err)
	}
	if err := p.Decode(all[3]); err != nil || !reflect.DeepEqual(p, want.Properties) {
		t.Errorf("properties are %+v, %v", p, err)
	}
	// A message that ends within a section is refused, one that ends behind one is whole.
	ends := map[int]bool{0: true}
	n := 0
	for _, s := range all {
		n += len(s)
		ends[n] = true
	}
	for n := range src {
		if err := m.Scan(src[:n], generous); (err == nil) != ends[n] {
			t.Errorf("%d of %d bytes: %v", n, len(src), err)
		}
	}
}

// TestBodies: 3 §3.2.6 to 3 §3.2.8
func TestBodies(t *testing.T) {
	list := frame.List(frame.AppendUint(frame.AppendString(nil, "a"), 1))
	declare := readValue(t, (&frame.Declare{}).Append(nil))
	for _, x := range []struct {
		name  string
		src   []byte
		kind  frame.Descriptor
		count int
		want  []any
	}{
		{"none", nil, 0, 0, nil},
		{"empty data", frame.AppendData(nil, nil), frame.CodeData, 1, []any{""}},
		{"sequences", frame.AppendSequence(frame.AppendSequence(nil, list), nil), frame.CodeSequence, 2, []any{[]any{"a", uint64(1)}, []any{}}},
		{"value", frame.AppendValue(nil, readValue(t, frame.AppendString(nil, "v"))), frame.CodeValue, 1, []any{"v"}},
		{"null", frame.AppendValue(nil, frame.Value{}), frame.CodeValue, 1, []any{nil}},
		{"described value", frame.AppendValue(nil, declare), frame.CodeValue, 1, []any{[]any{}}},
		{"symbolic descriptor", append([]byte("\x00\xa3\x10amqp:data:binary"), 0xa0, 0), frame.CodeData, 1, []any{""}},
	} {
		t.Run(x.name, func(t *testing.T) {
			var m frame.Message
			if err := m.Scan(x.src, generous); err != nil {
				t.Fatal(err)
			}
			var got []any
			for v := range m.Body() {
				got = append(got, plain(t, v))
				if x.name == "described value" && v.Type() != frame.CodeDeclare {
					t.Errorf("described as %s", v.Type())
				}
			}
			if m.BodyType != x.kind || m.BodyCount != x.count || !reflect.DeepEqual(got, x.want) {
				t.Errorf("%d of %s: %v", m.BodyCount, m.BodyType, got)
			}
			if !bytes.Equal(m.Sections.Bare, x.src) || !reflect.DeepEqual(m.Header, frame.NoHeader) {
				t.Errorf("bare message is %x, header %+v", m.Sections.Bare, m.Header)
			}
		})
	}
}

// TestScanRefuses: 3 §3.2.5, 3 §3.2.10
func TestScanRefuses(t *testing.T) {
	const decode, limit = frame.DecodeError, frame.ResourceLimitExceeded
	data := "00 53 75 a0 00"
	for _, x := range []struct {
		name, bytes string
		condition   frame.Condition
		text        string
	}{
		{"no section", "45", decode, "a section of the message is not described"},
		{"unknown section", "00 53 79 45", decode, "message has a section of the unknown type 0x79"},
		{"unknown symbol", "00 a3 01 78 45", decode, `message has a section of the unknown type "x"`},
		{"descriptor of no ASCII", "00 a3 01 ff 45", decode, "symbol is not ASCII"},
		{"header twice", "00 53 70 45 00 53 70 45", decode, "message has more than one section header"},
		{"header last", data + "00 53 70 45", decode, "message has a section header after data"},
		{"annotations in the wrong order", "00 53 72 c1 01 00 00 53 71 c1 01 00", decode, "message has a section delivery-annotations after message-annotations"},
		{"data after a value", "00 53 77 40" + data, decode, "message has a section data after amqp-value"},
		{"value after data", data + "00 53 77 40", decode, "message has a section amqp-value after data"},
		{"two values", "00 53 77 40 00 53 77 40", decode, "message has more than one section amqp-value"},
		{"data after the footer", "00 53 78 c1 01 00" + data, decode, "message has a section data after footer"},
		{"header that is a map", "00 53 70 c1 01 00", decode, "header is no list"},
		{"header of six fields", "00 53 70 c0 07 06 40 40 40 40 40 40", decode, "header has 1 fields too many"},
		{"priority", "00 53 70 c0 03 02 40 43", decode, "priority of header is no ubyte, but encoded as 0x43"},
		{"properties of a wrong type", "00 53 73 c0 03 02 40 43", decode, "user-id of properties is no binary, but encoded as 0x43"},
		{"message-id", "00 53 73 c0 02 01 43", decode, "message-id of properties is no ulong, uuid, binary or string, but encoded as 0x43"},
		{"described message-id", "00 53 73 c0 06 01 00 53 01 a1 00", decode, "message-id of properties is no ulong, uuid, binary or string, but encoded as 0x00"},
		{"creation-time", "00 53 73 c0 0b 0a 40 40 40 40 40 40 40 40 40 43", decode, "creation-time of properties is no timestamp, but encoded as 0x43"},
		{"creation-time, cut short", "00 53 73 c0 0d 0a 40 40 40 40 40 40 40 40 40 83 00 00", decode, "timestamp is cut short"},
		{"content-type of no ASCII", "00 53 73 c0 0a 07 40 40 40 40 40 40 a3 01 ff", decode, "content-type of properties is not ASCII"},
		{"content-type, cut short", "00 53 73 c0 0a 07 40 40 40 40 40 40 a3 02 61", decode, "symbol is cut short"},
		{"data that is a string", "00 53 75 a1 00", decode, "data is no binary"},
		{"data described twice", "00 53 75 00 53 75 a0 00", decode, "data is no binary"},
		{"sequence that is a map", "00 53 76 c1 01 00", decode, "amqp-sequence is no list"},
		{"annotations of null", "00 53 72 40", decode, "message-annotations is no map"},
		{"annotation with a string for key", "00 53 72 c1 05 02 a1 01 61 40", decode, "message-annotations has a key that is neither symbol nor ulong"},
		{"application property with a symbol for key", "00 53 74 c1 05 02 a3 01 61 40", decode, "application-properties has a key that is no string"},
		{"application property that is a list", "00 53 74 c1 05 02 a1 01 61 45", decode, "application-properties has a value of no simple type"},
		{"application property that is described", "00 53 74 c1 08 02 a1 01 61 00 53 01 40", decode, "application-properties has a value of no simple type"},
		{"application property twice", "00 53 74 c1 09 04 a1 01 61 40 a1 01 61 40", decode, "map has a key twice"},
		{"sections without end", strings.Repeat(data, 11), limit, "there are too many elements in lists, maps and arrays"},
		{"value without end", "00 53 77 f0 00000005 ffffffff 40", limit, "there are too many elements in lists, maps and arrays"},
		{"value that is nested", "00 53 77 c0 0b 01 c0 08 01 c0 05 01 c0 02 01 40", limit, "values are nested too deeply"},
	} {
		t.Run(x.name, func(t *testing.T) {
			var m frame.Message
			err := m.Scan(unhex(t, x.bytes), frame.Limits{Depth: 3, Elements: 10})
			refused(t, err, x.condition, frame.ScopeLink, x.text)
		})
	}
}

// What is written as a message is found in it.
func TestRandomMessages(t *testing.T) {
	const seed = 3
	r := random{rand.New(rand.NewPCG(seed, seed))}
	for i := range 500 {
		var src []byte
		header, properties := frame.NoHeader, frame.Properties{}
		if r.maybe() {
			r.fill(t, reflect.ValueOf(&header).Elem())
			src = header.Append(src)
		}
		annotations := r.mapping(2)
		src = frame.AppendMapSection(src, frame.CodeMessageAnnotations, annotations)
		bare := len(src)
		if r.maybe() {
			r.fill(t, reflect.ValueOf(&properties).Elem())
			src = properties.Append(src)
		}
		body := readValue(t, r.value(nil, 3))
		src = frame.AppendValue(src, body)
		end := len(src)
		if r.maybe() {
			src = frame.AppendMapSection(src, frame.CodeFooter, r.mapping(1))
		}
		var m frame.Message
		if err := m.Scan(src, generous); err != nil {
			t.Fatalf("seed %d, %d: %v of %x", seed, i, err, src)
		}
		if m.Header != header || !reflect.DeepEqual(m.Properties, properties) || !bytes.Equal(m.Sections.Bare, src[bare:end]) || !bytes.Equal(m.Sections.MessageAnnotations.Map(), annotations) {
			t.Fatalf("seed %d, %d: %x is %+v", seed, i, src, m)
		}
		for v := range m.Body() {
			if !bytes.Equal(v.Append(nil), body.Append(nil)) {
				t.Fatalf("seed %d, %d: the value is another one", seed, i)
			}
		}
	}
}
