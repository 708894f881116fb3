package controllers_test

import (
	"context"
	"errors"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// inForce waits until a broker has read its configuration.
func (b *bench) inForce(ctx context.Context, o *v1alpha1.MessageBroker) {
	GinkgoHelper()
	Eventually(func() bool {
		c := b.settle(ctx, o).Status.Configuration
		return c != nil && c.InForce == c.Wanted
	}).Should(BeTrue())
	Expect(o.Status.Configuration.Pending).To(BeEmpty())
	Expect(note(o, condition.ConfigurationPending)).To(Equal(metav1.Condition{}))
}

// running is the configuration that a broker says is in force.
func (b *bench) running(ctx context.Context, o *v1alpha1.MessageBroker) string {
	GinkgoHelper()
	c, err := b.Connections.To(ctx, o)
	Expect(err).NotTo(HaveOccurred())
	state, err := c.Config(ctx)
	Expect(err).NotTo(HaveOccurred())
	return string(state.Config)
}

func template(ctx context.Context, o *v1alpha1.MessageBroker) corev1.PodTemplateSpec {
	GinkgoHelper()
	set := &appsv1.StatefulSet{}
	Expect(api.Get(ctx, client.ObjectKeyFromObject(o), set)).To(Succeed())
	return set.Spec.Template
}

var _ = Describe("The configuration of a MessageBroker", func() {
	It("is confirmed by the broker, and a restart is told before", func(ctx SpecContext) {
		b := newBench(api)
		o := newBroker(ctx, newNamespace(ctx), nil)
		b.settle(ctx, o)
		p := b.pods.start(ctx, o)
		b.inForce(ctx, o)

		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) { s.Configuration = &v1alpha1.Configuration{LogLevel: "debug"} })
		before := template(ctx, o)
		was := o.Status.Configuration.InForce
		b.settle(ctx, o)
		Expect(note(o, condition.ConfigurationPending)).To(Equal(metav1.Condition{}), "it is in force before the kubelet brings the file")
		Expect(readiness(o)).To(because(metav1.ConditionTrue, condition.Available))
		Expect(o.Status.Configuration.InForce).To(And(Equal(o.Status.Configuration.Wanted), Not(Equal(was))))
		Expect(b.running(ctx, o)).To(ContainSubstring(`"level":"debug"`))
		p.sync(ctx, o)
		b.inForce(ctx, o)
		Expect(b.running(ctx, o)).To(ContainSubstring(`"level":"debug"`))
		Expect(template(ctx, o)).To(Equal(before), "a live key restarts nothing")

		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) {
			s.Configuration.MQTT = &v1alpha1.MQTTConfiguration{Exchange: "mqtt"}
		})
		told := ""
		watching := interceptor.NewClient(api, interceptor.Funcs{
			Apply: func(ctx context.Context, to client.WithWatch, a runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
				if u, ok := a.(client.Object); ok && u.GetObjectKind().GroupVersionKind().Kind == "StatefulSet" {
					told = note(reread(ctx, o.DeepCopy()), condition.ConfigurationPending).Message
				}
				return to.Apply(ctx, a, opts...)
			},
		})
		c := newBenchOn(watching, b.pods)
		c.settle(ctx, o)
		Expect(template(ctx, o)).NotTo(Equal(before))
		Expect(told).To(Equal("the pod restarts: mqtt.exchange takes effect at a start only"), "it is told before")
		p.sync(ctx, o)
		Expect(note(c.settle(ctx, o), condition.ConfigurationPending)).To(because(metav1.ConditionTrue, condition.Restart))
		set := &appsv1.StatefulSet{}
		Expect(api.Get(ctx, client.ObjectKeyFromObject(o), set)).To(Succeed())
		ready(ctx, set) // as if a pod with the former content had come up again
		Eventually(func() string { return note(c.settle(ctx, o), condition.ConfigurationPending).Message }).
			Should(Equal("mqtt.exchange takes effect when the pod restarts"))
		b.pods.restart(ctx, o, p)
		b.inForce(ctx, o)
	}, NodeTimeout(time.Minute))

	It("is left alone while the broker is paused", func(ctx SpecContext) {
		writes := &counter{}
		b := newBench(writes.client(api))
		o := newBroker(ctx, newNamespace(ctx), nil)
		b.settle(ctx, o)
		reread(ctx, o)
		o.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
		o.Spec.Configuration = &v1alpha1.Configuration{LogLevel: "debug"}
		Expect(api.Update(ctx, o)).To(Succeed())
		writes.reset()
		b.settle(ctx, o)
		Expect(note(o, condition.Paused)).To(because(metav1.ConditionTrue, condition.ByAnnotation))
		b.settle(ctx, o)
		Expect(writes.calls()).To(HaveLen(1), "the status alone, once")
		o.Annotations = nil
		Expect(api.Update(ctx, o)).To(Succeed())
		b.settle(ctx, o)
		Expect(note(o, condition.Paused)).To(Equal(metav1.Condition{}))
		rendered := &corev1.ConfigMap{}
		rendered.Namespace, rendered.Name = o.Namespace, o.Name
		Expect(reread(ctx, rendered).Data["turnstone.yaml"]).To(ContainSubstring("level: debug"))
	}, NodeTimeout(time.Minute))

	It("patches the pod, and refuses a patch that gives it rights", func(ctx SpecContext) {
		b := newBench(api)
		o := newBroker(ctx, newNamespace(ctx), func(s *v1alpha1.MessageBrokerSpec) {
			s.PodTemplate = &apiextensionsv1.JSON{Raw: []byte(`{"spec":{"containers":[{"name":"broker","env":[{"name":"A","value":"b"}]}]}}`)}
		})
		b.settle(ctx, o)
		Expect(brokerOf(template(ctx, o).Spec).Env).To(Equal([]corev1.EnvVar{{Name: "A", Value: "b"}}))
		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) {
			s.PodTemplate = &apiextensionsv1.JSON{Raw: []byte(`{"spec":{"hostPID":true}}`)}
		})
		b.settle(ctx, o)
		Expect(readiness(o)).To(because(metav1.ConditionFalse, condition.InvalidConfiguration))
		Expect(readiness(o).Message).To(Equal("podTemplate.spec.hostPID: must not be set: the pod stays out of its node's namespaces"))
		Expect(template(ctx, o).Spec.HostPID).To(BeFalse())
	}, NodeTimeout(time.Minute))

	It("survives an API server that conflicts on every write", func(ctx SpecContext) {
		conflict := apierrors.NewConflict(schema.GroupResource{Resource: "things"}, "a", errors.New("somebody else was faster"))
		calls, conflicts := 0, true
		answer := func() error {
			if calls++; conflicts {
				return conflict
			}
			return nil
		}
		c := interceptor.NewClient(api, interceptor.Funcs{
			Create: func(ctx context.Context, to client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				return errors.Join(answer(), ifNil(conflicts, func() error { return to.Create(ctx, o, opts...) }))
			},
			Apply: func(ctx context.Context, to client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
				return errors.Join(answer(), ifNil(conflicts, func() error { return to.Apply(ctx, o, opts...) }))
			},
			SubResourcePatch: func(ctx context.Context, to client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
				return errors.Join(answer(), ifNil(conflicts, func() error { return to.SubResource(sub).Patch(ctx, o, p, opts...) }))
			},
		})
		b := newBench(c)
		o := newBroker(ctx, newNamespace(ctx), nil)
		const attempts = 5
		for range attempts {
			_, err := b.reconcile(ctx, o)
			Expect(err).To(MatchError(ContainSubstring("somebody else was faster")), "it is tried again, ever more rarely")
		}
		Expect(calls).To(BeNumerically("<=", 2*attempts), "the first failure ends an attempt")
		conflicts = false
		b.settle(ctx, o)
		Expect(readiness(o)).To(because(metav1.ConditionFalse, condition.Pending))
		Expect(children(ctx, o.Namespace)).To(HaveLen(11))
	}, NodeTimeout(time.Minute))
})

