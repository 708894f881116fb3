// Package router knows where the messages of one virtual host go: its exchanges, their bindings, and the subscriptions
// of MQTT clients, which are bindings of a topic exchange in MQTT's dialect.
//
// It answers a message's exchange and key with targets, whatever those are to its caller, package hub. It has no
// goroutine, no clock and no I/O, and it is not where anything is durable: the hub tells it what there is.
package router

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// Options say how a target wants the messages of a binding.
type Options struct {
	// QoS is the highest quality of service of a delivery. AMQP bindings have MaxQoS.
	QoS uint8
	// NoLocal: not those that the target's own connection published.
	NoLocal bool
	// RetainAsPublished: with the RETAIN flag as the publisher set it.
	RetainAsPublished bool
	// SubscriptionID comes back with each delivery; zero is none.
	SubscriptionID uint32
}

// MaxQoS is the QoS of bindings that do not lower it.
const MaxQoS = 2

// merge is what a target gets that matches twice: one delivery that leaves none of its bindings short. The highest QoS
// counts [MQTT-3.3.5-1], NoLocal holds only if all bindings have it, RetainAsPublished if any has, and of subscription
// ids the lowest. The order of merging makes no difference.
func (o Options) merge(p Options) Options {
	if o.SubscriptionID == 0 || p.SubscriptionID != 0 && p.SubscriptionID < o.SubscriptionID {
		o.SubscriptionID = p.SubscriptionID
	}
	o.QoS = max(o.QoS, p.QoS)
	o.NoLocal = o.NoLocal && p.NoLocal
	o.RetainAsPublished = o.RetainAsPublished || p.RetainAsPublished
	return o
}

// Message is what decides where a message goes.
type Message struct {
	Key        string
	Also       []string   // more keys: the message goes where any of them leads, once
	Form       topic.Form // of the keys
	Attributes Attributes // nil: none
	Chance     uint64     // random; what exchanges that choose at random choose by
}

// key is the first key in AMQP's form.
func (m *Message) key() string {
	if m.Form == topic.MQTT {
		return topic.Swap(m.Key)
	}
	return m.Key
}

// Attributes are what a message says of itself beside its key. Values of headers are as in object.Arguments; a property
// is one of object.HashProperties, empty when the message has none.
type Attributes interface {
	Header(name string) (value any, ok bool)
	Property(name string) string
}

// Table is the exchanges and bindings of one virtual host, with targets of type T. Its methods are safe for concurrent
// use; those that only read run side by side.
type Table[T comparable] struct {
	generation atomic.Uint64

	mu        sync.RWMutex
	exchanges map[string]*exchange[T] // guarded by mu, as is what hangs on them
	targets   map[T]*endpoint[T]      // guarded by mu; those with at least one binding
	ids       ids                     // guarded by mu; of all endpoints

	scratch sync.Pool // of *routing[T]
}

// predeclared are the exchanges that every virtual host has. AMQP 0-9-1 §3.1.3.
var predeclared = map[string]string{
	"":            object.ExchangeDirect,
	"amq.direct":  object.ExchangeDirect,
	"amq.fanout":  object.ExchangeFanout,
	"amq.topic":   object.ExchangeTopic,
	"amq.headers": object.ExchangeHeaders,
	"amq.match":   object.ExchangeHeaders,
}

// New makes a table with the predeclared exchanges.
func New[T comparable]() *Table[T] {
	t := &Table[T]{exchanges: make(map[string]*exchange[T]), targets: make(map[T]*endpoint[T])}
	t.scratch.New = func() any { return newRouting[T]() }
	for name, kind := range predeclared {
		t.add(name, object.ExchangeSpec{Type: kind, Durable: true}, "")
	}
	return t
}

// Generation changes with every change that can alter a route. Who keeps a route reads it before asking for the route,
// and asks again when it has changed.
func (t *Table[T]) Generation() uint64 { return t.generation.Load() }

