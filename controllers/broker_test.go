package controllers_test

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/broker"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/connection"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// bench is a reconciler without a manager: the test says when it runs, and what time it is.
type bench struct {
	*broker.Reconciler
	pods   *pods
	events *events.FakeRecorder
	now    time.Time
}

func newBench(c client.Client) *bench { return newBenchOn(c, &pods{}) }

// newBenchOn is a bench for pods that run already.
func newBenchOn(c client.Client, p *pods) *bench {
	b := &bench{pods: p, events: events.NewFakeRecorder(100), now: time.Now()}
	b.Reconciler = &broker.Reconciler{
		Client: c, Live: c, Scheme: scheme, Events: b.events, Image: "broker:test",
		Connections: &connection.Pool{Reader: api, Address: b.pods.url}, Now: func() time.Time { return b.now },
	}
	return b
}

func (b *bench) reconcile(ctx context.Context, o *v1alpha1.MessageBroker) (ctrl.Result, error) {
	return b.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(o)})
}

// settle reconciles and reads the result.
func (b *bench) settle(ctx context.Context, o *v1alpha1.MessageBroker) *v1alpha1.MessageBroker {
	GinkgoHelper()
	_, err := b.reconcile(ctx, o)
	Expect(err).NotTo(HaveOccurred())
	return reread(ctx, o)
}

