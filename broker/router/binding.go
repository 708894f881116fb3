package router

import (
	"encoding/json"

	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// binding goes from an exchange to an endpoint. Only options change, and what of bound says where lists have it. There can
// be millions, most of them subscriptions: those are 48 bytes, and what they have not is apart.
type binding[T comparable] struct {
	source  *exchange[T]
	key     string // of a subscription its filter
	to      *endpoint[T]
	bound   *bound // nil for subscriptions
	options Options
}

// bound is what bindings have that are not subscriptions.
type bound struct {
	special *special // nil when there is nothing of it
	at      [places]int32
}

// special is what bindings of some exchanges have.
type special struct {
	arguments string // as JSON, empty for none
	args      object.Arguments
	headers   *predicate // compiled args when the source is a headers exchange
	weight    float64    // when the source is a consistent-hash exchange
	seed      uint64     // of the end, likewise
}

// form is the dialect of the key.
func (b *binding[T]) form() topic.Form {
	if b.bound == nil {
		return topic.MQTT
	}
	return topic.AMQP
}

// special is nil for bindings that have nothing of it.
func (b *binding[T]) special() *special {
	if b.bound == nil {
		return nil
	}
	return b.bound.special
}

// identity tells the bindings of one endpoint apart.
type identity[T comparable] struct {
	source    *exchange[T]
	key       string
	form      topic.Form
	arguments string // as JSON, empty for none
}

func (b *binding[T]) identity() identity[T] {
	id := identity[T]{source: b.source, key: b.key, form: b.form()}
	if sp := b.special(); sp != nil {
		id.arguments = sp.arguments
	}
	return id
}

// endpoint is where bindings end: a target, or an exchange.
type endpoint[T comparable] struct {
	target   T
	exchange *exchange[T] // nil for a target
	name     string       // the queue's or exchange's; empty for a target that has none
	links    links[T]     // the bindings that end here
	id       int32        // small, and no other living endpoint's
}

// list holds bindings that are not subscriptions, in no order. Each binding knows its index in every list that it is in, so
// that one is removed from among a million at once.
type list[T comparable] []*binding[T]

type place uint8

const (
	inIndex  place = iota // of the source, unless that is a topic exchange
	inOnward              // exchange.onward
	places
)

func (l *list[T]) add(b *binding[T], p place) {
	b.bound.at[p] = int32(len(*l))
	*l = append(*l, b)
}

func (l *list[T]) remove(b *binding[T], p place) {
	last := len(*l) - 1
	moved := (*l)[last]
	(*l)[b.bound.at[p]] = moved
	moved.bound.at[p] = b.bound.at[p]
	(*l)[last] = nil
	if *l = (*l)[:last]; last == 0 {
		*l = nil
	}
}

func (l list[T]) each(visit func(*binding[T])) {
	for _, b := range l {
		visit(b)
	}
}

// ids numbers endpoints; numbers of those that are gone are used again, so that they stay small.
type ids struct {
	next int32
	free []int32
}

func (i *ids) take() int32 {
	if n := len(i.free); n > 0 {
		id := i.free[n-1]
		i.free = i.free[:n-1]
		return id
	}
	i.next++
	return i.next - 1
}

func (i *ids) give(id int32) { i.free = append(i.free, id) }

// newBinding is a binding that begins at an exchange and has no end yet.
func (t *Table[T]) newBinding(source, key string, args object.Arguments) (*binding[T], error) {
	x := t.exchanges[source]
	switch {
	case x == nil:
		return nil, noExchange(source)
	case source == "":
		return nil, errorf(Reserved, source, "operation not permitted on the default exchange")
	}
	text, err := argumentsText(args)
	if err != nil {
		return nil, errorf(BadArgument, source, "binding of exchange '%s': %v", source, err)
	}
	b := &binding[T]{
		source: x, key: key, bound: new(bound),
		options: Options{QoS: MaxQoS},
	}
	routesAs := x.spec.RoutesAs()
	if len(args) > 0 || routesAs == object.ExchangeHeaders || routesAs == object.ExchangeConsistentHash {
		b.bound.special = &special{arguments: text, args: args}
	}
	if routesAs == object.ExchangeHeaders {
		if b.bound.special.headers, err = newPredicate(args); err != nil {
			return nil, errorf(BadArgument, source, "binding of exchange '%s': %v", source, err)
		}
	}
	if routesAs == object.ExchangeConsistentHash {
		weight, err := object.Weight(key)
		if err != nil {
			return nil, errorf(BadArgument, source, "binding of exchange '%s': %v", source, err)
		}
		b.bound.special.weight = float64(weight)
	}
	return b, nil
}

func argumentsText(args object.Arguments) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	b, err := json.Marshal(map[string]any(args))
	return string(b), err
}

