package broker

import (
	"context"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// expandingEvery is how often a volume that grows is looked at: nothing tells.
const expandingEvery = 5 * time.Second

// volumes lets the claim of the pod grow to the size that the spec has. The StatefulSet, whose claim template cannot be
// changed, is made anew around its pod, which goes on. Each step looks at what is there, so that it can be taken up again
// wherever it was left.
func volumes(ctx context.Context, s *scope) (wait, error) {
	s.size = s.broker.Spec.Storage.Size
	set, err := s.statefulSet(ctx)
	if err != nil {
		return wait{}, err
	}
	refused, err := s.grow(ctx)
	if err != nil {
		return wait{}, err
	}
	if set == nil || len(set.Spec.VolumeClaimTemplates) == 0 {
		return wait{}, nil
	}
	template := set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage]
	if refused {
		s.size = template // what else changed in the StatefulSet is applied all the same
	}
	if template.Cmp(s.size) == 0 && set.DeletionTimestamp.IsZero() {
		return wait{}, nil
	}
	s.recreating = true
	s.again(waitingEvery)
	if !set.DeletionTimestamp.IsZero() {
		return wait{}, nil
	}
	err = s.Client.Delete(ctx, set, client.Preconditions{UID: &set.UID}, client.PropagationPolicy(metav1.DeletePropagationOrphan))
	if client.IgnoreNotFound(err) != nil {
		return wait{}, fmt.Errorf("delete StatefulSet %s for its larger claim, without its pods: %w", s.key(), err)
	}
	return wait{}, nil
}

// statefulSet reads the StatefulSet; nil if there is none.
func (s *scope) statefulSet(ctx context.Context) (*appsv1.StatefulSet, error) {
	wanted := &appsv1.StatefulSet{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"}}
	wanted.Namespace, wanted.Name = s.broker.Namespace, s.broker.Name
	o, found, err := s.observe(ctx, wanted)
	if err != nil || !found {
		return nil, err
	}
	return o.(*appsv1.StatefulSet), nil
}

// grow asks for more room where the claim has less than the spec, and says how far that is. Refused means that the storage
// class does not expand volumes.
func (s *scope) grow(ctx context.Context) (refused bool, err error) {
	claim := &corev1.PersistentVolumeClaim{}
	key := types.NamespacedName{Namespace: s.broker.Namespace, Name: resource.Claim(s.broker.Name, 0)}
	if err := s.Live.Get(ctx, key, claim); err != nil {
		if apierrors.IsNotFound(err) { // the pod's first start makes it
			s.clear(condition.StorageExpanding)
			return false, nil
		}
		return false, fmt.Errorf("get PersistentVolumeClaim %s: %w", key.Name, err)
	}
	if have := claim.Spec.Resources.Requests[corev1.ResourceStorage]; have.Cmp(s.size) < 0 {
		before := claim.DeepCopy()
		claim.Spec.Resources.Requests[corev1.ResourceStorage] = s.size
		err := s.Client.Patch(ctx, claim, client.MergeFrom(before), Owner)
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
			s.cannotGrow(key.Name, err)
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("grow PersistentVolumeClaim %s: %w", key.Name, err)
		}
	}
	s.growing(claim)
	return false, nil
}

func (s *scope) cannotGrow(claim string, err error) {
	no := &trouble{condition.ExpansionRefused, fmt.Sprintf(
		"PersistentVolumeClaim %s cannot grow to %s: %s: set allowVolumeExpansion in its storage class, if the driver can expand volumes, and it is tried again",
		claim, s.size.String(), serverText(err)), true, refusedEvery}
	s.note(condition.StorageExpanding, metav1.ConditionFalse, no.reason, no.message)
	s.hold(no)
	s.again(no.after)
}

// serverText is why the API server refused, without the name of the object.
func serverText(err error) string {
	text := err.Error()
	for _, mark := range []string{"is forbidden: ", "is invalid: "} {
		if _, after, ok := strings.Cut(text, mark); ok {
			text = after
		}
	}
	return trimmed(text)
}

func (s *scope) growing(claim *corev1.PersistentVolumeClaim) {
	has, known := claim.Status.Capacity[corev1.ResourceStorage]
	if !known || has.Cmp(s.size) >= 0 {
		s.clear(condition.StorageExpanding)
		return
	}
	text := fmt.Sprintf("the volume has %s and grows to %s", has.String(), s.size.String())
	for _, c := range claim.Status.Conditions {
		if c.Type == corev1.PersistentVolumeClaimFileSystemResizePending && c.Status == corev1.ConditionTrue {
			text += "; its file system grows when the node sees it, and if the driver cannot do that while it is in use, when the pod is deleted"
		}
	}
	s.note(condition.StorageExpanding, metav1.ConditionTrue, condition.Expanding, text)
	s.again(expandingEvery)
}
