package topology_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/topology"
)

const patience = 20 * time.Second

// one of each kind in a namespace, as a user would write them.
func samples(namespace string) []v1alpha1.Topology {
	ref := v1alpha1.BrokerReference{Name: "broker"}
	place := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }
	limit, alternate := int64(1000), "amq.fanout"
	raw := func(name, value string) map[string]apiextensionsv1.JSON {
		return map[string]apiextensionsv1.JSON{name: {Raw: []byte(value)}}
	}
	return []v1alpha1.Topology{
		&v1alpha1.VirtualHost{ObjectMeta: place("tenant"), Spec: v1alpha1.VirtualHostSpec{BrokerRef: ref}},
		&v1alpha1.User{ObjectMeta: place("app"), Spec: v1alpha1.UserSpec{BrokerRef: ref}},
		&v1alpha1.Permission{ObjectMeta: place("app"), Spec: v1alpha1.PermissionSpec{BrokerRef: ref, VHost: "tenant", UserRef: &v1alpha1.LocalReference{Name: "app"}, Read: ".*", Write: ".*", Configure: "^$"}},
		&v1alpha1.TopicPolicy{ObjectMeta: place("plant"), Spec: v1alpha1.TopicPolicySpec{BrokerRef: ref, VHost: "tenant", Filter: "plant/#", MaxPayloadBytes: &limit,
			Rewrite:       &v1alpha1.TopicRewrite{To: "factory/{#}", Publish: true},
			AutoSubscribe: []v1alpha1.AutoSubscription{{Filter: "$share/g/jobs/%u", QoS: 1, RetainHandling: 2}}}},
		&v1alpha1.Policy{ObjectMeta: place("dead"), Spec: v1alpha1.PolicySpec{BrokerRef: ref, VHost: "tenant", Pattern: "^orders", Definition: raw("dead-letter-exchange", `"dead"`)}},
		&v1alpha1.OperatorPolicy{ObjectMeta: place("cap"), Spec: v1alpha1.OperatorPolicySpec{BrokerRef: ref, VHost: "tenant", Pattern: ".*", Definition: raw("max-length", "10")}},
		&v1alpha1.Exchange{ObjectMeta: place("events"), Spec: v1alpha1.ExchangeSpec{BrokerRef: ref, VHost: "tenant", Type: "topic", AlternateExchange: &alternate}},
		&v1alpha1.Queue{ObjectMeta: place("orders"), Spec: v1alpha1.QueueSpec{BrokerRef: ref, VHost: "tenant", QueueSettings: v1alpha1.QueueSettings{MaxLength: &limit}}},
		&v1alpha1.Binding{ObjectMeta: place("orders"), Spec: v1alpha1.BindingSpec{BrokerRef: ref, VHost: "tenant", Source: "events", Destination: "orders", RoutingKey: "order.#"}},
	}
}

func create(ctx context.Context, objects ...v1alpha1.Topology) {
	GinkgoHelper()
	for _, o := range objects {
		Expect(api.Create(ctx, o)).To(Succeed())
	}
}

// reason is the Ready condition of an object as it is now: its reason, and a mark if it is about another generation.
func reason(ctx context.Context, o v1alpha1.Topology) func(g Gomega) string {
	return func(g Gomega) string {
		fresh := o.DeepCopyObject().(v1alpha1.Topology)
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(o), fresh)).To(Succeed())
		c := meta.FindStatusCondition(fresh.Common().Conditions, condition.Ready)
		if c == nil {
			return "none"
		}
		if c.ObservedGeneration != fresh.GetGeneration() {
			return c.Reason + " of an older generation"
		}
		return c.Reason
	}
}

func expectReason(ctx context.Context, want string, objects ...v1alpha1.Topology) {
	GinkgoHelper()
	for _, o := range objects {
		Eventually(reason(ctx, o), patience).Should(Equal(want), "%T %s", o, o.GetName())
	}
}

