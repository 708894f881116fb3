package router

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/object"
)

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
