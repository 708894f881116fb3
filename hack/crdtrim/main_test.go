package main

import (
	"os"
	"strings"
	"testing"
)

const definition = `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        properties:
          spec:
            properties:
              affinity:
                description: As in a pod.
                properties:
                  description:
                    description: gone
                    maxLength: 5
                    type: string
                type: object
              image:
                description: stays
                type: string
`

func TestDescriptionsGo(t *testing.T) {
	out, err := trimmed([]byte(definition))
	if want := strings.ReplaceAll(definition, "                    description: gone\n", ""); err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwanted\n%s", err, out, want)
	}
	again, err := trimmed(out)
	if err != nil || string(again) != string(out) {
		t.Errorf("the second time: %v\n%s", err, again)
	}
	other := strings.ReplaceAll(definition, "affinity", "other")
	if out, err := trimmed([]byte(other)); err != nil || string(out) != other {
		t.Errorf("one without such fields: %v\n%s", err, out)
	}
	if _, err := trimmed([]byte("a: b")); err == nil {
		t.Error("something else is taken")
	}
}

// TestDefinitionsAreSmall: each stays below what the API server and its clients take without a thought.
func TestDefinitionsAreSmall(t *testing.T) {
	const folder, most = "../../config/crd/bases", 100_000
	files, err := os.ReadDir(folder)
	if err != nil || len(files) == 0 {
		t.Fatal(err, len(files))
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > most {
			t.Errorf("%s has %d bytes, more than %d", f.Name(), info.Size(), most)
		}
	}
}
