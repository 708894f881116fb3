package router

import "github.com/turnstone-mq/turnstone/broker/topic"

// direct finds bindings by their key, which is that of the message. AMQP 0-9-1 §3.1.3.1. The default exchange is a
// direct exchange in which every queue has one binding, with its name for a key.
type direct[T comparable] map[string]list[T]

func (d direct[T]) add(b *binding[T]) {
	l := d[b.key]
	l.add(b, inIndex)
	d[b.key] = l
}

func (d direct[T]) remove(b *binding[T]) {
	l := d[b.key]
	if l.remove(b, inIndex); len(l) == 0 {
		delete(d, b.key)
		return
	}
	d[b.key] = l
}

func (d direct[T]) match(m *Message, visit func(*binding[T])) {
	d.matchKey(m.key(), visit)
	for _, key := range m.Also {
		if m.Form == topic.MQTT {
			key = topic.Swap(key)
		}
		d.matchKey(key, visit)
	}
}

func (d direct[T]) matchKey(key string, visit func(*binding[T])) {
	for _, b := range d[key] {
		visit(b)
	}
}

func (d direct[T]) each(visit func(*binding[T])) {
	for _, l := range d {
		l.each(visit)
	}
}

// fanout gives every message to every binding. AMQP 0-9-1 §3.1.3.2.
type fanout[T comparable] struct{ all list[T] }

func (f *fanout[T]) add(b *binding[T])    { f.all.add(b, inIndex) }
func (f *fanout[T]) remove(b *binding[T]) { f.all.remove(b, inIndex) }

func (f *fanout[T]) each(visit func(*binding[T])) { f.all.each(visit) }

func (f *fanout[T]) match(_ *Message, visit func(*binding[T])) {
	f.all.each(visit)
}

// topics matches keys with patterns of both forms. AMQP 0-9-1 §3.1.3.3, MQTT §4.7.
type topics[T comparable] struct{ tree topic.Tree[*binding[T]] }

func (t *topics[T]) add(b *binding[T])    { t.tree.Add(b.key, b.form(), b) }
func (t *topics[T]) remove(b *binding[T]) { t.tree.Remove(b.key, b.form(), b) }

func (t *topics[T]) each(visit func(*binding[T])) { t.tree.Each(visit) }

func (t *topics[T]) match(m *Message, visit func(*binding[T])) {
	t.tree.Match(m.Key, m.Form, visit)
	for _, key := range m.Also {
		t.tree.Match(key, m.Form, visit)
	}
}
