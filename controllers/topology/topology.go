// Package topology keeps what lives in brokers (virtual hosts, users, permissions, policies, exchanges, queues, bindings)
// as Kubernetes objects say.
//
// There is one reconciler for all kinds, and its unit of work is a broker, not an object. The index (index.go) holds all objects,
// fed by the API server (feed.go), and what each broker is known to have for them, fed by its change stream (watch.go) and
// compared with its digests (verify.go). A look at a broker takes those objects alone for which one of the two changed, and
// sends what differs as batches (POST /v1/apply), which the broker puts into order. So ten thousand queues are a handful of
// calls, one changed object among them costs what one object costs, nothing changed is one call, and a broker that does not
// answer is one failure. A kind supplies only its translation (translate.go).
//
// A broker is a MessageBroker, also one of another namespace (admission.go), or one that a connection Secret names
// (reference.go). Of several objects for one thing one has it (claim.go), so a look takes those together. An object under
// plan asks and does nothing (plan.go).
package topology

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/connection"
	"github.com/turnstone-mq/turnstone/controllers/foreign"
	"github.com/turnstone-mq/turnstone/controllers/metrics"
)

// +kubebuilder:rbac:groups=messaging.turnstone.dev,resources=virtualhosts;exchanges;queues;bindings;topicpolicies;policies;operatorpolicies;users;permissions,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=messaging.turnstone.dev,resources=virtualhosts/status;exchanges/status;queues/status;bindings/status;topicpolicies/status;policies/status;operatorpolicies/status;users/status;permissions/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch

// Finalizer holds an object until the broker no longer has what it stood for.
const Finalizer = "messaging.turnstone.dev/topology"

// Options of SetupWithManager. Durations have defaults.
type Options struct {
	Connections *connection.Pool
	// Foreign tells of Secrets that users bring; nil watches those of all namespaces.
	Foreign *foreign.Secrets
	// Gather is how long changes gather before a look: many objects that come at once are one batch.
	Gather time.Duration
	// Refresh is how often depth and consumers of queues are read, passwords and plans looked at, and digests compared besides
	// the change stream.
	Refresh time.Duration
	// ReleaseAfter is how long the deletion of an object waits for a broker that does not answer.
	ReleaseAfter time.Duration
	// Owner is in whose name objects in brokers are owned: operators that serve one broker each need another.
	Owner string
	// Concurrency is half of how many writes to the API server are on their way at a time, for all brokers together.
	Concurrency int
	// QueueStatusWrites is how many statuses of queues are written in a second because depth, consumers or rates changed, for all
	// brokers together.
	QueueStatusWrites float64
	// Namespaces are those whose objects are seen; none is all, and only then can Namespaces themselves be read and watched.
	Namespaces []string
}

// mostLooks is how many brokers are looked at at a time. Each look waits for its broker, so that one that does not answer
// holds up nobody; what a look costs otherwise is bounded by Concurrency and mostAtOnce.
const mostLooks = 256

// Reconciler makes brokers hold what Kubernetes objects say. Its unit is a broker, by its name.
type Reconciler struct {
	client.Client
	live     client.Reader // not cached: Secrets that the operator does not own
	recorder events.EventRecorder
	options  Options
	streams  *streams
	index    *index
	calls    chan struct{} // one for each write that is on its way
	budget   *rate.Limiter // of QueueStatusWrites
}

