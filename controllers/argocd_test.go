package controllers_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

const argocdFolder = "../config/argocd/resource_customizations/messaging.turnstone.dev"

// customizations are the scripts of a kind as the ConfigMap argocd-cm has them.
type customizations struct {
	health    string
	discovery string
	actions   map[string]string
}

// argocdConfig reads the patch of argocd-cm.
func argocdConfig() map[string]customizations {
	GinkgoHelper()
	m := &corev1.ConfigMap{}
	Expect(yaml.UnmarshalStrict([]byte(readFile("../config/argocd/argocd-cm.yaml")), m)).To(Succeed())
	out := map[string]customizations{}
	for _, kind := range kindsOfAPI() {
		name := "messaging.turnstone.dev_" + kind
		Expect(m.Data).To(HaveKey("resource.customizations.health." + name))
		c := customizations{health: m.Data["resource.customizations.health."+name], actions: map[string]string{}}
		var actions struct {
			Discovery   string `json:"discovery.lua"`
			Definitions []struct {
				Name   string `json:"name"`
				Script string `json:"action.lua"`
			} `json:"definitions"`
		}
		Expect(yaml.UnmarshalStrict([]byte(m.Data["resource.customizations.actions."+name]), &actions)).To(Succeed())
		c.discovery = actions.Discovery
		for _, d := range actions.Definitions {
			c.actions[d.Name] = d.Script
		}
		out[kind] = c
	}
	Expect(m.Data).To(HaveLen(2 * len(out)))
	return out
}

// kindsOfAPI are the kinds that have a CustomResourceDefinition.
func kindsOfAPI() []string {
	GinkgoHelper()
	files, err := filepath.Glob("../config/crd/bases/*.yaml")
	Expect(err).NotTo(HaveOccurred())
	var out []string
	for _, file := range files {
		var crd struct {
			Spec struct{ Names struct{ Kind string } }
		}
		Expect(yaml.Unmarshal([]byte(readFile(file)), &crd)).To(Succeed())
		out = append(out, crd.Spec.Names.Kind)
	}
	Expect(len(out)).To(BeNumerically(">=", 10))
	return out
}

// now reads an object as it is.
func now(ctx context.Context, u *unstructured.Unstructured) *unstructured.Unstructured {
	GinkgoHelper()
	live := u.DeepCopy()
	Expect(api.Get(ctx, client.ObjectKeyFromObject(u), live)).To(Succeed())
	return live
}

// kstatus is what Flux waits for.
func kstatus(u *unstructured.Unstructured) status.Status {
	GinkgoHelper()
	r, err := status.Compute(u)
	Expect(err).NotTo(HaveOccurred())
	return r.Status
}

// says writes conditions as the operator does.
func says(ctx context.Context, u *unstructured.Unstructured, s condition.State, more ...metav1.Condition) *unstructured.Unstructured {
	GinkgoHelper()
	live := now(ctx, u)
	before := live.DeepCopy()
	var conditions []metav1.Condition
	condition.Set(&conditions, live.GetGeneration(), s)
	for i := range conditions {
		conditions[i].LastTransitionTime = metav1.Now()
	}
	for _, c := range more {
		c.LastTransitionTime, c.ObservedGeneration = metav1.Now(), live.GetGeneration()
		conditions = append(conditions, c)
	}
	var list []any
	for _, c := range conditions {
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&c)
		Expect(err).NotTo(HaveOccurred())
		list = append(list, m)
	}
	Expect(unstructured.SetNestedSlice(live.Object, list, "status", "conditions")).To(Succeed())
	Expect(unstructured.SetNestedField(live.Object, live.GetGeneration(), "status", "observedGeneration")).To(Succeed())
	Expect(api.Status().Patch(ctx, live, client.MergeFrom(before))).To(Succeed())
	return now(ctx, u)
}

// touch changes a spec, so that the object has a generation that nobody looked at.
func touch(ctx context.Context, u *unstructured.Unstructured) *unstructured.Unstructured {
	GinkgoHelper()
	live := now(ctx, u)
	before := live.DeepCopy()
	path, value := []string{"spec", "adopt"}, any(true)
	if u.GetKind() == "MessageBroker" {
		path, value = []string{"spec", "priorityClassName"}, "other"
	}
	Expect(unstructured.SetNestedField(live.Object, value, path...)).To(Succeed())
	Expect(api.Patch(ctx, live, client.MergeFrom(before))).To(Succeed())
	live = now(ctx, u)
	Expect(live.GetGeneration()).To(BeNumerically(">", before.GetGeneration()))
	return live
}

