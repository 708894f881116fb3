package amqp091

import (
	"encoding/binary"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/message"
)

// The headers of messages that died, as RabbitMQ writes them.
const (
	headerDeath         = "x-death"
	headerFirstDeath    = "x-first-death-" // reason, queue, exchange: once
	headerLastDeath     = "x-last-death-"  // the same, each time
	headerDeliveryCount = "x-delivery-count"
)

// mostProperties bounds those of a dead message that came over MQTT: few clients want smaller frames.
const mostProperties = 64 << 10

// death is one entry of x-death: how often a message died in a queue for a reason.
type death struct {
	queue, reason string
	count         int64
	fields        frame.Table // all but the count
}

// DeadLetter makes the message that goes to a dead-letter exchange: its header x-death tells where it died, the newest
// death first, and it does not expire again. A message that came over MQTT becomes one of AMQP. Cycle says whether the
// message would come to a queue for the second time without anybody having rejected it in between: such a message is not
// put there again, since nothing would ever end that. The keys of CC go with it unless the queue has a key for the dead.
func DeadLetter(m *message.Message, d hub.Death) hub.Dead {
	key, properties, _ := mapping.AMQP091(m, nil, mostProperties)
	var b frame.Basic
	if err := b.Decode(properties); err != nil {
		panic("properties of a stored message: " + err.Error()) // they were checked when it was published
	}
	also, _, _ := moreKeys(b.Headers) // it was checked when it was published; what a client of MQTT sent has none
	deaths := bury(readDeaths(b.Headers), b.Expiration, d, also)
	b.Headers = withDeaths(b.Headers, deaths, d)
	if d.Rekeyed {
		also, b.Headers = nil, b.Headers.Without(headerCC)
	}
	b.Expiration = nil
	c := *m
	c.Encoding, c.Key, c.Properties, c.Retain = message.AMQP091, key, b.Append(nil), false
	seen := &attributes{frame.Summary{Headers: b.Headers, CorrelationID: b.CorrelationID, MessageID: b.MessageID, Timestamp: b.Timestamp}}
	return hub.Dead{Message: &c, Also: also, Attributes: seen, Cycle: func(queue string) bool { return isCycle(deaths, queue) }}
}

// bury counts a death, and brings it to the front.
func bury(deaths []death, expiration []byte, d hub.Death, also []string) []death {
	for i, old := range deaths {
		if old.queue == d.Queue && old.reason == d.Reason {
			old.count++
			return append([]death{old}, append(deaths[:i:i], deaths[i+1:]...)...)
		}
	}
	at := frame.Value{Kind: frame.Timestamp, Raw: binary.BigEndian.AppendUint64(nil, uint64(d.At/1000))}
	keys := []any{d.RoutingKey}
	for _, k := range also {
		keys = append(keys, k)
	}
	fields := frame.Table(nil).With("reason", d.Reason).With("queue", d.Queue).With("time", at).
		With("exchange", d.Exchange).With("routing-keys", keys)
	if len(expiration) > 0 {
		fields = fields.With("original-expiration", string(expiration))
	}
	return append([]death{{queue: d.Queue, reason: d.Reason, count: 1, fields: fields}}, deaths...)
}

// readDeaths reads x-death. A client may have sent anything under that name: what is no death is left out.
func readDeaths(headers frame.Table) (all []death) {
	v, _ := headers.Lookup(headerDeath)
	for _, w := range v.Elements() {
		if w.Kind != frame.Nested {
			continue
		}
		var d death
		for name, f := range frame.Table(w.Raw).All() {
			switch string(name) {
			case "count":
				d.count, _ = f.Any().(int64)
				continue
			case "queue":
				d.queue, _ = f.Any().(string)
			case "reason":
				d.reason, _ = f.Any().(string)
			}
			d.fields = d.fields.With(string(name), f)
		}
		if d.queue != "" && d.reason != "" && d.count > 0 {
			all = append(all, d)
		}
	}
	return all
}

// withDeaths are the headers with x-death, and with the first and the last death in headers of their own.
func withDeaths(headers frame.Table, deaths []death, d hub.Death) (all frame.Table) {
	list := make([]any, len(deaths))
	for i, x := range deaths {
		list[i] = frame.Table(nil).With("count", x.count).Join(x.fields)
	}
	_, died := headers.Lookup(headerFirstDeath + "reason")
	ours := map[string]bool{headerDeath: true, headerLastDeath + "reason": true, headerLastDeath + "queue": true, headerLastDeath + "exchange": true}
	for name, v := range headers.All() {
		if !ours[string(name)] {
			all = all.With(string(name), v)
		}
	}
	all = all.With(headerDeath, list)
	headersOf := func(prefix string) {
		all = all.With(prefix+"reason", d.Reason).With(prefix+"queue", d.Queue).With(prefix+"exchange", d.Exchange)
	}
	if !died {
		headersOf(headerFirstDeath)
	}
	headersOf(headerLastDeath)
	return all
}

// isCycle: the queue is among the deaths, and nobody rejected the message since it died there.
func isCycle(deaths []death, queue string) bool {
	for _, d := range deaths {
		if d.reason == hub.ReasonRejected {
			return false
		}
		if d.queue == queue {
			return true
		}
	}
	return false
}

// counted are properties with the header that says how often a message came back.
func counted(p frame.Properties, count uint32) frame.Properties {
	var b frame.Basic
	if err := b.Decode(p); err != nil {
		panic("properties of a stored message: " + err.Error()) // they were checked when it was published
	}
	b.Headers = b.Headers.Without(headerDeliveryCount).With(headerDeliveryCount, int64(count))
	return b.Append(nil)
}
