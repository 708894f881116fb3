package broker

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// access says what may be done by, to and with the pods.
func access(ctx context.Context, s *scope) (wait, error) {
	return wait{}, s.applyAll(ctx,
		resource.ServiceAccount(s.broker), resource.NetworkPolicy(s.broker), resource.PodDisruptionBudget(s.broker))
}

// services gives the broker its names, and learns the addresses that others gave it.
func services(ctx context.Context, s *scope) (wait, error) {
	clients := resource.ClientService(s.broker)
	before, found, err := s.observe(ctx, clients)
	if err != nil {
		return wait{}, err
	}
	var addresses []corev1.LoadBalancerIngress
	if found && clients.Spec.Type == corev1.ServiceTypeLoadBalancer {
		addresses = before.(*corev1.Service).Status.LoadBalancer.Ingress
	}
	s.external = resource.External(s.broker, addresses)
	return wait{}, s.applyAll(ctx, resource.HeadlessService(s.broker), clients)
}

func (s *scope) applyAll(ctx context.Context, objects ...client.Object) error {
	for _, o := range objects {
		if err := s.apply(ctx, o); err != nil {
			return err
		}
	}
	return nil
}
