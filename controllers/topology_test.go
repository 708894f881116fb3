package controllers_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	adminapi "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/broker"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/connection"
	"github.com/turnstone-mq/turnstone/controllers/foreign"
	"github.com/turnstone-mq/turnstone/controllers/metrics"
	"github.com/turnstone-mq/turnstone/controllers/resource"
	"github.com/turnstone-mq/turnstone/controllers/topology"
)

// operator is the whole operator for one namespace, with caches, until stop.
type operator struct {
	pods        *pods
	writes      *counter
	connections *connection.Pool
	stop        func()
}

// startOperator runs all controllers for one namespace, with the rights that the chart gives them and no others. releaseAfter is how long deletions wait for a broker.
func startOperator(namespace string, p *pods, releaseAfter time.Duration) *operator {
	GinkgoHelper()
	o := &operator{pods: p, writes: &counter{}}
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{resource.LabelManagedBy: resource.ManagedBy})}
	restricted := rest.CopyConfig(config)
	restricted.Impersonate.UserName = serviceAccount
	restricted.Wrap(metrics.Kubernetes)
	m, err := ctrl.NewManager(restricted, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Controller: ctrlconfig.Controller{SkipNameValidation: new(true)},
		Cache: cache.Options{
			DefaultNamespaces: map[string]cache.Config{namespace: {}},
			ByObject: map[client.Object]cache.ByObject{
				&corev1.Secret{}: ours, &corev1.ConfigMap{}: ours, &corev1.Service{}: ours, &corev1.ServiceAccount{}: ours,
				&appsv1.StatefulSet{}: ours, &networkingv1.NetworkPolicy{}: ours, &policyv1.PodDisruptionBudget{}: ours,
			},
		},
		NewClient: func(c *rest.Config, options client.Options) (client.Client, error) {
			direct, err := client.NewWithWatch(c, options)
			if err != nil {
				return nil, err
			}
			return o.writes.client(direct), nil
		},
	})
	Expect(err).NotTo(HaveOccurred())
	o.connections = &connection.Pool{Reader: m.GetClient(), Address: p.url}
	ctx, cancel := context.WithCancel(context.Background())
	secrets, err := foreign.New(m, map[string]cache.Config{namespace: {}})
	Expect(err).NotTo(HaveOccurred())
	b := &broker.Reconciler{
		Client: m.GetClient(), Live: m.GetAPIReader(), Scheme: scheme, Events: m.GetEventRecorder("turnstone-operator"),
		Image: "broker:test", Connections: o.connections, Foreign: secrets, Now: time.Now,
	}
	Expect(b.Setup(ctx, m)).To(Succeed())
	Expect(topology.SetupWithManager(ctx, m, topology.Options{
		Connections: o.connections, Foreign: secrets, ReleaseAfter: releaseAfter, Namespaces: []string{namespace},
	})).To(Succeed())
	metrics.Build("test", "none")
	Expect(metrics.Objects(m)).To(Succeed())
	ended := make(chan error, 1)
	go func() { ended <- m.Start(ctx) }() // ends when cancel is called
	o.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	DeferCleanup(o.stop)
	return o
}

// serving makes a MessageBroker and its pod and waits until it is Ready.
func (o *operator) serving(ctx context.Context, namespace string) (*v1alpha1.MessageBroker, *pod) {
	GinkgoHelper()
	b := newBroker(ctx, namespace, nil)
	return b, o.serve(ctx, b)
}

func (o *operator) serve(ctx context.Context, b *v1alpha1.MessageBroker) *pod {
	GinkgoHelper()
	set := &appsv1.StatefulSet{}
	Eventually(func() error { return api.Get(ctx, client.ObjectKeyFromObject(b), set) }).Should(Succeed())
	p := o.pods.start(ctx, b)
	Eventually(func() metav1.Condition { return readiness(reread(ctx, b)) }).Should(because(metav1.ConditionTrue, condition.Available))
	return p
}

// samples are the objects of config/samples, in a namespace.
func samples(namespace string) []*unstructured.Unstructured {
	GinkgoHelper()
	files, err := filepath.Glob("../config/samples/*.yaml")
	Expect(err).NotTo(HaveOccurred())
	var out []*unstructured.Unstructured
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		f, err := os.Open(file)
		Expect(err).NotTo(HaveOccurred())
		defer f.Close()
		for d := yaml.NewYAMLOrJSONDecoder(f, 4096); ; {
			u := &unstructured.Unstructured{}
			if d.Decode(u) != nil {
				break
			}
			u.SetNamespace(namespace)
			out = append(out, u)
		}
	}
	Expect(len(out)).To(BeNumerically(">=", 8))
	return out
}

