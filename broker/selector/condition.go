package selector

import (
	"slices"
	"strings"
)

// condition is true, false or unknown of a message. What is constant is a truth, which is a condition that asks nothing and
// is the only one to be given no Evaluation.
type condition interface {
	truth(e *Evaluation) truth
	// append writes the condition where operators of a level may stand.
	append(dst []byte, at level) []byte
	visit(func(*identifier))
}

func (t truth) truth(*Evaluation) truth { return t }

func (t truth) visit(func(*identifier)) {}

func (t truth) value() Value {
	if t == unknown {
		return Value{}
	}
	return Bool(t == yes)
}

// conjunction is AND.
type conjunction struct {
	terms []condition
	exact bool // whether false and unknown differ; otherwise the first of either decides
}

func (c *conjunction) truth(e *Evaluation) truth {
	result := yes
	for _, t := range c.terms {
		v := t.truth(e)
		if v == no || v == unknown && !c.exact {
			return no
		}
		result = min(result, v)
	}
	return result
}

func (c *conjunction) visit(f func(*identifier)) { visitAll(c.terms, f) }

// disjunction is OR.
type disjunction struct{ terms []condition }

func (c *disjunction) truth(e *Evaluation) truth {
	result := no
	for _, t := range c.terms {
		v := t.truth(e)
		if v == yes {
			return yes
		}
		result = max(result, v)
	}
	return result
}

func (c *disjunction) visit(f func(*identifier)) { visitAll(c.terms, f) }

func visitAll(terms []condition, f func(*identifier)) {
	for _, t := range terms {
		t.visit(f)
	}
}

// comparison of two operands by one of six operators.
type comparison struct {
	op          operator
	left, right operand
}

var (
	opposite = [...]operator{opEqual: opUnequal, opUnequal: opEqual, opLess: opGreaterEqual, opGreaterEqual: opLess, opGreater: opLessEqual, opLessEqual: opGreater}
	mirrored = [...]operator{opEqual: opEqual, opUnequal: opUnequal, opLess: opGreater, opGreater: opLess, opLessEqual: opGreaterEqual, opGreaterEqual: opLessEqual}
)

// newComparison computes it when both operands are literals or one is NULL.
func newComparison(op operator, left, right operand) condition {
	c := &comparison{op, left, right}
	if isNull(left) || isNull(right) {
		return unknown
	}
	if isLiteral(left) && isLiteral(right) {
		return c.truth(nil)
	}
	return c
}

func (c *comparison) truth(e *Evaluation) truth {
	return compare(c.op, c.left.value(e), c.right.value(e))
}

func (c *comparison) visit(f func(*identifier)) {
	c.left.visit(f)
	c.right.visit(f)
}

// compare is unknown for values that are not alike, and for the order of what is no number (JMS 2.0 §3.8.1.2).
func compare(op operator, a, b Value) truth {
	switch {
	case a.isNumber() && b.isNumber():
		order, ok := compareNumbers(a, b)
		if !ok {
			return unknown
		}
		return truthOf(holds(op, order))
	case a.kind != b.kind || a.kind == Absent || op != opEqual && op != opUnequal:
		return unknown
	case a.kind == Text:
		return truthOf((a.text == b.text) == (op == opEqual))
	}
	return truthOf((a.bool() == b.bool()) == (op == opEqual))
}

func holds(op operator, order int) bool {
	switch op {
	case opEqual:
		return order == 0
	case opUnequal:
		return order != 0
	case opLess:
		return order < 0
	case opLessEqual:
		return order <= 0
	case opGreater:
		return order > 0
	}
	return order >= 0
}

// between is x >= low AND x <= high.
type between struct {
	x, low, high operand
	negated      bool
}

func (c *between) truth(e *Evaluation) truth {
	x := c.x.value(e)
	result := compare(opGreaterEqual, x, c.low.value(e))
	if result != no {
		result = min(result, compare(opLessEqual, x, c.high.value(e)))
	}
	if c.negated {
		return -result
	}
	return result
}

func (c *between) visit(f func(*identifier)) {
	c.x.visit(f)
	c.low.visit(f)
	c.high.visit(f)
}

// membership is IN: numbers or texts, each in order and once.
type membership struct {
	x              operand
	numbers, texts []Value
	negated        bool
}

func (c *membership) truth(e *Evaluation) truth {
	x := c.x.value(e)
	var found bool
	switch {
	case x.kind == Text && c.texts != nil:
		_, found = slices.BinarySearchFunc(c.texts, x, orderOfTexts)
	case x.isNumber() && c.numbers != nil && x.approximate() == x.approximate(): // not NaN
		_, found = slices.BinarySearchFunc(c.numbers, x, orderOfNumbers)
	default:
		return unknown
	}
	return truthOf(found != c.negated)
}

func (c *membership) visit(f func(*identifier)) { c.x.visit(f) }

func orderOfTexts(a, b Value) int { return strings.Compare(a.text, b.text) }

func orderOfNumbers(a, b Value) int {
	order, _ := compareNumbers(a, b)
	return order
}

// like is LIKE.
type like struct {
	x       operand
	pattern *pattern
	negated bool
}

func (c *like) truth(e *Evaluation) truth {
	x := c.x.value(e)
	if x.kind != Text {
		return unknown
	}
	return truthOf(c.pattern.match(x.text) != c.negated)
}

func (c *like) visit(f func(*identifier)) { c.x.visit(f) }

// absence is IS NULL; it is never unknown.
type absence struct {
	x       operand
	negated bool
}

func (c *absence) truth(e *Evaluation) truth {
	return truthOf((c.x.value(e).kind == Absent) != c.negated)
}

func (c *absence) visit(f func(*identifier)) { c.x.visit(f) }
