package broker

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// routes leads clients from outside to the WebSocket listener. That the cluster has no Gateway API, or takes no Ingress,
// holds up nothing else.
func routes(ctx context.Context, s *scope) (wait, error) {
	w := s.broker.Spec.WebSocket
	var wanted []*unstructured.Unstructured
	if w != nil && w.Ingress != nil {
		u, err := declaration(resource.Ingress(s.broker, *w.Ingress))
		if err != nil {
			return wait{}, err
		}
		wanted = append(wanted, u)
	}
	if w != nil && w.Gateway != nil {
		wanted = append(wanted, resource.HTTPRoute(s.broker, *w.Gateway))
	}
	if err := s.dropRoutes(ctx); err != nil {
		return wait{}, err
	}
	if len(wanted) == 0 {
		s.clear(condition.RouteReady)
		return wait{}, nil
	}
	for _, u := range wanted {
		if err := s.apply(ctx, u); err != nil {
			no := s.kindMissing(ctx, err, condition.GatewayMissing, "install the Gateway API, or use spec.webSocket.ingress")
			s.note(condition.RouteReady, metav1.ConditionFalse, no.reason, no.message)
			s.hold(no)
			s.again(no.after)
			return wait{}, ctx.Err()
		}
	}
	s.note(condition.RouteReady, metav1.ConditionTrue, condition.Routed, "the routes to the WebSocket listener are there")
	return wait{}, nil
}

// dropRoutes deletes the routes of a spec of before.
func (s *scope) dropRoutes(ctx context.Context) error {
	if !s.noteIsOld(condition.RouteReady) {
		return nil
	}
	w := s.broker.Spec.WebSocket
	if w == nil || w.Ingress == nil {
		if err := s.remove(ctx, resource.Foreign(s.broker, resource.IngressKind, resource.RouteName(s.broker.Name))); err != nil {
			return err
		}
	}
	if w == nil || w.Gateway == nil {
		return s.remove(ctx, resource.Foreign(s.broker, resource.HTTPRouteKind, resource.RouteName(s.broker.Name)))
	}
	return nil
}
