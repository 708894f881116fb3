package amqp10

import (
	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/message"
)

// The annotations of messages that died, as RabbitMQ writes them.
const (
	annotationDeaths     = "x-opt-deaths"
	annotationFirstDeath = "x-first-death-" // reason, queue, exchange: once
	annotationLastDeath  = "x-last-death-"  // the same, each time
)

// death is one entry of x-opt-deaths: how often a message died in a queue for a reason.
type death struct {
	queue, reason, exchange string
	keys                    []string
	count                   uint64
	first, last             int64 // milliseconds since 1970
}

// mostDeaths bounds the entries that are kept: a message may go round between queues.
const mostDeaths = 64

// DeadLetter makes the message that goes to a dead-letter exchange: its annotation x-opt-deaths tells where it died, the
// newest death first, and it does not expire again. Nothing else of it changes. Cycle says whether the message would come
// to a queue for the second time without anybody having rejected it in between. The keys of x-cc go with it unless the queue
// has a key for the dead.
func DeadLetter(m *message.Message, d hub.Death) hub.Dead {
	annotations, rest := frame.CutAnnotations(m.Properties)
	annotations = mapping.Annotated(annotations, frame.Map(d.Note))
	also, _ := moreKeys(annotations) // it was checked when it was published
	deaths := bury(readDeaths(annotations), d, also)
	c := *m
	c.Owned = true
	c.Properties = append(appendDeaths(nil, annotations, deaths, d), rest...)
	if d.Rekeyed {
		also = nil
	}
	return hub.Dead{Message: &c, Also: also, Attributes: Attributes(&c), Cycle: func(queue string) bool { return isCycle(deaths, queue) }}
}

// bury counts a death, and brings it to the front.
func bury(deaths []death, d hub.Death, also []string) []death {
	for i, old := range deaths {
		if old.queue == d.Queue && old.reason == d.Reason {
			old.count++
			old.last = d.At
			return append([]death{old}, append(deaths[:i:i], deaths[i+1:]...)...)
		}
	}
	keys := append([]string{d.RoutingKey}, also...)
	all := append([]death{{queue: d.Queue, reason: d.Reason, exchange: d.Exchange, keys: keys, count: 1, first: d.At, last: d.At}}, deaths...)
	return all[:min(len(all), mostDeaths)]
}

// readDeaths reads x-opt-deaths. A client may have sent anything under that name: what is no death is left out.
func readDeaths(annotations frame.Map) (all []death) {
	v, _ := annotations.Lookup(annotationDeaths)
	for e := range v.Elements() {
		m, _ := e.Map()
		text := func(name string) string {
			w, _ := m.Lookup(name)
			b, _ := w.Bytes()
			return string(b)
		}
		d := death{queue: text("queue"), reason: text("reason"), exchange: text("exchange")}
		count, _ := m.Lookup("count")
		d.count, _ = count.Uint()
		first, _ := m.Lookup("first-time")
		d.first, _ = first.Int()
		last, _ := m.Lookup("last-time")
		d.last, _ = last.Int()
		keys, _ := m.Lookup("routing-keys")
		for k := range keys.Elements() {
			b, _ := k.Bytes()
			d.keys = append(d.keys, string(b))
		}
		if d.queue != "" && d.reason != "" && d.count > 0 && len(all) < mostDeaths {
			all = append(all, d)
		}
	}
	return all
}

func (d *death) append(dst []byte) []byte {
	var m frame.Map
	for _, f := range [...][2]string{{"queue", d.queue}, {"reason", d.reason}, {"exchange", d.exchange}} {
		m = frame.AppendString(frame.AppendSymbol(m, f[0]), mapping.Text(f[1]))
	}
	m = frame.AppendUlong(frame.AppendSymbol(m, "count"), d.count)
	m = frame.AppendTimestamp(frame.AppendSymbol(m, "first-time"), d.first)
	m = frame.AppendTimestamp(frame.AppendSymbol(m, "last-time"), d.last)
	var keys frame.List
	for _, k := range d.keys {
		keys = frame.AppendString(keys, mapping.Text(k))
	}
	m = frame.AppendList(frame.AppendSymbol(m, "routing-keys"), keys)
	return frame.AppendMap(dst, m)
}

// appendDeaths writes the annotations with the deaths, and with the first and the last one in annotations of their own.
func appendDeaths(dst []byte, annotations frame.Map, deaths []death, d hub.Death) []byte {
	var list frame.List
	for i := range deaths {
		list = deaths[i].append(list)
	}
	texts := []string{annotationLastDeath + "reason", d.Reason, annotationLastDeath + "queue", mapping.Text(d.Queue), annotationLastDeath + "exchange", mapping.Text(d.Exchange)}
	if _, died := annotations.Lookup(annotationFirstDeath + "reason"); !died {
		texts = append(texts, annotationFirstDeath+"reason", d.Reason, annotationFirstDeath+"queue", mapping.Text(d.Queue), annotationFirstDeath+"exchange", mapping.Text(d.Exchange))
	}
	var kept frame.Map
	for k, v := range annotations.All() {
		b, _ := k.Bytes()
		if name := string(b); name != annotationDeaths && !(d.Rekeyed && name == annotationKeys) {
			kept = v.Append(k.Append(kept))
		}
	}
	kept = frame.AppendList(frame.AppendSymbol(kept, annotationDeaths), list)
	return frame.AppendAnnotated(dst, kept, texts...)
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
