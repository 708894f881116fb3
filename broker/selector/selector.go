// Package selector holds message selectors: conditions over the headers and properties of a message, in the subset of SQL-92
// that JMS 2.0 §3.8.1 defines (docs/selectors.md).
//
// A selector is compiled once, within limits, and then asked about many messages. It knows no message: who asks gives it
// Properties, which answer its names. It never fails on a message: what cannot be compared or computed is unknown, and
// unknown does not match. Its time is linear in the selector and in the texts that it reads.
package selector

// Selector is a compiled selector. It is immutable and safe for concurrent use.
type Selector struct {
	root  condition
	names []Name
}

// Limits bound a selector before it is compiled. A limit of zero allows none.
type Limits struct {
	Bytes    int // of its text
	Depth    int // parentheses, NOTs and signs inside one another
	Nodes    int // names, literals and operators other than NOT
	Elements int // of one IN
}

// DefaultLimits are wide enough for what programs write, and narrow enough to evaluate for every message of a queue.
var DefaultLimits = Limits{Bytes: 64 << 10, Depth: 64, Nodes: 4096, Elements: 4096}

// Compile makes a selector of its text. An empty text selects every message (JMS 2.0 §3.8.1.1). An error is an *Error.
func Compile(text string, limits Limits) (*Selector, error) {
	t, err := parse(text, limits)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return &Selector{root: yes}, nil
	}
	b := builder{text: text, names: make(map[Name]*identifier)}
	s := &Selector{root: b.condition(t, false, false)}
	if b.err != nil {
		return nil, b.err
	}
	s.root.visit(func(i *identifier) {
		if i.slot < 0 {
			i.slot = len(s.names)
			s.names = append(s.names, i.name)
		}
	})
	return s, nil
}

// Matches says whether the selector is true for a message. It asks p for each name at most once, for those only that
// decide, and allocates nothing once e has been used for a selector with as many names.
func (s *Selector) Matches(p Properties, e *Evaluation) bool {
	if t, constant := s.root.(truth); constant {
		return t == yes
	}
	e.begin(p, s.names)
	matches := s.root.truth(e) == yes
	e.end()
	return matches
}

// Names are what the selector may ask of a message, in the order of their first appearance in the normal form. The caller
// must not change them.
func (s *Selector) Names() []Name { return s.names }

// Always says that the selector is known to match every message: it need not be asked.
func (s *Selector) Always() bool { return s.root == condition(yes) }

// Never says that the selector is known to match no message.
func (s *Selector) Never() bool { return s.root == condition(no) }

// String is the normal form: a text that compiles to an equal selector, in which constants are folded, NOT stands at the
// leaves, and spelling is uniform. It can have more bytes and nodes than the text that was compiled.
func (s *Selector) String() string { return string(s.root.append(nil, levelOr)) }
