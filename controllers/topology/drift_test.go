package topology_test

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// withPolicy are the samples under a driftPolicy.
func withPolicy(namespace string, p v1alpha1.DriftPolicy) []v1alpha1.Topology {
	all := samples(namespace)
	for _, o := range all {
		o.Managed().DriftPolicy = p
	}
	return all
}

// meddling is what somebody else does in the broker: the kinds whose specs can change are changed, the others are deleted. The sample
// that is concerned comes with what its difference says.
type meddling struct {
	change object.Change
	sample string // its name in Kubernetes
	says   string
}

func meddle() []meddling {
	changed := func(kind object.Kind, vhost, name string, spec any) object.Change {
		o, err := object.New(kind, vhost, name, spec)
		Expect(err).NotTo(HaveOccurred())
		return object.Change{Object: o}
	}
	gone := func(kind object.Kind, name string) object.Change {
		return object.Change{Object: object.Object{Key: object.Key{Kind: kind, VirtualHost: "tenant", Name: name}}, Delete: object.DeleteAlways}
	}
	return []meddling{
		{changed(object.KindVirtualHost, "", "tenant", object.VirtualHostSpec{MaxQueues: 9}), "tenant", "maxQueues: unset -> 9"},
		{changed(object.KindUser, "", "app", object.UserSpec{Tags: []string{"monitoring"}}), "app", `tags: unset -> ["monitoring"]`},
		{changed(object.KindPermission, "tenant", "app", object.PermissionSpec{Read: "^x$", Write: ".*", Configure: "^$"}), "app", `read: ".*" -> "^x$"`},
		{changed(object.KindTopicPolicy, "tenant", "plant", object.TopicPolicySpec{Filter: "plant/#", MaxPayloadBytes: 5}), "plant", "maxPayloadBytes: 1000 -> 5"},
		{changed(object.KindPolicy, "tenant", "dead", object.PolicySpec{Pattern: "^all", ApplyTo: object.ApplyToAll, Definition: object.Arguments{"dead-letter-exchange": "dead"}}), "dead", `pattern: "^orders" -> "^all"`},
		{changed(object.KindOperatorPolicy, "tenant", "cap", object.PolicySpec{Pattern: ".*", ApplyTo: object.ApplyToQueues, Definition: object.Arguments{"max-length": 11}}), "cap", "definition.max-length: 10 -> 11"},
		{gone(object.KindExchange, "events"), "events", "it was deleted"},
		{gone(object.KindQueue, "orders"), "orders", "it was deleted"},
	}
}

// does applies changes in the name of clients.
func (b *broker) does(ctx context.Context, changes ...object.Change) {
	GinkgoHelper()
	results, err := b.hub.Apply(ctx, "*", changes, hub.ApplyOptions{})
	Expect(err).NotTo(HaveOccurred())
	for _, r := range results {
		Expect(r.Outcome).NotTo(Equal(object.Refused), "%s: %s", r.Key, r.Message)
	}
}

// state is what the broker has in the operator's name, as one text.
func (b *broker) state() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	digests, _, err := b.hub.Digests("turnstone-operator")
	Expect(err).NotTo(HaveOccurred())
	var out strings.Builder
	for _, k := range object.Kinds {
		out.WriteString(string(k) + " " + digests[k].Digest + "\n")
	}
	return out.String()
}

// messageOf is the message of a condition of an object as it is now.
func messageOf(ctx context.Context, o v1alpha1.Topology, kind string) string {
	fresh := o.DeepCopyObject().(v1alpha1.Topology)
	if err := api.Get(ctx, client.ObjectKeyFromObject(o), fresh); err != nil {
		return err.Error()
	}
	c := meta.FindStatusCondition(fresh.Common().Conditions, kind)
	if c == nil {
		return "none"
	}
	return c.Message
}

// sampleOf finds a sample by what meddling says.
func sampleOf(all []v1alpha1.Topology, m meddling) v1alpha1.Topology {
	for _, o := range all {
		if o.GetName() == m.sample && strings.HasSuffix(kindOf(o), string(m.change.Kind)) {
			return o
		}
	}
	Fail("no sample " + m.sample)
	return nil
}

func kindOf(o v1alpha1.Topology) string {
	gvk, err := api.GroupVersionKindFor(o)
	Expect(err).NotTo(HaveOccurred())
	return gvk.Kind
}

// eventsOf are the notes of the events of a reason in a namespace.
func eventsOf(ctx context.Context, namespace, reason string) func() []string {
	return func() []string {
		list := &eventsv1.EventList{}
		Expect(api.List(ctx, list, client.InNamespace(namespace))).To(Succeed())
		var notes []string
		for _, e := range list.Items {
			if e.Reason == reason {
				notes = append(notes, e.Regarding.Kind+" "+e.Note)
			}
		}
		return notes
	}
}

