package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// QueueSpec is the wanted state of a Queue.
// +kubebuilder:validation:XValidation:rule="self.brokerRef == oldSelf.brokerRef",message="brokerRef cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="self.vhost == oldSelf.vhost",message="vhost cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.name) ? [self.name] : []) == (has(oldSelf.name) ? [oldSelf.name] : [])",message="name cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.durable) ? [self.durable] : []) == (has(oldSelf.durable) ? [oldSelf.durable] : [])",message="durable cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.autoDelete) ? [self.autoDelete] : []) == (has(oldSelf.autoDelete) ? [oldSelf.autoDelete] : [])",message="autoDelete cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.messageTTL) ? [duration(self.messageTTL)] : []) == (has(oldSelf.messageTTL) ? [duration(oldSelf.messageTTL)] : [])",message="messageTTL cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.expires) ? [duration(self.expires)] : []) == (has(oldSelf.expires) ? [duration(oldSelf.expires)] : [])",message="expires cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.maxLength) ? [self.maxLength] : []) == (has(oldSelf.maxLength) ? [oldSelf.maxLength] : [])",message="maxLength cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.maxLengthBytes) ? [self.maxLengthBytes] : []) == (has(oldSelf.maxLengthBytes) ? [oldSelf.maxLengthBytes] : [])",message="maxLengthBytes cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.overflow) ? [self.overflow] : []) == (has(oldSelf.overflow) ? [oldSelf.overflow] : [])",message="overflow cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.deadLetter) ? [self.deadLetter] : []) == (has(oldSelf.deadLetter) ? [oldSelf.deadLetter] : [])",message="deadLetter cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.deliveryLimit) ? [self.deliveryLimit] : []) == (has(oldSelf.deliveryLimit) ? [oldSelf.deliveryLimit] : [])",message="deliveryLimit cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.maxPriority) ? [self.maxPriority] : []) == (has(oldSelf.maxPriority) ? [oldSelf.maxPriority] : [])",message="maxPriority cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.singleActiveConsumer) ? [self.singleActiveConsumer] : []) == (has(oldSelf.singleActiveConsumer) ? [oldSelf.singleActiveConsumer] : [])",message="singleActiveConsumer cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.messageGroups) ? [self.messageGroups] : []) == (has(oldSelf.messageGroups) ? [oldSelf.messageGroups] : [])",message="messageGroups cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.lastValueKey) ? [self.lastValueKey] : []) == (has(oldSelf.lastValueKey) ? [oldSelf.lastValueKey] : [])",message="lastValueKey cannot be changed: delete the object and make another"
type QueueSpec struct {
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
	// Name of the queue in the broker; unset, that of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="name must be at most 255 bytes of UTF-8 without NUL"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('amq.')",message="names that begin with amq. are reserved for the broker: choose another name"
	// +optional
	Name string `json:"name,omitempty"`
	// Durable queues survive a restart of the broker.
	// +kubebuilder:default=true
	// +optional
	Durable *bool `json:"durable,omitempty"`
	// AutoDelete queues go with their last consumer.
	// +optional
	AutoDelete    bool `json:"autoDelete,omitempty"`
	QueueSettings `json:",inline"`
	// Arguments that have no field of their own, as a client would declare them.
	// +kubebuilder:validation:MaxProperties=64
	// +optional
	Arguments map[string]apiextensionsv1.JSON `json:"arguments,omitempty"`
	// DeletionPolicy says what becomes of it in the broker when this object is deleted: DeleteIfEmpty waits until it holds no
	// messages, DeleteIfUnused until it has no consumers.
	// +kubebuilder:default=DeleteIfEmpty
	// +kubebuilder:validation:Enum=Retain;Delete;DeleteIfEmpty;DeleteIfUnused
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// QueueSettings are the arguments of a queue that have a field of their own.
// +kubebuilder:validation:XValidation:rule="!has(self.overflow) || has(self.maxLength) || has(self.maxLengthBytes)",message="overflow needs maxLength or maxLengthBytes: without them the queue never overflows"
// +kubebuilder:validation:XValidation:rule="!has(self.lastValueKey) || !has(self.messageGroups)",message="lastValueKey and messageGroups exclude each other: of one key there is no second message that waits"
type QueueSettings struct {
	// MessageTTL is how long a message waits at most, such as 30s or 24h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('1193h')",message="messageTTL must be between 0s and 1193h"
	// +optional
	MessageTTL *metav1.Duration `json:"messageTTL,omitempty"`
	// Expires deletes the queue when nobody used it for so long.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('1193h')",message="expires must be between 1ms and 1193h"
	// +optional
	Expires *metav1.Duration `json:"expires,omitempty"`
	// MaxLength is how many messages may wait.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxLength *int64 `json:"maxLength,omitempty"`
	// MaxLengthBytes is how many bytes of bodies may wait.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxLengthBytes *int64 `json:"maxLengthBytes,omitempty"`
	// Overflow says what happens when the queue is full.
	// +kubebuilder:validation:Enum=drop-head;reject-publish;reject-publish-dlx
	// +optional
	Overflow string `json:"overflow,omitempty"`
	// DeadLetter is where messages go that expire, overflow, are rejected or delivered too often.
	// +optional
	DeadLetter *DeadLetter `json:"deadLetter,omitempty"`
	// DeliveryLimit is how often a message is delivered again; -1 is no limit.
	// +kubebuilder:validation:Minimum=-1
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	DeliveryLimit *int64 `json:"deliveryLimit,omitempty"`
	// MaxPriority gives the queue the priorities 0 to this.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=255
	// +optional
	MaxPriority *int32 `json:"maxPriority,omitempty"`
	// SingleActiveConsumer delivers to one consumer at a time.
	// +optional
	SingleActiveConsumer *bool `json:"singleActiveConsumer,omitempty"`
	// MessageGroups gives all messages of a group (group-id of AMQP 1.0, JMSXGroupID) to one consumer, in order.
	// +optional
	MessageGroups *MessageGroups `json:"messageGroups,omitempty"`
	// LastValueKey has the queue keep of the messages with the same value of this header, application property or user
	// property only the newest; $routing-key stands for their routing key or topic.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="lastValueKey must be at most 255 bytes of UTF-8 without NUL"
	// +optional
	LastValueKey *string `json:"lastValueKey,omitempty"`
}

// MessageGroups is how a queue gives groups of messages to its consumers.
type MessageGroups struct {
	// Buckets is how many groups the queue can tell apart: groups are spread over them by their names, and those that share
	// a bucket share a consumer.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65536
	// +kubebuilder:default=1024
	// +optional
	Buckets int64 `json:"buckets,omitempty"`
	// Rebalance gives a consumer that joins its share of the groups, each when its consumer has settled what it has of it;
	// false leaves groups with their consumers until those leave. Unset is true.
	// +optional
	Rebalance *bool `json:"rebalance,omitempty"`
}

// DeadLetter is where messages go that a queue gives up.
type DeadLetter struct {
	// Exchange to publish them to; empty is the default exchange.
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="deadLetter.exchange must be at most 255 bytes of UTF-8 without NUL"
	Exchange string `json:"exchange"`
	// RoutingKey to publish them with; unset, that of the message.
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="deadLetter.routingKey must be at most 255 bytes of UTF-8 without NUL"
	// +optional
	RoutingKey *string `json:"routingKey,omitempty"`
}

// QueueStatus is the observed state of a Queue.
type QueueStatus struct {
	TopologyStatus `json:",inline"`
	// Messages that wait or are unacknowledged. This and what follows is written when it changed by much, and not more often
	// than the operator's --queue-status-writes allows.
	// +kubebuilder:default=0
	// +optional
	Messages int64 `json:"messages"`
	// Consumers of the queue.
	// +kubebuilder:default=0
	// +optional
	Consumers int64 `json:"consumers"`
	// PublishRate is how many messages came in a second, averaged over half a minute.
	// +kubebuilder:default=0
	// +optional
	PublishRate int64 `json:"publishRate"`
	// DeliverRate is how many messages were delivered in a second, averaged over half a minute.
	// +kubebuilder:default=0
	// +optional
	DeliverRate int64 `json:"deliverRate"`
}

// Queue is an AMQP queue.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=q,categories=turnstone
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Messages",type=integer,JSONPath=`.status.messages`
// +kubebuilder:printcolumn:name="Consumers",type=integer,JSONPath=`.status.consumers`
// +kubebuilder:printcolumn:name="In/s",type=integer,JSONPath=`.status.publishRate`
// +kubebuilder:printcolumn:name="Out/s",type=integer,JSONPath=`.status.deliverRate`
// +kubebuilder:printcolumn:name="VHost",type=string,JSONPath=`.spec.vhost`
// +kubebuilder:printcolumn:name="Broker",type=string,JSONPath=`.spec.brokerRef.name`,priority=1
// +kubebuilder:printcolumn:name="Plan",type=string,JSONPath=`.status.plan.action`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Queue struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              QueueSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status QueueStatus `json:"status,omitzero"`
}

// QueueList is a list of Queue objects.
// +kubebuilder:object:root=true
type QueueList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Queue `json:"items"`
}

// BrokerName implements Topology.
func (o *Queue) BrokerName() string { return o.Spec.BrokerRef.Name }

// Reference implements Topology.
func (o *Queue) Reference() BrokerReference { return o.Spec.BrokerRef }

// NameInBroker implements Topology.
func (o *Queue) NameInBroker() string { return nameOr(o.Spec.Name, o) }

// Deletion implements Topology.
func (o *Queue) Deletion() DeletionPolicy { return o.Spec.DeletionPolicy }

// Common implements Topology.
func (o *Queue) Common() *TopologyStatus { return &o.Status.TopologyStatus }

// Managed implements Topology.
func (o *Queue) Managed() *Management { return &o.Spec.Management }
