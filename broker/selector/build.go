package selector

import "slices"

// builder turns a tree into what is evaluated: it checks types, computes what is constant, and moves each NOT to the
// comparisons, which have opposites in three-valued logic too. It visits each part of the tree once.
type builder struct {
	text  string
	names map[Name]*identifier
	err   *Error
}

func (b *builder) refuse(t *tree, format string, args ...any) {
	if b.err == nil {
		b.err = errorAt(b.text, t.at, format, args...)
	}
}

// condition is what t says, or its opposite. Unless exact, what is unknown may as well be false: nothing above is anything
// but AND and OR, and the selector matches only what is true.
func (b *builder) condition(t *tree, negated, exact bool) condition {
	c := b.anyCondition(t, negated, exact)
	if !exact && c == condition(unknown) {
		return no
	}
	return c
}

func (b *builder) anyCondition(t *tree, negated, exact bool) condition {
	switch t.op {
	case opNot:
		return b.condition(t.kids[0], !negated, exact)
	case opAnd, opOr:
		return b.junction(t, negated, exact)
	case opEqual, opUnequal, opLess, opLessEqual, opGreater, opGreaterEqual:
		return b.comparison(t, negated)
	case opBetween:
		return b.between(t, negated != t.negated)
	case opIn:
		return b.in(t, negated != t.negated)
	case opLike:
		return b.like(t, negated != t.negated)
	case opIsNull:
		return b.isNull(t, negated != t.negated)
	}
	x, is := b.operand(t)
	if is == numberType || is == textType {
		b.refuse(t, "expected a condition, found %s", is)
	}
	return newComparison(opEqual, x, literal(Bool(!negated)))
}

// junction joins the conditions of an AND or OR and of those that it is made of.
func (b *builder) junction(t *tree, negated, exact bool) condition {
	all := (t.op == opAnd) != negated
	absorbing := truthOf(!all)
	var terms []condition
	uncertain := false
	for _, c := range b.terms(nil, t, all, negated, exact) {
		switch c {
		case condition(absorbing):
			return absorbing
		case condition(-absorbing):
		case condition(unknown):
			uncertain = true
		default:
			terms = append(terms, c)
		}
	}
	switch {
	case uncertain:
		terms = append(terms, unknown)
	case len(terms) == 0:
		return -absorbing
	}
	if len(terms) == 1 {
		return terms[0]
	}
	if all {
		return &conjunction{terms, exact}
	}
	return &disjunction{terms}
}

// terms appends the conditions of t, and of the ANDs (if all) or ORs right below it.
func (b *builder) terms(to []condition, t *tree, all, negated, exact bool) []condition {
	for t.op == opNot {
		t, negated = t.kids[0], !negated
	}
	if (t.op == opAnd || t.op == opOr) && (t.op == opAnd) == (all != negated) {
		for _, kid := range t.kids {
			to = b.terms(to, kid, all, negated, exact)
		}
		return to
	}
	// What is left of the other operator can be one of this.
	switch c := b.condition(t, negated, exact).(type) {
	case *conjunction:
		if all {
			return append(to, c.terms...)
		}
		return append(to, c)
	case *disjunction:
		if !all {
			return append(to, c.terms...)
		}
		return append(to, c)
	default:
		return append(to, c)
	}
}

func (b *builder) comparison(t *tree, negated bool) condition {
	left, a := b.operand(t.kids[0])
	right, z := b.operand(t.kids[1])
	ordering := t.op != opEqual && t.op != opUnequal
	switch {
	case ordering:
		b.number(t.kids[0], a, "is compared by = and <> only")
		b.number(t.kids[1], z, "is compared by = and <> only")
	case a != z && a != anyType && z != anyType && a != nullType && z != nullType:
		b.refuse(t, "%s is never equal to %s", a, z)
	}
	op := t.op
	if negated {
		op = opposite[op]
	}
	if _, constant := left.(literal); constant {
		left, right, op = right, left, mirrored[op]
	}
	return newComparison(op, left, right)
}

// number refuses what cannot be one.
func (b *builder) number(t *tree, is staticType, instead string) {
	if is == textType || is == booleanType {
		b.refuse(t, "%s %s", is, instead)
	}
}

func (b *builder) between(t *tree, negated bool) condition {
	c := &between{negated: negated}
	for i, x := range []*operand{&c.x, &c.low, &c.high} {
		var is staticType
		*x, is = b.operand(t.kids[i])
		b.number(t.kids[i], is, "is in no range: BETWEEN is for numbers")
	}
	if isLiteral(c.x) && isLiteral(c.low) && isLiteral(c.high) {
		return c.truth(nil)
	}
	return c
}

