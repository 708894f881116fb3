package router

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

var rewrite = flag.Bool("rewrite", false, "write what the scenarios answer into testdata")

// Scenarios are text: commands, a line "----", what they answer, a blank line. A line that begins with '#' is a comment.
//
//	declare EXCHANGE TYPE [durable] [auto-delete] [internal] [NAME=VALUE]...
//	delete EXCHANGE [if-unused]
//	queue NAME
//	remove TARGET
//	bind | unbind EXCHANGE TARGET KEY [NAME=VALUE]...     EXCHANGE -> EXCHANGE for a binding of exchanges
//	subscribe | unsubscribe EXCHANGE TARGET FILTER [qos=N] [no-local] [retain-as-published] [id=N]
//	key | topic EXCHANGE NAME [HEADER=VALUE]...           where does it go?
//	list EXCHANGE
//	cacheable EXCHANGE
//
// '-' stands for an empty name.
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
	s := scenario{New[string]()}
	blocks := strings.Split(strings.TrimSpace(string(src)), "\n\n")
	for i, block := range blocks {
		commands, want, found := strings.Cut(block+"\n", "\n----\n")
		if !found && !*rewrite {
			if !strings.HasPrefix(block, "#") {
				t.Fatalf("block without answer:\n%s", block)
			}
			continue
		}
		var out strings.Builder
		asked := false
		for line := range strings.Lines(commands) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				asked = true
				out.WriteString(s.do(strings.Fields(line)) + "\n")
			}
		}
		got := strings.TrimSpace(out.String())
		if *rewrite && asked {
			blocks[i] = commands + "\n----\n" + got
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

type scenario struct{ *Table[string] }

func (s scenario) do(args []string) string {
	for i := range args {
		if args[i] == "-" {
			args[i] = ""
		}
	}
	command, x, args := args[0], args[1], args[2:]
	switch command {
	case "declare":
		return answer(s.Declare(x, specOf(args)))
	case "delete":
		return answer(s.Delete(x, slices.Contains(args, "if-unused")))
	case "queue":
		s.AddQueue(x, x)
		return "ok"
	case "remove":
		return fmt.Sprint("gone ", s.RemoveTarget(x))
	case "bind":
		added, err := s.bind(x, args)
		if err == nil && !added {
			return "there already"
		}
		return answer(err)
	case "unbind":
		return removal(s.unbind(x, args))
	case "subscribe":
		return answer(s.Subscribe(x, args[1], args[0], optionsOf(args[2:])))
	case "unsubscribe":
		return removal(s.Unsubscribe(x, args[1], args[0]))
	case "key":
		return s.route(x, args[0], topic.AMQP, args[1:])
	case "topic":
		return s.route(x, args[0], topic.MQTT, args[1:])
	case "list":
		return strings.Join(append(texts(s.BindingsFrom(x)), texts(s.BindingsTo(x))...), "\n")
	case "cacheable":
		return fmt.Sprint(s.Cacheable(x))
	}
	return "unknown command " + command
}

func (s scenario) bind(x string, args []string) (bool, error) {
	if args[0] == "->" {
		return s.BindExchange(x, args[1], args[2], argumentsOf(args[3:]))
	}
	return s.Bind(x, args[0], args[1], argumentsOf(args[2:]))
}

func (s scenario) unbind(x string, args []string) (bool, []string) {
	if args[0] == "->" {
		return s.UnbindExchange(x, args[1], args[2], argumentsOf(args[3:]))
	}
	return s.Unbind(x, args[0], args[1], argumentsOf(args[2:]))
}

func (s scenario) route(x, key string, form topic.Form, headers []string) string {
	found, err := s.Route(x, &Message{Key: key, Form: form, Attributes: table(argumentsOf(headers))}, nil)
	if err != nil {
		return answer(err)
	}
	out := make([]string, len(found))
	for i, m := range found {
		out[i] = m.Target + optionsText(m.Options)
	}
	slices.Sort(out)
	if len(out) == 0 {
		return "nowhere"
	}
	return strings.Join(out, " ")
}

func optionsText(o Options) (text string) {
	if o.QoS != MaxQoS {
		text += fmt.Sprintf(":qos=%d", o.QoS)
	}
	if o.NoLocal {
		text += ":no-local"
	}
	if o.RetainAsPublished {
		text += ":retain-as-published"
	}
	if o.SubscriptionID != 0 {
		text += fmt.Sprintf(":id=%d", o.SubscriptionID)
	}
	return text
}

func answer(err error) string {
	var e *Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &e):
		names := map[Code]string{NotFound: "NotFound", Reserved: "Reserved", Inequivalent: "Inequivalent", InUse: "InUse", UnknownType: "UnknownType", BadArgument: "BadArgument"}
		return names[e.Code] + ": " + e.Error()
	}
	return "untyped error: " + err.Error()
}

func removal(removed bool, gone []string) string {
	if !removed {
		return "not there"
	}
	return fmt.Sprint("removed, gone ", gone)
}

func specOf(args []string) object.ExchangeSpec {
	has := func(word string) bool { return slices.Contains(args, word) }
	return object.ExchangeSpec{Type: args[0], Durable: has("durable"), AutoDelete: has("auto-delete"), Internal: has("internal"), Arguments: argumentsOf(args[1:])}
}

// argumentsOf reads NAME=VALUE; a value is void, a number, true, false or text.
func argumentsOf(args []string) object.Arguments {
	var out object.Arguments
	for _, a := range args {
		name, value, found := strings.Cut(a, "=")
		if !found {
			continue
		}
		if out == nil {
			out = make(object.Arguments)
		}
		out[name] = valueOf(value)
	}
	return out
}

func valueOf(s string) any {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return f
	}
	switch s {
	case "void":
		return nil
	case "true", "false":
		return s == "true"
	}
	return s
}

func optionsOf(args []string) Options {
	has := func(word string) bool { return slices.Contains(args, word) }
	o := Options{QoS: MaxQoS, NoLocal: has("no-local"), RetainAsPublished: has("retain-as-published")}
	a := argumentsOf(args)
	if n, ok, _ := a.Int("qos"); ok {
		o.QoS = uint8(n)
	}
	if n, ok, _ := a.Int("id"); ok {
		o.SubscriptionID = uint32(n)
	}
	return o
}
