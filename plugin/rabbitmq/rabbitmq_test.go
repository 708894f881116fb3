package rabbitmq

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/turnstone-mq/turnstone/plugin/manifest"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares manifests, and what was skipped behind them.
func golden(t *testing.T, file string, r Result) {
	t.Helper()
	got, err := manifest.Bytes(r.Objects)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Skipped {
		got = fmt.Appendf(got, "# %s: %s\n", s.What, s.Why)
	}
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (run with -update and look at the difference); got\n%s", path, got)
	}
}

func TestResources(t *testing.T) {
	docs, err := manifest.Read([]string{filepath.Join("testdata", "resources.yaml")}, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "resources.golden.yaml", Resources(docs, manifest.Target{}))
	r := Resources(docs, manifest.Target{Broker: "ours", Namespace: "there"})
	for _, o := range r.Objects {
		if o.BrokerName() != "ours" || o.GetNamespace() != "there" {
			t.Errorf("%s is for %s in %s", o.GetName(), o.BrokerName(), o.GetNamespace())
		}
	}
}

// TestDefinitions translates what the broker reads of the same file.
func TestDefinitions(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("..", "..", "broker", "definitions", "testdata", "rabbitmq.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !IsDefinitions(file) {
		t.Error("definitions are not known as such")
	}
	r, err := Definitions(file, "", manifest.Target{Broker: "broker"})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "definitions.golden.yaml", r)
	if text, err := manifest.Bytes(r.Objects); err != nil || bytes.Contains(text, []byte("rabbit-sha256")) || bytes.Contains(text, []byte("passwordHash")) {
		t.Errorf("a hash is in the manifests (%v)", err)
	}
	if _, err := Definitions([]byte(`{"queues": 5}`), "", manifest.Target{Broker: "b"}); err == nil {
		t.Error("wrong definitions are translated")
	}
}

func TestWhatAFileIs(t *testing.T) {
	for text, want := range map[string]bool{
		`{"queues":[]}`: true, `{"apiVersion":"v1"}`: false, "apiVersion: v1\nkind: List": false, `{"queues":[`: true, "{apiVersion: v1}": false,
	} {
		if got := IsDefinitions([]byte(text)); got != want {
			t.Errorf("%s: definitions %t", text, got)
		}
	}
}

func FuzzResources(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "resources.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		docs, err := manifest.ReadStream("x", text)
		if err != nil {
			return
		}
		r := Resources(docs, manifest.Target{Broker: "b"})
		if len(r.Objects)+len(r.Skipped) < len(docs) {
			t.Errorf("%d documents, but only %d objects and %d reasons", len(docs), len(r.Objects), len(r.Skipped))
		}
	})
}
