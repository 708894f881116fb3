package mapping

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

const rounds = 20000

func random(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

func text(r *rand.Rand, most int) string {
	alphabet := []rune("ab./-é☃ x")
	s := make([]rune, r.IntN(most))
	for i := range s {
		s[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(s)
}

// properties are what a client of MQTT may publish with, user properties of one name side by side.
func properties(r *rand.Rand) (p packet.Properties) {
	maybe := func() bool { return r.IntN(2) == 0 }
	if maybe() {
		p = p.AppendNumber(packet.PayloadFormat, 1)
	}
	if maybe() {
		p = p.AppendText(packet.ContentType, "t"+text(r, 40))
	}
	if maybe() {
		p = p.AppendText(packet.ResponseTopic, "r"+text(r, 40))
	}
	if maybe() {
		p = p.AppendText(packet.CorrelationData, "c"+string([]byte{byte(r.Uint32()), 0})+text(r, 600))
	}
	names := []string{"", "k", "k/1", "content-type", "x-amqp-message-id", "x-amqp-type", "x-amqp-priority", "é"}
	for _, i := range r.Perm(len(names))[:r.IntN(len(names))] {
		for range 1 + r.IntN(3) {
			value := "v" + text(r, 20)
			if names[i] == "x-amqp-priority" {
				value = fmt.Sprint(1 + r.IntN(255))
			}
			p = p.AppendUser(names[i], value)
			if len(names[i]) > len("x-amqp-") {
				break // AMQP has it once
			}
		}
	}
	return p
}

// sorted are the properties as text, in an order of their own: AMQP does not keep that of different names.
func sorted(p packet.Properties) (all []string) {
	for id, v := range p.All() {
		all = append(all, fmt.Sprintf("%02x %d %q %q=%q", byte(id), v.Number, v.Bytes, v.Name, v.Text))
	}
	slices.SortStableFunc(all, func(a, b string) int { return slices.Compare([]byte(a[:3]), []byte(b[:3])) })
	slices.Sort(all)
	return all
}

// TestMQTTToAMQPAndBack: an AMQP client that publishes what it received publishes what came over MQTT.
func TestMQTTToAMQPAndBack(t *testing.T) {
	r := random(t)
	for range rounds {
		m := message.Message{Encoding: message.MQTT, Key: "a" + text(r, 60), Properties: properties(r), QoS: uint8(r.IntN(3)), Publisher: "c"}
		key, p, _ := AMQP091(&m, nil, 128<<10)
		back := message.Message{Encoding: message.AMQP091, Key: key, Properties: slices.Clone(p)}
		if back.Topic() != m.Key {
			t.Fatalf("topic %q comes back as %q", m.Key, back.Topic())
		}
		want, got := sorted(m.Properties), sorted(AppendMQTT(nil, &back))
		if !slices.Equal(want, got) {
			t.Fatalf("properties\n%q\ncome back as\n%q", want, got)
		}
	}
}

// TestAMQPToMQTTAndBack: what MQTT can hold of a message of AMQP comes back.
func TestAMQPToMQTTAndBack(t *testing.T) {
	r := random(t)
	for range rounds {
		b := frame.Basic{DeliveryMode: 1}
		for _, f := range []*[]byte{&b.ContentType, &b.ContentEncoding, &b.CorrelationID, &b.ReplyTo, &b.MessageID, &b.Type, &b.AppID} {
			if r.IntN(2) == 0 {
				*f = []byte("p" + text(r, 60))
			}
		}
		b.Priority, b.Timestamp = uint8(r.Uint32()), uint64(r.Uint32())
		headers := map[string]any{}
		for range r.IntN(5) {
			headers["h"+text(r, 20)] = text(r, 50)
		}
		b.Headers = frame.NewTable(headers)
		m := message.Message{Encoding: message.AMQP091, Key: text(r, 60), Properties: b.Append(nil)}
		over := message.Message{Encoding: message.MQTT, Key: m.Topic(), Properties: AppendMQTT(nil, &m)}
		key, p, _ := AMQP091(&over, nil, 128<<10)
		var got frame.Basic
		if err := got.Decode(p); err != nil {
			t.Fatal(err)
		}
		for _, broker := range []string{headerQoS, headerTopic} {
			got.Headers = got.Headers.Without(broker)
		}
		got.Headers = frame.NewTable(got.Headers.Map()) // the same order
		if key != m.Key || string(got.Append(nil)) != string(b.Append(nil)) {
			t.Fatalf("key %q, %+v\ncomes back as\n%q, %+v", m.Key, b, key, got)
		}
	}
}

// TestMQTTCannotForge: what the broker reads in headers, or says there, is not for clients of MQTT to write.
func TestMQTTCannotForge(t *testing.T) {
	var p packet.Properties
	for _, name := range []string{"x-mqtt-client-id", "x-mqtt-qos", "CC", "BCC", "x-death", "x-reply-to-topic", "x-correlation-id"} {
		p = p.AppendUser(name, "forged").AppendUser(name, "twice")
	}
	m := message.Message{Encoding: message.MQTT, Key: "t", Properties: p, Publisher: "c"}
	_, got, _ := AMQP091(&m, nil, 128<<10)
	var b frame.Basic
	if err := b.Decode(got); err != nil {
		t.Fatal(err)
	}
	if h := b.Headers.Map(); len(h) != 3 || h["x-mqtt-client-id"] != "c" {
		t.Errorf("headers are %v", h)
	}
}

// TestAMQPCannotBreakMQTT: headers that are there twice, or no text, make no property that a client must refuse.
func TestAMQPCannotBreakMQTT(t *testing.T) {
	h := frame.Table(nil).With(headerReplyTo, "a").With(headerReplyTo, "b").With(headerCorrelation, "1").With(headerPayloadFormat, 1).
		With(headerPayloadFormat, 1).With("bad\xff", "x").With("k", "bad\xff").With("nul", "\x00").With(headerReplyTo, "+").With("table", map[string]any{})
	b := frame.Basic{Headers: h, CorrelationID: []byte("c"), ContentType: []byte("\xff")}
	m := message.Message{Encoding: message.AMQP091, Properties: b.Append(nil)}
	p := packet.Publish{Topic: []byte("t"), Properties: AppendMQTT(nil, &m)}
	if err := new(packet.Publish).Decode(p.Append(nil, packet.V5), packet.V5); err != nil {
		t.Errorf("%v: % x", err, p.Properties)
	}
	if got := fmt.Sprint(sorted(p.Properties)); len(sorted(p.Properties)) != 3 {
		t.Errorf("properties are %s", got)
	}
}

// TestLargeProperties: what does not fit into a frame is left out, the topic and the client id last.
func TestLargeProperties(t *testing.T) {
	var p packet.Properties
	for i := range 1000 {
		p = p.AppendUser(fmt.Sprint("k", i), text(rand.New(rand.NewPCG(1, 2)), 200))
	}
	m := message.Message{Encoding: message.MQTT, Key: topic.Swap("a.b"), Properties: p, Publisher: "c"}
	const most = 4096
	_, got, _ := AMQP091(&m, nil, most)
	var b frame.Basic
	if err := b.Decode(got); err != nil || len(got) > most {
		t.Fatalf("%v, %d bytes", err, len(got))
	}
	if h := b.Headers.Map(); h["x-mqtt-topic"] != "a/b" || h["x-mqtt-client-id"] != "c" || len(h) < 10 {
		t.Errorf("headers are %v", h)
	}
}
