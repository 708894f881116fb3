package controllers_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

const gitopsTree = "config/samples/gitops"

// kustomized is what kustomize makes of a folder.
func kustomized(folder string) []*unstructured.Unstructured {
	GinkgoHelper()
	programs := exec.Command("hack/localcluster/programs", "kubectl")
	programs.Dir = ".."
	where, err := programs.Output()
	Expect(err).NotTo(HaveOccurred())
	c := exec.Command(filepath.Join(strings.TrimSpace(string(where)), "kubectl"), "kustomize", folder)
	c.Dir = ".."
	var problems bytes.Buffer
	c.Stderr = &problems
	text, err := c.Output()
	Expect(err).NotTo(HaveOccurred(), problems.String())
	var out []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		u := &unstructured.Unstructured{}
		if d.Decode(u) != nil {
			return out
		}
		out = append(out, u)
	}
}

// ofOurs are the objects of the API in a namespace of the test's; others are of Kubernetes and of prometheus-operator.
func ofOurs(all []*unstructured.Unstructured, namespace string) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, u := range all {
		if u.GroupVersionKind().Group == v1alpha1.GroupVersion.Group {
			u = u.DeepCopy()
			u.SetNamespace(namespace)
			out = append(out, u)
		}
	}
	return out
}

// serverSideApply applies as a GitOps controller does, with a name of its own, and refuses unknown fields.
func serverSideApply(ctx context.Context, u *unstructured.Unstructured) *unstructured.Unstructured {
	GinkgoHelper()
	applied := u.DeepCopy()
	strict := client.WithFieldValidation(api, "Strict")
	Expect(strict.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("gitops"), client.ForceOwnership)).To(Succeed(), "%s %s", u.GetKind(), u.GetName())
	return now(ctx, u)
}

// variants are spellings that an API server could take for something else than they were written as.
func variants(namespace string) []*unstructured.Unstructured {
	GinkgoHelper()
	var out []*unstructured.Unstructured
	for name, spec := range map[string]string{
		"MessageBroker/quantities": `{storage: {size: 1024Mi}, resources: {requests: {cpu: "0.5", memory: "1073741824"}, limits: {cpu: 1000m}}}`,
		"MessageBroker/empty":      `{}`,
		"Queue/durations":          `{brokerRef: {name: b}, messageTTL: 90s, expires: 1h0m0s}`,
		"Queue/arguments":          `{brokerRef: {name: b}, arguments: {x-single-active-consumer: true, x-custom: [1, 2.5, {a: null}], x-max-length: 1000000000000}}`,
		"Queue/falsehoods":         `{brokerRef: {name: b}, autoDelete: false, adopt: false, maxLength: 0}`,
		"Binding/headers":          `{brokerRef: {name: b}, source: amq.headers, destination: q, routingKey: "", arguments: {x-match: any, n: 1}}`,
		"Policy/numbers":           `{brokerRef: {name: b}, pattern: .*, definition: {max-length: 10, ha-params: [a]}}`,
		"User/sets":                `{brokerRef: {name: b}, tags: [monitoring, administrator], limits: {maxConnections: 0}}`,
		"Permission/topics":        `{brokerRef: {name: b}, user: a, topics: [{filter: a/%u, publish: true, subscribe: false}, {filter: a/%u, publish: true}]}`,
	} {
		kind, name, _ := strings.Cut(name, "/")
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
		var s map[string]any
		Expect(yaml.Unmarshal([]byte(spec), &s)).To(Succeed())
		u.Object["spec"] = s
		u.SetNamespace(namespace)
		u.SetName(name)
		out = append(out, u)
	}
	return out
}

var _ = Describe("A GitOps tree", func() {
	It("differs in nothing when it is applied again, before and after the operator has seen it", func(ctx SpecContext) {
		n := newNamespace(ctx)
		all := append(samples(n), variants(n)...)
		applied := map[*unstructured.Unstructured]string{}
		for _, u := range all {
			first := serverSideApply(ctx, u)
			// What an object is created with has no status. Its default, which says that nobody has looked, is stored with the
			// second write, so that this one counts although it shows no difference.
			second := serverSideApply(ctx, u)
			applied[u] = second.GetResourceVersion()
			first.SetResourceVersion(applied[u])
			Expect(second).To(Equal(first))
		}
		again := func(when string) {
			GinkgoHelper()
			for _, u := range all {
				Expect(serverSideApply(ctx, u).GetResourceVersion()).To(Equal(applied[u]), "%s %s %s", u.GetKind(), u.GetName(), when)
			}
		}
		again("at once")
		o := startOperator(n, &pods{}, time.Minute)
		b := &v1alpha1.MessageBroker{}
		b.Namespace, b.Name = n, "broker"
		o.serve(ctx, b)
		Eventually(allReady(ctx, samples(n))).Should(BeEmpty())
		o.stop()
		for _, u := range all {
			live := now(ctx, u)
			applied[u] = live.GetResourceVersion()
			for _, by := range live.GetManagedFields() {
				if by.Manager != "gitops" {
					Expect(by.FieldsV1.GetRawString()).NotTo(ContainSubstring(`"f:spec"`), "%s of %s: %s", u.GetKind(), u.GetName(), by.Manager)
				}
			}
		}
		again("after the operator")
	}, NodeTimeout(2*time.Minute))

	It("becomes Ready in whatever order it is applied", func(ctx SpecContext) {
		seed := uint64(GinkgoRandomSeed())
		random := rand.New(rand.NewPCG(seed, seed))
		for _, overlay := range []string{"staging", "production", "staging", "production"} {
			n := newNamespace(ctx)
			o := startOperator(n, &pods{}, time.Minute)
			all := ofOurs(kustomized(filepath.Join(gitopsTree, "overlays", overlay)), n)
			Expect(len(all)).To(BeNumerically(">=", 14))
			random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for _, u := range all {
				Expect(u.GetLabels()).To(HaveKeyWithValue("environment", overlay))
				serverSideApply(ctx, u)
			}
			b := &v1alpha1.MessageBroker{}
			b.Namespace, b.Name = n, "messages"
			o.serve(ctx, b)
			Eventually(allReady(ctx, all)).Should(BeEmpty(), "%s with seed %d", overlay, seed)
			for _, u := range all {
				Expect(string(kstatus(now(ctx, u)))).To(Equal("Current"), "%s %s", u.GetKind(), u.GetName())
			}
			o.stop()
		}
	}, NodeTimeout(3*time.Minute))
})
