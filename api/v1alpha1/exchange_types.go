package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ExchangeSpec is the wanted state of a Exchange.
// +kubebuilder:validation:XValidation:rule="self.brokerRef == oldSelf.brokerRef",message="brokerRef cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="self.vhost == oldSelf.vhost",message="vhost cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.name) ? [self.name] : []) == (has(oldSelf.name) ? [oldSelf.name] : [])",message="name cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="self.type == oldSelf.type",message="type cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.durable) ? [self.durable] : []) == (has(oldSelf.durable) ? [oldSelf.durable] : [])",message="durable cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.autoDelete) ? [self.autoDelete] : []) == (has(oldSelf.autoDelete) ? [oldSelf.autoDelete] : [])",message="autoDelete cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.internal) ? [self.internal] : []) == (has(oldSelf.internal) ? [oldSelf.internal] : [])",message="internal cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.type) && self.type == 'x-delayed-message') == has(self.delayedType)",message="delayedType says as what an exchange of type x-delayed-message routes, such as direct: that type needs it, and others have none"
type ExchangeSpec struct {
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
	// Name of the exchange in the broker; unset, that of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="name must be at most 255 bytes of UTF-8 without NUL"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('amq.')",message="names that begin with amq. are reserved for the broker: choose another name"
	// +optional
	Name string `json:"name,omitempty"`
	// Type of the exchange. One of type x-delayed-message routes as delayedType says, and lets messages with a header x-delay
	// wait for so many milliseconds.
	// +kubebuilder:default=direct
	// +kubebuilder:validation:Enum=direct;topic;fanout;headers;x-consistent-hash;x-random;x-local-random;x-delayed-message
	// +optional
	Type string `json:"type,omitempty"`
	// DelayedType is as what an exchange of type x-delayed-message routes.
	// +kubebuilder:validation:Enum=direct;topic;fanout;headers;x-consistent-hash;x-random;x-local-random
	// +optional
	DelayedType *string `json:"delayedType,omitempty"`
	// Durable exchanges survive a restart of the broker.
	// +kubebuilder:default=true
	// +optional
	Durable *bool `json:"durable,omitempty"`
	// AutoDelete exchanges go with their last binding.
	// +optional
	AutoDelete bool `json:"autoDelete,omitempty"`
	// Internal exchanges take messages from other exchanges only.
	// +optional
	Internal bool `json:"internal,omitempty"`
	// AlternateExchange gets what no binding of this one matches.
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="alternateExchange must be at most 255 bytes of UTF-8 without NUL"
	// +optional
	AlternateExchange *string `json:"alternateExchange,omitempty"`
	// Arguments that have no field of their own, as a client would declare them, such as hash-header.
	// +kubebuilder:validation:MaxProperties=64
	// +optional
	Arguments map[string]apiextensionsv1.JSON `json:"arguments,omitempty"`
	// DeletionPolicy says what becomes of it in the broker when this object is deleted: DeleteIfUnused waits until nothing is
	// bound from it.
	// +kubebuilder:default=Delete
	// +kubebuilder:validation:Enum=Retain;Delete;DeleteIfUnused
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// ExchangeStatus is the observed state of a Exchange.
type ExchangeStatus struct {
	TopologyStatus `json:",inline"`
}

// Exchange is an AMQP exchange.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ex,categories=turnstone
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="VHost",type=string,JSONPath=`.spec.vhost`
// +kubebuilder:printcolumn:name="Broker",type=string,JSONPath=`.spec.brokerRef.name`,priority=1
// +kubebuilder:printcolumn:name="Plan",type=string,JSONPath=`.status.plan.action`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Exchange struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              ExchangeSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status ExchangeStatus `json:"status,omitzero"`
}

// ExchangeList is a list of Exchange objects.
// +kubebuilder:object:root=true
type ExchangeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Exchange `json:"items"`
}

// BrokerName implements Topology.
func (o *Exchange) BrokerName() string { return o.Spec.BrokerRef.Name }

// Reference implements Topology.
func (o *Exchange) Reference() BrokerReference { return o.Spec.BrokerRef }

// NameInBroker implements Topology.
func (o *Exchange) NameInBroker() string { return nameOr(o.Spec.Name, o) }

// Deletion implements Topology.
func (o *Exchange) Deletion() DeletionPolicy { return o.Spec.DeletionPolicy }

// Common implements Topology.
func (o *Exchange) Common() *TopologyStatus { return &o.Status.TopologyStatus }

// Managed implements Topology.
func (o *Exchange) Managed() *Management { return &o.Spec.Management }
