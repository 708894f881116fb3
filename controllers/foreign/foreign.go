// Package foreign tells controllers of changes of Secrets that are not the operator's: passwords and certificates that
// users bring. It holds names and versions alone; who wants the content reads it.
package foreign

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// Secrets are those that the operator did not make. One instance serves all controllers of a manager.
type Secrets struct{ cache cache.Cache }

// New watches the Secrets of the namespaces, all if there are none, for as long as the manager runs.
func New(m ctrl.Manager, namespaces map[string]cache.Config) (*Secrets, error) {
	notOurs, err := labels.NewRequirement(resource.LabelManagedBy, selection.NotEquals, []string{resource.ManagedBy})
	if err != nil {
		return nil, fmt.Errorf("select foreign Secrets: %w", err)
	}
	c, err := cache.New(m.GetConfig(), cache.Options{
		Scheme: m.GetScheme(), Mapper: m.GetRESTMapper(), HTTPClient: m.GetHTTPClient(), DefaultNamespaces: namespaces,
		DefaultLabelSelector: labels.NewSelector().Add(*notOurs), DefaultTransform: strip,
	})
	if err != nil {
		return nil, fmt.Errorf("watch foreign Secrets: %w", err)
	}
	return &Secrets{cache: c}, m.Add(c)
}

// Source brings changes to a handler, as those of an object that has a namespace, a name and a version.
func (s *Secrets) Source(h handler.EventHandler) source.Source {
	return source.Kind[client.Object](s.cache, secret(), h)
}

// strip leaves what tells one version of an object from another.
func strip(o any) (any, error) {
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	m.ObjectMeta = metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
	return m, nil
}

// Version identifies the present content of a Secret by UID and resource version, as far as the watch knows; empty if
// there is no such Secret.
func (s *Secrets) Version(ctx context.Context, name types.NamespacedName) (string, error) {
	o := secret()
	err := s.cache.Get(ctx, name, o)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("version of Secret %s: %w", name, err)
	}
	return fmt.Sprintf("%s/%s", o.UID, o.ResourceVersion), nil
}

func secret() *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return o
}
