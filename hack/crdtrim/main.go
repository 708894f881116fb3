// Command crdtrim takes the descriptions of Kubernetes' own types out of our CustomResourceDefinitions: `kubectl explain pod.spec`
// has them, and with them the definition of MessageBroker is a third larger, which every client of the API that lists definitions
// pays for. What is checked stays.
//
//	crdtrim FILE...
package main

import (
	"bytes"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// embedded are the fields of a spec that are as in a pod. Each keeps its own description.
var embedded = []string{"affinity", "tolerations", "topologySpreadConstraints"}

func main() {
	for _, file := range os.Args[1:] {
		if err := trim(file); err != nil {
			fmt.Fprintf(os.Stderr, "crdtrim: %s: %v\n", file, err)
			os.Exit(1)
		}
	}
}

// trim rewrites a file in which there is something to take out.
func trim(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	trimmed, err := trimmed(text)
	if err != nil || bytes.Equal(trimmed, text) {
		return err
	}
	return os.WriteFile(file, trimmed, 0o644)
}

// trimmed answers a definition without those descriptions, and one that has none as it is.
func trimmed(text []byte) ([]byte, error) {
	var definition map[string]any
	if err := yaml.Unmarshal(text, &definition); err != nil {
		return nil, err
	}
	versions, ok := at(definition, "spec", "versions").([]any)
	if !ok {
		return nil, fmt.Errorf("it is no CustomResourceDefinition: spec.versions is missing")
	}
	found := false
	for _, v := range versions {
		for _, name := range embedded {
			field, ok := at(v, "schema", "openAPIV3Schema", "properties", "spec", "properties", name).(map[string]any)
			if !ok {
				continue
			}
			found = true
			own := field["description"]
			silence(field)
			field["description"] = own
		}
	}
	if !found {
		return text, nil
	}
	out, err := yaml.Marshal(definition)
	return append([]byte("---\n"), out...), err
}

// at follows keys into maps; nil where there is none.
func at(v any, keys ...string) any {
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}

// silence takes the descriptions out of a schema and of all that is in it. A property may be called description: it is a schema,
// and no text.
func silence(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		if _, text := s["description"].(string); text {
			delete(s, "description")
		}
		for _, inner := range s {
			silence(inner)
		}
	case []any:
		for _, inner := range s {
			silence(inner)
		}
	}
}
