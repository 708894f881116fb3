package selector

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// token is a word of a selector.
type token struct {
	kind     tokenKind
	at, end  int    // bytes of the text
	text     string // decoded: of an identifier, a keyword (in capitals), a string; the symbol
	quoted   bool   // an identifier in quotes
	value    Value  // of a number
	smallest bool   // the number 1<<63, which only a minus sign makes one of 64 bits
}

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenIdentifier
	tokenKeyword
	tokenString
	tokenNumber
	tokenSymbol
)

// keywords cannot be identifiers without quotes (JMS 2.0 §3.8.1.1). They are not case-sensitive.
var keywords = map[string]bool{
	"AND": true, "BETWEEN": true, "ESCAPE": true, "FALSE": true, "IN": true, "IS": true, "LIKE": true, "NOT": true,
	"NULL": true, "OR": true, "TRUE": true,
}

const longestKeyword = len("BETWEEN")

func keyword(word string) (string, bool) {
	if len(word) > longestKeyword {
		return "", false
	}
	word = strings.ToUpper(word)
	return word, keywords[word]
}

// lexer cuts a text, which is UTF-8, into tokens.
type lexer struct {
	text string
	at   int
}

func (l *lexer) next() (token, *Error) {
	for l.at < len(l.text) && strings.IndexByte(" \t\r\n\f", l.text[l.at]) >= 0 {
		l.at++
	}
	if l.at == len(l.text) {
		return token{at: l.at, end: l.at}, nil
	}
	switch c := l.text[l.at]; {
	case c == '\'':
		return l.quoted(tokenString, "string")
	case c == '"':
		return l.quoted(tokenIdentifier, "name")
	case isDigit(c), c == '.' && l.at+1 < len(l.text) && isDigit(l.text[l.at+1]):
		return l.number()
	}
	if n := identifierStart(l.text[l.at:]); n > 0 {
		return l.word()
	}
	return l.symbol()
}

// quoted reads what stands between two quotes; a quote inside is written twice.
func (l *lexer) quoted(kind tokenKind, what string) (token, *Error) {
	t := token{kind: kind, at: l.at, quoted: true}
	quote := l.text[l.at : l.at+1]
	from := l.at + 1
	for i := from; ; {
		n := strings.Index(l.text[i:], quote)
		if n < 0 {
			return t, errorAt(l.text, t.at, "the %s that begins here does not end: expected %s", what, quote)
		}
		if i += n + 1; i == len(l.text) || l.text[i] != quote[0] {
			l.at, t.end = i, i
			break
		}
		i++
	}
	t.text = strings.ReplaceAll(l.text[from:t.end-1], quote+quote, quote)
	if kind == tokenIdentifier && t.text == "" {
		return t, errorAt(l.text, t.at, "a name is empty")
	}
	return t, nil
}

// word reads an identifier or keyword: Java's rules for identifiers, and dots between parts of names.
func (l *lexer) word() (token, *Error) {
	t := token{kind: tokenIdentifier, at: l.at}
	i := l.at
	for i < len(l.text) {
		n := identifierPart(l.text[i:])
		if n == 0 && l.text[i] == '.' && i+1 < len(l.text) && identifierPart(l.text[i+1:]) > 0 {
			n = 1
		}
		if n == 0 {
			break
		}
		i += n
	}
	l.at, t.end, t.text = i, i, l.text[t.at:i]
	if k, ok := keyword(t.text); ok {
		t.kind, t.text = tokenKeyword, k
	}
	return t, nil
}

// identifierStart is the length of the character that s begins with, if an identifier may begin with it; else 0.
func identifierStart(s string) int {
	if c := s[0]; c < utf8.RuneSelf {
		if 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c == '$' {
			return 1
		}
		return 0
	}
	r, n := utf8.DecodeRuneInString(s)
	if unicode.In(r, unicode.L, unicode.Nl, unicode.Sc, unicode.Pc) {
		return n
	}
	return 0
}

// identifierPart is identifierStart for the characters that follow.
func identifierPart(s string) int {
	if n := identifierStart(s); n > 0 {
		return n
	}
	if s[0] < utf8.RuneSelf {
		if isDigit(s[0]) {
			return 1
		}
		return 0
	}
	r, n := utf8.DecodeRuneInString(s)
	if unicode.In(r, unicode.Nd, unicode.Mn, unicode.Mc) {
		return n
	}
	return 0
}

// symbols, the longer ones first.
var symbols = []string{"<>", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ","}

