// Package broker reconciles MessageBrokers: it makes the objects that run a broker right, one step after the other, and
// says in the status how far they are. What lies inside a broker is package topology's.
package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/connection"
	"github.com/turnstone-mq/turnstone/controllers/foreign"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// +kubebuilder:rbac:groups=messaging.turnstone.dev,resources=messagebrokers,verbs=get;list;watch
// +kubebuilder:rbac:groups=messaging.turnstone.dev,resources=messagebrokers/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets;configmaps;services;serviceaccounts,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get
// +kubebuilder:rbac:groups=apps,resources=statefulsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=httproutes,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Owner is the field owner of everything that the operator writes.
const Owner = client.FieldOwner("turnstone-operator")

// Reconciler makes MessageBrokers right. Every field is needed.
type Reconciler struct {
	Client client.Client
	// Live reads what the cache, which holds our own objects only, does not know.
	Live   client.Reader
	Scheme *runtime.Scheme
	Events events.EventRecorder
	// Image runs brokers that name none.
	Image string
	// Connections are to the admin APIs of brokers.
	Connections *connection.Pool
	// Foreign tells of Secrets that users bring.
	Foreign *foreign.Secrets
	Now     func() time.Time
}

// What fails is tried again after a second, then ever more rarely: an API server in trouble is not asked all the time.
const (
	retryAfter  = time.Second
	retryAtLast = time.Minute
)

// secretIndex finds the brokers that read a Secret of users.
const secretIndex = "spec.secrets"

// Setup adds the controller to a manager.
func (r *Reconciler) Setup(ctx context.Context, m ctrl.Manager) error {
	err := m.GetFieldIndexer().IndexField(ctx, &v1alpha1.MessageBroker{}, secretIndex, func(o client.Object) []string {
		return referenced(o.(*v1alpha1.MessageBroker))
	})
	if err != nil {
		return fmt.Errorf("index MessageBrokers by Secret: %w", err)
	}
	b := ctrl.NewControllerManagedBy(m).
		Named("messagebroker").
		WithOptions(controller.Options{RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryAfter, retryAtLast)}).
		For(&v1alpha1.MessageBroker{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		WatchesRawSource(r.Foreign.Source(handler.EnqueueRequestsFromMapFunc(r.bySecret)))
	for _, child := range children() {
		b = b.Watches(child, handler.EnqueueRequestsFromMapFunc(byInstance))
	}
	return b.Complete(r)
}

// bySecret finds the brokers that read a Secret of users.
func (r *Reconciler) bySecret(ctx context.Context, o client.Object) (requests []reconcile.Request) {
	var brokers v1alpha1.MessageBrokerList
	if err := r.Client.List(ctx, &brokers, client.InNamespace(o.GetNamespace()), client.MatchingFields{secretIndex: o.GetName()}); err != nil {
		return nil // a look follows within a minute in any case
	}
	for i := range brokers.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&brokers.Items[i])})
	}
	return requests
}

// children are the kinds that a broker is made of.
func children() []client.Object {
	return []client.Object{
		&corev1.Secret{}, &corev1.ConfigMap{}, &corev1.Service{}, &corev1.ServiceAccount{},
		&appsv1.StatefulSet{}, &networkingv1.NetworkPolicy{}, &policyv1.PodDisruptionBudget{},
	}
}

// byInstance finds the broker of a child by label: credentials that outlive their broker have no owner reference.
func byInstance(_ context.Context, o client.Object) []reconcile.Request {
	name := o.GetLabels()[resource.LabelInstance]
	if name == "" || o.GetLabels()[resource.LabelManagedBy] != resource.ManagedBy {
		return nil
	}
	if owner := metav1.GetControllerOf(o); owner != nil && owner.Kind == "User" {
		return nil // a binding, of which there can be thousands: package topology sees to it
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
}

// step makes one kind of object right. What it waits for it answers as a wait, what failed as an error.
type step struct {
	name string
	run  func(context.Context, *scope) (wait, error)
}

// steps in order: what a pod mounts comes before the pod.
var steps = []step{
	{"certificates", certificates},
	{"credentials", credentials},
	{"configuration", configuration},
	{"access", access},
	{"services", services},
	{"routes", routes},
	{"volumes", volumes},
	{"statefulset", statefulSet},
	{"admin API", adminAPI},
}

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var b v1alpha1.MessageBroker
	if err := r.Client.Get(ctx, req.NamespacedName, &b); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !b.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // its objects go by their owner references
	}
	s := newScope(r, &b)
	if b.Annotations[v1alpha1.AnnotationPaused] == "true" {
		return ctrl.Result{}, s.pause(ctx)
	}
	s.clear(condition.Paused)
	failed := s.run(ctx, steps)
	after, wrote := s.report(ctx)
	switch err := errors.Join(failed, wrote); {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return ctrl.Result{}, nil // it goes with its namespace
	case err != nil:
		return ctrl.Result{}, err // the rate limiter says when
	}
	return ctrl.Result{RequeueAfter: after}, nil
}
