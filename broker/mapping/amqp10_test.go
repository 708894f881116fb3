package mapping

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	basic "github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// amqp10Message makes a message of AMQP 1.0 as the endpoint stores it.
func amqp10Message(annotations frame.Map, p *frame.Properties, application frame.Map, body []byte) *message.Message {
	var properties []byte
	if annotations != nil {
		properties = frame.AppendMapSection(properties, frame.CodeMessageAnnotations, annotations)
	}
	if p != nil {
		properties = p.Append(properties)
	}
	if application != nil {
		properties = frame.AppendMapSection(properties, frame.CodeApplicationProperties, application)
	}
	return &message.Message{Encoding: message.AMQP10, Key: "k", Priority: frame.DefaultPriority, Properties: properties, Payload: body, Owned: true}
}

// scanned is a message as a consumer of AMQP 1.0 sees it.
func scanned(t *testing.T, m *message.Message) *frame.Message {
	t.Helper()
	s := new(frame.Message)
	if err := s.Scan(append(AppendAMQP10(nil, m, nil), m.Payload...), unlimited); err != nil {
		t.Fatalf("%v\n% x", err, AppendAMQP10(nil, m, nil))
	}
	return s
}

// viaAMQP091 is what a client of AMQP 0-9-1 publishes that publishes what it received.
func viaAMQP091(m *message.Message) *message.Message {
	key, p, _ := AMQP091(m, nil, 1<<20)
	var s basic.Summary
	if err := p.Scan(basic.Limits{Depth: 100, Entries: 10000}, &s); err != nil {
		panic(err)
	}
	return &message.Message{Encoding: message.AMQP091, Key: key, Properties: bytes.Clone(p), Payload: bytes.Clone(Payload(m)), Priority: s.Priority, Durable: s.DeliveryMode == 2, Owned: true}
}

// viaMQTT is the same of a client of MQTT 5.
func viaMQTT(m *message.Message) *message.Message {
	p := AppendMQTT(nil, m)
	publish := packet.Publish{Topic: []byte("t"), Properties: p}
	if err := new(packet.Publish).Decode(publish.Append(nil, packet.V5), packet.V5); err != nil {
		panic(fmt.Sprintf("%v: % x", err, p))
	}
	return &message.Message{Encoding: message.MQTT, Key: m.Topic(), Properties: bytes.Clone(p), Payload: bytes.Clone(Payload(m)), Owned: true}
}

// randomID is a message-id or correlation-id of any type.
func randomID(r *rand.Rand) frame.Value {
	texts := []string{"id" + text(r, 20), "12", textOfUUID([16]byte{1, 2, 3}), strings.Repeat("long", 100)}
	var b []byte
	switch r.IntN(5) {
	case 0:
		b = frame.AppendUlong(nil, r.Uint64())
	case 1:
		b = frame.AppendUUID(nil, [16]byte{byte(r.Uint32()), 2, 3})
	case 2:
		b = frame.AppendBinary(nil, texts[r.IntN(len(texts))])
	case 3:
		b = frame.AppendBinary(nil, []byte{0xff, 0, byte(r.Uint32())})
	default:
		b = frame.AppendString(nil, texts[r.IntN(len(texts))])
	}
	return valueOf(b)
}

func randomProperties(r *rand.Rand) *frame.Properties {
	p := &frame.Properties{}
	maybe := func() bool { return r.IntN(2) == 0 }
	if maybe() {
		p.MessageID = randomID(r)
	}
	if maybe() {
		p.CorrelationID = randomID(r)
	}
	for _, f := range []*[]byte{&p.To, &p.Subject, &p.GroupID, &p.ReplyToGroupID} {
		if maybe() {
			*f = []byte("v" + text(r, 60))
		}
	}
	if maybe() {
		p.ReplyTo = []byte([]string{"/queues/a", "/queues/a%2Fb", "/topic/a.b", "/exchanges/x/k", "plain", "amqp://host/q", "/queues/a/b"}[r.IntN(7)])
	}
	for _, f := range []*[]byte{&p.ContentType, &p.ContentEncoding} {
		if maybe() {
			*f = []byte("text/plain")
		}
	}
	if maybe() {
		p.AbsoluteExpiryTime = frame.Some(r.Int64N(1 << 45))
	}
	if maybe() {
		p.CreationTime = frame.Some(1000 * (1 + r.Int64N(1<<32)))
		if maybe() {
			p.CreationTime.Value += r.Int64N(1000)
		}
	}
	if maybe() {
		p.GroupSequence = frame.Some(r.Uint32())
	}
	return p
}

