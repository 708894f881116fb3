package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCitations(t *testing.T) {
	for text, want := range map[string]string{
		"// [MQTT-3.3.1-3]":                         "MQTT-3.3.1-3",
		"a [MQTT-3.3.1-3], [MQTT5-3.3.2-9] b":       "MQTT-3.3.1-3 MQTT5-3.3.2-9",
		"[MQTT5-3.3.2-15 to 18, 20]":                "MQTT5-3.3.2-15 MQTT5-3.3.2-16 MQTT5-3.3.2-17 MQTT5-3.3.2-18 MQTT5-3.3.2-20",
		"[MQTT-3.3.1-5, 3.3.1-10]":                  "MQTT-3.3.1-5 MQTT-3.3.1-10",
		"[MQTT 5 §3.3.2] and [MQTT-x.y.z-n]":        "",
		"MQTT 3.1.1 §4.7 and JMS 2.0 §3.8.1":        "",
		"// 2 §2.6.14, 2 §2.8.18/stolen":            "AMQP10-2.6.14 AMQP10-2.8.18/stolen",
		"x 3 §3.2.11 to 3 §3.2.13":                  "AMQP10-3.2.11 AMQP10-3.2.12 AMQP10-3.2.13",
		"2 §3.5.8":                                  "error",
		"3 §3.2.11 to 3 §3.2.9":                     "error",
		"[MQTT-3.3.1-3 to 3]":                       "error",
		"[MQTT-3.3.1]":                              "error",
		"[MQTT-3.1.2-5 leaves storing to somebody]": "error",
	} {
		found, at, err := citations(text)
		var got []string
		for i, c := range found {
			got = append(got, c.prefix+c.number)
			if c.prefix != prefixAMQP10 && !strings.HasPrefix(text[at[i]:], "["+c.prefix) || c.prefix == prefixAMQP10 && !strings.HasPrefix(text[at[i]:], c.number[:1]+" §") {
				t.Errorf("%q: %s is not at %d", text, c.number, at[i])
			}
		}
		if err != nil {
			got = []string{"error"}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, want %q (%v)", text, got, want, err)
		}
	}
}

// tables writes the two tables and some files, and reads and scans them.
func tables(t *testing.T, older, newer string, files map[string]string) ([]*table, error) {
	t.Helper()
	dir := t.TempDir()
	files["statements/mqtt311.txt"], files["statements/mqtt5.txt"] = older, newer
	for _, d := range scanned {
		files[d.dir+"/empty.go"] = "package empty\n"
	}
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, err := readTable(filepath.Join(dir, "statements/mqtt311.txt"), version{"MQTT 3.1.1", "MQTT-", checkNumber}, nil)
	if err != nil {
		return nil, err
	}
	b, err := readTable(filepath.Join(dir, "statements/mqtt5.txt"), version{"MQTT 5.0", "MQTT5-", checkNumber}, a)
	if err != nil {
		return nil, err
	}
	if err := scan(dir, []*table{a, b}); err != nil {
		return nil, err
	}
	share(b)
	return []*table{a, b}, nil
}

func TestMatrix(t *testing.T) {
	found, err := tables(t, "1.1.1-1 S one\n1.1.1-2 B two\n1.1.1-3 C three\n1.1.1-4 S four\n    none: nothing to do\n",
		"2.2.2-1 S = 1.1.1-1\n2.2.2-2 S < 1.1.1-2 a half\n", map[string]string{
			"broker/a/a.go":                 "package a\n\ntype T int\n\n// M obeys. [MQTT-1.1.1-1]\nfunc (t *T) M() { _ = 1 } // [MQTT5-2.2.2-2]\n",
			"broker/a/a_test.go":            "package a\n\n// TestM tests. [MQTT5-2.2.2-1]\nfunc TestM() {}\n",
			"broker/a/testdata/x.txt":       "== one\nx\n== two\n// [MQTT-1.1.1-2]\n",
			"test/conformance/more_test.go": "package b\n\nvar cases = []string{\"[MQTT5-2.2.2-2]\"}\n",
		})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]string{
		{
			"1.1.1-1 code broker/a/a.go T.M tests broker/a/a_test.go TestM",
			"1.1.1-2 code broker/a/a.go T.M tests broker/a/testdata/x.txt two test/conformance/more_test.go cases",
			"1.1.1-3 code tests", "1.1.1-4 code tests",
		},
		{
			"2.2.2-1 code broker/a/a.go T.M tests broker/a/a_test.go TestM",
			"2.2.2-2 code broker/a/a.go T.M tests test/conformance/more_test.go cases",
		},
	} {
		var got []string
		for _, s := range found[i].statements {
			line := s.number + " code"
			for _, p := range s.code.sorted() {
				line += " " + p.file + " " + p.part
			}
			line += " tests"
			for _, p := range s.tests.sorted() {
				line += " " + p.file + " " + p.part
			}
			got = append(got, line)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := found[i].verify(); err != nil {
			t.Error(err)
		}
	}
	page := string(renderPage(mqttIntro, found))
	for _, want := range []string{
		"| 1.1.1-1 | one | `a/a.go` T.M | `a/a_test.go` TestM |", "| 1.1.1-4 | four | nothing to do |  |",
		"| 2.2.2-1, 1.1.1-1 in 3.1.1 | one |", "| 2.2.2-2, of 1.1.1-2 in 3.1.1 | a half |", "| MQTT 3.1.1 | 4 | 3 | 2 | 1 |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s:\n%s", want, page)
		}
	}
}

func TestWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ name, older, source, want string }{
		{"an unknown statement", "1.1.1-1 C one\n", "// [MQTT-9.9.9-9]", "no statement MQTT-9.9.9-9"},
		{"no test", "1.1.1-1 S one\n", "// [MQTT-1.1.1-1]", "cited by no test"},
		{"neither", "1.1.1-1 S one\n", "", "neither code nor test"},
		{"a reason that is not needed", "1.1.1-1 S one\n  none: why\n", "// [MQTT-1.1.1-1]", `says "none"`},
		{"a reason for clients", "1.1.1-1 C one\n  none: why\n", "", "needs no reason"},
		{"no reason", "1.1.1-1 S one\n  none:\n", "", "does not begin with"},
		{"twice", "1.1.1-1 S one\n1.1.1-1 S one\n", "", "there twice"},
		{"whom", "1.1.1-1 X one\n", "", "not S, C or B"},
		{"no number", "one S one\n", "", "not the number"},
	} {
		found, err := tables(t, c.older, "", map[string]string{"broker/a.go": "package a\n\n" + c.source + "\nfunc F() {}\n"})
		for _, x := range found {
			if err == nil {
				err = x.verify()
			}
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %s", c.name, err, c.want)
		}
	}
}
