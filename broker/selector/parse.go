package selector

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// tree is a selector as it was written.
type tree struct {
	op      operator
	at      int     // byte of the text where it begins; of an operator with two operands, where the operator stands
	negated bool    // NOT BETWEEN, NOT IN, NOT LIKE, IS NOT NULL
	text    string  // the identifier
	values  []Value // the literal; the elements of IN
	like    *pattern
	kids    []*tree
}

type operator uint8

const (
	opLiteral operator = iota
	opIdentifier
	opOr
	opAnd
	opNot
	opEqual
	opUnequal
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opBetween
	opIn
	opLike
	opIsNull
	opAdd
	opSubtract
	opMultiply
	opDivide
	opRemainder
	opPlus
	opMinus
)

// operators by their symbols, where they stand between two operands.
var (
	comparisons = map[string]operator{"=": opEqual, "<>": opUnequal, "<": opLess, "<=": opLessEqual, ">": opGreater, ">=": opGreaterEqual}
	sums        = map[string]operator{"+": opAdd, "-": opSubtract}
	products    = map[string]operator{"*": opMultiply, "/": opDivide, "%": opRemainder}
)

// spelling of the operators between two operands.
var spelling = func() (all [opMinus + 1]string) {
	for _, table := range []map[string]operator{comparisons, sums, products} {
		for symbol, op := range table {
			all[op] = symbol
		}
	}
	return all
}()

// parser reads a selector by recursive descent; it never goes back. Its first error stays, and then all tokens are the end.
//
//	or         = and { OR and }
//	and        = not { AND not }
//	not        = { NOT } comparison
//	comparison = sum [ ( "=" | "<>" | "<" | "<=" | ">" | ">=" ) sum
//	                 | [ NOT ] BETWEEN sum AND sum
//	                 | [ NOT ] IN "(" element { "," element } ")"
//	                 | [ NOT ] LIKE string [ ESCAPE string ]
//	                 | IS [ NOT ] NULL ]
//	sum        = product { ( "+" | "-" ) product }
//	product    = sign { ( "*" | "/" | "%" ) sign }
//	sign       = { "+" | "-" } primary
//	primary    = literal | identifier | EXISTS "(" identifier ")" | "(" or ")"
type parser struct {
	lexer
	limits Limits
	token  token
	depth  int
	nodes  int
	err    *Error
}

// parse is nil for a text without any token.
func parse(text string, limits Limits) (*tree, error) {
	if len(text) > limits.Bytes {
		return nil, &Error{Reason: fmt.Sprintf("it has %d bytes; at most %d are allowed", len(text), limits.Bytes)}
	}
	for i, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)) {
			return nil, errorAt(text, i, "it is not UTF-8")
		}
	}
	p := parser{lexer: lexer{text: text}, limits: limits}
	if p.advance(); p.token.kind == tokenEnd && p.err == nil {
		return nil, nil
	}
	t := p.or()
	if p.token.kind != tokenEnd {
		p.expected("AND, OR or the end")
	}
	if p.err != nil {
		return nil, p.err
	}
	return t, nil
}

func (p *parser) advance() {
	t, err := p.next()
	if p.err != nil {
		return
	}
	if err != nil {
		p.stop(err)
		return
	}
	p.token = t
}

func (p *parser) stop(err *Error) {
	if p.err == nil {
		p.err, p.token = err, token{at: len(p.text), end: len(p.text)}
		p.lexer.at = len(p.text)
	}
}

func (p *parser) refuse(at int, format string, args ...any) {
	if p.err == nil {
		p.stop(errorAt(p.text, at, format, args...))
	}
}

func (p *parser) expected(what string) {
	p.refuse(p.token.at, "expected %s, found %s", what, p.found())
}

func (p *parser) found() string {
	if p.token.kind == tokenEnd {
		return "the end"
	}
	return excerpt(p.text[p.token.at:p.token.end])
}