func gone(ctx context.Context, o v1alpha1.Topology) func() bool {
	return func() bool {
		return apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopyObject().(client.Object)))
	}
}

var _ = Describe("What lives in a broker", func() {
	It("is there when the objects are, whatever their order", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		objects := samples(b.namespace)
		rand.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
		create(ctx, objects...)
		expectReason(ctx, condition.Synced, objects...)
		Expect(b.objects(object.KindQueue)).To(ConsistOf("orders"))
		Expect(b.objects(object.KindBinding)).To(HaveLen(1))

		secret := &corev1.Secret{}
		Expect(api.Get(ctx, client.ObjectKey{Namespace: b.namespace, Name: topology.CredentialsSecret("app")}, secret)).To(Succeed())
		Expect(string(secret.Data["amqp_url"])).To(HavePrefix("amqp://app:"))
	})

	It("has the limits and the events that the objects say", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		ref, rate, none := v1alpha1.BrokerReference{Name: "broker"}, int64(100), int64(-1)
		place := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: b.namespace, Name: name} }
		create(ctx,
			&v1alpha1.VirtualHost{ObjectMeta: place("told"), Spec: v1alpha1.VirtualHostSpec{BrokerRef: ref, Events: []string{"disconnected", "connected"}}},
			&v1alpha1.User{ObjectMeta: place("held"), Spec: v1alpha1.UserSpec{BrokerRef: ref, Limits: &v1alpha1.UserLimits{MaxConnections: 5, Rates: v1alpha1.Rates{
				Client: &v1alpha1.Rate{MessagesPerSecond: &rate, ConnectsPerSecond: &none}, User: &v1alpha1.Rate{BytesPerSecond: &rate}, OnExcess: "drop",
			}}}},
			&v1alpha1.TopicPolicy{ObjectMeta: place("fast"), Spec: v1alpha1.TopicPolicySpec{BrokerRef: ref, VHost: "told", Filter: "a", MaxMessagesPerSecond: &rate, OnExcess: "disconnect"}},
		)
		for key, want := range map[object.Key]string{
			{Kind: object.KindVirtualHost, Name: "told"}:                      `{"events":["connected","disconnected"]}`,
			{Kind: object.KindUser, Name: "held"}:                             `"limits":{"maxConnections":5,"client":{"messagesPerSecond":100,"connectsPerSecond":-1},"user":{"bytesPerSecond":100},"onExcess":"drop"}`,
			{Kind: object.KindTopicPolicy, VirtualHost: "told", Name: "fast"}: `{"filter":"a","maxMessagesPerSecond":100,"onExcess":"disconnect"}`,
		} {
			Eventually(func() string {
				all, _ := b.hub.Objects("", key.Kind)
				for _, o := range all {
					if o.Key == key {
						return string(o.Spec)
					}
				}
				return "none"
			}, patience).Should(ContainSubstring(want))
		}
	})

	It("is deleted in any order, and nothing hangs", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		for range 3 {
			objects := samples(b.namespace)
			create(ctx, objects...)
			expectReason(ctx, condition.Synced, objects...)
			rand.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
			for _, o := range objects {
				Expect(api.Delete(ctx, o)).To(Succeed())
			}
			for _, o := range objects {
				Eventually(gone(ctx, o), patience).Should(BeTrue(), "%T %s", o, o.GetName())
			}
			Expect(b.objects(object.KindQueue)).To(BeEmpty())
			Expect(b.objects(object.KindVirtualHost)).To(ConsistOf("/"))
		}
	})

	It("is put right within seconds when somebody changes it in the broker", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		objects := samples(b.namespace)
		create(ctx, objects...)
		expectReason(ctx, condition.Synced, objects...)
		drop := object.Change{Object: object.Object{Key: object.Key{Kind: object.KindQueue, VirtualHost: "tenant", Name: "orders"}}, Delete: object.DeleteAlways}
		results, err := b.hub.Apply(ctx, "*", []object.Change{drop}, hub.ApplyOptions{})
		Expect(err).NotTo(HaveOccurred())
		Expect(results[0].Outcome).To(Equal(object.Deleted))
		Expect(b.objects(object.KindBinding)).To(BeEmpty())
		Eventually(func() []string { return b.objects(object.KindBinding) }, 5*time.Second).Should(HaveLen(1))
		Expect(b.objects(object.KindQueue)).To(ConsistOf("orders"))
	})

	It("says what is wrong, and serves the rest", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		ref := v1alpha1.BrokerReference{Name: "broker"}
		place := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: b.namespace, Name: name} }
		older := &v1alpha1.Queue{ObjectMeta: place("older"), Spec: v1alpha1.QueueSpec{BrokerRef: ref, Name: "shared"}}
		create(ctx, older)
		expectReason(ctx, condition.Synced, older)
		younger := &v1alpha1.Queue{ObjectMeta: place("younger"), Spec: v1alpha1.QueueSpec{BrokerRef: ref, Name: "shared"}}
		lost := &v1alpha1.Binding{ObjectMeta: place("lost"), Spec: v1alpha1.BindingSpec{BrokerRef: ref, Source: "amq.topic", Destination: "nowhere"}}
		alone := &v1alpha1.Queue{ObjectMeta: place("alone"), Spec: v1alpha1.QueueSpec{BrokerRef: v1alpha1.BrokerReference{Name: "other"}}}
		secretless := &v1alpha1.User{ObjectMeta: place("secretless"), Spec: v1alpha1.UserSpec{BrokerRef: ref, PasswordSecretRef: &v1alpha1.PasswordReference{Name: "missing"}}}
		good := &v1alpha1.Queue{ObjectMeta: place("good"), Spec: v1alpha1.QueueSpec{BrokerRef: ref}}
		create(ctx, younger, lost, alone, secretless, good)
		expectReason(ctx, condition.Synced, good, older)
		expectReason(ctx, condition.ResourceConflict, younger)
		expectReason(ctx, condition.Missing, lost)
		expectReason(ctx, condition.BrokerNotFound, alone)
		expectReason(ctx, condition.SecretNotFound, secretless)

		create(ctx, &v1alpha1.Queue{ObjectMeta: place("nowhere"), Spec: v1alpha1.QueueSpec{BrokerRef: ref}})
		expectReason(ctx, condition.Synced, lost)
		Expect(api.Delete(ctx, older)).To(Succeed())
		expectReason(ctx, condition.Synced, younger)
	})

	It("keeps a queue that holds messages until it is empty", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		q := &v1alpha1.Queue{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "full"}, Spec: v1alpha1.QueueSpec{BrokerRef: v1alpha1.BrokerReference{Name: "broker"}}}
		create(ctx, q)
		expectReason(ctx, condition.Synced, q)
		v, err := b.hub.VirtualHost("/")
		Expect(err).NotTo(HaveOccurred())
		put(ctx, b, v, "full")
		Expect(api.Delete(ctx, q)).To(Succeed())
		expectReason(ctx, condition.DeletionBlocked, q)
		live, err := v.Queue("full", 0)
		Expect(err).NotTo(HaveOccurred())
		Expect(live.Purge()).To(Equal(1))
		Eventually(gone(ctx, q), patience).Should(BeTrue())
	})

	It("waits for a broker that does not answer, and is released when the broker goes", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		objects := samples(b.namespace)
		create(ctx, objects...)
		expectReason(ctx, condition.Synced, objects...)
		b.stop()
		expectReason(ctx, condition.BrokerUnavailable, objects...)
		b.start()
		expectReason(ctx, condition.Synced, objects...)
		b.stop()
		for _, o := range objects {
			Expect(api.Delete(ctx, o)).To(Succeed())
		}
		Consistently(gone(ctx, objects[0]), time.Second).Should(BeFalse())
		mb := &v1alpha1.MessageBroker{}
		mb.Namespace, mb.Name = b.namespace, b.name
		Expect(api.Delete(ctx, mb)).To(Succeed())
		for _, o := range objects {
			Eventually(gone(ctx, o), patience).Should(BeTrue(), "%T", o)
		}
	})

	It("gives everything again to a broker that lost its data", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		objects := samples(b.namespace)
		create(ctx, objects...)
		expectReason(ctx, condition.Synced, objects...)
		b.stop()
		b.disk = newDisk()
		b.start()
		Eventually(func() []string { return b.objects(object.KindBinding) }, patience).Should(HaveLen(1))
		expectReason(ctx, condition.Synced, objects...)
	})

	It("makes 2,000 queues Ready in batches, and a restart writes nothing", func(ctx SpecContext) {
		b := newBroker(ctx)
		var writes atomic.Int64
		count := func(c client.WithWatch) client.Client { return counting(c, b.namespace, &writes) }
		o := startOperator(count)
		const many = 2000
		start := time.Now()
		for i := range many {
			create(ctx, &v1alpha1.Queue{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: fmt.Sprintf("q%04d", i)}, Spec: v1alpha1.QueueSpec{BrokerRef: v1alpha1.BrokerReference{Name: "broker"}}})
		}
		created := time.Since(start)
		Eventually(func(g Gomega) int { return readyQueues(ctx, g, b.namespace) }, 2*time.Minute, 200*time.Millisecond).Should(Equal(many))
		AddReportEntry("2,000 queues", fmt.Sprintf("created in %v, Ready in %v, %d writes by the operator", created, time.Since(start), writes.Load()))
		Expect(writes.Load()).To(BeNumerically("<", 3*many), "a finalizer and a status each, and few a second time")
		o.stop()

		writes.Store(0)
		again := startOperator(count)
		sentinel := &v1alpha1.Queue{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "sentinel"}, Spec: v1alpha1.QueueSpec{BrokerRef: v1alpha1.BrokerReference{Name: "broker"}}}
		create(ctx, sentinel)
		expectReason(ctx, condition.Synced, sentinel)
		again.stop()
		Expect(writes.Load()).To(BeNumerically("<=", 2), "one finalizer and one status, those of the sentinel")
	}, SpecTimeout(5*time.Minute))
})