func reread[T client.Object](ctx context.Context, o T) T {
	GinkgoHelper()
	Expect(api.Get(ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
	return o
}

// readiness is the condition Ready; empty if there is none.
func readiness(b *v1alpha1.MessageBroker) metav1.Condition {
	c := apimeta.FindStatusCondition(b.Status.Conditions, condition.Ready)
	if c == nil {
		return metav1.Condition{}
	}
	return *c
}

func because(status metav1.ConditionStatus, reason string) OmegaMatcher {
	return And(HaveField("Status", status), HaveField("Reason", reason))
}

func children(ctx context.Context, namespace string) []client.Object {
	GinkgoHelper()
	var out []client.Object
	for _, l := range []client.ObjectList{
		&corev1.SecretList{}, &corev1.ConfigMapList{}, &corev1.ServiceList{}, &corev1.ServiceAccountList{},
		&appsv1.StatefulSetList{}, &networkingv1.NetworkPolicyList{}, &policyv1.PodDisruptionBudgetList{},
	} {
		Expect(api.List(ctx, l, client.InNamespace(namespace), client.MatchingLabels{resource.LabelManagedBy: resource.ManagedBy})).To(Succeed())
		Expect(apimeta.EachListItem(l, func(o runtimeObject) error { out = append(out, o.(client.Object)); return nil })).To(Succeed())
	}
	return out
}

var _ = Describe("A MessageBroker", func() {
	It("becomes Ready when its pod serves, and then nothing is written any more", func(ctx SpecContext) {
		writes := &counter{}
		b := newBench(writes.client(api))
		o := newBroker(ctx, newNamespace(ctx), nil)
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionFalse, condition.Pending))
		Expect(children(ctx, o.Namespace)).To(HaveLen(11))

		b.pods.start(ctx, o)
		b.settle(ctx, o)
		Expect(readiness(o)).To(because(metav1.ConditionTrue, condition.Available))
		Expect(readiness(o).ObservedGeneration).To(Equal(o.Generation))
		Expect(o.Status.Version).To(Equal("test"))
		Expect(o.Status.Usage.StorageSize.Value()).To(BeNumerically(">", o.Status.Usage.StorageUsed.Value()))
		Expect(o.Status.Endpoints.MQTT).To(Equal("mqtt://broker." + o.Namespace + ".svc:1883"))
		Expect(o.Status.Binding.Name).To(Equal("broker-default-user"))
		Expect(o.Status.CertificateExpires.Time).To(BeTemporally(">", b.now.Add(89*24*time.Hour)))

		writes.reset()
		result, err := b.reconcile(ctx, o)
		Expect(err).NotTo(HaveOccurred())
		Expect(writes.calls()).To(BeEmpty())
		Expect(result.RequeueAfter).To(BeNumerically(">", 0))
	}, NodeTimeout(time.Minute))

	It("corrects what somebody changed in its objects", func(ctx SpecContext) {
		b := newBench(api)
		o := newBroker(ctx, newNamespace(ctx), nil)
		b.settle(ctx, o)
		s := &corev1.Service{}
		s.Namespace, s.Name = o.Namespace, o.Name
		reread(ctx, s)
		s.Spec.Ports[0].Port = 2000
		Expect(api.Update(ctx, s)).To(Succeed())
		b.settle(ctx, o)
		Expect(reread(ctx, s).Spec.Ports[0].Port).To(BeEquivalentTo(resource.PortMQTT))
		Expect(api.Delete(ctx, s)).To(Succeed())
		b.settle(ctx, o)
		Expect(reread(ctx, s).UID).NotTo(BeEmpty())
	}, NodeTimeout(time.Minute))

	It("never rotates its passwords, and renews its certificates before they end", func(ctx SpecContext) {
		b := newBench(api)
		o := newBroker(ctx, newNamespace(ctx), nil)
		b.settle(ctx, o)
		read := func(name string) map[string][]byte {
			s := &corev1.Secret{}
			s.Namespace, s.Name = o.Namespace, name
			return reread(ctx, s).Data
		}
		admin, server := read("broker-admin"), read("broker-tls")

		b.now = b.now.Add(59 * 24 * time.Hour)
		b.settle(ctx, o)
		Expect(read("broker-tls")).To(Equal(server))
		b.now = b.now.Add(2 * 24 * time.Hour)
		b.settle(ctx, o)
		Expect(read("broker-tls")["tls.crt"]).NotTo(Equal(server["tls.crt"]))
		Expect(read("broker-tls")["ca.crt"]).To(Equal(server["ca.crt"]), "the authority lives on")

		b.now = b.now.Add(7 * 365 * 24 * time.Hour)
		b.settle(ctx, o)
		Expect(string(read("broker-tls")["ca.crt"])).To(ContainSubstring(string(server["ca.crt"])), "the old authority is trusted until it ends")
		Expect(read("broker-admin")["password"]).To(Equal(admin["password"]))
	}, NodeTimeout(time.Minute))

	It("leaves credentials to the next broker of its name when volumes are retained", func(ctx SpecContext) {
		b := newBench(api)
		o := newBroker(ctx, newNamespace(ctx), nil)
		b.settle(ctx, o)
		for _, c := range children(ctx, o.Namespace) {
			_, secret := c.(*corev1.Secret)
			Expect(c.GetOwnerReferences()).To(HaveLen(map[bool]int{true: 0, false: 1}[secret]), "%T %s", c, c.GetName())
		}
		deleted := newBroker(ctx, newNamespace(ctx), func(s *v1alpha1.MessageBrokerSpec) { s.Storage.DeletionPolicy = v1alpha1.DeletionDelete })
		b.settle(ctx, deleted)
		for _, c := range children(ctx, deleted.Namespace) {
			Expect(c.GetOwnerReferences()).To(HaveLen(1), "%T %s", c, c.GetName())
		}
	}, NodeTimeout(time.Minute))

	It("does not take what belongs to somebody else", func(ctx SpecContext) {
		b := newBench(api)
		n := newNamespace(ctx)
		foreign := &corev1.ConfigMap{}
		foreign.Namespace, foreign.Name = n, "broker"
		Expect(api.Create(ctx, foreign)).To(Succeed())
		o := newBroker(ctx, n, nil)
		b.settle(ctx, o)
		Expect(readiness(o)).To(because(metav1.ConditionFalse, condition.NameTaken))
		Expect(apimeta.IsStatusConditionTrue(o.Status.Conditions, condition.Stalled)).To(BeTrue())
		Expect(reread(ctx, foreign).Data).To(BeEmpty())
		Expect(b.events.Events).To(Receive(ContainSubstring("ConfigMap " + n + "/broker exists and does not belong to this broker")))

		Expect(api.Delete(ctx, foreign)).To(Succeed())
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionFalse, condition.Pending))
	}, NodeTimeout(time.Minute))

	It("restarts its pod for the keys that need it, and for no others", func(ctx SpecContext) {
		b := newBench(api)
		o := newBroker(ctx, newNamespace(ctx), nil)
		b.settle(ctx, o)
		set, rendered := &appsv1.StatefulSet{}, &corev1.ConfigMap{}
		set.Namespace, set.Name = o.Namespace, o.Name
		rendered.Namespace, rendered.Name = o.Namespace, o.Name
		before := reread(ctx, set).Generation

		o.Spec.Configuration = &v1alpha1.Configuration{AMQP: &v1alpha1.AMQPConfiguration{FrameMaxBytes: new(4096)}, LogLevel: "warn"}
		Expect(api.Update(ctx, o)).To(Succeed())
		b.settle(ctx, o)
		Expect(reread(ctx, rendered).Data["turnstone.yaml"]).To(And(ContainSubstring("frameMaxBytes: 4096"), ContainSubstring("level: warn")))
		Expect(reread(ctx, set).Generation).To(Equal(before))

		o.Spec.Configuration.MQTT = &v1alpha1.MQTTConfiguration{Exchange: "mqtt"}
		Expect(api.Update(ctx, o)).To(Succeed())
		b.settle(ctx, o)
		Expect(reread(ctx, set).Generation).To(BeNumerically(">", before))
	}, NodeTimeout(time.Minute))

	It("says that its broker does not answer, or does not take the password", func(ctx SpecContext) {
		b := newBench(api)
		o := newBroker(ctx, newNamespace(ctx), nil)
		b.settle(ctx, o)
		p := b.pods.start(ctx, o)
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionTrue, condition.Available))

		admin := &corev1.Secret{}
		admin.Namespace, admin.Name = o.Namespace, "broker-admin"
		reread(ctx, admin)
		right := admin.Data["password"]
		admin.Data["password"] = []byte("another")
		Expect(api.Update(ctx, admin)).To(Succeed())
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionFalse, condition.CredentialsRejected))
		reread(ctx, admin).Data["password"] = right
		Expect(api.Update(ctx, admin)).To(Succeed())
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionTrue, condition.Available))

		p.stop()
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionFalse, condition.BrokerUnavailable))
	}, NodeTimeout(time.Minute))

	It("comes through an error of the API at every call", func(ctx SpecContext) {
		const most = 200
		for failing := 1; ; failing++ {
			Expect(failing).To(BeNumerically("<", most), "the reconciler does not come to an end")
			c := &counter{failAt: failing}
			b := newBench(c.client(api))
			o := newBroker(ctx, newNamespace(ctx), nil)
			failed := false
			for succeeded := 0; succeeded < 2; { // a call that fails must not need more than another attempt
				if _, err := b.reconcile(ctx, o); err != nil {
					Expect(failed).To(BeFalse(), "%v", err)
					Expect(err).To(MatchError(ContainSubstring(errInjected.Error())))
					failed = true
					continue
				}
				succeeded++
			}
			Expect(readiness(reread(ctx, o))).To(because(metav1.ConditionFalse, condition.Pending), "call %d failed: %s", failing, c.failed)
			Expect(children(ctx, o.Namespace)).To(HaveLen(11), "call %d failed: %s", failing, c.failed)
			if c.failed == "" {
				Expect(failing).To(BeNumerically(">", 20), "too few calls were seen")
				return
			}
			Expect(failed).To(BeTrue(), "the error of %s was swallowed", c.failed)
		}
	}, NodeTimeout(5*time.Minute))

	It("comes through an error of the API at every call, also with all that a broker can have", func(ctx SpecContext) {
		us := newCompany()
		storageClass(ctx, "grows", true)
		const most = 200
		for failing := 1; ; failing++ {
			Expect(failing).To(BeNumerically("<", most), "the reconciler does not come to an end")
			n := newNamespace(ctx)
			write(ctx, n, "certificate", pairData(us.issue("a"), us.ca.Certificate))
			o := newBroker(ctx, n, func(s *v1alpha1.MessageBrokerSpec) {
				s.TLS = &v1alpha1.TLS{
					SecretRef:            &v1alpha1.LocalReference{Name: "certificate"},
					ClientAuthentication: &v1alpha1.ClientAuthentication{CASecretRef: v1alpha1.CAReference{Name: "certificate"}},
				}
				s.WebSocket = &v1alpha1.WebSocket{Ingress: &v1alpha1.Ingress{Host: "mqtt.example.com"}}
			})
			b := newBench(api)
			b.settle(ctx, o)
			claim := bind(ctx, o, "grows")
			change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) {
				s.Storage.Size = apiresource.MustParse("20Gi")
				s.WebSocket.Path = "/mqtt"
				s.Configuration = &v1alpha1.Configuration{Durability: "interval"}
			})
			write(ctx, n, "certificate", pairData(us.issue("b"), us.ca.Certificate))
			c := &counter{failAt: failing}
			b = newBenchOn(c.client(api), b.pods)
			for range 2 { // a call that fails must not need more than another attempt
				if _, err := b.reconcile(ctx, o); err != nil {
					Expect(err).To(MatchError(ContainSubstring(errInjected.Error())))
				}
			}
			orphaned(ctx, o)
			for range 2 {
				if _, err := b.reconcile(ctx, o); err != nil {
					Expect(err).To(MatchError(ContainSubstring(errInjected.Error())))
				}
			}
			c.failAt = 0
			b.settle(ctx, o)
			why := fmt.Sprintf("call %d failed: %s", failing, c.failed)
			Expect(note(o, condition.CertificateReady)).To(because(metav1.ConditionTrue, condition.InUse), why)
			Expect(note(o, condition.RouteReady)).To(because(metav1.ConditionTrue, condition.Routed), why)
			Expect(note(o, condition.StorageExpanding)).To(because(metav1.ConditionTrue, condition.Expanding), why)
			Expect(requested(reread(ctx, claim))).To(Equal("20Gi"), why)
			set := &appsv1.StatefulSet{}
			Expect(api.Get(ctx, client.ObjectKeyFromObject(o), set)).To(Succeed())
			Expect(set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()).To(Equal("20Gi"), why)
			Expect(readiness(o)).To(because(metav1.ConditionFalse, condition.Pending), why)
			if c.failed == "" {
				Expect(failing).To(BeNumerically(">", 40), "too few calls were seen")
				return
			}
		}
	}, NodeTimeout(5*time.Minute))

	It("says what its pod says of why it does not serve", func(ctx SpecContext) {
		b := newBench(api)
		o := newBroker(ctx, newNamespace(ctx), nil)
		b.settle(ctx, o)
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "broker", Image: "x"}}}}
		p.Namespace, p.Name = o.Namespace, "broker-0"
		Expect(api.Create(ctx, p)).To(Succeed())
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "broker", State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"},
		}}}
		Expect(api.Status().Update(ctx, p)).To(Succeed())
		result, err := b.reconcile(ctx, o)
		Expect(err).NotTo(HaveOccurred())
		Expect(result.RequeueAfter).To(BeNumerically("<=", 10*time.Second), "no event tells of the pod")
		Expect(readiness(reread(ctx, o))).To(because(metav1.ConditionFalse, condition.Pending))
		Expect(readiness(o).Message).To(HaveSuffix("; pod broker-0: container broker waits: ImagePullBackOff: no such image"))
		b.pods.start(ctx, o)
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionTrue, condition.Available))
	}, NodeTimeout(time.Minute))

	It("is no failure while its namespace goes, in which nothing can be made", func(ctx SpecContext) {
		b := newBench(api)
		n := newNamespace(ctx)
		o := newBroker(ctx, n, nil)
		Expect(api.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n}})).To(Succeed())
		_, err := b.reconcile(ctx, o)
		Expect(err).NotTo(HaveOccurred())
		Expect(children(ctx, n)).To(BeEmpty())
	}, NodeTimeout(time.Minute))

	It("is left alone while it is deleted", func(ctx SpecContext) {
		b := newBench(api)
		o := newBroker(ctx, newNamespace(ctx), nil)
		Expect(api.Delete(ctx, o)).To(Succeed())
		_, err := b.reconcile(ctx, o)
		Expect(err).NotTo(HaveOccurred())
		Expect(children(ctx, o.Namespace)).To(BeEmpty())
		Expect(apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(o), o))).To(BeTrue(), fmt.Sprint(o.Finalizers))
	}, NodeTimeout(time.Minute))
})
