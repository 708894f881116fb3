package packet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
)

// raw is a line of testdata/packets.txt: a packet as bytes, and what is expected of it.
type raw struct {
	name    string
	version Version
	bytes   []byte
	want    string // "ok", or the reason code and the beginning of the error's text
}

// rawPackets reads the table. Its lines are: version, hex with spaces and "text" in quotes, then "=>", then what is
// expected. A line that ends with ":" names the packets that follow.
func rawPackets(t testing.TB) (out []raw) {
	t.Helper()
	data, err := os.ReadFile("testdata/packets.txt")
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]Version{"3.1": V31, "3.1.1": V311, "5": V5}
	name := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "//"):
		case strings.HasSuffix(line, ":"):
			name = strings.TrimSuffix(line, ":")
		default:
			left, want, found := strings.Cut(line, "=>")
			v, text, _ := strings.Cut(left, " ")
			if !found || versions[v] == 0 {
				t.Fatalf("line %q is not of the table", line)
			}
			out = append(out, raw{name: name, version: versions[v], bytes: parseBytes(t, text), want: strings.TrimSpace(want)})
		}
	}
	return out
}

func parseBytes(t testing.TB, s string) (out []byte) {
	t.Helper()
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", part, err)
		}
		out = append(out, b...)
	}
	return out
}

func decode(b []byte, v Version) (Packet, error) {
	size, err := Next(b, maxPacket)
	switch {
	case err != nil:
		return nil, err
	case size != len(b):
		return nil, malformed("not one packet")
	}
	p := New(TypeOf(b))
	return p, p.Decode(b, v)
}

func TestRawPackets(t *testing.T) {
	for _, r := range rawPackets(t) {
		p, err := decode(r.bytes, r.version)
		if r.want == "ok" {
			if err != nil {
				t.Errorf("%s: % x: %v", r.name, r.bytes, err)
			} else if again := p.Append(nil, r.version); !bytes.Equal(again, r.bytes) {
				t.Errorf("%s: % x is written as % x", r.name, r.bytes, again)
			}
			continue
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: % x: error %v, want %s", r.name, r.bytes, err, r.want)
			continue
		}
		code, text, _ := strings.Cut(r.want, " ")
		if got := hex.EncodeToString([]byte{byte(e.Code)}); got != code || !strings.HasPrefix(e.Text, text) {
			t.Errorf("%s: % x: %s %q, want %s", r.name, r.bytes, got, e.Text, r.want)
		}
	}
}

func TestEveryTruncationIsAnError(t *testing.T) {
	for _, r := range rawPackets(t) {
		if r.want != "ok" {
			continue
		}
		for n := range len(r.bytes) {
			if size, err := Next(r.bytes[:n], maxPacket); err != nil || size != 0 && size != len(r.bytes) {
				t.Errorf("%s: Next of %d bytes of % x: %d, %v", r.name, n, r.bytes, size, err)
			}
			if err := New(TypeOf(r.bytes)).Decode(r.bytes[:n], r.version); err == nil {
				t.Errorf("%s: %d bytes of % x are a packet", r.name, n, r.bytes)
			}
		}
	}
}

func TestNext(t *testing.T) {
	for _, c := range []struct {
		src  string
		most int
		size int
		code ReasonCode
	}{
		{"", 10, 0, 0},
		{"c0", 10, 0, 0},
		{"c000", 10, 2, 0},
		{"c000c000", 10, 2, 0},
		{"30ff", 1000, 0, 0},
		{"30ff01", 1000, 3 + 255, 0},
		{"3008", 10, 10, 0},
		{"3009", 10, 0, PacketTooLarge},
		{"30ffffff7f", maxPacket, maxPacket, 0},
		{"30ffffff7f", maxPacket - 1, 0, PacketTooLarge},
		{"30ffffffff01", maxPacket, 0, MalformedPacket},
		{"30ffffff", maxPacket, 0, 0},
		{"0000", 10, 0, MalformedPacket},
	} {
		size, err := Next(parseBytes(t, c.src), c.most)
		var e *Error
		code := ReasonCode(0)
		if errors.As(err, &e) {
			code = e.Code
		}
		if size != c.size || code != c.code {
			t.Errorf("Next(%s, %d) = %d, %v; want %d, code %#x", c.src, c.most, size, err, c.size, c.code)
		}
	}
}

func TestVarintBorders(t *testing.T) {
	// The table of MQTT 3.1.1 §2.2.3.
	for v, want := range map[int]string{
		0: "00", 127: "7f", 128: "8001", 16383: "ff7f", 16384: "808001", 2097151: "ffff7f", 2097152: "80808001", 268435455: "ffffff7f",
	} {
		got := appendVarint(nil, v)
		if hex.EncodeToString(got) != want || varintLen(v) != len(got) {
			t.Errorf("%d is written as %x, want %s", v, got, want)
		}
		if back, n := varint(got); back != v || n != len(got) {
			t.Errorf("%x is read as %d of %d bytes", got, back, n)
		}
	}
}

// generator makes random packets that are valid.
type generator struct{ *rand.Rand }

