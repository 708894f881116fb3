package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PermissionSpec is the wanted state of a Permission.
// +kubebuilder:validation:XValidation:rule="self.brokerRef == oldSelf.brokerRef",message="brokerRef cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="self.vhost == oldSelf.vhost",message="vhost cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.user) ? [self.user] : []) == (has(oldSelf.user) ? [oldSelf.user] : [])",message="user cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.userRef) ? [self.userRef] : []) == (has(oldSelf.userRef) ? [oldSelf.userRef] : [])",message="userRef cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="has(self.user) != has(self.userRef)",message="exactly one of user and userRef must be set"
type PermissionSpec struct {
	// BrokerRef names the broker.
	BrokerRef  BrokerReference `json:"brokerRef"`
	Management `json:",inline"`
	// VHost is the virtual host.
	// +kubebuilder:default="/"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="vhost must be at most 255 bytes of UTF-8 without NUL"
	// +optional
	VHost string `json:"vhost,omitempty"`
	// User is a user's name in the broker.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="user must be at most 255 bytes of UTF-8 without NUL"
	// +optional
	User string `json:"user,omitempty"`
	// UserRef names a User in the namespace.
	// +optional
	UserRef *LocalReference `json:"userRef,omitempty"`
	// Configure is a regular expression (RE2) over the names that the user may declare and delete; empty is none.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="''.matches(self) ? true : true",message="configure must be a regular expression in RE2 syntax"
	// +optional
	Configure string `json:"configure,omitempty"`
	// Write is one over the names that the user may publish to.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="''.matches(self) ? true : true",message="write must be a regular expression in RE2 syntax"
	// +optional
	Write string `json:"write,omitempty"`
	// Read is one over the names that the user may consume from.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="''.matches(self) ? true : true",message="read must be a regular expression in RE2 syntax"
	// +optional
	Read string `json:"read,omitempty"`
	// Topics restrict publishing and subscribing by topic. None means that the expressions alone decide; otherwise a topic
	// needs a rule that allows it.
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	// +optional
	Topics []TopicRule `json:"topics,omitempty"`
	// DeletionPolicy says what becomes of it in the broker when this object is deleted.
	// +kubebuilder:default=Delete
	// +kubebuilder:validation:Enum=Retain;Delete
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// TopicRule allows topics.
// +kubebuilder:validation:XValidation:rule="(has(self.publish) && self.publish) || (has(self.subscribe) && self.subscribe)",message="a topic rule must allow something: set publish or subscribe"
type TopicRule struct {
	// Filter is an MQTT topic filter; %u stands for the user's name and %c for the MQTT client id. A
	// client id with a slash matches no filter with %c.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^(#|([^/+#]*|[+])(/([^/+#]*|[+]))*(/#)?)$') && !self.contains('\u0000')",message="filter must be an MQTT topic filter: + is a whole level, # the whole last one, and NUL is in none"
	Filter string `json:"filter"`
	// +optional
	Publish bool `json:"publish,omitempty"`
	// +optional
	Subscribe bool `json:"subscribe,omitempty"`
}

// PermissionStatus is the observed state of a Permission.
type PermissionStatus struct {
	TopologyStatus `json:",inline"`
}

// Permission is what a user may do in a virtual host.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=perm,categories=turnstone
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="User",type=string,JSONPath=`.spec.user`
// +kubebuilder:printcolumn:name="UserRef",type=string,JSONPath=`.spec.userRef.name`
// +kubebuilder:printcolumn:name="VHost",type=string,JSONPath=`.spec.vhost`
// +kubebuilder:printcolumn:name="Broker",type=string,JSONPath=`.spec.brokerRef.name`,priority=1
// +kubebuilder:printcolumn:name="Plan",type=string,JSONPath=`.status.plan.action`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Permission struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              PermissionSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status PermissionStatus `json:"status,omitzero"`
}

// PermissionList is a list of Permission objects.
// +kubebuilder:object:root=true
type PermissionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Permission `json:"items"`
}

// BrokerName implements Topology.
func (o *Permission) BrokerName() string { return o.Spec.BrokerRef.Name }

// Reference implements Topology.
func (o *Permission) Reference() BrokerReference { return o.Spec.BrokerRef }

// NameInBroker implements Topology.
func (o *Permission) NameInBroker() string { return o.Spec.User }

// Deletion implements Topology.
func (o *Permission) Deletion() DeletionPolicy { return o.Spec.DeletionPolicy }

// Common implements Topology.
func (o *Permission) Common() *TopologyStatus { return &o.Status.TopologyStatus }

// Managed implements Topology.
func (o *Permission) Managed() *Management { return &o.Spec.Management }
