package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// version is one of the specifications.
type version struct {
	name   string
	prefix string             // of its numbers in citations
	check  func(string) error // of a number
}

// table is the statements of one version, in the order of their file.
type table struct {
	version
	file       string
	statements []*statement
	by         map[string]*statement // number
}

// statement is one line of a table.
type statement struct {
	number string
	binds  byte // S, C or B
	text   string
	same   []*statement // of 3.1.1, which it repeats
	whole  []*statement // of 3.1.1, which it is a part of
	lack   lack
	reason string // why it lacks what it does
	code   places
	tests  places
}

// lack is what a statement has a reason not to have.
type lack string

const (
	nothing lack = ""
	code    lack = "no code"
	test    lack = "no test"
	both    lack = "none"
)

func (s *statement) bindsServers() bool { return s.binds != 'C' }

// bindsClients says that some of the statements bind clients alone.
func (t *table) bindsClients() bool {
	return slices.ContainsFunc(t.statements, func(s *statement) bool { return !s.bindsServers() })
}

// readTable reads the statements of a file; those of 5.0 refer to those of 3.1.1.
func readTable(file string, v version, older *table) (*table, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it is only read
	t := &table{version: v, file: file, by: make(map[string]*statement)}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch {
		case strings.TrimSpace(line) == "" || line[0] == '#':
		case line[0] == ' ':
			err = t.explain(strings.TrimSpace(line))
		default:
			err = t.add(line, older)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
	}
	return t, lines.Err()
}

// explain reads the reason of the statement before.
func (t *table) explain(line string) error {
	kind, reason, _ := strings.Cut(line, ": ")
	if k := lack(kind); k != code && k != test && k != both || reason == "" {
		return fmt.Errorf("%q does not begin with none, no code or no test, and a colon", line)
	}
	if len(t.statements) == 0 {
		return errors.New("a reason before the first statement")
	}
	last := t.statements[len(t.statements)-1]
	if last.reason != "" {
		return fmt.Errorf("a second reason of %s", last.number)
	}
	last.lack, last.reason = lack(kind), reason
	return nil
}

// add reads a line: NUMBER BINDS [= NUMBERS | < NUMBERS] TEXT.
func (t *table) add(line string, older *table) error {
	words := strings.Fields(line)
	if len(words) < 3 {
		return errors.New("a statement has a number, whom it binds, and a text")
	}
	s := &statement{number: words[0], text: strings.Join(words[2:], " ")}
	if err := t.version.check(s.number); err != nil {
		return err
	}
	if t.by[s.number] != nil {
		return fmt.Errorf("%s is there twice", s.number)
	}
	if len(words[1]) != 1 || !strings.Contains("SCB", words[1]) {
		return fmt.Errorf("%q is not S, C or B", words[1])
	}
	s.binds = words[1][0]
	if words[2] == "=" || words[2] == "<" {
		if err := s.refer(words[2], words[3:], older); err != nil {
			return err
		}
	}
	if s.text == "" {
		return fmt.Errorf("%s has no text", s.number)
	}
	t.statements = append(t.statements, s)
	t.by[s.number] = s
	return nil
}

// refer reads which statements of 3.1.1 are the same or the whole, and takes the text of the first when there is none.
func (s *statement) refer(mark string, words []string, older *table) error {
	if older == nil {
		return errors.New("only statements of MQTT 5.0 refer to others, those of 3.1.1")
	}
	var found []*statement
	for more := true; more && len(words) > 0; words = words[1:] {
		var number string
		number, more = strings.CutSuffix(words[0], ",")
		o := older.by[number]
		if o == nil {
			return fmt.Errorf("3.1.1 has no %s", number)
		}
		found = append(found, o)
	}
	if len(found) == 0 {
		return fmt.Errorf("no number behind %q", mark)
	}
	s.text = strings.Join(words, " ")
	if s.text == "" {
		s.text = found[0].text
	}
	if mark == "=" {
		s.same = found
	} else {
		s.whole = found
	}
	return nil
}

// share gives each statement of 5.0 and the one that it repeats each other's citations, and a whole those of its parts.
func share(newer *table) {
	for _, s := range newer.statements {
		for _, o := range s.whole {
			o.code, o.tests = o.code.with(s.code), o.tests.with(s.tests)
		}
	}
	for _, s := range newer.statements {
		for _, o := range s.same {
			all, tested := s.code.with(o.code), s.tests.with(o.tests)
			s.code, o.code = all, all
			s.tests, o.tests = tested, tested
		}
	}
}

// check says of which statements something is missing, or a reason is there that none is needed for.
func (t *table) verify() error {
	var wrong []error
	for _, s := range t.statements {
		missing := s.missing()
		if s.bindsServers() && missing != s.lack {
			wrong = append(wrong, fmt.Errorf("%s: %s%s %s: %s", t.file, t.prefix, s.number, complaint(missing, s.lack), s.text))
		}
		if !s.bindsServers() && s.lack != nothing {
			wrong = append(wrong, fmt.Errorf("%s: %s%s binds clients alone: it needs no reason", t.file, t.prefix, s.number))
		}
	}
	return errors.Join(wrong...)
}

func (s *statement) missing() lack {
	switch noCode, noTest := len(s.code) == 0, len(s.tests) == 0; {
	case noCode && noTest:
		return both
	case noCode:
		return code
	case noTest:
		return test
	}
	return nothing
}

func complaint(missing, said lack) string {
	words := map[lack]string{nothing: "is cited by code and tests", code: "is cited by no code", test: "is cited by no test", both: "is cited by neither code nor test"}
	if said == nothing {
		return words[missing] + ", and has no reason"
	}
	return words[missing] + fmt.Sprintf(", and the table says %q", said)
}

// places are where a statement is cited, each once.
type places []place

func (p places) add(x place) places {
	if slices.Contains(p, x) {
		return p
	}
	return append(p, x)
}

func (p places) with(other places) places {
	p = slices.Clone(p)
	for _, x := range other {
		p = p.add(x)
	}
	return p
}

func (p places) sorted() places {
	p = slices.Clone(p)
	slices.SortFunc(p, place.compare)
	return p
}