// unready says why an object is not Ready in its generation; empty if it is.
func unready(ctx context.Context, u *unstructured.Unstructured) string {
	now := u.DeepCopy()
	if err := api.Get(ctx, client.ObjectKeyFromObject(u), now); err != nil {
		return err.Error()
	}
	conditions, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions")
	for _, c := range conditions {
		c := c.(map[string]any)
		if c["type"] == condition.Ready && c["status"] == "True" && c["observedGeneration"] == now.GetGeneration() {
			return ""
		}
	}
	return fmt.Sprintf("%s %s: %v", u.GetKind(), u.GetName(), conditions)
}

func allReady(ctx context.Context, objects []*unstructured.Unstructured) func() []string {
	return func() []string {
		var waiting []string
		for _, u := range objects {
			if why := unready(ctx, u); why != "" {
				waiting = append(waiting, why)
			}
		}
		return waiting
	}
}

func gone(ctx context.Context, objects []*unstructured.Unstructured) func() []string {
	return func() []string {
		var left []string
		for _, u := range objects {
			now := u.DeepCopy()
			if api.Get(ctx, client.ObjectKeyFromObject(u), now) == nil {
				conditions, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions")
				left = append(left, fmt.Sprintf("%s %s %v", u.GetKind(), u.GetName(), conditions))
			}
		}
		return left
	}
}

func newQueue(namespace, name string) *v1alpha1.Queue {
	q := &v1alpha1.Queue{}
	q.Namespace, q.Name = namespace, name
	q.Spec.BrokerRef.Name = "broker"
	return q
}

func queueCondition(ctx context.Context, q *v1alpha1.Queue) metav1.Condition {
	GinkgoHelper()
	c := apimeta.FindStatusCondition(reread(ctx, q).Status.Conditions, condition.Ready)
	if c == nil {
		return metav1.Condition{}
	}
	return *c
}

// admin is a client of the broker's admin API as its administrator.
func (o *operator) admin(ctx context.Context, b *v1alpha1.MessageBroker) *adminapi.Client {
	GinkgoHelper()
	c, err := o.connections.To(ctx, b)
	Expect(err).NotTo(HaveOccurred())
	return c
}

