package topology

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch

// judge finds out which namespaces the MessageBroker allows, of those that name it, and makes the objects of one dirty of
// which it thinks otherwise than before.
func (r *Reconciler) judge(ctx context.Context, s *scope) error {
	if s.broker == nil {
		return nil
	}
	for _, namespace := range r.index.namespaces(s.realm) {
		why, err := r.allows(ctx, s.broker, namespace)
		if err != nil {
			return err
		}
		r.index.judged(s.realm, namespace, why)
	}
	return nil
}

// admit decides about objects of other namespaces, which the MessageBroker has to allow. An object that is deleted may take
// away what is its own, but it stands for nothing any more.
func (r *Reconciler) admit(ctx context.Context, s *scope) {
	if s.broker == nil {
		return
	}
	for _, e := range s.entries {
		namespace := e.object.GetNamespace()
		why, known := r.index.verdict(s.realm, namespace)
		if !known { // it came after the others were judged
			if why, e.failed = r.allows(ctx, s.broker, namespace); e.failed == nil {
				r.index.judged(s.realm, namespace, why)
			}
		}
		switch {
		case why == "" || e.decided:
		case e.deleting:
			e.foreign = true
		default:
			e.decide(condition.Waiting(condition.NamespaceNotAllowed, why))
		}
	}
}

// allows says why a MessageBroker does not allow a namespace; empty when it does.
func (r *Reconciler) allows(ctx context.Context, b *v1alpha1.MessageBroker, namespace string) (why string, err error) {
	refuse := func(remedy string) string {
		return fmt.Sprintf("MessageBroker %q in namespace %q does not allow namespace %q: %s", b.Name, b.Namespace, namespace, remedy)
	}
	a := b.Spec.AllowedNamespaces
	switch {
	case namespace == b.Namespace:
		return "", nil
	case a == nil:
		return refuse("its spec.allowedNamespaces has to name or select it"), nil
	case slices.Contains(a.Names, namespace):
		return "", nil
	case a.Selector == nil:
		return refuse("add it to spec.allowedNamespaces.names"), nil
	}
	selector, err := metav1.LabelSelectorAsSelector(a.Selector)
	if err != nil {
		return refuse(fmt.Sprintf("correct its spec.allowedNamespaces.selector: %v", err)), nil
	}
	if selector.Empty() {
		return "", nil
	}
	if !r.everywhere() {
		return refuse("this operator may not read the labels of namespaces: add it to spec.allowedNamespaces.names"), nil
	}
	n := namespaceMeta(namespace)
	if err := r.Get(ctx, types.NamespacedName{Name: namespace}, n); client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("get Namespace %s: %w", namespace, err)
	}
	if selector.Matches(labels.Set(n.Labels)) {
		return "", nil
	}
	return refuse(fmt.Sprintf("label it so that spec.allowedNamespaces.selector (%s) matches, or add it to spec.allowedNamespaces.names", selector)), nil
}

// namespaceMeta is a Namespace of which only the metadata is read and cached.
func namespaceMeta(name string) *metav1.PartialObjectMetadata {
	n := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return n
}

// terminating says whether a namespace is being deleted, as far as that can be seen.
func (r *Reconciler) terminating(ctx context.Context, namespace string) (bool, error) {
	if !r.everywhere() {
		return false, nil
	}
	n := namespaceMeta(namespace)
	err := r.Get(ctx, types.NamespacedName{Name: namespace}, n)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("get Namespace %s: %w", namespace, err)
	}
	return !n.DeletionTimestamp.IsZero(), nil
}

// relabelled asks for a look at every broker that selects namespaces when the labels of one change, or when one goes.
func (r *Reconciler) relabelled() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	look := func(ctx context.Context, q queue) {
		list := &v1alpha1.MessageBrokerList{}
		if err := r.List(ctx, list); err != nil {
			return // the cache, which answers as long as the operator runs; looks come in any case
		}
		for i := range list.Items {
			if b := &list.Items[i]; b.Spec.AllowedNamespaces != nil && b.Spec.AllowedNamespaces.Selector != nil {
				q.AddAfter(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(b)}, r.options.Gather)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, _ event.CreateEvent, q queue) { look(ctx, q) },
		DeleteFunc: func(ctx context.Context, _ event.DeleteEvent, q queue) { look(ctx, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			was, is := labels.Set(e.ObjectOld.GetLabels()), labels.Set(e.ObjectNew.GetLabels())
			if !labels.Equals(was, is) || e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() {
				look(ctx, q)
			}
		},
	}
}
