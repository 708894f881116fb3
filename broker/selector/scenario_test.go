package selector

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what the scenarios answer into testdata")

// Scenarios are text: commands, a line "----", what they answer, a blank line. A line that begins with '#' is a comment.
//
//	message NAME [HEADER or PROPERTY=VALUE]...   until the next block; a value is 'text', a number, true, false or null
//	select SELECTOR                              the messages that it matches
//	value SELECTOR                               what it says of the block's message: true, false or unknown
//	normal SELECTOR                              its normal form
//	names SELECTOR                               what it reads
//	limits BYTES DEPTH NODES ELEMENTS            for the rest of the block
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScenario(t, file) })
	}
}

func runScenario(t *testing.T, file string) {
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(strings.TrimSpace(string(src)), "\n\n")
	for i, block := range blocks {
		commands, want, found := strings.Cut(block+"\n", "\n----\n")
		if !found && !*rewrite {
			if !strings.HasPrefix(block, "#") {
				t.Fatalf("block without answer:\n%s", block)
			}
			continue
		}
		s := scenario{limits: DefaultLimits}
		var out strings.Builder
		asked := false
		for line := range strings.Lines(commands) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				command, argument, _ := strings.Cut(line, " ")
				if answer := s.do(command, argument); answer != "" {
					asked = true
					out.WriteString(answer + "\n")
				}
			}
		}
		got := strings.TrimSpace(out.String())
		if *rewrite && asked {
			blocks[i] = strings.TrimRight(commands, "\n") + "\n----\n" + got
		} else if got != strings.TrimSpace(want) {
			t.Errorf("%s\nanswers\n%s\nwant\n%s", commands, got, want)
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(strings.Join(blocks, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type scenario struct {
	limits     Limits
	messages   []message
	evaluation Evaluation
}

func (s *scenario) do(command, argument string) string {
	switch command {
	case "message":
		s.messages = append(s.messages, newMessage(strings.Fields(argument)))
		return ""
	case "limits":
		if _, err := fmt.Sscan(argument, &s.limits.Bytes, &s.limits.Depth, &s.limits.Nodes, &s.limits.Elements); err != nil {
			return err.Error()
		}
		return ""
	}
	compiled, err := Compile(argument, s.limits)
	if err != nil {
		return err.Error()
	}
	switch command {
	case "select":
		return s.selected(compiled)
	case "value":
		return s.value(argument)
	case "normal":
		return compiled.String()
	case "names":
		return strings.TrimSpace("names " + strings.Trim(fmt.Sprint(compiled.Names()), "[]"))
	}
	return "unknown command " + command
}

func (s *scenario) selected(c *Selector) string {
	var names []string
	for _, m := range s.messages {
		if c.Matches(m, &s.evaluation) {
			names = append(names, m.name)
		}
	}
	switch {
	case c.Always() && len(names) == len(s.messages):
		return "always"
	case c.Never() && len(names) == 0:
		return "never"
	case len(names) == 0:
		return "none"
	}
	return strings.Join(names, " ")
}

// value asks a selector and its opposite.
func (s *scenario) value(text string) string {
	c, err := Compile(text, s.limits)
	opposite, err2 := Compile("NOT ("+text+")", s.limits)
	if err != nil || err2 != nil {
		return fmt.Sprint(err, err2)
	}
	switch m := s.messages[0]; {
	case c.Matches(m, &s.evaluation):
		return "true"
	case opposite.Matches(m, &s.evaluation):
		return "false"
	}
	return "unknown"
}

// message has its values by name; asked counts how often each was read.
type message struct {
	name   string
	values map[Name]Value
	asked  map[Name]int
}

func newMessage(fields []string) message {
	m := message{name: fields[0], values: make(map[Name]Value), asked: make(map[Name]int)}
	for _, f := range fields[1:] {
		name, value, _ := strings.Cut(f, "=")
		n, ok := nameOf(name)
		if !ok {
			panic("no name: " + name)
		}
		m.values[n] = valueOf(value)
	}
	return m
}

func valueOf(s string) Value {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return Int(i)
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return Float(f)
	}
	switch s {
	case "null":
		return Value{}
	case "true", "false":
		return Bool(s == "true")
	}
	return String(strings.Trim(s, "'"))
}

func (m message) get(n Name) Value {
	m.asked[n]++
	return m.values[n]
}

func (m message) Header(h Header) Value          { return m.get(Name{Header: h}) }
func (m message) Property(property string) Value { return m.get(Name{Property: property}) }
