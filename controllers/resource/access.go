package resource

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

// ServiceAccount of the pods. It may do nothing, and they hold no token of it.
func ServiceAccount(b *v1alpha1.MessageBroker) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta: typeMeta("v1", "ServiceAccount"), ObjectMeta: meta(b, b.Name), AutomountServiceAccountToken: new(false),
	}
}

// NetworkPolicy admits clients on the listeners and nothing else, and lets the broker open no connection of its own.
func NetworkPolicy(b *v1alpha1.MessageBroker) *networkingv1.NetworkPolicy {
	n := &networkingv1.NetworkPolicy{TypeMeta: typeMeta("networking.k8s.io/v1", "NetworkPolicy"), ObjectMeta: meta(b, b.Name)}
	n.Spec.PodSelector = metav1.LabelSelector{MatchLabels: Selector(b.Name)}
	n.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	var rule networkingv1.NetworkPolicyIngressRule
	for _, p := range portsOf(b) {
		rule.Ports = append(rule.Ports, networkingv1.NetworkPolicyPort{Protocol: new(corev1.ProtocolTCP), Port: new(intstr.FromInt32(p.number))})
	}
	n.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{rule}
	return n
}

// PodDisruptionBudget lets one pod at a time be evicted: a node can be drained, and two of them not at once.
func PodDisruptionBudget(b *v1alpha1.MessageBroker) *policyv1.PodDisruptionBudget {
	p := &policyv1.PodDisruptionBudget{TypeMeta: typeMeta("policy/v1", "PodDisruptionBudget"), ObjectMeta: meta(b, b.Name)}
	p.Spec.MaxUnavailable = new(intstr.FromInt32(1))
	p.Spec.Selector = &metav1.LabelSelector{MatchLabels: Selector(b.Name)}
	p.Spec.UnhealthyPodEvictionPolicy = new(policyv1.AlwaysAllow)
	return p
}
