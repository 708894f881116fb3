package router

// Match is a target that a message goes to.
type Match[T comparable] struct {
	Target  T
	Options Options
}

// Route appends to dst where a message goes: each target once, with the merged options of its bindings that match. The
// message is not changed. An exchange none of whose bindings match hands the message to its alternate
// exchange, if it has one that exists. It is an error, of code NotFound, only if the first exchange does not exist.
func (t *Table[T]) Route(exchange string, m *Message, dst []Match[T]) ([]Match[T], error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	x := t.exchanges[exchange]
	if x == nil {
		return dst, noExchange(exchange)
	}
	r := t.scratch.Get().(*routing[T])
	r.begin(int(t.ids.next), dst)
	r.reach(&x.endpoint)
	for i := 0; i < len(r.exchanges); i++ {
		x := r.exchanges[i]
		r.matched = false
		x.index.match(m, r.visit)
		if a := t.exchanges[x.alternate]; !r.matched && x.alternate != "" && a != nil {
			r.reach(&a.endpoint)
		}
	}
	dst = r.end()
	t.scratch.Put(r)
	return dst, nil
}

// routing is the state of one Route. It is used again by later ones.
type routing[T comparable] struct {
	matches   []Match[T]
	exchanges []*exchange[T]    // those reached, in order
	matched   bool              // the exchange at hand has a binding that matches
	visit     func(*binding[T]) // follow, bound once

	// reached and at are a set of endpoints that needs no clearing: e is in it if at[e.id] is where reached has it. What
	// other values at has does not matter.
	reached []reached[T]
	at      []int32
}

// reached is an endpoint with the index of its match; exchanges have none.
type reached[T comparable] struct {
	endpoint *endpoint[T]
	match    int
}

func newRouting[T comparable]() *routing[T] {
	r := new(routing[T])
	r.visit = r.follow
	return r
}

func (r *routing[T]) begin(endpoints int, dst []Match[T]) {
	r.matches = dst
	if len(r.at) < endpoints {
		r.at = make([]int32, endpoints+endpoints/2)
	}
}

// end gives up what the routing refers to.
func (r *routing[T]) end() []Match[T] {
	dst := r.matches
	r.matches = nil
	clear(r.exchanges)
	clear(r.reached)
	r.exchanges, r.reached = r.exchanges[:0], r.reached[:0]
	return dst
}

func (r *routing[T]) follow(b *binding[T]) {
	r.matched = true
	hit, first := r.reach(b.to)
	switch {
	case b.to.exchange != nil:
	case first:
		r.matches = append(r.matches, Match[T]{Target: b.to.target, Options: b.options})
	default:
		m := &r.matches[hit]
		m.Options = m.Options.merge(b.options)
	}
}

// reach says at which index an endpoint's match is, or is to be, and whether it was reached for the first time.
func (r *routing[T]) reach(e *endpoint[T]) (match int, first bool) {
	if i := int(r.at[e.id]); i < len(r.reached) && r.reached[i].endpoint == e {
		return r.reached[i].match, false
	}
	r.at[e.id] = int32(len(r.reached))
	r.reached = append(r.reached, reached[T]{endpoint: e, match: len(r.matches)})
	if e.exchange != nil {
		r.exchanges = append(r.exchanges, e.exchange)
	}
	return len(r.matches), true
}

// Cacheable says whether exchange and key alone decide where messages to an exchange go: no exchange can be reached from
// it that looks at a message's attributes or chooses at random.
func (t *Table[T]) Cacheable(name string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	x := t.exchanges[name]
	if x == nil {
		return true
	}
	seen := map[*exchange[T]]bool{x: true}
	todo := []*exchange[T]{x}
	visit := func(x *exchange[T]) {
		if x != nil && !seen[x] {
			seen[x] = true
			todo = append(todo, x)
		}
	}
	for i := 0; i < len(todo); i++ {
		x := todo[i]
		if !x.byKey() {
			return false
		}
		for _, b := range x.onward {
			visit(b.to.exchange)
		}
		if x.alternate != "" {
			visit(t.exchanges[x.alternate])
		}
	}
	return true
}