// dropAll drops all bindings that end at an endpoint.
func (t *Table[T]) dropAll(e *endpoint[T], gone []string) []string {
	for _, b := range e.links.all() {
		if e.links.has(b) { // else it went with an exchange
			gone = t.drop(b, gone)
		}
	}
	return gone
}

// target is the endpoint of a target, made if it is not there; it must get a binding before the table is unlocked.
func (t *Table[T]) target(target T) *endpoint[T] {
	e := t.targets[target]
	if e == nil {
		e = &endpoint[T]{target: target, id: t.ids.take()}
		t.targets[target] = e
	}
	return e
}

func (t *Table[T]) bind(b *binding[T]) {
	x := b.source
	if sp := b.special(); sp != nil {
		sp.seed = hash(b.to.name)
	}
	x.index.add(b)
	x.out++
	if b.to.exchange != nil {
		x.onward.add(b, inOnward)
	}
	b.to.links.add(b)
	t.generation.Add(1)
}

// unbind takes a binding out, and its target with its last one.
func (t *Table[T]) unbind(b *binding[T]) {
	x, e := b.source, b.to
	x.index.remove(b)
	x.out--
	if e.exchange != nil {
		x.onward.remove(b, inOnward)
	}
	e.links.remove(b)
	if e.exchange == nil && e.links.n == 0 {
		delete(t.targets, e.target)
		t.ids.give(e.id)
	}
	t.generation.Add(1)
}

// drop unbinds, and removes the source if that is an auto-delete exchange without bindings now.
func (t *Table[T]) drop(b *binding[T], gone []string) []string {
	t.unbind(b)
	x := b.source
	if x.spec.AutoDelete && x.out == 0 && t.exchanges[x.name] == x {
		gone = t.remove(x, append(gone, x.name))
	}
	return gone
}

func (t *Table[T]) unbindFrom(e *endpoint[T], source, key string, args object.Arguments) (removed bool, gone []string) {
	text, err := argumentsText(args)
	if err != nil || source == "" {
		return false, nil
	}
	b := e.links.find(identity[T]{source: t.exchanges[source], key: key, form: topic.AMQP, arguments: text})
	if b == nil {
		return false, nil
	}
	return true, t.drop(b, nil)
}

// Binding describes a binding. The ends that are not exchanges are targets.
type Binding[T comparable] struct {
	Source     string
	Target     T
	ToExchange bool
	Exchange   string // the destination when ToExchange
	Key        string
	Form       topic.Form // MQTT: a subscription, Key is its filter
	Arguments  object.Arguments
	Options    Options
}

// BindingsOf lists the bindings of a target, with that of the default exchange.
func (t *Table[T]) BindingsOf(target T) []Binding[T] {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if e := t.targets[target]; e != nil {
		return describe(e.links.all())
	}
	return nil
}

// BindingsFrom lists the bindings that begin at an exchange.
func (t *Table[T]) BindingsFrom(exchange string) []Binding[T] {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if x := t.exchanges[exchange]; x != nil {
		return describe(x.bindings())
	}
	return nil
}

// BindingsTo lists the bindings that end at an exchange.
func (t *Table[T]) BindingsTo(exchange string) []Binding[T] {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if x := t.exchanges[exchange]; x != nil {
		return describe(x.links.all())
	}
	return nil
}

func describe[T comparable](l []*binding[T]) []Binding[T] {
	out := make([]Binding[T], len(l))
	for i, b := range l {
		out[i] = Binding[T]{Source: b.source.name, Target: b.to.target, Key: b.key, Form: b.form(), Options: b.options}
		if sp := b.special(); sp != nil {
			out[i].Arguments = sp.args
		}
		if x := b.to.exchange; x != nil {
			out[i].ToExchange, out[i].Exchange = true, x.name
		}
	}
	return out
}
