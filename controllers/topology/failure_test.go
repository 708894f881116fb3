package topology_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// life is everything that objects can go through: they are made, planned, shared, adopted, in other namespaces and in a
// broker elsewhere, and deleted again.
type life struct {
	broker *broker
	guest  string
}

func newLife(ctx context.Context) *life {
	GinkgoHelper()
	l := &life{broker: newBroker(ctx), guest: newNamespace(ctx, "guest")}
	change(ctx, &v1alpha1.MessageBroker{ObjectMeta: in(l.broker.namespace, l.broker.name)}, func(mb *v1alpha1.MessageBroker) {
		mb.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Names: []string{l.guest}}
	})
	l.broker.connection(ctx, l.guest, "there")
	return l
}

func (l *life) live(ctx context.Context) {
	GinkgoHelper()
	ns := l.broker.namespace
	l.broker.apply(ctx, "somebody", object.KindPolicy, "/", "adopted", object.PolicySpec{Pattern: "^a", Definition: object.Arguments{"max-length": 5}}, "")
	one, two, adopted := newPolicy(ns, "one", "common", "5"), newPolicy(ns, "two", "common", "5"), newPolicy(ns, "adopted", "", "5")
	one.Spec.Management, two.Spec.Management, adopted.Spec.Adopt = shared, shared, true
	planning := &v1alpha1.Exchange{ObjectMeta: in(ns, "planned"), Spec: v1alpha1.ExchangeSpec{BrokerRef: toBroker}}
	planning.SetAnnotations(underPlan())
	user := &v1alpha1.User{ObjectMeta: in(ns, "app"), Spec: v1alpha1.UserSpec{BrokerRef: toBroker}}
	guest := &v1alpha1.Queue{ObjectMeta: in(l.guest, "guest"), Spec: v1alpha1.QueueSpec{BrokerRef: v1alpha1.BrokerReference{Name: l.broker.name, Namespace: ns}}}
	there := &v1alpha1.Queue{ObjectMeta: in(l.guest, "there"), Spec: v1alpha1.QueueSpec{BrokerRef: v1alpha1.BrokerReference{ConnectionSecret: &v1alpha1.LocalReference{Name: "there"}}}}
	objects := []v1alpha1.Topology{one, two, adopted, user, guest, there}
	create(ctx, append(objects, planning)...)
	expectReason(ctx, condition.Synced, objects...)
	expectPlan(ctx, planning, v1alpha1.PlanCreate)
	carryOut(ctx, planning)
	expectReason(ctx, condition.Synced, planning)
	change(ctx, planning, func(x *v1alpha1.Exchange) { x.SetAnnotations(underPlan()) })
	remove(ctx, append(objects, planning)...)
	expectGone(ctx, objects...)
	expectPlan(ctx, planning, v1alpha1.PlanDelete)
	carryOut(ctx, planning)
	expectGone(ctx, planning)
	// Secrets go with their users, which is the work of somebody who is not here.
	Expect(client.IgnoreNotFound(api.Delete(ctx, &corev1.Secret{ObjectMeta: in(ns, "app-user-credentials")}))).To(Succeed())
	Expect(l.broker.has(object.KindPolicy, "common")).To(Equal("nothing"))
	Expect(l.broker.objects(object.KindQueue)).To(BeEmpty())
}

var _ = Describe("An API that fails", func() {
	It("at any call once does not keep anything from getting there", func(ctx SpecContext) {
		l := newLife(ctx)
		f := &failures{}
		startOperator(f.between)
		l.live(ctx)
		calls := f.calls.Load()
		// Each pass fails calls that lie so far apart that looks can succeed between them, and all passes fail each once.
		const stride = 24
		for n := range int64(stride) {
			f.arm(n, stride, calls)
			l.live(ctx)
		}
		AddReportEntry("calls", fmt.Sprintf("%d in a life, %d failed in all", calls, f.failed.Load()))
		// How many calls a life takes depends on how many looks it is seen in.
		Expect(f.failed.Load()).To(BeNumerically(">=", 2*stride))
	}, SpecTimeout(8*time.Minute))

	It("with a conflict at every write is not asked hotly, and all gets there when it is over", func(ctx SpecContext) {
		l := newLife(ctx)
		c := &conflicts{}
		c.on.Store(true)
		serving{namespace: l.broker.namespace, wrap: c.between}.start() // whose writes alone are counted
		q := &v1alpha1.Queue{ObjectMeta: in(l.broker.namespace, "q"), Spec: v1alpha1.QueueSpec{BrokerRef: toBroker}}
		create(ctx, q)
		Eventually(c.writes.Load, patience).Should(BeNumerically(">=", 4)) // by then the queue waits longer each time
		before := c.writes.Load()
		Consistently(func() int64 { return c.writes.Load() - before }, "3s").Should(BeNumerically("<=", 3))
		Expect(l.broker.objects(object.KindQueue)).To(BeEmpty(), "without a finalizer nothing is made")
		c.on.Store(false)
		expectReason(ctx, condition.Synced, q)
		c.on.Store(true)
		remove(ctx, q)
		Eventually(func() []string { return l.broker.objects(object.KindQueue) }, patience).Should(BeEmpty())
		Consistently(gone(ctx, q), "500ms").Should(BeFalse())
		c.on.Store(false)
		expectGone(ctx, q)
	})
})

var errInjected = errors.New("injected")

// failures lets calls fail: those whose numbers, from when it was armed, are first, first+stride and so on, up to a last one.
type failures struct {
	calls, failed       atomic.Int64
	first, stride, last atomic.Int64
}

func (f *failures) arm(first, stride, calls int64) {
	now := f.calls.Load()
	f.last.Store(0)
	f.first.Store(now + 1 + first)
	f.stride.Store(stride)
	f.last.Store(now + 1 + first + stride*(calls/stride))
}

func (f *failures) next() error {
	n := f.calls.Add(1)
	if first := f.first.Load(); n >= first && n <= f.last.Load() && (n-first)%f.stride.Load() == 0 {
		f.failed.Add(1)
		return errInjected
	}
	return nil
}

func (f *failures) between(c client.WithWatch) client.Client { return before(c, f.next, f.next) }

// conflicts answers writes with a conflict while it is on.
type conflicts struct {
	on     atomic.Bool
	writes atomic.Int64
}

func (c *conflicts) between(w client.WithWatch) client.Client {
	return before(w, func() error { return nil }, func() error {
		c.writes.Add(1)
		if c.on.Load() {
			return apierrors.NewConflict(schema.GroupResource{Resource: "any"}, "any", errInjected)
		}
		return nil
	})
}

// before is a client that asks before each call whether it fails.
func before(c client.WithWatch, read, write func() error) client.Client {
	return interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			return errors.Join(read(), c.Get(ctx, key, o, opts...))
		},
		List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, opts ...client.ListOption) error {
			return errors.Join(read(), c.List(ctx, l, opts...))
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := write(); err != nil {
				return err
			}
			return c.Create(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if err := write(); err != nil {
				return err
			}
			return c.Patch(ctx, o, p, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if err := write(); err != nil {
				return err
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	})
}
