package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// report writes the status, if it changed, and answers when to look again.
func (s *scope) report(ctx context.Context) (time.Duration, error) {
	before := s.broker.DeepCopy()
	s.status(&s.broker.Status)
	if !equality.Semantic.DeepEqual(before.Status, s.broker.Status) {
		if err := s.Client.Status().Patch(ctx, s.broker, client.MergeFrom(before), Owner); client.IgnoreNotFound(err) != nil {
			return 0, fmt.Errorf("write status: %w", err)
		}
		s.event(before.Status.Conditions)
	}
	after := s.after
	if s.soon != 0 && (after == 0 || s.soon < after) {
		after = s.soon
	}
	if left := s.renewal.Sub(s.now) + time.Second; !s.renewal.IsZero() && (after == 0 || left < after) {
		after = max(left, time.Second)
	}
	return after, nil
}

// status is computed from the scope alone.
func (s *scope) status(st *v1alpha1.MessageBrokerStatus) {
	st.ObservedGeneration = s.broker.Generation
	condition.Set(&st.Conditions, s.broker.Generation, s.state)
	for _, kind := range slices.Sorted(maps.Keys(s.notes)) {
		if c := s.notes[kind]; c != nil {
			meta.SetStatusCondition(&st.Conditions, *c)
		} else {
			meta.RemoveStatusCondition(&st.Conditions, kind)
		}
	}
	st.Selector = resource.SelectorText(s.broker.Name)
	st.Endpoints = resource.Endpoints(s.broker)
	st.Endpoints.External = s.external
	st.Binding = &v1alpha1.LocalReference{Name: resource.DefaultUserSecret(s.broker.Name)}
	st.AdminSecret = &v1alpha1.LocalReference{Name: resource.AdminSecret(s.broker.Name)}
	if s.pods != nil {
		st.Replicas, st.ReadyReplicas = s.pods.Status.Replicas, s.pods.Status.ReadyReplicas
	}
	if s.health != nil {
		st.Version = s.health.Version
	}
	if !s.expires.IsZero() {
		st.CertificateExpires, st.CertificateSerial = &metav1.Time{Time: s.expires.Local()}, s.serial
	}
	if s.inForce != nil {
		st.Configuration = s.inForce
	}
	if s.usage != nil && noticeable(st.Usage, s.usage) {
		st.Usage = s.usage
	}
}

// event tells of a change of Ready or of its reason, and of conditions beside it that say something new.
func (s *scope) event(before []metav1.Condition) {
	for _, kind := range slices.Sorted(maps.Keys(s.notes)) {
		old, now := meta.FindStatusCondition(before, kind), s.notes[kind]
		if now == nil || old != nil && old.Status == now.Status && old.Reason == now.Reason {
			continue
		}
		severity := corev1.EventTypeNormal
		if now.Status == metav1.ConditionFalse || now.Reason == condition.Unreadable {
			severity = corev1.EventTypeWarning
		}
		s.Events.Eventf(s.broker, nil, severity, now.Reason, "Reconcile", "%s: %s", kind, now.Message)
	}
	old, now := meta.FindStatusCondition(before, condition.Ready), meta.FindStatusCondition(s.broker.Status.Conditions, condition.Ready)
	if now == nil || old != nil && old.Status == now.Status && old.Reason == now.Reason {
		return
	}
	kind := corev1.EventTypeNormal
	if s.state.Stalled || now.Reason == condition.ReconcileFailed {
		kind = corev1.EventTypeWarning
	}
	s.Events.Eventf(s.broker, nil, kind, now.Reason, "Reconcile", "%s", now.Message)
}

// pause writes that nothing is written.
func (s *scope) pause(ctx context.Context) error {
	before := s.broker.DeepCopy()
	s.note(condition.Paused, metav1.ConditionTrue, condition.ByAnnotation, "nothing is written while the annotation "+v1alpha1.AnnotationPaused+" is \"true\"")
	if !meta.SetStatusCondition(&s.broker.Status.Conditions, *s.notes[condition.Paused]) {
		return nil
	}
	if err := s.Client.Status().Patch(ctx, s.broker, client.MergeFrom(before), Owner); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write status: %w", err)
	}
	s.event(before.Status.Conditions)
	return nil
}
