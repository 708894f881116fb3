// Command reference writes docs/reference: a page for every kind, from its CustomResourceDefinition and its samples, a page
// of conditions, from package condition, and the list of them. What stands there is what the API server checks.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// sources are where the pages come from, relative to the root of the repository.
type sources struct {
	crds, samples, conditions string
}

var repository = sources{crds: "config/crd/bases", samples: "config/samples", conditions: "controllers/condition"}

const folder = "docs/reference"

func main() {
	pages, err := render(repository, ".")
	if err == nil {
		err = write(pages)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

// write puts the pages into their folder and removes those of kinds that are no more.
func write(pages map[string]string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(folder, "*.md"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if _, stays := pages[filepath.Base(path)]; !stays {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render answers the pages by file name.
func render(from sources, root string) (map[string]string, error) {
	kinds, err := readKinds(filepath.Join(root, from.crds))
	if err != nil {
		return nil, err
	}
	samples, err := readSamples(filepath.Join(root, from.samples))
	if err != nil {
		return nil, err
	}
	reasons, err := readConstants(filepath.Join(root, from.conditions))
	if err != nil {
		return nil, err
	}
	pages := map[string]string{"conditions.md": conditionsPage(reasons), "README.md": listPage(kinds)}
	for _, k := range kinds {
		examples := samples[k.Spec.Names.Kind]
		if len(examples) == 0 {
			return nil, fmt.Errorf("%s has no sample in %s: write one", k.Spec.Names.Kind, from.samples)
		}
		pages[fileOf(k)] = kindPage(k, examples)
	}
	return pages, nil
}

// kind is one CustomResourceDefinition.
type kind struct {
	apiextensionsv1.CustomResourceDefinition
}

func fileOf(k kind) string { return k.Spec.Names.Singular + ".md" }

// version is the one that is stored.
func (k kind) version() apiextensionsv1.CustomResourceDefinitionVersion {
	i := slices.IndexFunc(k.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Storage })
	return k.Spec.Versions[i]
}

func (k kind) schema() apiextensionsv1.JSONSchemaProps { return *k.version().Schema.OpenAPIV3Schema }

func readKinds(dir string) ([]kind, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no CustomResourceDefinition in %s", dir)
	}
	var out []kind
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var k kind
		if err := yaml.UnmarshalStrict(text, &k.CustomResourceDefinition); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, k)
	}
	return out, nil
}

// readSamples answers the documents of the samples by kind, as they are written, comments included.
func readSamples(dir string) (map[string][]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			var o struct{ Kind string }
			if err := yaml.Unmarshal([]byte(document), &o); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			if o.Kind != "" {
				out[o.Kind] = append(out[o.Kind], strings.TrimSpace(document)+"\n")
			}
		}
	}
	return out, nil
}