// ifNil calls f unless something is wrong already.
func ifNil(wrong bool, f func() error) error {
	if wrong {
		return nil
	}
	return f()
}

var _ = Describe("The ways to a MessageBroker", func() {
	It("are the Services that the spec asks for, of both IP families where there are", func(ctx SpecContext) {
		b := newBench(api)
		o := newBroker(ctx, newNamespace(ctx), func(s *v1alpha1.MessageBrokerSpec) {
			s.Service = v1alpha1.Service{
				Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: new("example.com/lb"), LoadBalancerSourceRanges: []string{"10.0.0.0/8"},
				ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, NodePorts: &v1alpha1.NodePorts{MQTT: 31883}, IPFamilyPolicy: new(corev1.IPFamilyPolicyPreferDualStack),
			}
		})
		b.settle(ctx, o)
		s := &corev1.Service{}
		s.Namespace, s.Name = o.Namespace, o.Name
		reread(ctx, s)
		Expect(s.Spec.LoadBalancerClass).To(HaveValue(Equal("example.com/lb")))
		Expect(s.Spec.LoadBalancerSourceRanges).To(Equal([]string{"10.0.0.0/8"}))
		Expect(s.Spec.ExternalTrafficPolicy).To(Equal(corev1.ServiceExternalTrafficPolicyLocal))
		Expect(s.Spec.Ports[0].NodePort).To(BeEquivalentTo(31883))
		Expect(s.Spec.IPFamilyPolicy).To(HaveValue(Equal(corev1.IPFamilyPolicyPreferDualStack)))
		Expect(o.Status.Endpoints.External).To(BeEmpty())
		was := s.DeepCopy()
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "2001:db8::1"}, {Hostname: "lb.example.com"}}
		Expect(api.Status().Patch(ctx, s, client.MergeFrom(was))).To(Succeed())
		b.settle(ctx, o)
		Expect(o.Status.Endpoints.External).To(And(HaveLen(10), ContainElements("mqtts://[2001:db8::1]:8883", "amqps://lb.example.com:5671")))
		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) { s.Service = v1alpha1.Service{Type: corev1.ServiceTypeClusterIP} })
		b.settle(ctx, o)
		Expect(reread(ctx, s).Spec.Type).To(Equal(corev1.ServiceTypeClusterIP))
		Expect(s.Spec.Ports[0].NodePort).To(BeZero())
		Expect(o.Status.Endpoints.External).To(BeEmpty())
	}, NodeTimeout(time.Minute))

	It("lead to the WebSocket listener by Ingress and by Gateway, and go again", func(ctx SpecContext) {
		b := newBench(api)
		o := newBroker(ctx, newNamespace(ctx), func(s *v1alpha1.MessageBrokerSpec) {
			s.WebSocket = &v1alpha1.WebSocket{
				Path: "/mqtt", Ingress: &v1alpha1.Ingress{Host: "mqtt.example.com"},
				Gateway: &v1alpha1.Gateway{ParentRefs: []v1alpha1.GatewayReference{{Name: "public"}}},
			}
		})
		b.settle(ctx, o)
		p := b.pods.start(ctx, o)
		b.settle(ctx, o)
		Expect(p.listen).To(And(HaveKey("ws"), HaveKey("wss")))
		Expect(o.Status.Endpoints.WS).To(Equal("ws://broker." + o.Namespace + ".svc:8083/mqtt"))
		Expect(o.Status.Endpoints.External).To(Equal([]string{"ws://mqtt.example.com/mqtt"}))
		Expect(readiness(o)).To(because(metav1.ConditionFalse, condition.GatewayMissing))
		Expect(readiness(o).Message).To(ContainSubstring("install the Gateway API, or use spec.webSocket.ingress"))
		ingress := &networkingv1.Ingress{}
		ingress.Namespace, ingress.Name = o.Namespace, "broker-ws"
		Expect(reread(ctx, ingress).Spec.Rules[0].HTTP.Paths[0].Path).To(Equal("/mqtt"))

		installKind(ctx, "gateway.networking.k8s.io", "HTTPRoute", "httproutes")
		b.settle(ctx, o)
		Expect(note(o, condition.RouteReady)).To(because(metav1.ConditionTrue, condition.Routed))
		Expect(readiness(o)).To(because(metav1.ConditionTrue, condition.Available))
		route := resource.Foreign(o, resource.HTTPRouteKind, "broker-ws")
		reread(ctx, route)

		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) { s.WebSocket.Gateway = nil })
		b.settle(ctx, o)
		Expect(apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(route), route))).To(BeTrue())
		reread(ctx, ingress)
		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) { s.WebSocket = nil })
		b.settle(ctx, o)
		Expect(apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(ingress), ingress))).To(BeTrue())
		Expect(note(o, condition.RouteReady)).To(Equal(metav1.Condition{}))
	}, NodeTimeout(time.Minute))
})

