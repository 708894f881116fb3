// Package manifest is the Kubernetes objects of a broker's topology as files: it reads them, writes them, and makes them of what a
// broker has. What an object means to a broker is said by controllers/topology alone: whatever is made here is translated
// back by it and compared.
package manifest

import (
	"bytes"
	"fmt"
	"io"

	"sigs.k8s.io/yaml"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

// Write writes objects as a stream of YAML documents. The same objects are the same bytes.
func Write(w io.Writer, objects []v1alpha1.Topology) error {
	for i, o := range objects {
		b, err := yaml.Marshal(o)
		if err != nil {
			return fmt.Errorf("write %s %s: %w", o.GetObjectKind().GroupVersionKind().Kind, o.GetName(), err)
		}
		if i > 0 {
			b = append([]byte("---\n"), b...)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// Bytes is what Write writes.
func Bytes(objects []v1alpha1.Topology) ([]byte, error) {
	var b bytes.Buffer
	err := Write(&b, objects)
	return b.Bytes(), err
}

// Default sets what the CRDs set where nothing is said, for objects that no API server has seen.
func Default(o v1alpha1.Topology) {
	or := func(s *string, otherwise string) {
		if *s == "" {
			*s = otherwise
		}
	}
	const host = "/"
	switch o := o.(type) {
	case *v1alpha1.Permission:
		or(&o.Spec.VHost, host)
	case *v1alpha1.TopicPolicy:
		or(&o.Spec.VHost, host)
	case *v1alpha1.Policy:
		or(&o.Spec.VHost, host)
		or(&o.Spec.ApplyTo, "all")
	case *v1alpha1.OperatorPolicy:
		or(&o.Spec.VHost, host)
		or(&o.Spec.ApplyTo, "queues")
	case *v1alpha1.Exchange:
		or(&o.Spec.VHost, host)
		or(&o.Spec.Type, "direct")
	case *v1alpha1.Queue:
		or(&o.Spec.VHost, host)
	case *v1alpha1.Binding:
		or(&o.Spec.VHost, host)
		or(&o.Spec.DestinationType, "queue")
	case *v1alpha1.User:
		if r := o.Spec.PasswordSecretRef; r != nil {
			or(&r.Key, "password")
		}
	}
}
