package broker

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"

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
	return rolling(s.pods), nil
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