var _ = Describe("A MessageBroker that hibernates", func() {
	It("says so, keeps what it has, and lets go of what is deleted", func(ctx SpecContext) {
		n := newNamespace(ctx)
		op := startOperator(n, &pods{}, time.Hour)
		o, p := op.serving(ctx, n)
		q := newQueue(n, "orders")
		Expect(api.Create(ctx, q)).To(Succeed())
		Eventually(func() metav1.Condition { return queueCondition(ctx, q) }).Should(HaveField("Status", metav1.ConditionTrue))

		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) { s.Replicas = new(int32(0)) })
		set := &appsv1.StatefulSet{}
		Eventually(func() *int32 {
			Expect(api.Get(ctx, client.ObjectKeyFromObject(o), set)).To(Succeed())
			return set.Spec.Replicas
		}).Should(HaveValue(BeEquivalentTo(0)))
		p.stop()
		before := set.DeepCopy()
		set.Status = appsv1.StatefulSetStatus{ObservedGeneration: set.Generation}
		Expect(api.Status().Patch(ctx, set, client.MergeFrom(before))).To(Succeed())
		Eventually(func() metav1.Condition { return readiness(reread(ctx, o)) }).Should(because(metav1.ConditionTrue, condition.Hibernated))
		Eventually(func() metav1.Condition { return queueCondition(ctx, q) }).Should(
			And(because(metav1.ConditionFalse, condition.BrokerUnavailable), HaveField("Message", ContainSubstring("Hibernated"))))
		late := newQueue(n, "late")
		Expect(api.Create(ctx, late)).To(Succeed())
		Eventually(func() metav1.Condition { return queueCondition(ctx, late) }).Should(because(metav1.ConditionFalse, condition.BrokerUnavailable))
		Expect(api.Delete(ctx, late)).To(Succeed())
		Eventually(func() error { return api.Get(ctx, client.ObjectKeyFromObject(late), late) }).Should(MatchError(ContainSubstring("not found")))

		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) { s.Replicas = new(int32(1)) })
		Eventually(func() *int32 {
			Expect(api.Get(ctx, client.ObjectKeyFromObject(o), set)).To(Succeed())
			return set.Spec.Replicas
		}).Should(HaveValue(BeEquivalentTo(1)))
		op.pods.startIn(ctx, o, p.root)
		Eventually(func() metav1.Condition { return readiness(reread(ctx, o)) }).Should(because(metav1.ConditionTrue, condition.Available))
		Eventually(func() metav1.Condition { return queueCondition(ctx, q) }).Should(HaveField("Status", metav1.ConditionTrue))
	}, NodeTimeout(time.Minute))
})