func (g generator) text() string {
	const alphabet = "abc/+#$ äß漢🐢"
	r := []rune(alphabet)
	var b strings.Builder
	for range g.IntN(12) {
		b.WriteRune(r[g.IntN(len(r))])
	}
	return b.String()
}

func (g generator) topic() string {
	return "t" + strings.NewReplacer("+", "", "#", "").Replace(g.text())
}

func (g generator) binary() []byte {
	b := make([]byte, g.IntN(200))
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func (g generator) flag() bool   { return g.IntN(2) == 0 }
func (g generator) id() uint16   { return uint16(1 + g.IntN(65535)) }
func (g generator) qos() uint8   { return uint8(g.IntN(3)) }
func (g generator) bits() uint32 { return g.Uint32() >> g.IntN(32) }

// properties are random ones that a place allows.
func (g generator) properties(place Type, v Version) (out Properties) {
	if v != V5 {
		return nil
	}
	for _, i := range g.Perm(propertyCount) {
		id := PropertyID(i)
		p := properties[id]
		if p.form == noForm || p.places&(1<<place) == 0 || g.flag() {
			continue
		}
		n := g.bits()
		if p.nonzero {
			n = max(n, 1)
		}
		switch p.form {
		case formFlag:
			out = out.AppendNumber(id, n&1)
		case formUint16:
			out = out.AppendNumber(id, max(n&0xffff, n&1))
			if p.nonzero && n&0xffff == 0 {
				out[len(out)-1] = 1
			}
		case formUint32:
			out = out.AppendNumber(id, n)
		case formVarint:
			out = out.AppendNumber(id, max(n&maxVarint, 1))
		case formText:
			out = out.AppendText(id, g.topic())
		case formBinary:
			out = out.AppendText(id, string(g.binary()))
		case formPair:
			out = out.AppendUser(g.text(), g.text()).AppendUser(g.text(), g.text())
		}
	}
	return out
}

// reason is one that a packet of version 5 may carry.
func (g generator) reason(t Type) ReasonCode {
	for {
		if r := ReasonCode(g.IntN(len(reasonPlaces))); t.Knows(r) {
			return r
		}
	}
}

func (g generator) reasons(t Type, v Version) (out []ReasonCode) {
	for range 1 + g.IntN(5) {
		r := g.reason(t)
		if v != V5 {
			r = min(r, Failure)
		}
		out = append(out, r)
	}
	return out
}

func (g generator) acknowledgement(t Type, v Version) acknowledgement {
	a := acknowledgement{PacketID: g.id(), Properties: g.properties(t, v)}
	if v == V5 {
		a.Reason = g.reason(t)
	}
	return a
}

func (g generator) reasoned(t Type, v Version) reasoned {
	if v != V5 {
		return reasoned{}
	}
	return reasoned{Reason: g.reason(t), Properties: g.properties(t, v)}
}

func (g generator) connect(v Version) *Connect {
	p := &Connect{Version: v, CleanStart: g.flag(), KeepAlive: uint16(g.Uint32()), ClientID: g.text()}
	p.Properties = g.properties(TypeConnect, v)
	if _, ok := p.Properties.Get(AuthData); ok {
		if _, ok := p.Properties.Get(AuthMethod); !ok {
			p.Properties = p.Properties.AppendText(AuthMethod, "m")
		}
	}
	if g.flag() {
		p.Will = &Will{QoS: g.qos(), Retain: g.flag(), Topic: g.topic(), Payload: g.binary(), Properties: g.properties(placeWill, v)}
	}
	if g.flag() {
		p.Username = []byte(g.text())
		if g.flag() {
			p.Password = g.binary()
		}
	}
	return p
}

func (g generator) publish(v Version) *Publish {
	p := &Publish{QoS: g.qos(), Retain: g.flag(), Topic: []byte(g.topic()), Payload: g.binary(), Properties: g.properties(TypePublish, v)}
	if p.QoS > 0 {
		p.Dup, p.PacketID = g.flag(), g.id()
	}
	return p
}

func (g generator) packet(t Type, v Version) Packet {
	switch t {
	case TypeConnect:
		return g.connect(v)
	case TypeConnack:
		reason := returnCodes[g.IntN(len(returnCodes))]
		return &Connack{Reason: reason, SessionPresent: v != V31 && reason == Success && g.flag(), Properties: g.properties(t, v)}
	case TypePublish:
		return g.publish(v)
	case TypePuback:
		p := Puback(g.acknowledgement(t, v))
		return &p
	case TypePubrec:
		p := Pubrec(g.acknowledgement(t, v))
		return &p
	case TypePubrel:
		p := Pubrel(g.acknowledgement(t, v))
		return &p
	case TypePubcomp:
		p := Pubcomp(g.acknowledgement(t, v))
		return &p
	case TypeSubscribe:
		p := &Subscribe{PacketID: g.id(), Properties: g.properties(t, v)}
		for range 1 + g.IntN(4) {
			s := Subscription{Filter: g.text(), QoS: g.qos()}
			if v == V5 {
				s.NoLocal, s.RetainAsPublished, s.RetainHandling = g.flag(), g.flag(), uint8(g.IntN(3))
			}
			p.Subscriptions = append(p.Subscriptions, s)
		}
		return p
	case TypeSuback:
		return &Suback{PacketID: g.id(), Properties: g.properties(t, v), Reasons: g.reasons(t, v)}
	case TypeUnsubscribe:
		return &Unsubscribe{PacketID: g.id(), Properties: g.properties(t, v), Filters: []string{g.text(), g.text()}}
	case TypeUnsuback:
		p := &Unsuback{PacketID: g.id(), Properties: g.properties(t, v)}
		if v == V5 {
			p.Reasons = g.reasons(t, v)
		}
		return p
	case TypePingreq:
		return &Pingreq{}
	case TypePingresp:
		return &Pingresp{}
	case TypeDisconnect:
		p := Disconnect(g.reasoned(t, v))
		return &p
	}
	p := Auth(g.reasoned(t, v))
	return &p
}

// TestRoundTrip: what Append writes, Decode reads as the same packet.
func TestRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	g := generator{rand.New(rand.NewPCG(seed, 1))}
	for range 20000 {
		kind := Type(1 + g.IntN(15))
		v := []Version{V31, V311, V5}[g.IntN(3)]
		if kind == TypeAuth {
			v = V5
		}
		p := g.packet(kind, v)
		b := p.Append(nil, v)
		got, err := decode(b, v)
		if err != nil {
			t.Fatalf("seed %d: %s version %d %+v as % x: %v", seed, kind, v, p, b, err)
		}
		if !reflect.DeepEqual(got, p) && !bytes.Equal(got.Append(nil, v), b) {
			t.Fatalf("seed %d: %s version %d %+v came back as %+v", seed, kind, v, p, got)
		}
		if !same(got, p) {
			t.Fatalf("seed %d: %s version %d %+v came back as %+v", seed, kind, v, p, got)
		}
	}
}

