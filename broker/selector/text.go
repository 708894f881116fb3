package selector

import (
	"bytes"
	"strconv"
	"strings"
)

// level is the rank of an operator in the grammar (see parser): what has a lower rank than its place stands in parentheses.
type level uint8

const (
	levelOr level = iota
	levelAnd
	levelComparison
	levelSum
	levelProduct
	levelSign
	levelPrimary
)

func (l level) open(dst []byte, at level) []byte {
	if l < at {
		return append(dst, '(')
	}
	return dst
}

func (l level) close(dst []byte, at level) []byte {
	if l < at {
		return append(dst, ')')
	}
	return dst
}

func (t truth) append(dst []byte, at level) []byte { return literal(t.value()).append(dst, at) }

func (c *conjunction) append(dst []byte, at level) []byte {
	return appendTerms(dst, c.terms, " AND ", levelAnd, at)
}

func (c *disjunction) append(dst []byte, at level) []byte {
	return appendTerms(dst, c.terms, " OR ", levelOr, at)
}

func appendTerms(dst []byte, terms []condition, operator string, is, at level) []byte {
	dst = is.open(dst, at)
	for i, t := range terms {
		if i > 0 {
			dst = append(dst, operator...)
		}
		dst = t.append(dst, is+1)
	}
	return is.close(dst, at)
}

func (c *comparison) append(dst []byte, at level) []byte {
	dst = levelComparison.open(dst, at)
	dst = appendBinary(dst, c.op, c.left, c.right, levelSum, levelSum)
	return levelComparison.close(dst, at)
}

func appendBinary(dst []byte, op operator, left, right operand, atLeft, atRight level) []byte {
	dst = left.append(dst, atLeft)
	dst = append(dst, ' ')
	dst = append(dst, spelling[op]...)
	dst = append(dst, ' ')
	return right.append(dst, atRight)
}

func (c *between) append(dst []byte, at level) []byte {
	dst = levelComparison.open(dst, at)
	dst = c.x.append(dst, levelSum)
	dst = c.low.append(append(dst, not(c.negated, " BETWEEN ")...), levelSum)
	dst = c.high.append(append(dst, " AND "...), levelSum)
	return levelComparison.close(dst, at)
}

func not(negated bool, operator string) string {
	if negated {
		return " NOT" + operator
	}
	return operator
}

func (c *membership) append(dst []byte, at level) []byte {
	dst = levelComparison.open(dst, at)
	dst = c.x.append(dst, levelSum)
	dst = append(dst, not(c.negated, " IN (")...)
	for _, elements := range [][]Value{c.numbers, c.texts} {
		for i, v := range elements {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = literal(v).append(dst, levelSign)
		}
	}
	return levelComparison.close(append(dst, ')'), at)
}

func (c *like) append(dst []byte, at level) []byte {
	dst = levelComparison.open(dst, at)
	dst = c.x.append(dst, levelSum)
	text, escape := c.pattern.text()
	dst = appendQuoted(append(dst, not(c.negated, " LIKE ")...), text, '\'')
	if escape != "" {
		dst = appendQuoted(append(dst, " ESCAPE "...), escape, '\'')
	}
	return levelComparison.close(dst, at)
}

func (c *absence) append(dst []byte, at level) []byte {
	dst = levelComparison.open(dst, at)
	dst = c.x.append(dst, levelSum)
	if c.negated {
		dst = append(dst, " IS NOT NULL"...)
	} else {
		dst = append(dst, " IS NULL"...)
	}
	return levelComparison.close(dst, at)
}

func (l literal) append(dst []byte, at level) []byte {
	is := levelPrimary
	if v := Value(l); v.isNumber() && v.approximate() < 0 {
		is = levelSign
	}
	dst = is.open(dst, at)
	switch v := Value(l); v.kind {
	case Absent:
		dst = append(dst, "NULL"...)
	case Boolean:
		dst = append(dst, strings.ToUpper(strconv.FormatBool(v.bool()))...)
	case Exact:
		dst = strconv.AppendInt(dst, v.int(), 10)
	case Approximate:
		dst = appendApproximate(dst, v.float())
	case Text:
		dst = appendQuoted(dst, v.text, '\'')
	}
	return is.close(dst, at)
}

// appendApproximate writes the shortest text that is read as f and not as an exact number.
func appendApproximate(dst []byte, f float64) []byte {
	from := len(dst)
	dst = strconv.AppendFloat(dst, f, 'g', -1, 64)
	if !bytes.ContainsAny(dst[from:], ".e") {
		dst = append(dst, ".0"...)
	}
	return dst
}

func (i *identifier) append(dst []byte, _ level) []byte {
	s := i.name.String()
	l := lexer{text: s}
	if t, err := l.next(); err == nil && t.kind == tokenIdentifier && !t.quoted && t.at == 0 && t.end == len(s) {
		return append(dst, s...)
	}
	return appendQuoted(dst, s, '"')
}

func appendQuoted(dst []byte, s string, quote byte) []byte {
	dst = append(dst, quote)
	for i := range len(s) {
		if s[i] == quote {
			dst = append(dst, quote)
		}
		dst = append(dst, s[i])
	}
	return append(dst, quote)
}

func (a *arithmetic) append(dst []byte, at level) []byte {
	is := levelProduct
	if a.op == opAdd || a.op == opSubtract {
		is = levelSum
	}
	dst = is.open(dst, at)
	dst = appendBinary(dst, a.op, a.left, a.right, is, is+1)
	return is.close(dst, at)
}

func (s *sign) append(dst []byte, at level) []byte {
	dst = levelSign.open(dst, at)
	if s.minus {
		dst = append(dst, '-')
	} else {
		dst = append(dst, '+')
	}
	return levelSign.close(s.x.append(dst, levelPrimary), at)
}

// append writes the condition in parentheses, which every operand allows.
func (o *outcome) append(dst []byte, _ level) []byte {
	return o.condition.append(dst, levelPrimary)
}
