package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BindingSpec is the wanted state of a Binding.
// +kubebuilder:validation:XValidation:rule="self.brokerRef == oldSelf.brokerRef",message="brokerRef cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="self.vhost == oldSelf.vhost",message="vhost cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="self.source == oldSelf.source",message="source cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="self.destination == oldSelf.destination",message="destination cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="self.destinationType == oldSelf.destinationType",message="destinationType cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.routingKey) ? [self.routingKey] : []) == (has(oldSelf.routingKey) ? [oldSelf.routingKey] : [])",message="routingKey cannot be changed: delete the object and make another"
type BindingSpec struct {
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
	// Source is the exchange.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="source must be at most 255 bytes of UTF-8 without NUL"
	Source string `json:"source"`
	// Destination is the queue or exchange that is fed.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="destination must be at most 255 bytes of UTF-8 without NUL"
	Destination string `json:"destination"`
	// DestinationType says which.
	// +kubebuilder:default=queue
	// +kubebuilder:validation:Enum=queue;exchange
	// +optional
	DestinationType string `json:"destinationType,omitempty"`
	// RoutingKey in AMQP form: words with dots between them, * for one word and # for any number in a topic exchange.
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="routingKey must be at most 255 bytes of UTF-8 without NUL"
	// +optional
	RoutingKey string `json:"routingKey,omitempty"`
	// Arguments, such as the headers that a headers exchange looks at.
	// +kubebuilder:validation:MaxProperties=64
	// +optional
	Arguments map[string]apiextensionsv1.JSON `json:"arguments,omitempty"`
	// DeletionPolicy says what becomes of it in the broker when this object is deleted.
	// +kubebuilder:default=Delete
	// +kubebuilder:validation:Enum=Retain;Delete
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// BindingStatus is the observed state of a Binding.
type BindingStatus struct {
	TopologyStatus `json:",inline"`
}

// Binding is what an exchange gives to a queue or to another exchange.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bind,categories=turnstone
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Source",type=string,JSONPath=`.spec.source`
// +kubebuilder:printcolumn:name="Destination",type=string,JSONPath=`.spec.destination`
// +kubebuilder:printcolumn:name="Key",type=string,JSONPath=`.spec.routingKey`
// +kubebuilder:printcolumn:name="Broker",type=string,JSONPath=`.spec.brokerRef.name`,priority=1
// +kubebuilder:printcolumn:name="Plan",type=string,JSONPath=`.status.plan.action`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Binding struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              BindingSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status BindingStatus `json:"status,omitzero"`
}

// BindingList is a list of Binding objects.
// +kubebuilder:object:root=true
type BindingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Binding `json:"items"`
}

// BrokerName implements Topology.
func (o *Binding) BrokerName() string { return o.Spec.BrokerRef.Name }

// Reference implements Topology.
func (o *Binding) Reference() BrokerReference { return o.Spec.BrokerRef }

// NameInBroker implements Topology.
func (o *Binding) NameInBroker() string { return o.Name }

// Deletion implements Topology.
func (o *Binding) Deletion() DeletionPolicy { return o.Spec.DeletionPolicy }

// Common implements Topology.
func (o *Binding) Common() *TopologyStatus { return &o.Status.TopologyStatus }

// Managed implements Topology.
func (o *Binding) Managed() *Management { return &o.Spec.Management }