// randomSimple is a value whose type AMQP 0-9-1 has too.
func randomSimple(r *rand.Rand) []byte {
	switch r.IntN(11) {
	case 0:
		return frame.AppendBool(nil, r.IntN(2) == 0)
	case 1:
		return frame.AppendUbyte(nil, uint8(r.Uint32()))
	case 2:
		return frame.AppendUshort(nil, uint16(r.Uint32()))
	case 3:
		return frame.AppendUint(nil, r.Uint32())
	case 4:
		return frame.AppendByte(nil, int8(r.Uint32()))
	case 5:
		return frame.AppendShort(nil, int16(r.Uint32()))
	case 6:
		return frame.AppendInt(nil, r.Int32())
	case 7:
		return frame.AppendLong(nil, r.Int64()-math.MaxInt64/2)
	case 8:
		return frame.AppendDouble(nil, r.NormFloat64())
	case 9:
		return frame.AppendFloat(nil, float32(r.NormFloat64()))
	}
	return frame.AppendString(nil, text(r, 30))
}

func randomApplication(r *rand.Rand, value func(*rand.Rand) []byte) (m frame.Map) {
	names := []string{"a", "color", "é", "", "long name " + strings.Repeat("n", 200)}
	for _, i := range r.Perm(len(names))[:r.IntN(len(names))] {
		m = append(frame.AppendString(m, names[i]), value(r)...)
	}
	return m
}

func randomAnnotations(r *rand.Rand) (m frame.Map) {
	names := []string{"x-a", "x-opt-b", "x-basic-type", "x-basic-app-id"}
	for _, i := range r.Perm(len(names))[:r.IntN(len(names))] {
		m = frame.AppendSymbol(m, names[i])
		switch {
		case strings.HasPrefix(names[i], "x-basic-"):
			m = frame.AppendString(m, "b"+text(r, 20))
		case r.IntN(3) == 0:
			m = frame.AppendList(m, append(randomSimple(r), frame.AppendMap(nil, append(frame.AppendString(nil, "k"), randomSimple(r)...))...))
		default:
			m = append(m, randomSimple(r)...)
		}
	}
	return m
}

func randomBody(r *rand.Rand) []byte {
	switch r.IntN(5) {
	case 0:
		return frame.AppendValue(nil, valueOf(frame.AppendString(nil, text(r, 300))))
	case 1:
		return frame.AppendValue(nil, valueOf(randomSimple(r)))
	case 2:
		return frame.AppendSequence(frame.AppendSequence(nil, randomSimple(r)), randomSimple(r))
	}
	return frame.AppendData(nil, []byte(text(r, 300)))
}

// plain describes a message so that two can be compared: maps without an order, properties by their fields.
func plain(t *testing.T, m *message.Message) string {
	t.Helper()
	s := scanned(t, m)
	var b strings.Builder
	describe := func(m frame.Map) {
		var all []string
		for k, v := range m.All() {
			if name, _ := k.Bytes(); !slices.Contains([]string{annotationExchange, annotationKey}, string(name)) && !strings.HasPrefix(string(name), headersOfMQTT) {
				all = append(all, fmt.Sprintf("%s: %v % x\n", name, v.Kind(), v.Append(nil)))
			}
		}
		slices.Sort(all)
		b.WriteString(strings.Join(all, "") + "--\n")
	}
	describe(s.Sections.MessageAnnotations.Map())
	for _, f := range reflect.ValueOf(s.Properties).Fields() {
		switch v := f.Interface().(type) {
		case frame.Value:
			fmt.Fprintf(&b, "%v % x|", v.Kind(), v.Append(nil))
		case []byte:
			fmt.Fprintf(&b, "%q|", v)
		default:
			fmt.Fprintf(&b, "%v|", v)
		}
	}
	b.WriteString("\n--\n")
	describe(s.Sections.ApplicationProperties.Map())
	fmt.Fprintf(&b, "%v %x priority %d", s.BodyType, []byte(s.Sections.Body), Priority(m))
	return b.String()
}

// TestAMQP10ToAMQP091AndBack: what a client of 0-9-1 publishes again that it received is what it was.
func TestAMQP10ToAMQP091AndBack(t *testing.T) {
	r := random(t)
	for range rounds / 4 {
		m := amqp10Message(randomAnnotations(r), randomProperties(r), randomApplication(r, randomSimple), randomBody(r))
		m.Priority = uint8(r.Uint32())
		encoded := slices.ContainsFunc([]frame.Descriptor{frame.CodeSequence, frame.CodeValue}, func(d frame.Descriptor) bool { return scanned(t, m).BodyType == d })
		if encoded && bytes.Contains(m.Properties, []byte("x-basic-type")) {
			continue // there is one place for both
		}
		want, got := plain(t, m), plain(t, viaAMQP091(m))
		if want != got {
			t.Fatalf("%s\ncomes back as\n%s", want, got)
		}
	}
}

