package router

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// headers asks the bindings whose arguments a message could fit. AMQP 0-9-1 §3.1.3.4.
//
// A binding that asks for all of its headers is filed under one value that it asks for, one that is content with any under
// each of them, so that a message meets only the bindings that have something in common with it. Those that ask for no
// value, or for one that is an array or a table, are asked every time.
type headers[T comparable] struct {
	filed map[headerValue][]*binding[T]
	names map[string]int // of headers under which something is filed: how many lists
	rest  list[T]
}

// headerValue is a value of a header as it is compared: numbers by what they say.
type headerValue struct {
	name, text string
	number     float64
	kind       uint8 // of the values that are equal only to their like
}

func newHeaders[T comparable]() *headers[T] {
	return &headers[T]{filed: make(map[headerValue][]*binding[T]), names: make(map[string]int)}
}

// fileUnder is false for what is not filed.
func fileUnder(name string, v any) (headerValue, bool) {
	switch v := v.(type) {
	case string:
		return headerValue{name: name, text: v, kind: 1}, true
	case int64:
		return headerValue{name: name, number: float64(v), kind: 2}, true
	case float64:
		return headerValue{name: name, number: v, kind: 2}, v == v // NaN is nobody's equal, not even as a key
	case bool:
		if v {
			return headerValue{name: name, number: 1, kind: 3}, true
		}
		return headerValue{name: name, kind: 3}, true
	}
	return headerValue{}, false
}

// places are where a binding is filed; none when it is to be asked every time.
func (p *predicate) places() (all []headerValue) {
	for _, t := range p.terms {
		v, ok := fileUnder(t.name, t.value)
		switch {
		case ok && !p.any:
			return []headerValue{v}
		case !ok && p.any:
			return nil
		case ok:
			all = append(all, v)
		}
	}
	return all
}

func (x *headers[T]) add(b *binding[T]) {
	places := b.bound.special.headers.places()
	if len(places) == 0 {
		x.rest.add(b, inIndex)
	}
	for _, v := range places {
		if x.filed[v] == nil {
			x.names[v.name]++
		}
		x.filed[v] = append(x.filed[v], b)
	}
}

func (x *headers[T]) remove(b *binding[T]) {
	places := b.bound.special.headers.places()
	if len(places) == 0 {
		x.rest.remove(b, inIndex)
	}
	for _, v := range places {
		l := x.filed[v]
		i := slices.Index(l, b)
		if l = slices.Delete(l, i, i+1); len(l) > 0 {
			x.filed[v] = l
			continue
		}
		delete(x.filed, v)
		if x.names[v.name]--; x.names[v.name] == 0 {
			delete(x.names, v.name)
		}
	}
}

func (x *headers[T]) each(visit func(*binding[T])) {
	x.rest.each(visit)
	for v, l := range x.filed {
		for _, b := range l {
			if b.bound.special.headers.places()[0] == v { // it may be filed under others, too
				visit(b)
			}
		}
	}
}

func (x *headers[T]) match(m *Message, visit func(*binding[T])) {
	for _, b := range x.rest {
		if b.bound.special.headers.match(m.Attributes) {
			visit(b)
		}
	}
	if m.Attributes == nil {
		return
	}
	for name := range x.names {
		value, ok := m.Attributes.Header(name)
		if !ok {
			continue
		}
		v, ok := fileUnder(name, value)
		if !ok {
			continue
		}
		for _, b := range x.filed[v] {
			if b.bound.special.headers.match(m.Attributes) {
				visit(b)
			}
		}
	}
}

// predicate is what the arguments of a headers binding ask of a message.
type predicate struct {
	any   bool // one term is enough; otherwise all must hold
	terms []term
}

// term asks for a header; with a value, for one that is equal to it.
type term struct {
	name  string
	value any // nil: any value will do
}

// newPredicate compiles binding arguments. x-match is "all" when absent; unless it ends in "-with-x", other arguments
// that begin with "x-" take no part, as in RabbitMQ.
func newPredicate(args object.Arguments) (*predicate, error) {
	kind, present, err := args.Text("x-match")
	if err != nil {
		return nil, err
	}
	p := new(predicate)
	withX := false
	switch {
	case !present, kind == "all":
	case kind == "any":
		p.any = true
	case kind == "all-with-x":
		withX = true
	case kind == "any-with-x":
		p.any, withX = true, true
	default:
		return nil, fmt.Errorf("argument \"x-match\" is %q; there are all, any, all-with-x, any-with-x", kind)
	}
	for name, value := range args {
		if name != "x-match" && (withX || !strings.HasPrefix(name, "x-")) {
			p.terms = append(p.terms, term{name: name, value: value})
		}
	}
	slices.SortFunc(p.terms, func(a, b term) int { return strings.Compare(a.name, b.name) })
	return p, nil
}

// match says whether a message fits. Without terms, "all" fits every message and "any" none.
func (p *predicate) match(a Attributes) bool {
	for _, t := range p.terms {
		if t.match(a) == p.any {
			return p.any
		}
	}
	return !p.any
}

func (t term) match(a Attributes) bool {
	if a == nil {
		return false
	}
	v, ok := a.Header(t.name)
	return ok && (t.value == nil || equal(t.value, v))
}

// equal compares two values as in object.Arguments. Numbers are equal by what they say, not by how they were encoded.
func equal(a, b any) bool {
	switch a := a.(type) {
	case int64:
		switch b := b.(type) {
		case int64:
			return a == b
		case float64:
			return equalNumber(a, b)
		}
	case float64:
		switch b := b.(type) {
		case int64:
			return equalNumber(b, a)
		case float64:
			return a == b
		}
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && equalTable(a, b)
	case string:
		b, ok := b.(string)
		return ok && a == b
	case bool:
		b, ok := b.(bool)
		return ok && a == b
	case nil:
		return b == nil
	}
	return false
}

// equalNumber is exact: 1<<53 + 1 is no float64.
func equalNumber(i int64, f float64) bool {
	return f == math.Trunc(f) && f >= -1<<63 && f < 1<<63 && int64(f) == i
}

func equalTable(a, b map[string]any) bool {
	if len(a) != len(b) {
		return false
	}
	for name, v := range a {
		if w, ok := b[name]; !ok || !equal(v, w) {
			return false
		}
	}
	return true
}