// is says whether a keyword or symbol is next, and take passes over it.
func (p *parser) is(word string) bool {
	return (p.token.kind == tokenKeyword || p.token.kind == tokenSymbol) && p.token.text == word
}

func (p *parser) take(word string) bool {
	if !p.is(word) {
		return false
	}
	p.advance()
	return true
}

func (p *parser) need(word string) {
	if !p.take(word) {
		p.expected(word)
	}
}

// node counts what it makes.
func (p *parser) node(t tree) *tree {
	p.count(t.at)
	return &t
}

func (p *parser) count(at int) {
	if p.nodes++; p.nodes > p.limits.Nodes {
		p.refuse(at, "there are more than %d names, literals and operators", p.limits.Nodes)
	}
}

// nested runs what stands inside a parenthesis, NOT or sign.
func (p *parser) nested(at int, inside func() *tree) *tree {
	if p.depth++; p.depth > p.limits.Depth {
		p.refuse(at, "more than %d parentheses, NOTs and signs are inside one another", p.limits.Depth)
		return &tree{}
	}
	t := inside()
	p.depth--
	return t
}

func (p *parser) or() *tree { return p.junction("OR", opOr, p.and) }

func (p *parser) and() *tree { return p.junction("AND", opAnd, p.not) }

func (p *parser) junction(word string, op operator, operand func() *tree) *tree {
	t := operand()
	if !p.is(word) {
		return t
	}
	all := tree{op: op, at: t.at, kids: []*tree{t}}
	for p.is(word) {
		p.count(p.token.at)
		p.advance()
		all.kids = append(all.kids, operand())
	}
	return &all
}

func (p *parser) not() *tree {
	at := p.token.at
	if p.take("NOT") {
		return &tree{op: opNot, at: at, kids: []*tree{p.nested(at, p.not)}}
	}
	return p.comparison()
}

func (p *parser) comparison() *tree {
	x := p.sum()
	at := p.token.at
	if op, ok := p.operator(comparisons); ok {
		return p.node(tree{op: op, at: at, kids: []*tree{x, p.sum()}})
	}
	if p.take("IS") {
		t := tree{op: opIsNull, at: x.at, negated: p.take("NOT"), kids: []*tree{x}}
		p.need("NULL")
		return p.node(t)
	}
	negated := p.take("NOT")
	switch {
	case p.take("BETWEEN"):
		low := p.sum()
		p.need("AND")
		return p.node(tree{op: opBetween, at: x.at, negated: negated, kids: []*tree{x, low, p.sum()}})
	case p.take("IN"):
		return p.node(tree{op: opIn, at: x.at, negated: negated, kids: []*tree{x}, values: p.elements()})
	case p.take("LIKE"):
		return p.node(tree{op: opLike, at: x.at, negated: negated, kids: []*tree{x}, like: p.pattern()})
	case negated:
		p.expected("BETWEEN, IN or LIKE")
	}
	return x
}

// elements are strings or numbers, not both, since one of the two would never be equal.
func (p *parser) elements() (all []Value) {
	p.need("(")
	for more := true; more && p.err == nil; more = p.take(",") {
		at := p.token.at
		v, ok := p.element()
		if !ok {
			p.expected("a string or a number")
			return nil
		}
		if len(all) > 0 && v.isNumber() != all[0].isNumber() {
			p.refuse(at, "strings and numbers are in one IN: split it in two")
		}
		if all = append(all, v); len(all) > p.limits.Elements {
			p.refuse(at, "more than %d elements are in one IN", p.limits.Elements)
		}
	}
	if !p.take(")") {
		p.expected(", or )")
	}
	return all
}

func (p *parser) element() (Value, bool) {
	if p.token.kind == tokenString {
		v := String(p.token.text)
		p.advance()
		return v, true
	}
	minus := p.take("-")
	if !minus {
		p.take("+")
	}
	if p.token.kind != tokenNumber {
		return Value{}, false
	}
	return p.number(minus), true
}

