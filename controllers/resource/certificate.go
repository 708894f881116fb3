package resource

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

// CertificateSource is where the certificate of a broker is to come from, as AnnotationSource says it.
func CertificateSource(b *v1alpha1.MessageBroker) string {
	switch t := b.Spec.TLS; {
	case t == nil:
		return ""
	case t.SecretRef != nil:
		return "secret/" + t.SecretRef.Name
	case t.IssuerRef != nil:
		return strings.Join([]string{strings.ToLower(t.IssuerRef.Kind), t.IssuerRef.Name}, "/")
	}
	return ""
}

// Certificate asks cert-manager for a certificate. It is unstructured: cert-manager need not be there.
func Certificate(b *v1alpha1.MessageBroker, issuer v1alpha1.IssuerReference) *unstructured.Unstructured {
	key := types.NamespacedName{Namespace: b.Namespace, Name: b.Name}
	names := slices.Clone(b.Spec.TLS.DNSNames)
	if len(names) == 0 {
		names = []string{Host(key), Host(key) + ".cluster.local", b.Name + "." + b.Namespace}
	}
	// The labels bring changes of the Secret to the operator.
	labels := map[string]any{}
	for k, v := range Labels(b.Name) {
		labels[k] = v
	}
	u := Foreign(b, CertificateKind, b.Name)
	u.Object["spec"] = map[string]any{
		"secretName":     IssuedSecret(b.Name),
		"secretTemplate": map[string]any{"labels": labels},
		"dnsNames":       list(names),
		"usages":         []any{"digital signature", "server auth"},
		"privateKey":     map[string]any{"algorithm": "ECDSA", "size": int64(256), "rotationPolicy": "Always"},
		"issuerRef":      map[string]any{"name": issuer.Name, "kind": issuer.Kind, "group": issuer.Group},
	}
	return u
}

// Kinds that the cluster may not have, or that are too rare to be cached.
var (
	CertificateKind = schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}
	HTTPRouteKind   = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}
	IngressKind     = schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"}
)

// Foreign is an object of such a kind without a spec.
func Foreign(b *v1alpha1.MessageBroker, kind schema.GroupVersionKind, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	u.SetNamespace(b.Namespace)
	u.SetName(name)
	u.SetLabels(Labels(b.Name))
	return u
}

func list(texts []string) []any {
	out := make([]any, len(texts))
	for i, t := range texts {
		out[i] = t
	}
	return out
}