// foreign are the symbols of other languages, and what is written for them here.
var foreign = []struct{ symbol, instead string }{
	{"!=", "unequal is <>"}, {"==", "equal is ="}, {"&&", "write AND"}, {"||", "write OR"},
	{"--", "comments are not part of a selector; between two minus signs stands a space"},
	{"/*", "comments are not part of a selector"}, {"[", "names with other characters stand in double quotes"},
}

func (l *lexer) symbol() (token, *Error) {
	rest := l.text[l.at:]
	for _, f := range foreign {
		if strings.HasPrefix(rest, f.symbol) {
			return token{}, errorAt(l.text, l.at, "%s is unknown: %s", f.symbol, f.instead)
		}
	}
	for _, s := range symbols {
		if strings.HasPrefix(rest, s) {
			t := token{kind: tokenSymbol, at: l.at, end: l.at + len(s), text: s}
			l.at = t.end
			return t, nil
		}
	}
	_, n := utf8.DecodeRuneInString(rest)
	return token{}, errorAt(l.text, l.at, "the character %q belongs to no word of a selector", rest[:n])
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHexDigit(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// digits passes over what is in the set, from byte i on.
func (l *lexer) digits(i int, in func(byte) bool) int {
	for i < len(l.text) && in(l.text[i]) {
		i++
	}
	return i
}

// has says whether byte i is one of set.
func (l *lexer) has(i int, set string) bool {
	return i < len(l.text) && strings.IndexByte(set, l.text[i]) >= 0
}

// number reads a literal of Java without its underscores, binary and hexadecimal fractions.
func (l *lexer) number() (token, *Error) {
	t := token{kind: tokenNumber, at: l.at}
	var err *Error
	if l.text[l.at] == '0' && l.has(l.at+1, "xX") {
		l.at = l.digits(l.at+2, isHexDigit)
		err = l.exact(&t, l.text[t.at+2:l.at], 16)
	} else {
		err = l.decimal(&t)
	}
	if err != nil {
		return t, err
	}
	if t.end = l.at; l.at < len(l.text) && (identifierPart(l.text[l.at:]) > 0 || l.text[l.at] == '.') {
		return t, errorAt(l.text, l.at, "the number %s is followed by %q: expected a space or an operator", excerpt(l.text[t.at:l.at]), l.text[l.at:l.at+runeLength(l.text[l.at:])])
	}
	return t, nil
}

func runeLength(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// decimal reads an integer in decimal or octal form, or an approximate number.
func (l *lexer) decimal(t *token) *Error {
	l.at = l.digits(l.at, isDigit)
	approximate := false
	if l.has(l.at, ".") {
		approximate = true
		l.at = l.digits(l.at+1, isDigit)
	}
	if l.has(l.at, "eE") {
		approximate = true
		l.at++
		if l.has(l.at, "+-") {
			l.at++
		}
		if !l.has(l.at, "0123456789") {
			return errorAt(l.text, l.at, "the number %s has no exponent: expected a digit", excerpt(l.text[t.at:l.at]))
		}
		l.at = l.digits(l.at, isDigit)
	}
	digits := l.text[t.at:l.at]
	switch {
	case approximate, l.has(l.at, "fFdD"):
		return l.approximate(t, digits)
	case len(digits) > 1 && digits[0] == '0':
		return l.exact(t, digits[1:], 8)
	}
	return l.exact(t, digits, 10)
}

func (l *lexer) exact(t *token, digits string, base int) *Error {
	n, err := strconv.ParseUint(digits, base, 64)
	if l.has(l.at, "lL") {
		l.at++
	}
	written := excerpt(l.text[t.at:l.at])
	switch {
	case err != nil && n == math.MaxUint64, n > 1<<63:
		return errorAt(l.text, t.at, "the number %s does not fit in 64 bits: write it as an approximate one, such as 1e19", written)
	case err != nil && base == 8:
		return errorAt(l.text, t.at, "the number %s begins with 0 and is octal: expected digits from 0 to 7", written)
	case err != nil:
		return errorAt(l.text, t.at, "the number %s has no digits", written)
	}
	t.value, t.smallest = Int(int64(n)), n == 1<<63
	return nil
}

// approximate reads a float when the suffix is f, which a comparison with a float of a message needs, else a double.
func (l *lexer) approximate(t *token, digits string) *Error {
	size := 64
	if l.has(l.at, "fF") {
		size = 32
	}
	f, err := strconv.ParseFloat(digits, size)
	if l.has(l.at, "fFdD") {
		l.at++
	}
	if err != nil {
		return errorAt(l.text, t.at, "the number %s does not fit in %d bits", excerpt(l.text[t.at:l.at]), size)
	}
	t.value = Float(f)
	return nil
}
