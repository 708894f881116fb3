package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// The overlay of config/samples/gitops that asks for no more than a small cluster has, and the namespace that comes with it.
const (
	tree    = "../../config/samples/gitops/overlays/staging"
	staging = namespace("messaging-staging")
)

var _ = Describe("config/samples/gitops", Ordered, func() {
	apply := func(ctx SpecContext) {
		GinkgoHelper()
		_, err := staging.kubectl(ctx, "apply", "--server-side", "--field-manager=gitops", "--force-conflicts", "-k", tree)
		Expect(err).NotTo(HaveOccurred())
	}

	It("is done, as kstatus says, after it was applied all at once", func(ctx SpecContext) {
		apply(ctx)
		Eventually(ctx, notCurrent).WithTimeout(2 * time.Minute).Should(BeEmpty())
		Expect(staging.waitingFor(ctx)).To(BeEmpty())
	}, NodeTimeout(3*time.Minute))

	It("does not change when it is applied again", func(ctx SpecContext) {
		before, err := treeObjects(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(len(before)).To(BeNumerically(">=", 16), "the tree's objects")
		_, err = staging.kubectl(ctx, "diff", "--server-side", "--field-manager=gitops", "--force-conflicts", "-k", tree)
		Expect(err).NotTo(HaveOccurred())
		apply(ctx)
		after, err := treeObjects(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(after).To(HaveLen(len(before)))
		for i := range before {
			was, is := before[i], after[i]
			if equality.Semantic.DeepEqual(was.Object["status"], is.Object["status"]) {
				Expect(is.GetResourceVersion()).To(Equal(was.GetResourceVersion()), nameOf(is))
			}
			Expect(withoutStatus(is)).To(Equal(withoutStatus(was)), nameOf(is))
		}
	}, NodeTimeout(time.Minute))

	It("is gone when it is deleted all at once, its namespace with it", func(ctx SpecContext) {
		_, err := staging.kubectl(ctx, "delete", "-k", tree, "--timeout=90s")
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(2*time.Minute))
})

// treeObjects are the live objects of the tree.
func treeObjects(ctx context.Context) ([]unstructured.Unstructured, error) {
	out, err := staging.kubectl(ctx, "get", "-k", tree, "-o", "json", "--show-managed-fields")
	if err != nil {
		return nil, err
	}
	var list unstructured.UnstructuredList
	if err := list.UnmarshalJSON([]byte(out)); err != nil {
		return nil, fmt.Errorf("kubectl get: %w", err)
	}
	return list.Items, nil
}

func nameOf(u unstructured.Unstructured) string { return u.GetKind() + "/" + u.GetName() }

// notCurrent lists what kstatus, and so Flux, does not take for done.
func notCurrent(ctx context.Context) (out []string, err error) {
	all, err := treeObjects(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		r, err := status.Compute(&all[i])
		if err != nil {
			return nil, err
		}
		if r.Status != status.CurrentStatus {
			out = append(out, fmt.Sprintf("%s: %s: %s", nameOf(all[i]), r.Status, r.Message))
		}
	}
	return out, nil
}

// withoutStatus is an object, with who wrote what of it and when, but for the status: the operator may write that at any time.
func withoutStatus(u unstructured.Unstructured) map[string]any {
	u = *u.DeepCopy()
	u.SetResourceVersion("")
	u.SetManagedFields(slices.DeleteFunc(u.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool { return m.Subresource == "status" }))
	delete(u.Object, "status")
	return u.Object
}