// TestAMQP10ToMQTTAndBack: values of application properties become text, annotations other than texts may not come back.
func TestAMQP10ToMQTTAndBack(t *testing.T) {
	r := random(t)
	texts := func(r *rand.Rand) []byte { return frame.AppendString(nil, "v"+text(r, 30)) }
	for range rounds / 4 {
		p := randomProperties(r)
		if b, _ := p.MessageID.Bytes(); !utf8.Valid(b) {
			p.MessageID = frame.Value{} // which is no text, and has no place in MQTT
		}
		m := amqp10Message(nil, p, randomApplication(r, texts), randomBody(r))
		want, got := plain(t, m), plain(t, viaMQTT(m))
		if want != got {
			t.Fatalf("%s\ncomes back as\n%s", want, got)
		}
	}
}

// TestMQTTToAMQP10AndBack: what a client of MQTT publishes finds its way over AMQP 1.0 to MQTT.
func TestMQTTToAMQP10AndBack(t *testing.T) {
	r := random(t)
	for range rounds / 4 {
		m := &message.Message{Encoding: message.MQTT, Key: "a/b", Properties: properties(r), Payload: []byte(text(r, 100)), Publisher: "c", Owned: true}
		s := scanned(t, m)
		again := amqp10Message(s.Sections.MessageAnnotations.Map(), &s.Properties, s.Sections.ApplicationProperties.Map(), s.Sections.Body)
		again.Key = "a.b"
		again.Priority = Priority(m)
		if !bytes.Equal(Payload(again), m.Payload) {
			t.Fatalf("payload %q comes back as %q", m.Payload, Payload(again))
		}
		want, got := sorted(m.Properties), sorted(AppendMQTT(nil, again))
		want = slices.DeleteFunc(want, func(s string) bool { return strings.Contains(s, `"x-amqp-priority"="4"`) })
		if named := func(s string) bool { return strings.Contains(s, `"é"=`) }; len(slices.DeleteFunc(slices.Clone(want), named)) < len(want)-1 {
			want = slices.DeleteFunc(want, named) // a list needs an annotation, and that a name of ASCII
		}
		if !slices.Equal(want, got) {
			t.Fatalf("properties\n%q\ncome back as\n%q", want, got)
		}
	}
}

// TestAMQP091ToAMQP10AndBack: the other way round, from a message of 0-9-1.
func TestAMQP091ToAMQP10AndBack(t *testing.T) {
	r := random(t)
	for range rounds / 4 {
		b := basic.Basic{DeliveryMode: 1, Priority: uint8(r.IntN(10))}
		for _, f := range []*[]byte{&b.ContentType, &b.ContentEncoding} {
			if r.IntN(2) == 0 {
				*f = []byte("application/json")
			}
		}
		for _, f := range []*[]byte{&b.CorrelationID, &b.ReplyTo, &b.MessageID, &b.Type, &b.AppID, &b.UserID} {
			if r.IntN(2) == 0 {
				*f = []byte("p" + text(r, 60))
			}
		}
		b.Timestamp = uint64(r.Uint32())
		headers := map[string]any{}
		for range r.IntN(5) {
			headers["h"+text(r, 20)] = []any{int64(r.Int32()), text(r, 20), true, r.Float64(), nil, int32(7), uint8(3), []byte{1, 0xff}}[r.IntN(8)]
			headers["x-"+string(rune('a'+r.IntN(5)))] = []any{map[string]any{"k": text(r, 5), "n": int64(1)}, []any{"a", int64(5)}, text(r, 9)}[r.IntN(3)]
		}
		b.Headers = basic.NewTable(headers)
		m := &message.Message{Encoding: message.AMQP091, Key: "k", Priority: b.Priority, Properties: b.Append(nil), Payload: []byte(text(r, 50)), Owned: true}
		s := scanned(t, m)
		again := amqp10Message(s.Sections.MessageAnnotations.Map(), &s.Properties, s.Sections.ApplicationProperties.Map(), s.Sections.Body)
		again.Priority = Priority(m)
		back := viaAMQP091(again)
		var got basic.Basic
		if err := got.Decode(back.Properties); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Headers.Map(), b.Headers.Map()) {
			t.Fatalf("headers %v come back as %v", b.Headers.Map(), got.Headers.Map())
		}
		got.Headers = b.Headers
		if !reflect.DeepEqual(got, b) || !bytes.Equal(back.Payload, m.Payload) {
			t.Fatalf("%+v\ncomes back as\n%+v", b, got)
		}
	}
}

