package controllers_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// bind makes the claim of a broker's pod as the StatefulSet controller and a provisioner would.
func bind(ctx context.Context, b *v1alpha1.MessageBroker, class string) *corev1.PersistentVolumeClaim {
	GinkgoHelper()
	set := &appsv1.StatefulSet{}
	Expect(api.Get(ctx, client.ObjectKeyFromObject(b), set)).To(Succeed())
	claim := set.Spec.VolumeClaimTemplates[0].DeepCopy()
	claim.Namespace, claim.Name = b.Namespace, "data-"+b.Name+"-0"
	claim.Spec.StorageClassName = &class
	Expect(api.Create(ctx, claim)).To(Succeed())
	resized(ctx, claim, "10Gi", false)
	return claim
}

// resized writes the status that a driver and the kubelet would.
func resized(ctx context.Context, claim *corev1.PersistentVolumeClaim, size string, waitsForNode bool) {
	GinkgoHelper()
	reread(ctx, claim)
	claim.Status.Phase = corev1.ClaimBound
	claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: apiresource.MustParse(size)}
	claim.Status.Conditions = nil
	if waitsForNode {
		claim.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimFileSystemResizePending, Status: corev1.ConditionTrue}}
	}
	Expect(api.Status().Update(ctx, claim)).To(Succeed())
}

func storageClass(ctx context.Context, name string, expands bool) {
	GinkgoHelper()
	class := &storagev1.StorageClass{Provisioner: "example.com/driver", AllowVolumeExpansion: &expands}
	class.Name = name
	Expect(api.Create(ctx, class)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) { Expect(api.Delete(ctx, class)).To(Succeed()) })
}

// orphaned lets a StatefulSet go that was deleted without its pods, as the garbage collector would.
func orphaned(ctx context.Context, b *v1alpha1.MessageBroker) {
	GinkgoHelper()
	set := &appsv1.StatefulSet{}
	Expect(api.Get(ctx, client.ObjectKeyFromObject(b), set)).To(Succeed())
	Expect(set.DeletionTimestamp).NotTo(BeNil())
	Expect(set.Finalizers).To(Equal([]string{metav1.FinalizerOrphanDependents}), "its pods are left")
	set.Finalizers = nil
	Expect(api.Update(ctx, set)).To(Succeed())
}

func requested(claim *corev1.PersistentVolumeClaim) string {
	q := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	return q.String()
}

var _ = Describe("The volume of a MessageBroker", func() {
	It("grows without a restart, whenever the growing is interrupted", func(ctx SpecContext) {
		storageClass(ctx, "expands", true)
		b := newBench(api)
		o := newBroker(ctx, newNamespace(ctx), nil)
		b.settle(ctx, o)
		b.pods.start(ctx, o)
		claim := bind(ctx, o, "expands")
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionTrue, condition.Available))
		Expect(note(o, condition.StorageExpanding)).To(Equal(metav1.Condition{}))
		set := &appsv1.StatefulSet{}
		Expect(api.Get(ctx, client.ObjectKeyFromObject(o), set)).To(Succeed())
		template := set.Spec.Template.DeepCopy()

		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) { s.Storage.Size = apiresource.MustParse("20Gi") })
		b.settle(ctx, o)
		Expect(requested(reread(ctx, claim))).To(Equal("20Gi"))
		Expect(note(o, condition.StorageExpanding)).To(because(metav1.ConditionTrue, condition.Expanding))
		Expect(note(o, condition.StorageExpanding).Message).To(Equal("the volume has 10Gi and grows to 20Gi"))
		Expect(readiness(o)).To(because(metav1.ConditionTrue, condition.Available), "it serves meanwhile")
		b.settle(ctx, o) // the StatefulSet is still going
		orphaned(ctx, o)
		b.settle(ctx, o)
		made := &appsv1.StatefulSet{}
		Expect(api.Get(ctx, client.ObjectKeyFromObject(o), made)).To(Succeed())
		Expect(made.UID).NotTo(Equal(set.UID))
		Expect(made.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()).To(Equal("20Gi"))
		Expect(made.Spec.Template).To(Equal(*template), "the pod stays as it is")

		resized(ctx, claim, "10Gi", true)
		b.settle(ctx, o)
		Expect(note(o, condition.StorageExpanding).Message).To(ContainSubstring("its file system grows when the node sees it"))
		resized(ctx, claim, "20Gi", false)
		b.settle(ctx, o)
		Expect(note(o, condition.StorageExpanding)).To(Equal(metav1.Condition{}))
	}, NodeTimeout(time.Minute))

	It("that cannot grow is told, and the rest goes on", func(ctx SpecContext) {
		storageClass(ctx, "fixed", false)
		b := newBench(api)
		o := newBroker(ctx, newNamespace(ctx), nil)
		b.settle(ctx, o)
		b.pods.start(ctx, o)
		claim := bind(ctx, o, "fixed")
		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) {
			s.Storage.Size = apiresource.MustParse("20Gi")
			s.PriorityClassName = "high"
		})
		b.settle(ctx, o)
		set := &appsv1.StatefulSet{}
		Expect(api.Get(ctx, client.ObjectKeyFromObject(o), set)).To(Succeed())
		ready(ctx, set)
		b.settle(ctx, o)
		Expect(readiness(o)).To(because(metav1.ConditionFalse, condition.ExpansionRefused))
		Expect(readiness(o).Message).To(HavePrefix("PersistentVolumeClaim data-broker-0 cannot grow to 20Gi: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize: set allowVolumeExpansion in its storage class"))
		Expect(requested(reread(ctx, claim))).To(Equal("10Gi"))
		Expect(api.Get(ctx, client.ObjectKeyFromObject(o), set)).To(Succeed())
		Expect(set.Spec.Template.Spec.PriorityClassName).To(Equal("high"))
		Expect(set.DeletionTimestamp).To(BeNil())

		expands := &storagev1.StorageClass{}
		expands.Name = "fixed"
		reread(ctx, expands).AllowVolumeExpansion = new(true)
		Expect(api.Update(ctx, expands)).To(Succeed())
		Eventually(func() string { // the API server learns of the class by and by
			b.settle(ctx, o)
			return requested(reread(ctx, claim))
		}).Should(Equal("20Gi"))
	}, NodeTimeout(time.Minute))
})