var _ = Describe("Argo CD and Flux", func() {
	It("see each kind as it is, at every step of its life", func(ctx SpecContext) {
		n := newNamespace(ctx)
		scripts, all, seen := argocdConfig(), samples(n), map[string]bool{}
		expect := func(u *unstructured.Unstructured, argo, message string, flux status.Status) {
			GinkgoHelper()
			h := healthBy(ctx, scripts[u.GetKind()].health, u.Object)
			Expect(h.Status).To(Equal(argo), "%s: %s", u.GetKind(), h.Message)
			Expect(h.Message).To(ContainSubstring(message), u.GetKind())
			Expect(kstatus(u)).To(Equal(flux), "%s: %v", u.GetKind(), u.Object["status"])
		}
		for _, u := range all {
			Expect(api.Create(ctx, u)).To(Succeed())
			expect(now(ctx, u), "Progressing", "has not looked at it yet", status.InProgressStatus)
			seen[u.GetKind()] = true
		}
		Expect(sortedKeys(seen)).To(ConsistOf(kindsOfAPI()), "every kind has a sample")

		running := &pods{}
		o := startOperator(n, running, time.Minute)
		b := &v1alpha1.MessageBroker{}
		b.Namespace, b.Name = n, "broker"
		o.serve(ctx, b)
		Eventually(allReady(ctx, all)).Should(BeEmpty())
		o.stop()
		for _, u := range all {
			expect(now(ctx, u), "Healthy", "", status.CurrentStatus)
		}
		for _, u := range all {
			expect(touch(ctx, u), "Progressing", "has not looked at the last change yet", status.InProgressStatus)
			expect(says(ctx, u, condition.Waiting(condition.BrokerUnavailable, "no answer")), "Progressing", "BrokerUnavailable: no answer", status.InProgressStatus)
			expect(says(ctx, u, condition.Stuck(condition.ResourceConflict, "another has it")), "Degraded", "ResourceConflict: another has it", status.FailedStatus)
			expect(says(ctx, u, condition.OK(condition.Synced, "")), "Healthy", "Synced", status.CurrentStatus)
			drifted := metav1.Condition{Type: "Drifted", Status: metav1.ConditionTrue, Reason: "Differs", Message: "maxLength is 5"}
			expect(says(ctx, u, condition.OK(condition.Synced, ""), drifted), "Healthy", "Drifted: maxLength is 5", status.CurrentStatus)
			if u.GetKind() == "MessageBroker" {
				paused := metav1.Condition{Type: "Paused", Status: metav1.ConditionTrue, Reason: "ByAnnotation"}
				expect(says(ctx, u, condition.OK(condition.Available, ""), paused), "Suspended", "Paused", status.CurrentStatus)
				expect(says(ctx, u, condition.State{Ready: true, Reason: "Hibernated", Message: "no pod runs"}), "Suspended", "Hibernated: no pod runs", status.CurrentStatus)
			}
		}
		for _, u := range all {
			live := now(ctx, u)
			before := live.DeepCopy()
			live.SetFinalizers([]string{"example.com/wait"})
			Expect(api.Patch(ctx, live, client.MergeFrom(before))).To(Succeed())
			Expect(api.Delete(ctx, live)).To(Succeed())
			expect(says(ctx, u, condition.Waiting(condition.DeletionBlocked, "it holds 5 messages")), "Progressing", "Is being deleted. DeletionBlocked: it holds 5 messages", status.TerminatingStatus)
			live = now(ctx, u)
			before = live.DeepCopy()
			live.SetFinalizers(nil)
			Expect(api.Patch(ctx, live, client.MergeFrom(before))).To(Succeed())
		}
	}, NodeTimeout(2*time.Minute))

	It("see what the operator itself says of what cannot work", func(ctx SpecContext) {
		n := newNamespace(ctx)
		scripts := argocdConfig()
		seen := func(o client.Object, kind string) func() string {
			return func() string {
				u := &unstructured.Unstructured{}
				u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
				u.SetNamespace(n)
				u.SetName(o.GetName())
				live := now(ctx, u)
				return healthBy(ctx, scripts[kind].health, live.Object).Status + " " + string(kstatus(live))
			}
		}
		o := startOperator(n, &pods{}, time.Minute)
		early := newQueue(n, "early")
		Expect(api.Create(ctx, early)).To(Succeed())
		Eventually(func() metav1.Condition { return queueCondition(ctx, early) }).Should(because(metav1.ConditionFalse, condition.BrokerNotFound))
		Expect(seen(early, "Queue")()).To(Equal("Progressing InProgress"))
		o.serving(ctx, n)
		Eventually(seen(early, "Queue")).Should(Equal("Healthy Current"))

		alone := &v1alpha1.Binding{}
		alone.Namespace, alone.Name = n, "alone"
		alone.Spec = v1alpha1.BindingSpec{BrokerRef: v1alpha1.BrokerReference{Name: "broker"}, Source: "amq.topic", Destination: "nowhere"}
		Expect(api.Create(ctx, alone)).To(Succeed())
		bad := &v1alpha1.Policy{}
		bad.Namespace, bad.Name = n, "bad"
		bad.Spec.BrokerRef.Name, bad.Spec.Pattern = "broker", "q"
		Expect(json.Unmarshal([]byte(`{"max-length": "many"}`), &bad.Spec.Definition)).To(Succeed()) // no number
		Expect(api.Create(ctx, bad)).To(Succeed())
		Eventually(seen(alone, "Binding")).Should(Equal("Progressing InProgress"))
		Eventually(seen(bad, "Policy")).Should(Equal("Degraded Failed"))
	}, NodeTimeout(time.Minute))

	It("see what came of actions while the operator runs", func(ctx SpecContext) {
		n := newNamespace(ctx)
		scripts := argocdConfig()
		o := startOperator(n, &pods{}, time.Minute)
		broker, _ := o.serving(ctx, n)
		queue := newQueue(n, "orders")
		Expect(api.Create(ctx, queue)).To(Succeed())
		of := func(o client.Object, kind string) *unstructured.Unstructured {
			u := &unstructured.Unstructured{}
			u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
			u.SetNamespace(n)
			u.SetName(o.GetName())
			return now(ctx, u)
		}
		seen := func(o client.Object, kind string) func() string {
			return func() string {
				h := healthBy(ctx, scripts[kind].health, of(o, kind).Object)
				return h.Status + ": " + h.Message
			}
		}
		act := func(o client.Object, kind, action string) {
			GinkgoHelper()
			live := of(o, kind)
			applyAction(ctx, live, actBy(ctx, scripts[kind].actions[action], live.Object))
		}
		Eventually(seen(queue, "Queue")).Should(HavePrefix("Healthy"))
		act(queue, "Queue", "plan")
		Eventually(seen(queue, "Queue")).Should(HavePrefix("Suspended: Plan only: status.plan says what would be done"))
		act(queue, "Queue", "apply")
		Eventually(seen(queue, "Queue")).Should(HavePrefix("Healthy"))

		Eventually(seen(broker, "MessageBroker")).Should(HavePrefix("Healthy"))
		act(broker, "MessageBroker", "pause")
		Eventually(seen(broker, "MessageBroker")).Should(HavePrefix("Suspended: Paused"))
		act(broker, "MessageBroker", "resume")
		Eventually(seen(broker, "MessageBroker")).Should(HavePrefix("Healthy"))
		act(broker, "MessageBroker", "hibernate")
		set := &appsv1.StatefulSet{}
		Eventually(func() int32 {
			Expect(api.Get(ctx, client.ObjectKeyFromObject(broker), set)).To(Succeed())
			return *set.Spec.Replicas
		}).Should(BeZero())
		before := set.DeepCopy() // what the controller of StatefulSets would say
		set.Status = appsv1.StatefulSetStatus{ObservedGeneration: set.Generation}
		Expect(api.Status().Patch(ctx, set, client.MergeFrom(before))).To(Succeed())
		Eventually(seen(broker, "MessageBroker")).Should(HavePrefix("Suspended: Hibernated"))
		Expect(string(kstatus(of(broker, "MessageBroker")))).To(Equal("Current"))
		act(broker, "MessageBroker", "wake")
		Eventually(seen(broker, "MessageBroker")).Should(HavePrefix("Progressing"))
	}, NodeTimeout(time.Minute))

	It("offer actions that do what they say to live objects", func(ctx SpecContext) {
		n := newNamespace(ctx)
		scripts := argocdConfig()
		act := func(u *unstructured.Unstructured, name string) {
			GinkgoHelper()
			live, kind := now(ctx, u), scripts[u.GetKind()]
			Expect(offeredBy(ctx, kind.discovery, live.Object)).To(HaveKeyWithValue(name, true), u.GetKind())
			applyAction(ctx, live, actBy(ctx, kind.actions[name], live.Object))
			Expect(offeredBy(ctx, kind.discovery, now(ctx, u).Object)).To(HaveKeyWithValue(name, false), "%s %s", u.GetKind(), name)
		}
		for _, u := range samples(n) {
			Expect(api.Create(ctx, u)).To(Succeed())
			before := now(ctx, u)
			Expect(sortedKeys(scripts[u.GetKind()].actions)).To(Equal(sortedKeys(offeredBy(ctx, scripts[u.GetKind()].discovery, before.Object))))
			on, off, annotation := "plan", "apply", "messaging.turnstone.dev/plan"
			if u.GetKind() == "MessageBroker" {
				on, off, annotation = "pause", "resume", "messaging.turnstone.dev/paused"
			}
			act(u, on)
			Expect(now(ctx, u).GetAnnotations()).To(Equal(map[string]string{annotation: "true"}))
			act(u, off)
			Expect(now(ctx, u).GetAnnotations()).To(BeEmpty(), "the last annotation goes too")
			Expect(now(ctx, u).Object["spec"]).To(Equal(before.Object["spec"]), "nothing else changed")
			Expect(now(ctx, u).GetGeneration()).To(Equal(before.GetGeneration()))
		}
	}, NodeTimeout(time.Minute))

	It("pass the tests in the layout of Argo CD's own repository", func(ctx SpecContext) {
		for _, kind := range kindsOfAPI() {
			folder := filepath.Join(argocdFolder, kind)
			document := func(path string, to any) {
				GinkgoHelper()
				Expect(yaml.Unmarshal([]byte(readFile(filepath.Join(folder, path))), to)).To(Succeed())
			}
			object := func(path string) map[string]any {
				u := &unstructured.Unstructured{}
				document(path, &u.Object)
				text, err := json.Marshal(u.Object)
				Expect(err).NotTo(HaveOccurred())
				Expect(u.UnmarshalJSON(text)).To(Succeed()) // whole numbers are int64, as from the API server
				return u.Object
			}
			var healthTests struct {
				Tests []struct {
					HealthStatus health
					InputPath    string
				}
			}
			document("health_test.yaml", &healthTests)
			Expect(len(healthTests.Tests)).To(BeNumerically(">=", 5))
			for _, t := range healthTests.Tests {
				Expect(healthBy(ctx, readFile(filepath.Join(folder, "health.lua")), object(t.InputPath))).To(Equal(t.HealthStatus), "%s %s", kind, t.InputPath)
			}
			var actionTests struct {
				DiscoveryTests []struct {
					InputPath string
					Result    []struct {
						Name     string
						Disabled bool
					}
				}
				ActionTests []struct{ Action, InputPath, ExpectedOutputPath string }
			}
			document("actions/action_test.yaml", &actionTests)
			for _, t := range actionTests.DiscoveryTests {
				want := map[string]bool{}
				for _, a := range t.Result {
					want[a.Name] = !a.Disabled
				}
				Expect(offeredBy(ctx, readFile(filepath.Join(folder, "actions/discovery.lua")), object("actions/"+t.InputPath))).To(Equal(want), "%s %s", kind, t.InputPath)
			}
			Expect(len(actionTests.ActionTests)).To(BeNumerically(">=", 2))
			for _, t := range actionTests.ActionTests {
				script := readFile(filepath.Join(folder, "actions", t.Action, "action.lua"))
				Expect(actBy(ctx, script, object("actions/"+t.InputPath))).To(Equal(object("actions/"+t.ExpectedOutputPath)), "%s %s", kind, t.Action)
			}
		}
	})
})

// applyAction changes an object by what an action returned, as Argo CD does: by a merge patch.
func applyAction(ctx context.Context, live *unstructured.Unstructured, wanted map[string]any) {
	GinkgoHelper()
	before, err := json.Marshal(live.Object)
	Expect(err).NotTo(HaveOccurred())
	after, err := json.Marshal(wanted)
	Expect(err).NotTo(HaveOccurred())
	patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch(before, after, before)
	Expect(err).NotTo(HaveOccurred())
	Expect(api.Patch(ctx, live.DeepCopy(), client.RawPatch("application/merge-patch+json", patch))).To(Succeed())
}
