package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

const two = "apiVersion: messaging.turnstone.dev/v1alpha1\nkind: Queue\nmetadata: {name: a}\nspec: {brokerRef: {name: b}}\n---\n# nothing\n---\n" +
	`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}},{"apiVersion":"messaging.turnstone.dev/v1alpha1","kind":"Binding","metadata":{"name":"d","namespace":"n"},"spec":{"source":"s","destination":"q","brokerRef":{"name":"b"}}}]}` + "\n"

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a.yaml": two, "b.txt": "no", "below/c.yml": two} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		paths     []string
		recursive bool
		want      int
	}{
		{[]string{dir}, false, 3}, {[]string{dir}, true, 6}, {[]string{"-", filepath.Join(dir, "a.yaml")}, false, 6},
	} {
		docs, err := Read(c.paths, c.recursive, strings.NewReader(two))
		if err != nil || len(docs) != c.want {
			t.Errorf("%v: %d documents, %v", c.paths, len(docs), err)
		}
	}
	docs, err := ReadStream("in", []byte(two))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		o, err := d.Topology(scheme, "here")
		if err != nil {
			t.Fatal(err)
		}
		if o == nil {
			got = append(got, d.At+" other")
			continue
		}
		got = append(got, fmt.Sprintf("%s %s/%s", d.At, o.GetNamespace(), o.GetName()))
	}
	if want := "in[0] here/a|in[2].items[0] other|in[2].items[1] n/d"; strings.Join(got, "|") != want {
		t.Errorf("read %v, wanted %s", got, want)
	}
}

func TestWrongManifests(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	const head = "apiVersion: messaging.turnstone.dev/v1alpha1\n"
	for text, want := range map[string]string{
		"a: [": "x[0]: yaml: line 1: did not find expected node content",
		"a: 1": "x[0]: it is no Kubernetes object: apiVersion or kind is missing",
		"- 1":  "it is no Kubernetes object",
		head + "kind: Shelf\nmetadata: {name: a}":                                                           "x[0]: kind Shelf does not exist in messaging.turnstone.dev/v1alpha1",
		"apiVersion: messaging.turnstone.dev/v9\nkind: Queue\nmetadata: {name: a}":                          "apiVersion messaging.turnstone.dev/v9 is not known",
		head + "kind: Queue\nmetadata: {name: a}\nspec: {brokerRef: {name: b}, maxlen: 5}":                  `x[0]: Queue "a": unknown field "maxlen"`,
		head + "kind: Queue\nspec: {brokerRef: {name: b}}":                                                  "Queue has no metadata.name",
		head + "kind: Queue\nmetadata: {name: a}\nspec: {brokerRef: {name: b}, maxLength: 5, maxLength: 6}": "already set",
	} {
		docs, err := ReadStream("x", []byte(text))
		for _, d := range docs {
			if _, e := d.Topology(scheme, "n"); e != nil {
				err = e
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, wanted %s", text, err, want)
		}
	}
	if _, err := Read([]string{t.TempDir()}, false, nil); err == nil || !strings.Contains(err.Error(), "holds no .yaml") {
		t.Errorf("an empty directory: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(two))
	f.Add([]byte(`{"apiVersion":"v1","kind":"List","items":[{"items":[]}]}`))
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		docs, err := ReadStream("x", text)
		if err != nil {
			return
		}
		for _, d := range docs {
			if o, err := d.Topology(scheme, "n"); err == nil && o != nil && o.GetName() == "" {
				t.Error("an object without a name")
			}
		}
	})
}
