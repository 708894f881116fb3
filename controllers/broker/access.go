package broker

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// access says what may be done by, to and with the pods.
func access(ctx context.Context, s *scope) (wait, error) {
	return wait{}, s.applyAll(ctx,
		resource.ServiceAccount(s.broker), resource.NetworkPolicy(s.broker), resource.PodDisruptionBudget(s.broker))
}

// services gives the broker its names.
func services(ctx context.Context, s *scope) (wait, error) {
	return wait{}, s.applyAll(ctx, resource.HeadlessService(s.broker), resource.ClientService(s.broker))
}

func (s *scope) applyAll(ctx context.Context, objects ...client.Object) error {
	for _, o := range objects {
		if err := s.apply(ctx, o); err != nil {
			return err
		}
	}
	return nil
}
