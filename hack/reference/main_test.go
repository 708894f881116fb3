package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

const root = "../.."

// The pages are what their sources give. hack/generate writes them.
func TestPagesAreUpToDate(t *testing.T) {
	pages, err := render(repository, root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join(root, folder, name))
		if err != nil {
			t.Errorf("%v: run make manifests", err)
			continue
		}
		if string(got) != want {
			t.Errorf("%s/%s is not what its sources give: run make manifests", folder, name)
		}
	}
}

// Nothing that users can set is without a word, and every check is told.
func TestEveryFieldIsSaid(t *testing.T) {
	kinds, err := readKinds(filepath.Join(root, repository.crds))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := render(repository, root)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds {
		page := pages[fileOf(k)]
		spec := k.schema().Properties["spec"]
		for _, f := range fields("spec", spec) {
			if row := "| `" + strings.TrimPrefix(f.path, "spec.") + "` | " + f.kind + " |"; !strings.Contains(page, row) {
				t.Errorf("the page of %s has no row %q", k.Spec.Names.Kind, row)
			}
			if f.kind == "" {
				t.Errorf("%s %s has no type", k.Spec.Names.Kind, f.path)
			}
		}
		for _, rule := range spec.XValidations {
			if !strings.Contains(page, cell(rule.Message)) {
				t.Errorf("the page of %s does not say: %s", k.Spec.Names.Kind, rule.Message)
			}
		}
	}
}

func TestSentencesOfChecks(t *testing.T) {
	for want, p := range map[string]apiextensionsv1.JSONSchemaProps{
		"From 1 to 5.":             {Minimum: new(1.0), Maximum: new(5.0)},
		"At least -1.":             {Minimum: new(-1.0)},
		"At most 7.":               {Maximum: new(7.0)},
		"At most 255 characters.":  {MinLength: new(int64(0)), MaxLength: new(int64(255))},
		"1 characters at least.":   {MinLength: new(int64(1))},
		"From 1 to 64 entries.":    {MinItems: new(int64(1)), MaxItems: new(int64(64))},
		"One of `a`, `2`.":         {Enum: []apiextensionsv1.JSON{{Raw: []byte(`"a"`)}, {Raw: []byte("2")}}},
		"Matches `^a$`.":           {Pattern: "^a$"},
		"Each only once.":          {XListType: new("set")},
		"Checked: it must be odd.": {XValidations: apiextensionsv1.ValidationRules{{Message: "it must be odd"}}},
		"Why it is.":               {Description: "why it\nis"},
	} {
		if got := describe(p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestKindWithoutASampleIsRefused(t *testing.T) {
	empty := repository
	empty.samples = "docs/reference"
	if _, err := render(empty, root); err == nil || !strings.Contains(err.Error(), "has no sample") {
		t.Errorf("error %v", err)
	}
}

var code = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")

var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	checked := 0
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/*/*.md", "config/samples/*/*.md"} {
		pages, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range pages {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(string(text), ""), -1) {
				checked++
				if _, err := os.Stat(filepath.Join(filepath.Dir(page), found[1])); err != nil {
					t.Errorf("%s leads to %s, which is not there", page, found[1])
				}
			}
		}
	}
	if checked < 50 {
		t.Errorf("%d links were looked at", checked)
	}
}

func TestCellsKeepCode(t *testing.T) {
	if got, want := cell("a|b *c* <d> `^[*<]|x$` *"), "a\\|b \\*c\\* &lt;d> `^[*<]\\|x$` \\*"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
