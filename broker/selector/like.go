package selector

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// pattern is a compiled LIKE pattern. It is matched in time linear in the text and without memory.
//
// Each % cuts the pattern into runs. The first run stands at the beginning of the text, the last at its end; those between
// are looked for one after the other, each as far to the left as it can be, which leaves the most to the next: no choice is
// ever taken back. A _ at either end of a run is a number of characters to pass over before the run or the next one, so that
// most runs are plain strings. A run that has a _ inside is looked for by a machine with one bit for each of its characters.
//
// A character is a code point, or a byte that belongs to none.
type pattern struct {
	first run
	rest  []run // empty without %
}

// run is a part of a pattern between two %: skip characters, then the pieces.
type run struct {
	skip   int
	pieces []piece
	finder *finder // when there are several pieces and the run is looked for
}

// piece is a string, then a number of _.
type piece struct {
	text string
	any  int
}

// longestFound is how many characters a run may have that is looked for and has a _ inside.
const longestFound = 64

// newPattern answers what is wrong with a pattern, if anything is. The escape is empty, or the character that takes their
// meaning from _, % and itself.
func newPattern(text, escape string) (p *pattern, reason string) {
	runs := []run{{}}
	var plain []byte // characters that stand for themselves and are in no piece yet
	for i := 0; i < len(text); {
		n := runeLength(text[i:])
		c := text[i : i+n]
		i += n
		at := &runs[len(runs)-1]
		switch {
		case c == escape && i == len(text):
			return nil, "ends with its escape character: expected a character behind it"
		case c == escape:
			n = runeLength(text[i:])
			plain = append(plain, text[i:i+n]...)
			i += n
		case c == "%":
			plain = at.text(plain)
			runs = append(runs, run{})
		case c == "_":
			plain = at.text(plain)
			at.any()
		default:
			plain = append(plain, c...)
		}
	}
	runs[len(runs)-1].text(plain)
	p = new(pattern)
	return p, p.cut(runs)
}

// text adds a string and answers its emptied buffer.
func (r *run) text(plain []byte) []byte {
	if len(plain) > 0 {
		r.pieces = append(r.pieces, piece{text: string(plain)})
	}
	return plain[:0]
}

func (r *run) any() {
	if len(r.pieces) == 0 {
		r.skip++
		return
	}
	r.pieces[len(r.pieces)-1].any++
}

// cut makes the pattern of what stands between its %.
func (p *pattern) cut(runs []run) (reason string) {
	p.first = runs[0]
	skip := 0 // what the run before ends with
	for i, r := range runs[1:] {
		r.skip += skip
		if last := i == len(runs)-2; last {
			p.rest = append(p.rest, r)
			break
		}
		if len(r.pieces) == 0 {
			skip = r.skip
			continue
		}
		end := &r.pieces[len(r.pieces)-1]
		skip, end.any = end.any, 0
		if len(r.pieces) > 1 {
			if r.finder = newFinder(r.pieces); r.finder == nil {
				return "has too many characters between two %, among them a _: at most 64 can be looked for"
			}
		}
		p.rest = append(p.rest, r)
	}
	return ""
}

// plain is the only text that the pattern fits, if it has no wildcard.
func (p *pattern) plain() (string, bool) {
	switch r := &p.first; {
	case len(p.rest) > 0, r.skip > 0, len(r.pieces) > 1:
		return "", false
	case len(r.pieces) == 0:
		return "", true
	default:
		return r.pieces[0].text, r.pieces[0].any == 0
	}
}

func (p *pattern) match(s string) bool {
	s, ok := p.first.prefix(s)
	if !ok || len(p.rest) == 0 {
		return ok && s == ""
	}
	last := len(p.rest) - 1
	for i := range p.rest[:last] {
		if s, ok = p.rest[i].find(s); !ok {
			return false
		}
	}
	return p.rest[last].suffix(s)
}

// prefix is what follows the run, which s must begin with.
func (r *run) prefix(s string) (string, bool) {
	s, ok := pass(s, r.skip)
	for i := 0; i < len(r.pieces) && ok; i++ {
		if s, ok = strings.CutPrefix(s, r.pieces[i].text); ok {
			s, ok = pass(s, r.pieces[i].any)
		}
	}
	return s, ok
}

// find is what follows the leftmost place of the run in s. Go searches for a string in linear time.
func (r *run) find(s string) (string, bool) {
	s, ok := pass(s, r.skip)
	if !ok {
		return "", false
	}
	if r.finder != nil {
		return r.finder.find(s)
	}
	text := r.pieces[0].text
	i := strings.Index(s, text)
	if i < 0 {
		return "", false
	}
	return s[i+len(text):], true
}

// suffix says whether s ends with the run, after at least skip characters.
func (r *run) suffix(s string) bool {
	s, ok := pass(s, r.skip)
	for i := len(r.pieces) - 1; i >= 0 && ok; i-- {
		if s, ok = passBack(s, r.pieces[i].any); ok {
			s, ok = strings.CutSuffix(s, r.pieces[i].text)
		}
	}
	return ok
}

// pass is s without its first n characters.
func pass(s string, n int) (string, bool) {
	for ; n > 0; n-- {
		if s == "" {
			return "", false
		}
		s = s[runeLength(s):]
	}
	return s, true
}

// passBack is s without its last n characters.
func passBack(s string, n int) (string, bool) {
	for ; n > 0; n-- {
		if s == "" {
			return "", false
		}
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s, true
}

// finder looks for a run of at most 64 characters, some of which may be any. Bit i of its state says that the characters
// just read fit the first i+1 of the run.
type finder struct {
	any        uint64 // the places that take every character
	end        uint64 // the last place
	characters []rune // of the run, in order
	places     []uint64
}

// newFinder is nil when the run is too long.
func newFinder(pieces []piece) *finder {
	f := new(finder)
	places := make(map[rune]uint64)
	n := 0
	for _, p := range pieces {
		for _, c := range p.text {
			places[c] |= 1 << n
			n++
		}
		if n+p.any > longestFound {
			return nil
		}
		f.any |= (1<<p.any - 1) << n
		n += p.any
	}
	f.end = 1 << (n - 1)
	for c := range places {
		f.characters = append(f.characters, c)
	}
	slices.Sort(f.characters)
	for _, c := range f.characters {
		f.places = append(f.places, places[c]|f.any)
	}
	return f
}

func (f *finder) find(s string) (string, bool) {
	var state uint64
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		i += n
		places := f.any
		if valid := c != utf8.RuneError || n > 1; valid {
			if at, found := slices.BinarySearch(f.characters, c); found {
				places = f.places[at]
			}
		}
		if state = (state<<1 | 1) & places; state&f.end != 0 {
			return s[i:], true
		}
	}
	return "", false
}

// text is a pattern that compiles to p, and its escape, which is empty when none is needed.
func (p *pattern) text() (text, escape string) {
	runs := append([]run{p.first}, p.rest...)
	for _, r := range runs {
		for _, piece := range r.pieces {
			if strings.ContainsAny(piece.text, "%_") {
				escape = `\`
			}
		}
	}
	var b strings.Builder
	for i, r := range runs {
		if i > 0 {
			b.WriteByte('%')
		}
		b.WriteString(strings.Repeat("_", r.skip))
		for _, piece := range r.pieces {
			b.WriteString(escaped(piece.text, escape))
			b.WriteString(strings.Repeat("_", piece.any))
		}
	}
	return b.String(), escape
}

func escaped(s, escape string) string {
	if escape == "" {
		return s
	}
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}
