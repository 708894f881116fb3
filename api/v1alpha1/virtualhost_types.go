package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VirtualHostSpec is the wanted state of a VirtualHost.
// +kubebuilder:validation:XValidation:rule="self.brokerRef == oldSelf.brokerRef",message="brokerRef cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.name) ? [self.name] : []) == (has(oldSelf.name) ? [oldSelf.name] : [])",message="name cannot be changed: delete the object and make another"
type VirtualHostSpec struct {
	// BrokerRef names the broker.
	BrokerRef  BrokerReference `json:"brokerRef"`
	Management `json:",inline"`
	// Name of the virtual host in the broker; unset, that of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="name must be at most 255 bytes of UTF-8 without NUL"
	// +optional
	Name string `json:"name,omitempty"`
	// Description for people.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Description string `json:"description,omitempty"`
	// MaxConnections that may be open; 0 is no limit.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxConnections int32 `json:"maxConnections,omitempty"`
	// MaxQueues that may exist; 0 is no limit.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxQueues int32 `json:"maxQueues,omitempty"`
	// Events of clients that the broker publishes in the virtual host, on the topics $events/clients/CLIENT/EVENT; none is
	// none.
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:Enum=connected;disconnected;subscribed;unsubscribed
	// +listType=set
	// +optional
	Events []string `json:"events,omitempty"`
	// DeletionPolicy says what becomes of it, and of all that is in it, in the broker when this object is deleted: DeleteIfEmpty
	// waits until no queue or session holds messages and none is retained, DeleteIfUnused until nobody is connected to it.
	// +kubebuilder:default=Delete
	// +kubebuilder:validation:Enum=Retain;Delete;DeleteIfEmpty;DeleteIfUnused
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// VirtualHostStatus is the observed state of a VirtualHost.
type VirtualHostStatus struct {
	TopologyStatus `json:",inline"`
}

// VirtualHost is a name space of a broker with limits of its own.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=vhost,categories=turnstone
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="VHost",type=string,JSONPath=`.spec.name`
// +kubebuilder:printcolumn:name="Broker",type=string,JSONPath=`.spec.brokerRef.name`,priority=1
// +kubebuilder:printcolumn:name="Plan",type=string,JSONPath=`.status.plan.action`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VirtualHost struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              VirtualHostSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status VirtualHostStatus `json:"status,omitzero"`
}

// VirtualHostList is a list of VirtualHost objects.
// +kubebuilder:object:root=true
type VirtualHostList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VirtualHost `json:"items"`
}

// BrokerName implements Topology.
func (o *VirtualHost) BrokerName() string { return o.Spec.BrokerRef.Name }

// Reference implements Topology.
func (o *VirtualHost) Reference() BrokerReference { return o.Spec.BrokerRef }

// NameInBroker implements Topology.
func (o *VirtualHost) NameInBroker() string { return nameOr(o.Spec.Name, o) }

// Deletion implements Topology.
func (o *VirtualHost) Deletion() DeletionPolicy { return o.Spec.DeletionPolicy }

// Common implements Topology.
func (o *VirtualHost) Common() *TopologyStatus { return &o.Status.TopologyStatus }

// Managed implements Topology.
func (o *VirtualHost) Managed() *Management { return &o.Spec.Management }
