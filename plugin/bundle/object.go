package bundle

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// Manifests are objects in YAML, without what nobody needs to understand them and what may be secret: values of environment
// variables, of annotations that are not ours, and what other containers than the broker's are started with.
func (b *Bundle) Manifests(objects []runtime.Object) ([]byte, error) {
	var out bytes.Buffer
	for i, o := range objects {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		if fields["kind"] == "Secret" {
			return nil, fmt.Errorf("manifest: a Secret does not belong into a bundle")
		}
		b.prune(fields)
		text, err := yaml.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}

// prune takes out of an object, at any depth, what does not belong into a bundle.
func (b *Bundle) prune(fields map[string]any) {
	delete(fields, "managedFields")
	for name, value := range fields {
		switch v := value.(type) {
		case map[string]any:
			if name == "annotations" {
				b.pruneAnnotations(v)
				continue
			}
			b.prune(v)
		case []any:
			b.pruneList(name, v)
		}
	}
}

func (b *Bundle) pruneList(name string, list []any) {
	for _, item := range list {
		fields, ok := item.(map[string]any)
		if !ok {
			continue
		}
		switch name {
		case "env", "httpHeaders":
			b.forget(fields, "value")
		case "containers", "initContainers", "ephemeralContainers":
			if fields["name"] != "broker" {
				b.forget(fields, "args")
				b.forget(fields, "command")
			}
		}
		b.prune(fields)
	}
}

// forget takes a value out of its object, and of everything else when it looks secret.
func (b *Bundle) forget(fields map[string]any, field string) {
	value, ok := fields[field]
	if !ok {
		return
	}
	if text, ok := value.(string); ok {
		if name, _ := fields["name"].(string); LooksSecret(name, text) {
			b.Know([]byte(text))
		}
	}
	fields[field] = Removed
}

// ours begin the annotations that stay.
var ours = []string{"messaging.turnstone.dev/", "meta.helm.sh/", "pv.kubernetes.io/", "volume.kubernetes.io/"}

func (b *Bundle) pruneAnnotations(annotations map[string]any) {
	for name, value := range annotations {
		if slices.ContainsFunc(ours, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			continue
		}
		if text, ok := value.(string); ok && LooksSecret(name, text) && len(text) < 1024 {
			b.Know([]byte(text))
		}
		annotations[name] = Removed
	}
}
