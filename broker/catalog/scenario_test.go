package catalog

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/object"
)

var rewrite = flag.Bool("rewrite", false, "write what the scenarios answer into their files")

// TestScenarios runs testdata/*.txt. A scenario is blocks of a command, an optional body, a line ----, and what it
// answers. The commands:
//
//	apply [owner=O]     each line of the body: want KIND [VHOST] NAME SPEC [ref=R] [adopt=A] | delete HOW KIND [VHOST] NAME [ref=R]
//	plan [owner=O]      the same, without applying it, and with what would change
//	list [owner=O] [kind=K]
//	digest owner=O
//	restart             by way of a snapshot
//	clock SECONDS       what time it is, in seconds since 1970
//
// VHOST is left out for kinds that live in none. After each apply the same commands, applied to another state, must give
// the same snapshot.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r := &scenario{t: t, state: New(), replica: New()}
			var got strings.Builder
			for block := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n\n") {
				input, _, _ := strings.Cut(block+"\n", "\n----\n")
				fmt.Fprintf(&got, "%s\n----\n%s\n", strings.TrimSpace(input), r.run(input))
			}
			want := strings.TrimSpace(string(raw))
			if have := strings.TrimSpace(got.String()); have != want {
				if *rewrite {
					if err := os.WriteFile(file, []byte(have+"\n"), 0o600); err != nil {
						t.Fatal(err)
					}
					return
				}
				t.Errorf("answers\n%s\nwanted\n%s", have, want)
			}
		})
	}
}

type scenario struct {
	t              *testing.T
	state, replica *State
}

func (r *scenario) run(input string) string {
	var lines []string
	for l := range strings.SplitSeq(strings.TrimSpace(input), "\n") {
		if !strings.HasPrefix(l, "#") {
			lines = append(lines, l)
		}
	}
	words := strings.Fields(lines[0])
	options := map[string]string{}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		options[k] = v
	}
	switch words[0] {
	case "apply":
		return r.apply(options["owner"], lines[1:])
	case "plan":
		return r.explain(options["owner"], lines[1:])
	case "list":
		var b strings.Builder
		for _, o := range r.state.List(options["owner"], object.Kind(options["kind"])) {
			fmt.Fprintf(&b, "%s owner=%q ref=%q revision=%d id=%d %s\n", o.Key, o.Owner, o.Ref, o.Revision, o.ID, o.Spec)
		}
		return b.String()
	case "digest":
		d, err := r.state.Digests(options["owner"])
		if err != nil {
			r.t.Fatal(err)
		}
		var b strings.Builder
		for _, k := range object.Kinds {
			if d[k].Count > 0 {
				fmt.Fprintf(&b, "%s %d\n", k, d[k].Count)
			}
		}
		return b.String()
	case "clock":
		seconds, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			r.t.Fatal(err)
		}
		clock = time.Unix(seconds, 0)
		return ""
	case "restart":
		fresh := New()
		if err := fresh.Restore(r.state.Snapshot()); err != nil {
			r.t.Fatal(err)
		}
		r.state = fresh
		return fmt.Sprintf("revision %d\n", r.state.Revision())
	}
	r.t.Fatalf("command %q is unknown", lines[0])
	return ""
}

func (r *scenario) changes(lines []string) (changes []object.Change) {
	for _, l := range lines {
		changes = append(changes, r.parse(l))
	}
	return changes
}

func (r *scenario) explain(owner string, lines []string) string {
	d := r.state.Draft(plain)
	d.Explain()
	results, err := d.Plan(owner, r.changes(lines))
	if err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	for _, res := range results {
		writeResult(&b, res)
		for _, difference := range res.Differences {
			fmt.Fprintf(&b, "  %s: %s → %s\n", difference.Field, difference.Old, difference.New)
		}
	}
	return b.String()
}

func writeResult(b *strings.Builder, res object.Result) {
	fmt.Fprintf(b, "%s: %s", res.Key, res.Outcome)
	if res.Adopted {
		b.WriteString(" and adopted")
	}
	if res.Reason != "" {
		fmt.Fprintf(b, " %s: %s", res.Reason, res.Message)
	}
	if res.Bindings > 0 {
		fmt.Fprintf(b, " (%d bindings)", res.Bindings)
	}
	b.WriteByte('\n')
}

func (r *scenario) apply(owner string, lines []string) string {
	p, err := r.state.Plan(owner, r.changes(lines), plain)
	if err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	for _, res := range p.Results {
		writeResult(&b, res)
	}
	if p.Command == nil {
		return b.String()
	}
	applied, err := r.state.Apply(p.Command)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range applied {
		verb, o := "changed", c.After
		switch {
		case c.Before == nil:
			verb = "created"
		case c.After == nil:
			verb, o = "deleted", c.Before
		}
		fmt.Fprintf(&b, "  %d %s %s\n", c.Revision, verb, o.Key)
	}
	r.agree(p)
	return b.String()
}

// agree: whoever applies the same commands has the same state, and results tell the revisions that came about.
func (r *scenario) agree(p Plan) {
	if _, err := r.replica.Apply(p.Command); err != nil {
		r.t.Fatal(err)
	}
	if a, b := r.state.Snapshot(), r.replica.Snapshot(); !bytes.Equal(a, b) {
		r.t.Errorf("states differ:\n%s\n%s", a, b)
	}
	for _, res := range p.Results {
		if o, ok := r.state.Get(res.Key); ok && res.Revision != 0 && o.Revision != res.Revision {
			r.t.Errorf("%s has revision %d, the result said %d", res.Key, o.Revision, res.Revision)
		}
	}
}

func (r *scenario) parse(line string) object.Change {
	verb, rest, _ := strings.Cut(line, " ")
	var c object.Change
	if before, how, ok := strings.Cut(rest, " adopt="); ok {
		rest, c.Adopt = before, object.Adoption(how)
	}
	if before, ref, ok := strings.Cut(rest, " ref="); ok {
		rest, c.Ref = before, ref
	}
	switch verb {
	case "delete":
		how, more, _ := strings.Cut(rest, " ")
		c.Delete, rest = object.Deletion(how), more
	case "want":
		if i := strings.Index(rest, "{"); i >= 0 {
			rest, c.Spec = rest[:i], json.RawMessage(rest[i:])
		}
	default:
		r.t.Fatalf("line %q is unknown", line)
	}
	words := strings.Fields(rest)
	c.Kind = object.Kind(words[0])
	switch len(words) {
	case 2:
		c.Name = words[1]
	case 3:
		c.VirtualHost, c.Name = words[1], words[2]
	}
	if c.Name == "-" || c.Kind == object.KindBinding && c.Delete == "" && len(words) == 2 {
		c.VirtualHost, c.Name = words[1], ""
	}
	return c
}

// plain keeps passwords as they are. Those that begin with "keyed" get keys of SCRAM.
var plain = Passwords{
	Hash: func(password string) (string, error) { return "$argon2id$" + password, nil },
	Keys: func(password string, salts []string) ([]string, error) {
		if !strings.HasPrefix(password, "keyed") {
			return nil, nil
		}
		if len(salts) > 0 {
			password += " like" // those of before
		}
		key := make([]byte, 32)
		copy(key, password)
		return []string{object.ScramKeys{Mechanism: object.ScramSHA256, Iterations: 4096, Salt: []byte("salt"), StoredKey: key, ServerKey: key}.String()}, nil
	},
	Verify: func(hash, password string) bool { return hash == "$argon2id$"+password },
	Now:    func() time.Time { return clock },
}

// clock is what time it is in scenarios.
var clock = time.Unix(1000, 0)
