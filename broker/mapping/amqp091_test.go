package mapping

import (
	"strings"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

func TestEnvelopeOfMQTT(t *testing.T) {
	long := strings.Repeat("level/", 60) + "é"
	for _, x := range []struct {
		name       string
		message    message.Message
		key        string
		mode       uint8
		headers    map[string]any
		expiration bool
	}{
		{"QoS 0", message.Message{Key: "plant.1/temp"}, "plant/1.temp", 1, map[string]any{"x-mqtt-qos": int64(0), "x-mqtt-topic": "plant.1/temp"}, false},
		{"QoS 1", message.Message{Key: "a/b", QoS: 1}, "a.b", 2, map[string]any{"x-mqtt-qos": int64(1), "x-mqtt-topic": "a/b"}, false},
		{"retained", message.Message{Key: "a", QoS: 2, Retain: true, Publisher: "c"}, "a", 2,
			map[string]any{"x-mqtt-qos": int64(2), "x-mqtt-retain": true, "x-mqtt-topic": "a", "x-mqtt-client-id": "c"}, false},
		{"expiry", message.Message{Key: "a", QoS: 1, Expiry: time.Now().Add(time.Hour).UnixMilli()}, "a", 2, map[string]any{"x-mqtt-qos": int64(1), "x-mqtt-topic": "a"}, true},
		{"long topic", message.Message{Key: long}, topic.Swap(long)[:255], 1, map[string]any{"x-mqtt-qos": int64(0), "x-mqtt-topic": long}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			x.message.Encoding = message.MQTT
			key, p, _ := AMQP091(&x.message, nil, 128<<10)
			var b frame.Basic
			if err := b.Decode(p); err != nil {
				t.Fatal(err)
			}
			got := b.Headers.Map()
			if key != x.key || b.DeliveryMode != x.mode || len(got) != len(x.headers) || (len(b.Expiration) > 0) != x.expiration {
				t.Errorf("key %q, %+v", key, b)
			}
			for name, want := range x.headers {
				if got[name] != want {
					t.Errorf("header %s is %v, want %v", name, got[name], want)
				}
			}
		})
	}
}

func TestEnvelopeOfAMQPIsVerbatim(t *testing.T) {
	p := (&frame.Basic{ContentType: []byte("x/y"), DeliveryMode: 2, Headers: frame.NewTable(map[string]any{"k": "v"})}).Append(nil)
	m := message.Message{Key: "k", Encoding: message.AMQP091, Properties: p}
	if key, got, _ := AMQP091(&m, nil, 128<<10); key != "k" || string(got) != string(p) {
		t.Errorf("key %q, properties %x, want %x", key, got, p)
	}
}

// TestCutKeepsCharacters: a key that is cut is still UTF-8.
func TestCutKeepsCharacters(t *testing.T) {
	m := message.Message{Key: strings.Repeat("é", 200), Encoding: message.MQTT}
	if key, _, _ := AMQP091(&m, nil, 128<<10); key != strings.Repeat("é", 127) {
		t.Errorf("key of %d bytes %q", len(key), key)
	}
}
