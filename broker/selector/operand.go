package selector

// operand is a value of a message. A literal is the only one to be given no Evaluation.
type operand interface {
	value(e *Evaluation) Value
	append(dst []byte, at level) []byte
	visit(func(*identifier))
}

type literal Value

func (l literal) value(*Evaluation) Value { return Value(l) }

func (l literal) visit(func(*identifier)) {}

// identifier is a name. A selector has one for each name, whatever the number and spelling of its uses.
type identifier struct {
	name Name
	slot int // where an Evaluation has its value
}

func (i *identifier) value(e *Evaluation) Value {
	if s := &e.slots[i.slot]; s.known {
		return s.value
	}
	return e.load(i.slot)
}

func (i *identifier) visit(f func(*identifier)) { f(i) }

// arithmetic of two operands.
type arithmetic struct {
	op          operator
	left, right operand
}

func (a *arithmetic) value(e *Evaluation) Value {
	return compute(a.op, a.left.value(e), a.right.value(e))
}

func (a *arithmetic) visit(f func(*identifier)) {
	a.left.visit(f)
	a.right.visit(f)
}

// sign is a number, or its negative; a plus makes what is no number NULL.
type sign struct {
	x     operand
	minus bool
}

func (s *sign) value(e *Evaluation) Value {
	v := s.x.value(e)
	switch {
	case !v.isNumber():
		return Value{}
	case s.minus:
		return negate(v)
	}
	return v
}

func (s *sign) visit(f func(*identifier)) { s.x.visit(f) }

// outcome is a condition as a value: a boolean, or NULL when it is unknown.
type outcome struct{ condition condition }

func (o *outcome) value(e *Evaluation) Value { return o.condition.truth(e).value() }

func (o *outcome) visit(f func(*identifier)) { o.condition.visit(f) }
