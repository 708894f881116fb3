package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// annotationApplied is a hash of what was applied last. With it, an object that still holds what we want and that we want
// nothing else of needs no call: a restart of the operator writes nothing.
const annotationApplied = "messaging.turnstone.dev/applied"

// apply makes an object as wanted, by server-side apply.
func (s *scope) apply(ctx context.Context, wanted client.Object) error {
	s.own(wanted)
	return s.applyUnowned(ctx, wanted)
}

// applyRetained is apply for what must outlive the broker with its volume: without owner when volumes are retained.
func (s *scope) applyRetained(ctx context.Context, wanted client.Object) error {
	if s.broker.Spec.Storage.DeletionPolicy == v1alpha1.DeletionDelete {
		s.own(wanted)
	}
	return s.applyUnowned(ctx, wanted)
}

func (s *scope) own(o client.Object) {
	o.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "MessageBroker", Name: s.broker.Name, UID: s.broker.UID, Controller: new(true),
	}})
}

func (s *scope) applyUnowned(ctx context.Context, wanted client.Object) error {
	u, err := declaration(wanted)
	if err != nil {
		return fmt.Errorf("%s: %w", describe(wanted), err)
	}
	observed, found, err := s.observe(ctx, wanted)
	if err != nil {
		return err
	}
	if found && holds(observed, u) {
		return nil
	}
	err = s.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u.DeepCopy()), Owner, client.ForceOwnership)
	if found && apierrors.IsInvalid(err) {
		// What somebody else put into a list that is merged by key contradicts ours. A merge patch replaces whole lists.
		err = s.Client.Patch(ctx, u, client.Merge, Owner)
	}
	if err != nil {
		return fmt.Errorf("apply %s: %w", describe(wanted), err)
	}
	return nil
}

// observe reads the object as it is. One of somebody else is a refusal.
func (s *scope) observe(ctx context.Context, wanted client.Object) (client.Object, bool, error) {
	o := reflect.New(reflect.TypeOf(wanted).Elem()).Interface().(client.Object)
	_, uncached := o.(*unstructured.Unstructured)
	if uncached {
		o.GetObjectKind().SetGroupVersionKind(wanted.GetObjectKind().GroupVersionKind())
	}
	err := s.Client.Get(ctx, client.ObjectKeyFromObject(wanted), o)
	if err == nil {
		return o, true, s.ours(o, wanted)
	}
	if !apierrors.IsNotFound(err) || uncached && noSuchKind(err) {
		return nil, false, fmt.Errorf("get %s: %w", describe(wanted), err)
	}
	if uncached {
		return nil, false, nil
	}
	// The cache holds labelled objects only: what is not in it may still exist.
	if err := s.Live.Get(ctx, client.ObjectKeyFromObject(wanted), o); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, false, nil
		}
		return nil, false, fmt.Errorf("get %s: %w", describe(wanted), err)
	}
	return o, true, s.ours(o, wanted)
}

func (s *scope) ours(o, wanted client.Object) error {
	labels := o.GetLabels()
	owner := metav1.GetControllerOf(o)
	if owner == nil && labels[resource.LabelManagedBy] == resource.ManagedBy && labels[resource.LabelInstance] == s.broker.Name ||
		owner != nil && owner.Kind == "MessageBroker" && owner.Name == s.broker.Name {
		return nil
	}
	return &refusal{condition.NameTaken, fmt.Sprintf("%s exists and does not belong to this broker: delete it, or choose another name for the broker", describe(wanted))}
}

// declaration is what we say of an object, and nothing else.
func declaration(o client.Object) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	prune(m)
	u := &unstructured.Unstructured{Object: m}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[annotationApplied] = hex.EncodeToString(sum[:8])
	u.SetAnnotations(annotations)
	return u, nil
}

// prune takes out what the Go types say although nobody said it: empty statuses and creation times.
func prune(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "status")
		for k, e := range v {
			if k == "creationTimestamp" || e == nil {
				delete(v, k)
				continue
			}
			prune(e)
		}
	case []any:
		for _, e := range v {
			prune(e)
		}
	}
}

// holds says whether the observed object is all that is declared, and was declared so.
func holds(observed client.Object, u *unstructured.Unstructured) bool {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(observed)
	if err != nil {
		return false
	}
	declared := u.DeepCopy().Object
	delete(declared, "apiVersion") // typed objects of a cache have none
	delete(declared, "kind")
	return covers(m, declared)
}

// covers says whether wanted is part of have: every field of a map, every element of a list.
func covers(have, wanted any) bool {
	switch w := wanted.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return len(w) == 0 && have == nil
		}
		for k, e := range w {
			if !covers(h[k], e) {
				return false
			}
		}
		return true
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			return len(w) == 0 && have == nil
		}
		for i := range w {
			if !covers(h[i], w[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(have, wanted)
}

func describe(o client.Object) string {
	return fmt.Sprintf("%s %s/%s", o.GetObjectKind().GroupVersionKind().Kind, o.GetNamespace(), o.GetName())
}
