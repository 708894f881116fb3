package message

import (
	"bytes"
	"reflect"
	"testing"
	"testing/quick"
)

func TestAppendDecode(t *testing.T) {
	same := func(m Message, after []byte) bool {
		m.Encoding = AMQP091
		if len(m.Key)%2 == 0 {
			m.Encoding = MQTT
		}
		m.Owned, m.Origin = false, 0
		got, rest, err := Decode(m.Append(nil)[:len(m.Append(nil)):len(m.Append(nil))])
		if err != nil || len(rest) != 0 {
			t.Logf("decode: %v, %d bytes left", err, len(rest))
			return false
		}
		_, rest, err = Decode(append(m.Append(nil), after...))
		if err != nil || !bytes.Equal(rest, after) {
			t.Logf("what follows the message is lost: %v", err)
			return false
		}
		for _, b := range []*[]byte{&m.Payload, &m.Properties, &got.Payload, &got.Properties} {
			if len(*b) == 0 {
				*b = nil
			}
		}
		return reflect.DeepEqual(got, m)
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
}

func TestDecodeRefusesEveryCut(t *testing.T) {
	m := Message{Exchange: "x", Key: "a/b", Encoding: MQTT, QoS: 1, Durable: true, Priority: 4, Expiry: 1 << 40, Properties: []byte("p"), Payload: []byte("hello")}
	whole := m.Append(nil)
	for n := range whole {
		if _, _, err := Decode(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes are taken for a message", n, len(whole))
		}
	}
}

func TestKeyInBothForms(t *testing.T) {
	topic := Message{Encoding: MQTT, Key: "plant.1/temp"}
	key := Message{Encoding: AMQP091, Key: "plant/1.temp"}
	for _, m := range []*Message{&topic, &key} {
		if m.Topic() != "plant.1/temp" || m.RoutingKey() != "plant/1.temp" {
			t.Errorf("%q is topic %q and key %q", m.Key, m.Topic(), m.RoutingKey())
		}
	}
}

func TestClone(t *testing.T) {
	buf := []byte("propertiespayload")
	m := &Message{Properties: buf[:10], Payload: buf[10:]}
	c := m.Clone()
	copy(buf, "XXXXXXXXXXXXXXXXX")
	if string(c.Properties) != "properties" || string(c.Payload) != "payload" || !c.Owned {
		t.Errorf("clone changed with the buffer: %q %q", c.Properties, c.Payload)
	}
	if again := c.Clone(); &again.Payload[0] != &c.Payload[0] {
		t.Error("a message that owns its bytes was copied")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add((&Message{Encoding: MQTT, Key: "a/b", QoS: 1, Durable: true, Payload: []byte("x")}).Append(nil))
	f.Add((&Message{Encoding: AMQP091, Exchange: "amq.topic", Key: "a.b", Priority: 9, Expiry: 77, Properties: []byte{0x10, 0, 2}}).Append(nil))
	f.Fuzz(func(t *testing.T, src []byte) {
		m, rest, err := Decode(src)
		if err != nil {
			return
		}
		again, _, err := Decode(m.Append(nil))
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Errorf("%+v comes back as %+v: %v", m, again, err)
		}
		if len(rest) > len(src) {
			t.Errorf("%d bytes are left of %d", len(rest), len(src))
		}
	})
}
