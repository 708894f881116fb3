package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// OperatorPolicySpec is the wanted state of an OperatorPolicy.
// +kubebuilder:validation:XValidation:rule="self.brokerRef == oldSelf.brokerRef",message="brokerRef cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="self.vhost == oldSelf.vhost",message="vhost cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.name) ? [self.name] : []) == (has(oldSelf.name) ? [oldSelf.name] : [])",message="name cannot be changed: delete the object and make another"
type OperatorPolicySpec struct {
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
	// +kubebuilder:default=queues
	// +kubebuilder:validation:Enum=queues;classic_queues;quorum_queues
	// +optional
	ApplyTo string `json:"applyTo,omitempty"`
	// Priority decides where several policies match: the highest applies and no other, then the smaller name.
	// +optional
	Priority int32 `json:"priority,omitempty"`
	// Definition is what it says, by RabbitMQ's names: max-length, max-length-bytes, message-ttl, expires, delivery-limit, consumer-timeout.
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=64
	Definition map[string]apiextensionsv1.JSON `json:"definition"`
	// DeletionPolicy says what becomes of it in the broker when this object is deleted: DeleteIfUnused waits until it applies to
	// no queue.
	// +kubebuilder:default=Delete
	// +kubebuilder:validation:Enum=Retain;Delete;DeleteIfUnused
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// OperatorPolicyStatus is the observed state of an OperatorPolicy.
type OperatorPolicyStatus struct {
	TopologyStatus `json:",inline"`
}

// OperatorPolicy limits queues by name, whatever they and their policies say, as operator policies of RabbitMQ do.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=opol,categories=turnstone
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Pattern",type=string,JSONPath=`.spec.pattern`
// +kubebuilder:printcolumn:name="ApplyTo",type=string,JSONPath=`.spec.applyTo`
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="Broker",type=string,JSONPath=`.spec.brokerRef.name`,priority=1
// +kubebuilder:printcolumn:name="Plan",type=string,JSONPath=`.status.plan.action`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type OperatorPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              OperatorPolicySpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status OperatorPolicyStatus `json:"status,omitzero"`
}

// OperatorPolicyList is a list of OperatorPolicy objects.
// +kubebuilder:object:root=true
type OperatorPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []OperatorPolicy `json:"items"`
}

// BrokerName implements Topology.
func (o *OperatorPolicy) BrokerName() string { return o.Spec.BrokerRef.Name }

// Reference implements Topology.
func (o *OperatorPolicy) Reference() BrokerReference { return o.Spec.BrokerRef }

// NameInBroker implements Topology.
func (o *OperatorPolicy) NameInBroker() string { return nameOr(o.Spec.Name, o) }

// Deletion implements Topology.
func (o *OperatorPolicy) Deletion() DeletionPolicy { return o.Spec.DeletionPolicy }

// Common implements Topology.
func (o *OperatorPolicy) Common() *TopologyStatus { return &o.Status.TopologyStatus }

// Managed implements Topology.
func (o *OperatorPolicy) Managed() *Management { return &o.Spec.Management }