// SetupWithManager registers the reconciler of all topology kinds.
func SetupWithManager(ctx context.Context, m ctrl.Manager, o Options) error {
	o.Gather = orElse(o.Gather, 100*time.Millisecond)
	o.Refresh = orElse(o.Refresh, 30*time.Second)
	o.ReleaseAfter = orElse(o.ReleaseAfter, 5*time.Minute)
	o.Concurrency = orElse(o.Concurrency, 8)
	o.QueueStatusWrites = orElse(o.QueueStatusWrites, 10)
	o.Owner = orElse(o.Owner, DefaultOwner)
	if o.Foreign == nil {
		var err error
		if o.Foreign, err = foreign.New(m, nil); err != nil {
			return err
		}
	}
	x := newIndex(o.Owner, o.Gather)
	metrics.Lives(x.standings)
	r := &Reconciler{
		Client: m.GetClient(), live: m.GetAPIReader(), recorder: m.GetEventRecorder("turnstone-topology"), options: o,
		index: x, streams: newStreams(x), calls: make(chan struct{}, 2*o.Concurrency),
		budget: rate.NewLimiter(rate.Limit(o.QueueStatusWrites), max(1, int(o.QueueStatusWrites))),
	}
	if err := m.Add(r.streams); err != nil {
		return fmt.Errorf("add change streams: %w", err)
	}
	api, err := client.NewWithWatch(m.GetConfig(), client.Options{HTTPClient: m.GetHTTPClient(), Scheme: m.GetScheme(), Mapper: m.GetRESTMapper()})
	if err != nil {
		return fmt.Errorf("client of topology objects: %w", err)
	}
	lists, err := listing(m)
	if err != nil {
		return err
	}
	objects := &feed{api: api, lists: lists, index: x, namespaces: o.Namespaces, synced: make(chan struct{})}
	if r.everywhere() {
		objects.namespaces = []string{metav1.NamespaceAll}
	}
	b := ctrl.NewControllerManagedBy(m).Named("topology").
		WithOptions(controller.Options{MaxConcurrentReconciles: mostLooks}).
		Watches(&v1alpha1.MessageBroker{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: matters})).
		Watches(&corev1.Secret{}, r.secretChanged()).
		WatchesRawSource(o.Foreign.Source(r.secretChanged())).
		WatchesRawSource(objects)
	if r.everywhere() {
		b = b.WatchesMetadata(&corev1.Namespace{}, r.relabelled())
	}
	return b.Complete(r)
}

// everywhere says whether the objects of all namespaces are seen.
func (r *Reconciler) everywhere() bool { return len(r.options.Namespaces) == 0 }

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// matters says whether an update of a MessageBroker asks for a look: not when only figures in its status changed.
func matters(e event.UpdateEvent) bool {
	was, is := e.ObjectOld.(*v1alpha1.MessageBroker), e.ObjectNew.(*v1alpha1.MessageBroker)
	return was.Generation != is.Generation || was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() ||
		condition.IsReady(was.Status.Conditions) != condition.IsReady(is.Status.Conditions)
}

// outlook is another when something about a broker changed that may let it answer again.
func outlook(b *v1alpha1.MessageBroker) string {
	return fmt.Sprint(b.UID, b.Generation, condition.IsReady(b.Status.Conditions))
}

func requestFor(key types.NamespacedName) reconcile.Request {
	return reconcile.Request{NamespacedName: key}
}

// Reconcile looks at one broker.
func (r *Reconciler) Reconcile(ctx context.Context, q ctrl.Request) (ctrl.Result, error) {
	s := &scope{realm: r.index.of(q.NamespacedName), owner: r.options.Owner}
	if err := r.findBroker(ctx, q.NamespacedName, s); err != nil {
		return ctrl.Result{}, err
	}
	if s.broker == nil && !r.index.without(s.realm) || s.broker != nil && !r.index.exists(s.realm, outlook(s.broker)) {
		return ctrl.Result{}, nil // nothing lives in it
	}
	if err := r.judge(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	r.load(ctx, s)
	r.unplannable(ctx, s)
	r.admit(ctx, s)
	s.translate()
	r.passwords(ctx, s)
	s.comparePasswords()
	r.hold(ctx, s)
	s.keepLeft()
	r.sync(ctx, s)
	s.follow()
	s.keepPlanned()
	r.bind(ctx, s)
	r.release(ctx, s)
	r.report(ctx, s)
	r.index.done(s, r.options.Refresh)
	r.tellFailures(ctx, s)
	if err := r.depths(ctx, s); err != nil {
		log.FromContext(ctx).Error(err, "figures of queues are not written")
		s.realm.depthsAt = time.Now().Add(r.options.Refresh)
	}
	return ctrl.Result{RequeueAfter: r.index.due(s.realm, time.Now())}, nil
}

// tellFailures logs the calls of the API that failed, as one: each object is tried again in its own time, so they are no
// failure of the look.
func (r *Reconciler) tellFailures(ctx context.Context, s *scope) {
	failures, first := 0, error(nil)
	for _, e := range s.entries {
		if e.failed != nil {
			failures, first = failures+1, cmp.Or(first, e.failed)
		}
	}
	if first != nil {
		log.FromContext(ctx).Error(first, "calls of the Kubernetes API failed and are made again", "failures", failures)
	}
}

// findBroker reads the MessageBroker. One that is being deleted counts as gone: what it holds goes with it, or stays on
// its volume.
func (r *Reconciler) findBroker(ctx context.Context, key types.NamespacedName, s *scope) error {
	if _, external := connection.SecretOf(key.Name); external {
		r.findExternal(key, s)
		return nil
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