var _ = Describe("Drift", func() {
	It("is corrected, told as an event, and takes the bindings of a queue along", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		all := withPolicy(b.namespace, v1alpha1.DriftCorrect)
		create(ctx, all...)
		expectReason(ctx, condition.Synced, all...)
		wanted := b.state()
		for _, m := range meddle() {
			begin := time.Now()
			b.does(ctx, m.change)
			Eventually(b.state, patience, 5*time.Millisecond).Should(Equal(wanted), "%s", m.change.Key)
			AddReportEntry("corrected "+m.change.Key.String(), time.Since(begin).String())
		}
		expectReason(ctx, condition.Synced, all...)
		corrected := eventsOf(ctx, b.namespace, "DriftCorrected")
		Eventually(corrected, patience).Should(ContainElements(
			MatchRegexp(`TopicPolicy somebody changed it in the broker, it is as it is written again: .*maxPayloadBytes: 5 -> 1000`),
			ContainSubstring("Queue somebody changed it"), ContainSubstring("Binding somebody changed it"), ContainSubstring("definition.max-length: 11 -> 10"),
		))
		Expect(eventsOf(ctx, b.namespace, condition.Synced)()).To(BeEmpty(), "an object that is new and right is no event")
	})

	It("gives a queue that a client made again its bindings", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		all := samples(b.namespace)
		create(ctx, all...)
		expectReason(ctx, condition.Synced, all...)
		wanted := b.state()
		o, err := object.New(object.KindQueue, "tenant", "orders", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": 1000}})
		Expect(err).NotTo(HaveOccurred())
		b.does(ctx, object.Change{Object: o, Delete: object.DeleteAlways})
		b.does(ctx, object.Change{Object: o})
		Eventually(b.state, patience).Should(Equal(wanted))
	})

	It("is told and left when the policy is Report, at no cost", func(ctx SpecContext) {
		b := newBroker(ctx)
		o := startOperator(nil)
		all := withPolicy(b.namespace, v1alpha1.DriftReport)
		create(ctx, all...)
		expectReason(ctx, condition.Synced, all...)
		for _, m := range meddle() {
			b.does(ctx, m.change)
			Eventually(messageOf, patience).WithArguments(ctx, sampleOf(all, m), condition.Drifted).Should(ContainSubstring(m.says))
			expectReason(ctx, condition.Drifted, sampleOf(all, m))
		}
		Eventually(eventsOf(ctx, b.namespace, condition.Drifted), patience).Should(ContainElement(ContainSubstring("maxPayloadBytes: 1000 -> 5")))
		left, digests, lists := b.state(), b.called("/v1/digest"), b.called("/v1/objects")
		Eventually(func() int { return b.called("/v1/digest") }, patience).Should(BeNumerically(">=", digests+3), "looks go on")
		Expect(b.called("/v1/objects")).To(Equal(lists), "what is known to differ is not listed again")
		Expect(b.state()).To(Equal(left))

		o.stop() // who comes after knows that it is drift, and still does nothing
		startOperator(nil)
		digests = b.called("/v1/digest")
		Eventually(func() int { return b.called("/v1/digest") }, patience).Should(BeNumerically(">=", digests+2))
		Expect(b.state()).To(Equal(left))

		plant := sampleOf(all, meddle()[3]).(*v1alpha1.TopicPolicy)
		Expect(api.Get(ctx, client.ObjectKeyFromObject(plant), plant)).To(Succeed())
		before := plant.DeepCopy()
		*plant.Spec.MaxPayloadBytes = 2000
		Expect(api.Patch(ctx, plant, client.MergeFrom(before))).To(Succeed())
		expectReason(ctx, condition.Synced, plant)
		Expect(messageOf(ctx, plant, condition.Drifted)).To(Equal("none"))

		q := sampleOf(all, meddle()[7])
		same, err := object.New(object.KindQueue, "tenant", "orders", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": 1000}})
		Expect(err).NotTo(HaveOccurred())
		same.Ref = b.namespace + "/orders"
		_, err = b.hub.Apply(ctx, "turnstone-operator", []object.Change{{Object: same}}, hub.ApplyOptions{})
		Expect(err).NotTo(HaveOccurred())
		expectReason(ctx, condition.Synced, q)
	})

	It("is not looked at when the policy is Ignore", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		all := withPolicy(b.namespace, v1alpha1.DriftIgnore)
		create(ctx, all...)
		expectReason(ctx, condition.Synced, all...)
		for _, m := range meddle() {
			b.does(ctx, m.change)
		}
		left, digests, lists := b.state(), b.called("/v1/digest"), b.called("/v1/objects")
		Eventually(func() int { return b.called("/v1/digest") }, patience).Should(BeNumerically(">=", digests+3))
		Expect(b.called("/v1/objects")).To(Equal(lists))
		Expect(b.state()).To(Equal(left))
		expectReason(ctx, condition.Synced, all...)
		for _, o := range all {
			Expect(messageOf(ctx, o, condition.Drifted)).To(Equal("none"))
		}
	})

	It("is no matter when the broker lost its data: everything is given again, whatever the policy", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		all := withPolicy(b.namespace, v1alpha1.DriftReport)
		for i, o := range all {
			if i%2 == 0 {
				o.Managed().DriftPolicy = v1alpha1.DriftIgnore
			}
		}
		create(ctx, all...)
		expectReason(ctx, condition.Synced, all...)
		wanted := b.state()
		b.stop()
		b.disk = newDisk()
		b.start()
		Eventually(b.state, patience).Should(Equal(wanted))
		for _, o := range all {
			Eventually(func(g Gomega) string {
				fresh := o.DeepCopyObject().(v1alpha1.Topology)
				g.Expect(api.Get(ctx, client.ObjectKeyFromObject(o), fresh)).To(Succeed())
				g.Expect(fresh.Common().Applied).NotTo(BeNil())
				return fresh.Common().Applied.Incarnation
			}, patience).Should(Equal(b.hub.Incarnation()))
		}
		expectReason(ctx, condition.Synced, all...)
	})
})