// same compares packets, for which nil and empty are one.
func same(a, b any) bool { return equal(reflect.ValueOf(a), reflect.ValueOf(b)) }

func equal(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Pointer:
		return a.IsNil() == b.IsNil() && (a.IsNil() || equal(a.Elem(), b.Elem()))
	case reflect.Struct:
		for i := range a.NumField() {
			if !equal(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !equal(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	}
	return a.Interface() == b.Interface()
}

func TestProperties(t *testing.T) {
	var p Properties
	p = p.AppendUser("a", "1").AppendNumber(MessageExpiry, 7).AppendText(ContentType, "text").AppendUser("a", "2")
	if n := p.Number(MessageExpiry, 0); n != 7 {
		t.Errorf("message expiry %d", n)
	}
	if v, ok := p.Get(ContentType); !ok || string(v.Bytes) != "text" {
		t.Errorf("content type %q, %v", v.Bytes, ok)
	}
	if n := p.Number(TopicAlias, 42); n != 42 {
		t.Errorf("a missing property is %d", n)
	}
	var order []string
	for id, v := range p.All() {
		if id == UserProperty {
			order = append(order, string(v.Text))
		}
	}
	if !reflect.DeepEqual(order, []string{"1", "2"}) {
		t.Errorf("user properties came as %q", order)
	}
}

// TestReturnCodes: versions before 5 have a return code for whatever reason there is. [MQTT-3.2.2-6]
func TestReturnCodes(t *testing.T) {
	for r := range ReasonCode(len(reasonPlaces)) {
		if !TypeConnack.Knows(r) {
			continue
		}
		b := (&Connack{Reason: r}).Append(nil, V311)
		if code := b[3]; code > 5 || (code == 0) != (r == Success) {
			t.Errorf("reason %#x has return code %d", r, code)
		}
	}
}

func TestPublishDoesNotAllocate(t *testing.T) {
	b := (&Publish{QoS: 1, PacketID: 7, Topic: []byte("plant/1/temperature"), Payload: make([]byte, 64)}).Append(nil, V311)
	dst := make([]byte, 0, 256)
	var p Publish
	var ack Puback
	n := testing.AllocsPerRun(100, func() {
		if err := p.Decode(b, V311); err != nil {
			t.Fatal(err)
		}
		dst = p.Append(dst[:0], V311)
		dst = AppendPublish(dst[:0], V5, PublishFlags{QoS: 1}, "plant/1/temperature", 7, nil, p.Payload)
		ack.PacketID = p.PacketID
		dst = ack.Append(dst[:0], V311)
		if err := ack.Decode(dst, V311); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPublish(b *testing.B) {
	src := (&Publish{Topic: []byte("plant/1/temperature"), Payload: make([]byte, 64)}).Append(nil, V311)
	dst := make([]byte, 0, 256)
	var p Publish
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Next(src, maxPacket); err != nil {
			b.Fatal(err)
		}
		if err := p.Decode(src, V311); err != nil {
			b.Fatal(err)
		}
		dst = AppendPublish(dst[:0], V311, PublishFlags{}, "plant/1/temperature", 0, nil, p.Payload)
	}
}
