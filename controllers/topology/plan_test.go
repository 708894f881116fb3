package topology_test

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// underPlan is the annotation.
func underPlan() map[string]string { return map[string]string{v1alpha1.PlanAnnotation: "true"} }

// planned is what the status of an object says it would do.
func planned(ctx context.Context, o v1alpha1.Topology) func(Gomega) *v1alpha1.Plan {
	return func(g Gomega) *v1alpha1.Plan {
		fresh := o.DeepCopyObject().(v1alpha1.Topology)
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(o), fresh)).To(Succeed())
		return fresh.Common().Plan
	}
}

func expectPlan(ctx context.Context, o v1alpha1.Topology, a v1alpha1.PlanAction) *v1alpha1.Plan {
	GinkgoHelper()
	Eventually(planned(ctx, o), patience).Should(And(Not(BeNil()), HaveField("Action", Equal(a))), "%T %s", o, o.GetName())
	return planned(ctx, o)(Default)
}

// carryOut takes the annotation away.
func carryOut(ctx context.Context, objects ...v1alpha1.Topology) {
	GinkgoHelper()
	for _, o := range objects {
		change(ctx, o, func(o v1alpha1.Topology) { o.SetAnnotations(nil) })
	}
}

var _ = Describe("An object under plan", func() {
	It("says what it would do, and does it when the annotation goes", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		objects := samples(b.namespace)
		for _, o := range objects {
			o.SetAnnotations(underPlan())
		}
		create(ctx, objects...)
		for _, o := range objects {
			p := expectPlan(ctx, o, v1alpha1.PlanCreate)
			Expect(p.Message).To(BeEmpty(), "%T", o)
			fresh := o.DeepCopyObject().(v1alpha1.Topology)
			Expect(api.Get(ctx, client.ObjectKeyFromObject(o), fresh)).To(Succeed())
			Expect(fresh.GetFinalizers()).To(BeEmpty())
		}
		expectReason(ctx, condition.Planned, objects...)
		Expect(b.objects(object.KindQueue)).To(BeEmpty())
		Expect(b.objects(object.KindVirtualHost)).To(ConsistOf("/"))
		secret := client.ObjectKey{Namespace: b.namespace, Name: "app-user-credentials"}
		Expect(apierrors.IsNotFound(api.Get(ctx, secret, &corev1.Secret{}))).To(BeTrue())

		carryOut(ctx, objects...)
		expectReason(ctx, condition.Synced, objects...)
		for _, o := range objects {
			Expect(planned(ctx, o)(Default)).To(BeNil(), "%T", o)
		}
	})

	It("tells changes field by field, and what is lost", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		p := newPolicy(b.namespace, "p", "", "5")
		q := &v1alpha1.Queue{ObjectMeta: in(b.namespace, "q"), Spec: v1alpha1.QueueSpec{BrokerRef: toBroker, DeletionPolicy: v1alpha1.DeletionDelete}}
		b.apply(ctx, "somebody", object.KindPolicy, "/", "theirs", object.PolicySpec{Pattern: "^a", Definition: object.Arguments{"max-length": 5}}, "")
		theirs := newPolicy(b.namespace, "theirs", "", "5")
		theirs.SetAnnotations(underPlan())
		theirs.Spec.Adopt = true
		create(ctx, p, q, theirs)
		expectReason(ctx, condition.Synced, p, q)
		Expect(expectPlan(ctx, theirs, v1alpha1.PlanAdopt).Changes).To(ConsistOf(v1alpha1.PlannedChange{Field: "pattern", Old: `"^a"`, New: `"^q"`}))

		change(ctx, p, func(p *v1alpha1.Policy) { p.SetAnnotations(underPlan()) })
		expectPlan(ctx, p, v1alpha1.PlanNone)
		expectReason(ctx, condition.Synced, p)
		change(ctx, p, func(p *v1alpha1.Policy) { p.Spec.Definition, p.Spec.Priority = definition("6"), 1 })
		Expect(expectPlan(ctx, p, v1alpha1.PlanUpdate).Changes).To(ConsistOf(
			v1alpha1.PlannedChange{Field: "definition.max-length", Old: "5", New: "6"}, v1alpha1.PlannedChange{Field: "priority", New: "1"},
		))
		Expect(b.has(object.KindPolicy, "p")).To(ContainSubstring(`"max-length":5`))
		carryOut(ctx, p)
		expectReason(ctx, condition.Synced, p)
		Expect(b.has(object.KindPolicy, "p")).To(ContainSubstring(`"max-length":6`))

		// What cannot be changed in place has to be made anew, which costs what the queue holds.
		v, err := b.hub.VirtualHost("/")
		Expect(err).NotTo(HaveOccurred())
		put(ctx, b, v, "q")
		change(ctx, q, func(q *v1alpha1.Queue) {
			q.SetAnnotations(underPlan())
			q.Spec.Arguments = definition("1")
		})
		plan := expectPlan(ctx, q, v1alpha1.PlanRecreate)
		Expect(plan.MessagesLost).To(Equal(int64(1)))
		Expect(plan.Changes).To(ConsistOf(v1alpha1.PlannedChange{Field: "arguments.max-length", New: "1"}))
		expectReason(ctx, condition.Inequivalent, q)

		// A deletion waits for the annotation to go.
		remove(ctx, q)
		plan = expectPlan(ctx, q, v1alpha1.PlanDelete)
		Expect(plan.MessagesLost).To(Equal(int64(1)))
		expectReason(ctx, condition.Planned, q)
		put(ctx, b, v, "q")
		Eventually(planned(ctx, q), patience).Should(HaveField("MessagesLost", Equal(int64(2))))
		carryOut(ctx, q)
		expectGone(ctx, q)
		Expect(b.objects(object.KindQueue)).To(BeEmpty())
	})

	It("says what would stand in its way", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		q := &v1alpha1.Queue{ObjectMeta: in(b.namespace, "q"), Spec: v1alpha1.QueueSpec{BrokerRef: toBroker}}
		create(ctx, q)
		expectReason(ctx, condition.Synced, q)
		v, err := b.hub.VirtualHost("/")
		Expect(err).NotTo(HaveOccurred())
		put(ctx, b, v, "q")
		lost := &v1alpha1.Binding{ObjectMeta: in(b.namespace, "lost"), Spec: v1alpha1.BindingSpec{BrokerRef: toBroker, Source: "amq.topic", Destination: "nowhere"}}
		second := &v1alpha1.Queue{ObjectMeta: in(b.namespace, "second"), Spec: v1alpha1.QueueSpec{BrokerRef: toBroker, Name: "q"}}
		lost.SetAnnotations(underPlan())
		second.SetAnnotations(underPlan())
		create(ctx, lost, second)
		Expect(expectPlan(ctx, lost, v1alpha1.PlanNone).Message).To(ContainSubstring(`refers to Queue "nowhere" in vhost "/", which does not exist`))
		expectReason(ctx, condition.Missing, lost)
		Expect(expectPlan(ctx, second, v1alpha1.PlanNone).Message).To(ContainSubstring("stands for the same Queue"))
		expectReason(ctx, condition.ResourceConflict, second)

		change(ctx, q, func(q *v1alpha1.Queue) { q.SetAnnotations(underPlan()) })
		remove(ctx, q)
		Eventually(planned(ctx, q), patience).Should(And(Not(BeNil()), HaveField("MessagesLost", Equal(int64(1))), HaveField("Message", ContainSubstring("it holds 1 messages"))))
		expectReason(ctx, condition.DeletionBlocked, q)
		change(ctx, q, func(q *v1alpha1.Queue) { q.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
		Eventually(planned(ctx, q), patience).Should(HaveField("Message", ContainSubstring("left in the broker")))
		carryOut(ctx, q)
		expectGone(ctx, q)
		Expect(b.objects(object.KindQueue)).To(ConsistOf("q"))
	})

	It("does not hold up the end of its broker or of its namespace", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		mb := &v1alpha1.MessageBroker{ObjectMeta: in(b.namespace, b.name)}
		guest := newNamespace(ctx, "guest")
		change(ctx, mb, func(mb *v1alpha1.MessageBroker) {
			mb.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Names: []string{guest}}
		})
		ref := v1alpha1.BrokerReference{Name: b.name, Namespace: b.namespace}
		own := &v1alpha1.Queue{ObjectMeta: in(b.namespace, "own"), Spec: v1alpha1.QueueSpec{BrokerRef: toBroker}}
		theirs := &v1alpha1.Queue{ObjectMeta: in(guest, "theirs"), Spec: v1alpha1.QueueSpec{BrokerRef: ref}}
		create(ctx, own, theirs)
		expectReason(ctx, condition.Synced, own, theirs)
		for _, q := range []*v1alpha1.Queue{own, theirs} {
			change(ctx, q, func(q *v1alpha1.Queue) { q.SetAnnotations(underPlan()) })
			remove(ctx, q)
			expectPlan(ctx, q, v1alpha1.PlanDelete)
		}
		Expect(api.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: guest}})).To(Succeed())
		expectGone(ctx, theirs)
		Expect(b.objects(object.KindQueue)).To(ConsistOf("own", "theirs"))
		Consistently(gone(ctx, own), "500ms").Should(BeFalse())
		Expect(api.Delete(ctx, mb)).To(Succeed())
		expectGone(ctx, own)
	})
})
