package resource

import (
	"maps"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

// Ingress leads HTTP to the WebSocket listener.
func Ingress(b *v1alpha1.MessageBroker, i v1alpha1.Ingress) *networkingv1.Ingress {
	o := &networkingv1.Ingress{TypeMeta: typeMeta("networking.k8s.io/v1", "Ingress"), ObjectMeta: meta(b, RouteName(b.Name))}
	o.Annotations = maps.Clone(i.Annotations)
	o.Spec.IngressClassName = i.ClassName
	path := networkingv1.HTTPIngressPath{Path: webSocketPath(b), PathType: new(networkingv1.PathTypePrefix)}
	path.Backend.Service = &networkingv1.IngressServiceBackend{Name: b.Name, Port: networkingv1.ServiceBackendPort{Name: "ws"}}
	rule := networkingv1.IngressRule{Host: i.Host}
	rule.HTTP = &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{path}}
	o.Spec.Rules = []networkingv1.IngressRule{rule}
	if i.TLSSecretRef != nil {
		o.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{i.Host}, SecretName: i.TLSSecretRef.Name}}
	}
	return o
}

// HTTPRoute leads HTTP from a Gateway to the WebSocket listener. It is unstructured: the Gateway API need not be there.
func HTTPRoute(b *v1alpha1.MessageBroker, g v1alpha1.Gateway) *unstructured.Unstructured {
	u := Foreign(b, HTTPRouteKind, RouteName(b.Name))
	var parents []any
	for _, p := range g.ParentRefs {
		parent := map[string]any{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": p.Name}
		if p.Namespace != "" {
			parent["namespace"] = p.Namespace
		}
		if p.SectionName != "" {
			parent["sectionName"] = p.SectionName
		}
		parents = append(parents, parent)
	}
	match := map[string]any{"path": map[string]any{"type": "PathPrefix", "value": webSocketPath(b)}}
	backend := map[string]any{"group": "", "kind": "Service", "name": b.Name, "port": int64(PortWS)}
	spec := map[string]any{
		"parentRefs": parents,
		"rules":      []any{map[string]any{"matches": []any{match}, "backendRefs": []any{backend}}},
	}
	if len(g.Hostnames) > 0 {
		spec["hostnames"] = list(g.Hostnames)
	}
	u.Object["spec"] = spec
	return u
}

func webSocketPath(b *v1alpha1.MessageBroker) string {
	if p := b.Spec.WebSocket.Path; p != "" {
		return p
	}
	return "/"
}
