// Package v1alpha1 holds the Kubernetes API of Turnstone, group messaging.turnstone.dev: the broker itself and the objects
// of its topology. Types, defaults and the rules that an object shows by itself; what an object means is decided by the
// controllers and the broker.
//
// +kubebuilder:object:generate=true
// +groupName=messaging.turnstone.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is that of every type in this package.
var GroupVersion = schema.GroupVersion{Group: "messaging.turnstone.dev", Version: "v1alpha1"}

// AddToScheme adds the types to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&MessageBroker{}, &MessageBrokerList{},
		&VirtualHost{}, &VirtualHostList{},
		&Exchange{}, &ExchangeList{},
		&Queue{}, &QueueList{},
		&Binding{}, &BindingList{},
		&TopicPolicy{}, &TopicPolicyList{},
		&Policy{}, &PolicyList{},
		&OperatorPolicy{}, &OperatorPolicyList{},
		&User{}, &UserList{},
		&Permission{}, &PermissionList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
