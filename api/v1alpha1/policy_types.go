package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PolicySpec is the wanted state of a Policy.
// +kubebuilder:validation:XValidation:rule="self.brokerRef == oldSelf.brokerRef",message="brokerRef cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="self.vhost == oldSelf.vhost",message="vhost cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.name) ? [self.name] : []) == (has(oldSelf.name) ? [oldSelf.name] : [])",message="name cannot be changed: delete the object and make another"
type PolicySpec struct {
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
	// Name of the policy in the broker; unset, that of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="name must be at most 255 bytes of UTF-8 without NUL"
	// +optional
	Name string `json:"name,omitempty"`
	// Pattern is a regular expression (RE2) over names, anchored only where it says so.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="''.matches(self) ? true : true",message="pattern must be a regular expression in RE2 syntax"
	Pattern string `json:"pattern"`
	// ApplyTo is what it applies to.
	// +kubebuilder:default=all
	// +kubebuilder:validation:Enum=all;exchanges;queues;classic_queues;quorum_queues
	// +optional
	ApplyTo string `json:"applyTo,omitempty"`
	// Priority decides where several policies match: the highest applies and no other, then the smaller name.
	// +optional
	Priority int32 `json:"priority,omitempty"`
	// Definition is what it says, by RabbitMQ's names: max-length, message-ttl, dead-letter-exchange, alternate-exchange and so on.
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=64
	Definition map[string]apiextensionsv1.JSON `json:"definition"`
	// DeletionPolicy says what becomes of it in the broker when this object is deleted: DeleteIfUnused waits until it applies to
	// no queue and no exchange.
	// +kubebuilder:default=Delete
	// +kubebuilder:validation:Enum=Retain;Delete;DeleteIfUnused
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// PolicyStatus is the observed state of a Policy.
type PolicyStatus struct {
	TopologyStatus `json:",inline"`
}

// Policy gives arguments to queues and exchanges by name, also to those that are there already, as policies of RabbitMQ do.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=pol,categories=turnstone
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Pattern",type=string,JSONPath=`.spec.pattern`
// +kubebuilder:printcolumn:name="ApplyTo",type=string,JSONPath=`.spec.applyTo`
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="Broker",type=string,JSONPath=`.spec.brokerRef.name`,priority=1
// +kubebuilder:printcolumn:name="Plan",type=string,JSONPath=`.status.plan.action`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Policy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              PolicySpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// PolicyList is a list of Policy objects.
// +kubebuilder:object:root=true
type PolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Policy `json:"items"`
}

// BrokerName implements Topology.
func (o *Policy) BrokerName() string { return o.Spec.BrokerRef.Name }

// Reference implements Topology.
func (o *Policy) Reference() BrokerReference { return o.Spec.BrokerRef }

// NameInBroker implements Topology.
func (o *Policy) NameInBroker() string { return nameOr(o.Spec.Name, o) }

// Deletion implements Topology.
func (o *Policy) Deletion() DeletionPolicy { return o.Spec.DeletionPolicy }

// Common implements Topology.
func (o *Policy) Common() *TopologyStatus { return &o.Status.TopologyStatus }

// Managed implements Topology.
func (o *Policy) Managed() *Management { return &o.Spec.Management }