// number takes a number behind its sign.
func (p *parser) number(minus bool) Value {
	t := p.token
	p.advance()
	switch {
	case t.smallest && minus:
		return t.value
	case t.smallest:
		p.refuse(t.at, "the number %s does not fit in 64 bits: write it as an approximate one, such as 1e19", p.text[t.at:t.end])
	case minus:
		return negate(t.value)
	}
	return t.value
}

func (p *parser) pattern() *pattern {
	t := p.token
	if t.kind != tokenString {
		p.expected("a pattern in quotes")
		return nil
	}
	p.advance()
	escape := ""
	if p.take("ESCAPE") {
		if p.token.kind != tokenString || utf8.RuneCountInString(p.token.text) != 1 {
			p.expected("one character in quotes")
			return nil
		}
		escape = p.token.text
		p.advance()
	}
	compiled, reason := newPattern(t.text, escape)
	if reason != "" {
		p.refuse(t.at, "the pattern %s %s", excerpt(p.text[t.at:t.end]), reason)
	}
	return compiled
}

func (p *parser) operator(table map[string]operator) (operator, bool) {
	if p.token.kind != tokenSymbol {
		return 0, false
	}
	op, ok := table[p.token.text]
	if ok {
		p.advance()
	}
	return op, ok
}

func (p *parser) sum() *tree { return p.chain(sums, p.product) }

func (p *parser) product() *tree { return p.chain(products, p.sign) }

// chain joins operands from the left.
func (p *parser) chain(table map[string]operator, operand func() *tree) *tree {
	t := operand()
	for {
		at := p.token.at
		op, ok := p.operator(table)
		if !ok {
			return t
		}
		t = p.node(tree{op: op, at: at, kids: []*tree{t, operand()}})
	}
}

func (p *parser) sign() *tree {
	at, op := p.token.at, opMinus
	switch {
	case p.take("-"):
	case p.take("+"):
		op = opPlus
	default:
		return p.primary()
	}
	if p.token.kind == tokenNumber {
		return p.node(tree{op: opLiteral, at: at, values: []Value{p.number(op == opMinus)}})
	}
	return p.node(tree{op: op, at: at, kids: []*tree{p.nested(at, p.sign)}})
}

func (p *parser) primary() *tree {
	t := p.token
	switch {
	case t.kind == tokenNumber:
		return p.node(tree{op: opLiteral, at: t.at, values: []Value{p.number(false)}})
	case t.kind == tokenString:
		return p.literal(String(t.text))
	case p.is("TRUE"):
		return p.literal(Bool(true))
	case p.is("FALSE"):
		return p.literal(Bool(false))
	case p.is("NULL"):
		return p.literal(Value{})
	case t.kind == tokenIdentifier:
		p.advance()
		if !t.quoted && p.is("(") {
			return p.function(t)
		}
		return p.node(tree{op: opIdentifier, at: t.at, text: t.text})
	case p.take("("):
		inside := p.nested(t.at, p.or)
		if !p.take(")") {
			p.expected("an operator or )")
		}
		return inside
	}
	p.expected("a name, a literal or (")
	return &tree{}
}

func (p *parser) literal(v Value) *tree {
	t := p.node(tree{op: opLiteral, at: p.token.at, values: []Value{v}})
	p.advance()
	return t
}

// function reads the only one: EXISTS, which IS NOT NULL says as well.
func (p *parser) function(name token) *tree {
	if !strings.EqualFold(name.text, "EXISTS") {
		p.refuse(name.at, "there is no function %s: expected a name or EXISTS", excerpt(name.text))
	}
	p.need("(")
	t := p.token
	if t.kind != tokenIdentifier {
		p.expected("a name")
		return &tree{}
	}
	p.advance()
	p.need(")")
	x := p.node(tree{op: opIdentifier, at: t.at, text: t.text})
	return p.node(tree{op: opIsNull, at: name.at, negated: true, kids: []*tree{x}})
}