func (b *builder) in(t *tree, negated bool) condition {
	x, is := b.operand(t.kids[0])
	elements := slices.Clone(t.values)
	c := &membership{x: x, negated: negated}
	if elements[0].isNumber() {
		c.numbers = sorted(elements, orderOfNumbers)
	} else {
		c.texts = sorted(elements, orderOfTexts)
	}
	switch {
	case is == booleanType, is == textType && c.texts == nil, is == numberType && c.numbers == nil:
		b.refuse(t, "%s is in no list of %s", is, kindsOf(elements[0]))
	case len(c.numbers)+len(c.texts) == 1:
		op := opEqual
		if negated {
			op = opUnequal
		}
		return newComparison(op, x, literal(elements[0]))
	case isLiteral(x):
		return c.truth(nil)
	}
	return c
}

func kindsOf(v Value) string {
	if v.isNumber() {
		return "numbers"
	}
	return "strings"
}

func sorted(all []Value, order func(a, b Value) int) []Value {
	slices.SortStableFunc(all, order)
	return slices.CompactFunc(all, func(a, b Value) bool { return order(a, b) == 0 })
}

func (b *builder) like(t *tree, negated bool) condition {
	x, is := b.operand(t.kids[0])
	if is == numberType || is == booleanType {
		b.refuse(t, "%s is like no pattern: LIKE is for strings", is)
	}
	if s, plain := t.like.plain(); plain {
		op := opEqual
		if negated {
			op = opUnequal
		}
		return newComparison(op, x, literal(String(s)))
	}
	c := &like{x, t.like, negated}
	if isLiteral(x) {
		return c.truth(nil)
	}
	return c
}

func (b *builder) isNull(t *tree, negated bool) condition {
	x, _ := b.operand(t.kids[0])
	c := &absence{x, negated}
	if isLiteral(x) {
		return c.truth(nil)
	}
	return c
}

// staticType is what is known of an operand before there is a message.
type staticType uint8

const (
	anyType staticType = iota
	nullType
	booleanType
	numberType
	textType
)

func (s staticType) String() string {
	return [...]string{"a name", "NULL", "a condition", "a number", "a string"}[s]
}

func typeOf(v Value) staticType {
	return [...]staticType{Absent: nullType, Boolean: booleanType, Exact: numberType, Approximate: numberType, Text: textType}[v.kind]
}

func (b *builder) operand(t *tree) (operand, staticType) {
	switch t.op {
	case opLiteral:
		return literal(t.values[0]), typeOf(t.values[0])
	case opIdentifier:
		return b.identifier(t), anyType
	case opAdd, opSubtract, opMultiply, opDivide, opRemainder:
		return b.arithmetic(t)
	case opPlus, opMinus:
		return b.sign(t)
	}
	c := b.condition(t, false, true)
	if constant, ok := c.(truth); ok {
		v := constant.value()
		return literal(v), typeOf(v)
	}
	return &outcome{c}, booleanType
}

func (b *builder) identifier(t *tree) operand {
	name, ok := nameOf(t.text)
	if !ok {
		b.refuse(t, "there is no header %s, and names that begin with amqp. or JMS are headers", excerpt(t.text))
	}
	i := b.names[name]
	if i == nil {
		i = &identifier{name: name, slot: -1}
		b.names[name] = i
	}
	return i
}

func (b *builder) arithmetic(t *tree) (operand, staticType) {
	a := &arithmetic{op: t.op}
	for i, x := range []*operand{&a.left, &a.right} {
		var is staticType
		*x, is = b.operand(t.kids[i])
		b.number(t.kids[i], is, "has no arithmetic")
	}
	return folded(a, a.left, a.right)
}

func (b *builder) sign(t *tree) (operand, staticType) {
	x, is := b.operand(t.kids[0])
	b.number(t.kids[0], is, "has no sign")
	return folded(&sign{x, t.op == opMinus}, x)
}

// folded is what an operation computes, or the literal that it always is: of literals alone, and with NULL.
func folded(o operand, operands ...operand) (operand, staticType) {
	switch {
	case slices.ContainsFunc(operands, isNull):
		return literal{}, nullType
	case !slices.ContainsFunc(operands, func(x operand) bool { return !isLiteral(x) }):
		v := o.value(nil)
		return literal(v), typeOf(v)
	}
	return o, numberType
}

func isLiteral(x operand) bool {
	_, ok := x.(literal)
	return ok
}

func isNull(x operand) bool {
	v, ok := x.(literal)
	return ok && v.kind == Absent
}
