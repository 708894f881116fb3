// Package topology keeps what lives in brokers (virtual hosts, users, permissions, policies, exchanges, queues, bindings)
// as Kubernetes objects say.
//
// There is one reconciler for all kinds, and its unit of work is a broker, not an object: a look at a broker reads all
// of its objects from the cache, asks the broker for its digests, and sends what differs as batches (POST /v1/apply), which the
// broker puts into order. So ten thousand queues are a handful of calls, nothing changed is one call, and a broker that
// does not answer is one failure. A kind supplies only its translation (translate.go).
//
// A broker is a MessageBroker, also one of another namespace (admission.go), or one that a connection Secret names
// (reference.go). Of several objects for one thing one has it (claim.go). An object under plan asks and does nothing
// (plan.go).
//
// Drift is seen through the broker's change stream (watch.go), which asks for another look.
package topology

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/connection"
	"github.com/turnstone-mq/turnstone/controllers/foreign"
)

// +kubebuilder:rbac:groups=messaging.turnstone.dev,resources=virtualhosts;exchanges;queues;bindings;topicpolicies;policies;operatorpolicies;users;permissions,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=messaging.turnstone.dev,resources=virtualhosts/status;exchanges/status;queues/status;bindings/status;topicpolicies/status;policies/status;operatorpolicies/status;users/status;permissions/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch

// Finalizer holds an object until the broker no longer has what it stood for.
const Finalizer = "messaging.turnstone.dev/topology"

// brokerIndex finds the objects of a broker in the cache.
const brokerIndex = "spec.brokerRef"

// Options of SetupWithManager. Durations have defaults.
type Options struct {
	Connections *connection.Pool
	// Foreign tells of Secrets that users bring; nil watches those of all namespaces.
	Foreign *foreign.Secrets
	// Gather is how long changes gather before a look: many objects that come at once are one batch.
	Gather time.Duration
	// Refresh is how often depth and consumers of queues are read, and drift looked for besides the change stream.
	Refresh time.Duration
	// ReleaseAfter is how long the deletion of an object waits for a broker that does not answer.
	ReleaseAfter time.Duration
	// Owner is in whose name objects in brokers are owned: operators that serve one broker each need another.
	Owner string
	// Namespaces says that Namespaces can be read and watched.
	Namespaces bool
	// Concurrency is how many brokers are looked at, and statuses written, at a time.
	Concurrency int
}

// Reconciler makes brokers hold what Kubernetes objects say. Its unit is a broker, by its name.
type Reconciler struct {
	client.Client
	live     client.Reader // not cached: Secrets that the operator does not own
	recorder events.EventRecorder
	options  Options
	streams  *streams
}

// SetupWithManager registers the reconciler of all topology kinds.
func SetupWithManager(ctx context.Context, m ctrl.Manager, o Options) error {
	o.Gather = orElse(o.Gather, 100*time.Millisecond)
	o.Refresh = orElse(o.Refresh, 30*time.Second)
	o.ReleaseAfter = orElse(o.ReleaseAfter, 5*time.Minute)
	o.Concurrency = orElse(o.Concurrency, 8)
	o.Owner = orElse(o.Owner, DefaultOwner)
	if o.Foreign == nil {
		var err error
		if o.Foreign, err = foreign.New(m, nil); err != nil {
			return err
		}
	}
	r := &Reconciler{
		Client: m.GetClient(), live: m.GetAPIReader(), recorder: m.GetEventRecorder("turnstone-topology"), options: o,
		streams: newStreams(),
	}
	if err := m.Add(r.streams); err != nil {
		return fmt.Errorf("add change streams: %w", err)
	}
	b := ctrl.NewControllerManagedBy(m).Named("topology").
		WithOptions(controller.Options{MaxConcurrentReconciles: o.Concurrency}).
		Watches(&v1alpha1.MessageBroker{}, r.enqueue(client.ObjectKeyFromObject)).
		WatchesRawSource(source.Channel(r.streams.changed, r.enqueue(client.ObjectKeyFromObject)))
	if o.Namespaces {
		b = b.WatchesMetadata(&corev1.Namespace{}, r.relabelled())
	}
	for _, k := range kinds {
		if err := m.GetFieldIndexer().IndexField(ctx, k.sample, brokerIndex, func(o client.Object) []string {
			return []string{brokerOf(o).String()}
		}); err != nil {
			return fmt.Errorf("index %s by broker: %w", k.name, err)
		}
		b = b.Watches(k.sample, r.enqueue(brokerOf))
	}
	if err := r.watchSecrets(ctx, m, b); err != nil {
		return err
	}
	return b.Complete(r)
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// enqueue asks for a look at an object's broker, after changes had time to gather.
func (r *Reconciler) enqueue(broker func(client.Object) types.NamespacedName) handler.EventHandler {
	add := func(o client.Object, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		q.AddAfter(reconcile.Request{NamespacedName: broker(o)}, r.options.Gather)
	}
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	return handler.Funcs{
		CreateFunc:  func(_ context.Context, e event.CreateEvent, q queue) { add(e.Object, q) },
		GenericFunc: func(_ context.Context, e event.GenericEvent, q queue) { add(e.Object, q) },
		DeleteFunc:  func(_ context.Context, e event.DeleteEvent, q queue) { add(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if matters(e) {
				add(e.ObjectNew, q)
			}
		},
	}
}

// matters says whether an update asks for a look: not when only a status of ours was written.
func matters(e event.UpdateEvent) bool {
	if _, isBroker := e.ObjectNew.(*v1alpha1.MessageBroker); isBroker {
		return true
	}
	return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || isPlanned(e.ObjectOld) != isPlanned(e.ObjectNew) ||
		e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
}

// Reconcile looks at one broker.
func (r *Reconciler) Reconcile(ctx context.Context, q ctrl.Request) (ctrl.Result, error) {
	s := &scope{owner: r.options.Owner}
	if err := r.load(ctx, q.NamespacedName, s); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.findBroker(ctx, q.NamespacedName, s); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.unplannable(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.admit(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	s.translate()
	if err := r.passwords(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	s.comparePasswords()
	if err := r.hold(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	s.keepLeft()
	r.sync(ctx, s)
	s.follow()
	s.keepPlanned()
	if err := r.bind(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.release(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.report(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: r.again(s)}, nil
}

// soon is when a look follows one that found something unfinished.
const soon = 2 * time.Second

func (r *Reconciler) again(s *scope) time.Duration {
	switch {
	case s.pending:
		return soon
	case s.broker != nil && len(s.entries) > 0:
		return r.options.Refresh
	}
	return 0
}

// findBroker reads the MessageBroker. One that is being deleted counts as gone: what it holds goes with it, or stays on
// its volume.
func (r *Reconciler) findBroker(ctx context.Context, key types.NamespacedName, s *scope) error {
	if _, external := connection.SecretOf(key.Name); external {
		return r.findExternal(ctx, key, s)
	}
	b := &v1alpha1.MessageBroker{}
	err := r.Get(ctx, key, b)
	switch {
	case apierrors.IsNotFound(err), err == nil && !b.DeletionTimestamp.IsZero():
		r.streams.end(key)
		r.options.Connections.Drop(key)
		return nil
	case err != nil:
		return fmt.Errorf("get MessageBroker %s: %w", key, err)
	}
	s.broker = b
	return nil
}

// event tells about an object.
func (r *Reconciler) event(e *entry, kind, reason, message string) {
	r.recorder.Eventf(e.object, nil, kind, reason, "Sync", "%s", message)
}