// TestForgedBody: a client of 0-9-1 can call anything an encoded body.
func TestForgedBody(t *testing.T) {
	for _, payload := range []string{"", "no sections", string(frame.AppendMapSection(nil, frame.CodeApplicationProperties, nil)),
		string(frame.AppendMapSection(frame.AppendData(nil, nil), frame.CodeFooter, nil))} {
		b := basic.Basic{Type: []byte(typeOfAMQP10)}
		m := &message.Message{Encoding: message.AMQP091, Properties: b.Append(nil), Payload: []byte(payload)}
		s := scanned(t, m)
		v, _ := s.Sections.MessageAnnotations.Map().Lookup(annotationType)
		if text, _ := v.Bytes(); s.BodyType != frame.CodeData || string(text) != typeOfAMQP10 {
			t.Errorf("%q is a body of %v with type %q", payload, s.BodyType, text)
		}
	}
}

// TestBadHeaders: what is no text, or there twice, makes no message that a client must refuse.
func TestBadHeaders(t *testing.T) {
	h := basic.Table(nil).With("a", "1").With("a", "2").With("x-b", 1).With("x-b", 2).With("bad\xff", "x").With("k", "bad\xff").With("x-\xff", "y").
		With("nested", basic.Table(nil).With("n", 1).With("n", 2).With("\xff", 3)).With(headerSequence, int64(-1)).With(headerSubject, 5).With(headerPayloadFormat, 1)
	b := basic.Basic{Headers: h, ContentType: []byte("\xff"), CorrelationID: []byte("\xff"), ReplyTo: []byte("\xff"), Type: []byte("\xff")}
	m := &message.Message{Encoding: message.AMQP091, Key: "\xff", Exchange: "\xff", Properties: b.Append(nil), Payload: []byte("\xff")}
	s := scanned(t, m)
	if v, _ := s.Sections.ApplicationProperties.Map().Lookup("a"); string(v.Append(nil)) != string(frame.AppendString(nil, "2")) {
		t.Errorf("a is % x", v.Append(nil))
	}
	if s.BodyType != frame.CodeData || s.Properties.CorrelationID.Kind() != frame.KindBinary {
		t.Errorf("body %v, correlation-id %v", s.BodyType, s.Properties.CorrelationID.Kind())
	}
}

// TestNothingOfOneProtocolIsTouched: sections pass through, with the annotations of where the message went in front.
func TestNothingOfOneProtocolIsTouched(t *testing.T) {
	annotations := frame.AppendString(frame.AppendSymbol(frame.AppendString(frame.AppendSymbol(nil, annotationKey), "forged"), "x-own"), "v")
	m := amqp10Message(annotations, &frame.Properties{Subject: []byte("s")}, frame.AppendNull(frame.AppendString(nil, "k")), frame.AppendData(frame.AppendData(nil, []byte("a")), []byte("b")))
	m.Exchange, m.Key = "x", "key"
	_, bare := frame.CutAnnotations(m.Properties)
	s := scanned(t, m)
	if !bytes.Equal(s.Sections.Bare, append(bytes.Clone(bare), m.Payload...)) {
		t.Errorf("bare message % x", s.Sections.Bare)
	}
	for name, want := range map[string]string{annotationExchange: "x", annotationKey: "key", "x-own": "v"} {
		v, _ := s.Sections.MessageAnnotations.Map().Lookup(name)
		if got, _ := v.Bytes(); string(got) != want {
			t.Errorf("annotation %s is %q, want %q", name, got, want)
		}
	}
	if string(Payload(m)) != "ab" {
		t.Errorf("payload %q", Payload(m))
	}
}

// TestExpiryCrosses: what is left of a life goes to 0-9-1.
func TestExpiryCrosses(t *testing.T) {
	m := amqp10Message(nil, nil, nil, frame.AppendData(nil, nil))
	m.Expiry, m.Durable = time.Now().Add(time.Hour).UnixMilli(), true
	_, p, _ := AMQP091(m, nil, 1<<20)
	var b basic.Basic
	if err := b.Decode(p); err != nil || len(b.Expiration) != 7 || b.DeliveryMode != 2 {
		t.Errorf("%v: %+v", err, b)
	}
}
