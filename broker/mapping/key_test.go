package mapping

import (
	"math"
	"testing"

	basic "github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

func amqp091With(headers map[string]any) *message.Message {
	b := basic.Basic{Headers: basic.NewTable(headers)}
	return &message.Message{Encoding: message.AMQP091, Properties: b.Append(nil)}
}

func mqttWith(pairs ...string) *message.Message {
	var p packet.Properties
	for i := 0; i < len(pairs); i += 2 {
		p = p.AppendUser(pairs[i], pairs[i+1])
	}
	return &message.Message{Encoding: message.MQTT, Properties: p}
}

func TestGroup(t *testing.T) {
	of := func(p frame.Properties) *message.Message {
		return amqp10Message(nil, &p, nil, frame.AppendData(nil, nil))
	}
	grouped := of(frame.Properties{GroupID: []byte("g"), GroupSequence: frame.Some[uint32](3)})
	last := of(frame.Properties{GroupID: []byte("g"), GroupSequence: frame.Some[uint32](math.MaxUint32)})
	for name, c := range map[string]struct {
		m      *message.Message
		group  string
		closes bool
	}{
		"1.0":                   {grouped, "g", false},
		"1.0, last":             {last, "g", true},
		"1.0 without":           {of(frame.Properties{Subject: []byte("s")}), "", false},
		"1.0 as 0-9-1":          {viaAMQP091(grouped), "g", false},
		"1.0 as 0-9-1, last":    {viaAMQP091(last), "g", true},
		"1.0 as MQTT":           {viaMQTT(grouped), "g", false},
		"1.0 as MQTT, last":     {viaMQTT(last), "g", true},
		"0-9-1, JMS":            {amqp091With(map[string]any{"JMSXGroupID": "g", "JMSXGroupSeq": int64(1)}), "g", false},
		"0-9-1, JMS, last":      {amqp091With(map[string]any{"JMSXGroupID": "g", "JMSXGroupSeq": int64(-1)}), "g", true},
		"0-9-1, Artemis":        {amqp091With(map[string]any{"_AMQ_GROUP_ID": "g", "_AMQ_GROUP_SEQUENCE": int64(-1)}), "g", true},
		"0-9-1, a number":       {amqp091With(map[string]any{"JMSXGroupID": int64(7)}), "7", false},
		"0-9-1, a table":        {amqp091With(map[string]any{"JMSXGroupID": map[string]any{}}), "", false},
		"0-9-1 without":         {amqp091With(map[string]any{"JMSXGroupSeq": int64(-1)}), "", false},
		"0-9-1 no properties":   {&message.Message{Encoding: message.AMQP091}, "", false},
		"MQTT, ours":            {mqttWith("a", "b", "x-amqp-group-id", "g"), "g", false},
		"MQTT, JMS, last":       {mqttWith("JMSXGroupID", "g", "JMSXGroupSeq", "-1"), "g", true},
		"MQTT, no number":       {mqttWith("JMSXGroupID", "g", "JMSXGroupSeq", "last"), "g", false},
		"MQTT, empty":           {mqttWith("JMSXGroupID", ""), "", false},
		"MQTT, the first":       {mqttWith("JMSXGroupID", "g", "JMSXGroupID", "h"), "g", false},
		"MQTT before version 5": {mqttWith(), "", false},
	} {
		id, closes := Group(c.m)
		if string(id) != c.group || closes != c.closes {
			t.Errorf("%s: group %q, closes %v; want %q, %v", name, id, closes, c.group, c.closes)
		}
	}
}

func TestHeader(t *testing.T) {
	application := frame.AppendUint(frame.AppendString(nil, "n"), 5)
	application = frame.AppendString(frame.AppendString(application, "s"), "text")
	annotations := frame.AppendString(frame.AppendSymbol(nil, "x-a"), "note")
	mine := amqp10Message(annotations, &frame.Properties{}, application, frame.AppendData(nil, nil))
	for name, c := range map[string]struct {
		m            *message.Message
		header, want string
	}{
		"1.0, text":       {mine, "s", "text"},
		"1.0, number":     {mine, "n", "5"},
		"1.0, annotation": {mine, "x-a", "note"},
		"1.0, none":       {mine, "other", ""},
		"0-9-1":           {viaAMQP091(mine), "s", "text"},
		"0-9-1, number":   {viaAMQP091(mine), "n", "5"},
		"0-9-1, truth":    {amqp091With(map[string]any{"b": true}), "b", "true"},
		"0-9-1, array":    {amqp091With(map[string]any{"b": []any{int64(1)}}), "b", ""},
		"MQTT":            {viaMQTT(mine), "n", "5"},
	} {
		if got := Header(c.m, c.header); string(got) != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