// AddQueue makes the default exchange route to a target by name. A name that another target had is this one's from now on.
func (t *Table[T]) AddQueue(name string, target T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.exchanges[""]
	for _, b := range slices.Clone(x.index.(direct[T])[name]) {
		if b.to.target == target {
			return
		}
		t.unbind(b)
	}
	e := t.target(target)
	e.name = name
	t.bind(&binding[T]{
		source: x, key: name, bound: new(bound),
		to:      e,
		options: Options{QoS: MaxQoS},
	})
}

// RemoveTarget removes a target's bindings, and answers the names of the auto-delete exchanges that are gone because it
// had their last binding.
func (t *Table[T]) RemoveTarget(target T) (gone []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.targets[target]
	if e == nil {
		return nil
	}
	return t.dropAll(e, gone)
}

// Bind feeds a target from an exchange. It answers false if it does already.
func (t *Table[T]) Bind(source string, target T, key string, args object.Arguments) (added bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b, err := t.newBinding(source, key, args)
	if err != nil {
		return false, err
	}
	if e := t.targets[target]; e != nil && e.links.find(b.identity()) != nil {
		return false, nil
	}
	b.to = t.target(target)
	t.bind(b)
	return true, nil
}

// Unbind ends a binding, and answers the names of the auto-delete exchanges that are gone because it was their last.
// One that does not exist is passed over.
func (t *Table[T]) Unbind(source string, target T, key string, args object.Arguments) (removed bool, gone []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.targets[target]; e != nil {
		return t.unbindFrom(e, source, key, args)
	}
	return false, nil
}

// BindExchange feeds an exchange from another one. Cycles are allowed: a message visits each exchange once.
func (t *Table[T]) BindExchange(source, destination, key string, args object.Arguments) (added bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b, err := t.newBinding(source, key, args)
	if err != nil {
		return false, err
	}
	to := t.exchanges[destination]
	switch {
	case to == nil:
		return false, noExchange(destination)
	case destination == "":
		return false, errorf(Reserved, destination, "operation not permitted on the default exchange")
	case to.links.find(b.identity()) != nil:
		return false, nil
	}
	b.to = &to.endpoint
	t.bind(b)
	return true, nil
}

// UnbindExchange ends a binding between exchanges; see Unbind.
func (t *Table[T]) UnbindExchange(source, destination, key string, args object.Arguments) (removed bool, gone []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if to := t.exchanges[destination]; to != nil {
		return t.unbindFrom(&to.endpoint, source, key, args)
	}
	return false, nil
}

// Subscribe feeds a target from a topic exchange by an MQTT filter. A subscription of the same filter is replaced.
func (t *Table[T]) Subscribe(exchange, filter string, target T, o Options) error {
	if err := topic.CheckFilter(filter, 0); err != nil {
		return errorf(BadArgument, exchange, "%v", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.exchanges[exchange]
	switch {
	case x == nil:
		return noExchange(exchange)
	case x.spec.RoutesAs() != object.ExchangeTopic:
		return errorf(BadArgument, exchange, "exchange '%s' is of type %s; topic filters need a %s exchange", exchange, x.spec.Type, object.ExchangeTopic)
	}
	id := identity[T]{source: x, key: filter, form: topic.MQTT}
	e := t.target(target)
	if b := e.links.find(id); b != nil {
		if b.options != o {
			b.options = o
			t.generation.Add(1)
		}
		return nil
	}
	t.bind(&binding[T]{source: x, key: filter, to: e, options: o})
	return nil
}

// Unsubscribe ends a subscription, and answers what Unbind answers.
func (t *Table[T]) Unsubscribe(exchange, filter string, target T) (removed bool, gone []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.targets[target]
	if e == nil {
		return false, nil
	}
	b := e.links.find(identity[T]{source: t.exchanges[exchange], key: filter, form: topic.MQTT})
	if b == nil {
		return false, nil
	}
	return true, t.drop(b, nil)
}
