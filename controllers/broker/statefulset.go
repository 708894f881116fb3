package broker

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// statefulSet runs the pods and waits until those of the present template are ready.
func statefulSet(ctx context.Context, s *scope) (wait, error) {
	image := s.broker.Spec.Image
	if image == "" {
		image = s.Image
	}
	sized := s.broker.DeepCopy()
	sized.Spec.Storage.Size = s.size
	wanted, err := resource.StatefulSet(sized, image, s.config)
	if err != nil {
		return wait{}, &refusal{condition.InvalidConfiguration, err.Error()}
	}
	running, err := s.statefulSet(ctx)
	if err != nil {
		return wait{}, err
	}
	if running != nil {
		if err := s.announce(ctx, running, wanted); err != nil {
			return wait{}, err
		}
	}
	if s.recreating {
		s.pods = running
		return wait{}, nil
	}
	if err := s.apply(ctx, wanted); err != nil {
		return wait{}, err
	}
	if s.pods, err = s.statefulSet(ctx); err != nil {
		return wait{}, err
	}
	if s.pods == nil {
		return wait{reason: condition.Pending, message: "the StatefulSet was just made"}, nil // its event comes
	}
	return s.troubled(ctx, rolling(s.pods))
}

// troubled adds to why the StatefulSet is not done what the pod itself says, which no event tells of.
func (s *scope) troubled(ctx context.Context, w wait) (wait, error) {
	if w.reason == "" || s.hibernates() {
		return w, nil
	}
	pod := &corev1.Pod{}
	key := types.NamespacedName{Namespace: s.broker.Namespace, Name: resource.Pod(s.broker.Name, 0)}
	if err := s.Live.Get(ctx, key, pod); apierrors.IsNotFound(err) || apierrors.IsForbidden(err) { // a Role of before
		return w, nil
	} else if err != nil {
		return wait{}, fmt.Errorf("get Pod %s: %w", key.Name, err)
	}
	if problems := resource.Problems(pod); len(problems) > 0 {
		w.message += fmt.Sprintf("; pod %s: %s", pod.Name, strings.Join(problems, "; "))
	}
	w.after = lookEvery
	return w, nil
}

// rolling says what the StatefulSet still has to do.
func rolling(p *appsv1.StatefulSet) wait {
	st, replicas := p.Status, int32(1)
	if p.Spec.Replicas != nil {
		replicas = *p.Spec.Replicas
	}
	switch {
	case st.ObservedGeneration < p.Generation:
		return wait{reason: condition.Pending, message: "the StatefulSet was not looked at since its last change"}
	case st.UpdatedReplicas < replicas:
		return wait{reason: condition.Pending, message: fmt.Sprintf("%d of %d pods run the present template", st.UpdatedReplicas, replicas)}
	case st.Replicas > replicas:
		return wait{reason: condition.Pending, message: fmt.Sprintf("%d of %d pods have to end", st.Replicas-replicas, st.Replicas)}
	case st.ReadyReplicas < replicas:
		return wait{reason: condition.Pending, message: fmt.Sprintf("%d of %d pods are ready", st.ReadyReplicas, replicas)}
	}
	return wait{}
}