var _ = Describe("The operator", func() {
	It("makes the samples Ready, and a restart over them writes nothing", func(ctx SpecContext) {
		n := newNamespace(ctx)
		all, running := samples(n), &pods{}
		o := startOperator(n, running, time.Minute)
		var b *v1alpha1.MessageBroker
		for _, u := range all {
			Expect(api.Create(ctx, u)).To(Succeed())
		}
		b = &v1alpha1.MessageBroker{}
		b.Namespace, b.Name = n, "broker"
		o.serve(ctx, b)
		Eventually(allReady(ctx, all)).Should(BeEmpty())

		o.stop()
		again := startOperator(n, running, time.Minute)
		late := newQueue(n, "late")
		Expect(api.Create(ctx, late)).To(Succeed())
		Eventually(func() metav1.Condition { return queueCondition(ctx, late) }).Should(HaveField("Status", metav1.ConditionTrue))
		Expect(again.writes.calls()).To(HaveEach(Or(HaveSuffix("*v1alpha1.Queue late"), Equal("patch status *v1alpha1.MessageBroker broker"))),
			"only the new queue is written to, and how many there are")
	}, NodeTimeout(2*time.Minute))

	It("lets the older of two objects keep a name, and hands it on", func(ctx SpecContext) {
		n := newNamespace(ctx)
		o := startOperator(n, &pods{}, time.Minute)
		o.serving(ctx, n)
		older := newQueue(n, "older")
		older.Spec.Name = "shared"
		Expect(api.Create(ctx, older)).To(Succeed())
		Eventually(func() metav1.Condition { return queueCondition(ctx, older) }).Should(HaveField("Status", metav1.ConditionTrue))
		// Creation times have a resolution of a second, and names that are equally old go by UID.
		Eventually(time.Now).Should(BeTemporally(">", older.CreationTimestamp.Add(time.Second)))
		younger := newQueue(n, "younger")
		younger.Spec.Name = "shared"
		Expect(api.Create(ctx, younger)).To(Succeed())
		Eventually(func() metav1.Condition { return queueCondition(ctx, younger) }).Should(because(metav1.ConditionFalse, condition.ResourceConflict))
		Expect(queueCondition(ctx, younger).Message).To(ContainSubstring(n + "/older"))
		Expect(queueCondition(ctx, older).Status).To(Equal(metav1.ConditionTrue))
		Expect(api.Delete(ctx, older)).To(Succeed())
		Eventually(func() metav1.Condition { return queueCondition(ctx, younger) }).Should(HaveField("Status", metav1.ConditionTrue))
	}, NodeTimeout(time.Minute))

	It("does not delete a virtual host, with the queues in it, before they are gone", func(ctx SpecContext) {
		n := newNamespace(ctx)
		o := startOperator(n, &pods{}, time.Minute)
		b, _ := o.serving(ctx, n)
		host := &v1alpha1.VirtualHost{}
		host.Namespace, host.Name = n, "staging"
		host.Spec.BrokerRef.Name = "broker"
		q := newQueue(n, "orders")
		q.Spec.VHost = "staging"
		Expect(api.Create(ctx, host)).To(Succeed())
		Expect(api.Create(ctx, q)).To(Succeed())
		Eventually(func() metav1.Condition { return queueCondition(ctx, q) }).Should(HaveField("Status", metav1.ConditionTrue))
		stored := func() []object.Object {
			l, err := o.admin(ctx, b).Objects(ctx, "turnstone-operator", object.KindQueue)
			Expect(err).NotTo(HaveOccurred())
			return l.Objects
		}
		before := stored()

		Expect(api.Delete(ctx, host)).To(Succeed())
		Eventually(func() []metav1.Condition { return reread(ctx, host).Status.Conditions }).
			Should(ContainElement(And(HaveField("Type", condition.Ready), HaveField("Reason", condition.DeletionBlocked))))
		Expect(stored()).To(Equal(before))
		Expect(api.Delete(ctx, q)).To(Succeed())
		Eventually(func() error { return api.Get(ctx, client.ObjectKeyFromObject(host), host) }).Should(MatchError(ContainSubstring("not found")))
	}, NodeTimeout(time.Minute))

	It("gives a user a Secret that says all it takes to connect", func(ctx SpecContext) {
		n := newNamespace(ctx)
		o := startOperator(n, &pods{}, time.Minute)
		o.serving(ctx, n)
		u := &v1alpha1.User{}
		u.Namespace, u.Name = n, "shop"
		u.Spec.BrokerRef.Name = "broker"
		Expect(api.Create(ctx, u)).To(Succeed())
		Eventually(func() []metav1.Condition { return reread(ctx, u).Status.Conditions }).Should(ContainElement(HaveField("Reason", condition.Synced)))
		secret, standard := &corev1.Secret{}, &corev1.Secret{}
		Expect(api.Get(ctx, client.ObjectKey{Namespace: n, Name: u.Status.Binding.Name}, secret)).To(Succeed())
		Expect(api.Get(ctx, client.ObjectKey{Namespace: n, Name: "broker-default-user"}, standard)).To(Succeed())
		for key := range standard.Data {
			Expect(secret.Data).To(HaveKey(key))
		}
		Expect(secret.Data["ca.crt"]).To(Equal(standard.Data["ca.crt"]))
		Expect(string(secret.Data["username"])).To(Equal("shop"))
	}, NodeTimeout(time.Minute))

	It("lets everything go in any order", func(ctx SpecContext) {
		seed := uint64(GinkgoRandomSeed())
		random := rand.New(rand.NewPCG(seed, seed))
		for round := range 5 {
			n := newNamespace(ctx)
			o := startOperator(n, &pods{}, time.Minute)
			all := samples(n)
			for _, u := range all {
				Expect(api.Create(ctx, u)).To(Succeed())
			}
			b := &v1alpha1.MessageBroker{}
			b.Namespace, b.Name = n, "broker"
			o.serve(ctx, b)
			Eventually(allReady(ctx, all)).Should(BeEmpty())
			random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for _, u := range all {
				Expect(api.Delete(ctx, u)).To(Succeed())
			}
			Eventually(gone(ctx, all)).Should(BeEmpty(), "round %d of seed %d", round, seed)
			o.stop()
		}
	}, NodeTimeout(4*time.Minute))

})
