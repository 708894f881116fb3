package router

import (
	"slices"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// exchange is one exchange. As an endpoint it is where bindings of other exchanges end.
type exchange[T comparable] struct {
	endpoint[T]
	spec      object.ExchangeSpec
	alternate string   // empty for none
	index     index[T] // of the bindings that begin here
	out       int      // how many there are
	onward    list[T]  // those of them that end at an exchange
}

// index finds the bindings of one exchange that match a message. There is one for each type of exchange.
type index[T comparable] interface {
	add(b *binding[T])
	remove(b *binding[T])
	match(m *Message, visit func(*binding[T]))
	each(visit func(*binding[T]))
}

func newIndex[T comparable](spec object.ExchangeSpec) index[T] {
	switch spec.RoutesAs() {
	case object.ExchangeDirect:
		return make(direct[T])
	case object.ExchangeFanout:
		return new(fanout[T])
	case object.ExchangeTopic:
		return new(topics[T])
	case object.ExchangeHeaders:
		return newHeaders[T]()
	case object.ExchangeConsistentHash:
		return newHashed[T](spec.Arguments)
	case object.ExchangeRandom, object.ExchangeLocalRandom: // every queue is local to the one who routes
		return new(lottery[T])
	}
	return nil
}

// bindings are those that begin at the exchange, in no order; the slice is the caller's.
func (x *exchange[T]) bindings() []*binding[T] {
	all := make([]*binding[T], 0, x.out)
	x.index.each(func(b *binding[T]) { all = append(all, b) })
	return all
}

// byKey says whether the key alone decides what matches.
func (x *exchange[T]) byKey() bool {
	switch x.spec.RoutesAs() {
	case object.ExchangeHeaders, object.ExchangeRandom, object.ExchangeLocalRandom:
		return false
	case object.ExchangeConsistentHash:
		h := x.index.(*hashed[T])
		return h.header == "" && h.property == ""
	}
	return true
}

// Exchange is an exchange with its name.
type Exchange struct {
	Name string
	Spec object.ExchangeSpec
}

// Exchange is the exchange of a name. Its arguments are not to be changed.
func (t *Table[T]) Exchange(name string) (spec object.ExchangeSpec, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if x := t.exchanges[name]; x != nil {
		return x.spec, true
	}
	return spec, false
}

// Exchanges lists all exchanges, sorted by name.
func (t *Table[T]) Exchanges() []Exchange {
	t.mu.RLock()
	out := make([]Exchange, 0, len(t.exchanges))
	for _, x := range t.exchanges {
		out = append(out, Exchange{Name: x.name, Spec: x.spec})
	}
	t.mu.RUnlock()
	slices.SortFunc(out, func(a, b Exchange) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Declare makes sure that an exchange exists as specified, and keeps the spec. It is no error if it exists already with
// an equal one.
func (t *Table[T]) Declare(name string, spec object.ExchangeSpec) error {
	if name == "" {
		return errorf(Reserved, name, "operation not permitted on the default exchange")
	}
	if !slices.Contains(object.ExchangeTypes, spec.Type) {
		return errorf(UnknownType, name, "unknown exchange type '%s'; there are %s", spec.Type, strings.Join(object.ExchangeTypes, ", "))
	}
	if as := spec.RoutesAs(); as == object.ExchangeDelayed || !slices.Contains(object.ExchangeTypes, as) {
		return errorf(BadArgument, name, "exchange '%s': argument '%s' must be the type of another exchange, not '%s'", name, object.DelayedType, as)
	}
	alternate, _, err := spec.Arguments.Text(object.AlternateExchange)
	if err != nil {
		return errorf(BadArgument, name, "exchange '%s': %v", name, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.exchanges[name]; x != nil {
		return x.equivalent(spec)
	}
	if strings.HasPrefix(name, "amq.") {
		return errorf(Reserved, name, "exchange name '%s' contains reserved prefix 'amq.*'", name)
	}
	t.add(name, spec, alternate)
	return nil
}

func (x *exchange[T]) equivalent(spec object.ExchangeSpec) error {
	differ := func(field string, want, have any) error {
		e := errorf(Inequivalent, x.name, "inequivalent arg '%s' for exchange '%s': received '%v' but current is '%v'", field, x.name, want, have)
		e.Field = field
		return e
	}
	switch {
	case spec.Type != x.spec.Type:
		return differ("type", spec.Type, x.spec.Type)
	case spec.Durable != x.spec.Durable:
		return differ("durable", spec.Durable, x.spec.Durable)
	case spec.AutoDelete != x.spec.AutoDelete:
		return differ("auto_delete", spec.AutoDelete, x.spec.AutoDelete)
	case spec.Internal != x.spec.Internal:
		return differ("internal", spec.Internal, x.spec.Internal)
	}
	if name, ok := spec.Arguments.Differ(x.spec.Arguments); ok {
		e := errorf(Inequivalent, x.name, "inequivalent arg '%s' for exchange '%s': %s", name, x.name, object.Mismatch(name, spec.Arguments, x.spec.Arguments))
		e.Field = name
		return e
	}
	return nil
}

// Delete removes an exchange, the bindings at both its ends, and auto-delete exchanges whose last binding went to it.
// With ifUnused it must have no binding that begins there.
func (t *Table[T]) Delete(name string, ifUnused bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.exchanges[name]
	_, builtIn := predeclared[name]
	switch {
	case builtIn:
		return errorf(Reserved, name, "operation not permitted on the exchange '%s'", name)
	case x == nil:
		return noExchange(name)
	case ifUnused && x.out > 0:
		return errorf(InUse, name, "exchange '%s' in use", name)
	}
	t.remove(x, nil)
	return nil
}

// SetAlternate changes which exchange gets what an exchange has no binding for; empty is none. An exchange that does not
// exist is passed over.
func (t *Table[T]) SetAlternate(name, alternate string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.exchanges[name]; x != nil && x.alternate != alternate {
		x.alternate = alternate
		t.generation.Add(1)
	}
}

// InUse says whether bindings begin at an exchange.
func (t *Table[T]) InUse(name string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	x := t.exchanges[name]
	return x != nil && x.out > 0
}

func (t *Table[T]) add(name string, spec object.ExchangeSpec, alternate string) {
	x := &exchange[T]{endpoint: endpoint[T]{name: name}, spec: spec, alternate: alternate, index: newIndex[T](spec)}
	x.exchange = x
	x.id = t.ids.take()
	t.exchanges[name] = x
	t.generation.Add(1)
}

// remove takes an exchange out, and with it those that lose their last binding by that; it adds their names to gone.
func (t *Table[T]) remove(x *exchange[T], gone []string) []string {
	delete(t.exchanges, x.name)
	for _, b := range x.bindings() {
		t.unbind(b)
	}
	gone = t.dropAll(&x.endpoint, gone)
	t.ids.give(x.id)
	t.generation.Add(1)
	return gone
}