func readyQueues(ctx context.Context, g Gomega, namespace string) (n int) {
	list := &v1alpha1.QueueList{}
	g.Expect(api.List(ctx, list, client.InNamespace(namespace))).To(Succeed())
	for i := range list.Items {
		if condition.IsReady(list.Items[i].Status.Conditions) {
			n++
		}
	}
	return n
}

// put publishes one durable message to a queue.
func put(ctx context.Context, b *broker, v *hub.VirtualHost, queue string) {
	GinkgoHelper()
	done := make(chan struct{})
	p := v.NewPublisher(hub.PublisherOptions{Access: administrator(ctx, b), Encoding: message.AMQP091, Confirmed: func(hub.Confirmation) { close(done) }})
	r, err := p.Route(nil, []byte(queue))
	Expect(err).NotTo(HaveOccurred())
	_, err = p.Publish(r, &message.Message{Key: r.Key, Encoding: message.AMQP091, Durable: true, Payload: []byte("x")}, nil, 1)
	Expect(err).NotTo(HaveOccurred())
	p.Flush()
	Eventually(done, patience).Should(BeClosed())
}

// counting is a client that counts what it writes in a namespace: there are objects of other tests in others.
func counting(c client.WithWatch, namespace string, writes *atomic.Int64) client.Client {
	count := func(o client.Object) {
		if o.GetNamespace() == namespace {
			writes.Add(1)
		}
	}
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			count(o)
			return c.Create(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			count(o)
			return c.Patch(ctx, o, p, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			count(o)
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	})
}
