package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TopicPolicySpec is the wanted state of a TopicPolicy.
// +kubebuilder:validation:XValidation:rule="self.brokerRef == oldSelf.brokerRef",message="brokerRef cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="self.vhost == oldSelf.vhost",message="vhost cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.name) ? [self.name] : []) == (has(oldSelf.name) ? [oldSelf.name] : [])",message="name cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="has(self.filter) || has(self.queues) || has(self.autoSubscribe)",message="filter, queues or autoSubscribe must be set: the policy would cover nothing"
// +kubebuilder:validation:XValidation:rule="has(self.filter) || !(has(self.publishers) || has(self.rewrite) || has(self.subscribers) && !has(self.autoSubscribe) || has(self.maxQoS) || has(self.retainAllowed) || has(self.messageExpirySeconds) || has(self.maxPayloadBytes) || has(self.maxMessagesPerSecond) || has(self.maxBytesPerSecond))",message="publishers, subscribers, rewrite and the limits of messages need a filter that says for which topics"
// +kubebuilder:validation:XValidation:rule="!has(self.onExcess) || has(self.maxMessagesPerSecond) || has(self.maxBytesPerSecond)",message="onExcess needs maxMessagesPerSecond or maxBytesPerSecond"
type TopicPolicySpec struct {
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
	// Priority decides where several policies match: the highest wins, then the smaller name.
	// +optional
	Priority int32 `json:"priority,omitempty"`
	// Filter is an MQTT topic filter. AMQP routing keys are seen as topics: a.b is a/b.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^(#|([^/+#]*|[+])(/([^/+#]*|[+]))*(/#)?)$') && !self.contains('\u0000')",message="filter must be an MQTT topic filter: + is a whole level, # the whole last one, and NUL is in none"
	// +optional
	Filter string `json:"filter,omitempty"`
	// Publishers are the users who may publish; none means everybody whom permissions allow.
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +optional
	Publishers []string `json:"publishers,omitempty"`
	// Subscribers are the users who may subscribe, and who are by autoSubscribe; none means everybody whom permissions allow.
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +optional
	Subscribers []string `json:"subscribers,omitempty"`
	// MaxQoS that a subscription is granted.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2
	// +optional
	MaxQoS *int32 `json:"maxQoS,omitempty"`
	// RetainAllowed false drops the retain flag of what is published.
	// +optional
	RetainAllowed *bool `json:"retainAllowed,omitempty"`
	// MessageExpirySeconds is the longest time a message lives.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MessageExpirySeconds *int64 `json:"messageExpirySeconds,omitempty"`
	// MaxPayloadBytes of a message; larger ones are refused.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxPayloadBytes *int64 `json:"maxPayloadBytes,omitempty"`
	// MaxMessagesPerSecond of each publishing connection.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxMessagesPerSecond *int64 `json:"maxMessagesPerSecond,omitempty"`
	// MaxBytesPerSecond of each publishing connection.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxBytesPerSecond *int64 `json:"maxBytesPerSecond,omitempty"`
	// OnExcess says what happens to those who publish more than these two say: slow-down (they are not listened to for a
	// while; what happens if it is not set), drop (their messages are dropped or refused), disconnect.
	// +kubebuilder:validation:Enum=slow-down;drop;disconnect
	// +optional
	OnExcess string `json:"onExcess,omitempty"`
	// Queues are limits of the queues whose names match a pattern, where a queue did not set its own.
	// +optional
	Queues *QueuePolicy `json:"queues,omitempty"`
	// Rewrite gives topics that match the filter another name, for MQTT clients, before permissions are asked.
	// +optional
	Rewrite *TopicRewrite `json:"rewrite,omitempty"`
	// AutoSubscribe are subscriptions that MQTT clients of the virtual host get when they connect, where permissions allow it.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=filter
	// +optional
	AutoSubscribe []AutoSubscription `json:"autoSubscribe,omitempty"`
	// DeletionPolicy says what becomes of it in the broker when this object is deleted.
	// +kubebuilder:default=Delete
	// +kubebuilder:validation:Enum=Retain;Delete
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// QueuePolicy gives limits to queues.
type QueuePolicy struct {
	// Pattern is a regular expression (RE2) over names of queues.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="''.matches(self) ? true : true",message="pattern must be a regular expression in RE2 syntax"
	Pattern       string `json:"pattern"`
	QueueSettings `json:",inline"`
}

// TopicRewrite gives topics another name.
// +kubebuilder:validation:XValidation:rule="has(self.publish) && self.publish || has(self.subscribe) && self.subscribe",message="a rewrite must rename something: set publish or subscribe"
type TopicRewrite struct {
	// To is the new name. A level {1} is what the first + of the filter stands for, {2} the second; {#} as the last level is what
	// # stands for. %u is the user's name, %c the client id.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('$') && !self.replace('{#}', '').contains('#') && !self.contains('+') && !self.contains('{#}/')",message="to must be a topic name that does not begin with $, whose placeholders {1} and so on are whole levels, and {#} the last one"
	To string `json:"to"`
	// Publish renames what clients publish to.
	// +optional
	Publish bool `json:"publish,omitempty"`
	// Subscribe renames the filters that clients subscribe with, if the policy's filter covers them.
	// +optional
	Subscribe bool `json:"subscribe,omitempty"`
}

// AutoSubscription is a subscription that clients get when they connect.
// +kubebuilder:validation:XValidation:rule="!(has(self.noLocal) && self.noLocal && self.filter.startsWith('$share/'))",message="noLocal is not for a shared subscription"
type AutoSubscription struct {
	// Filter is an MQTT topic filter; $share/NAME/ and the like may begin it. %u is the user's name, %c the client id.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('$queue/') || self.matches('^([$]share/[^/+#]+/|[$]exclusive/)?(#|([^/+#]*|[+])(/([^/+#]*|[+]))*(/#)?)$') && !self.contains('\u0000')",message="filter must be an MQTT topic filter: + is a whole level, # the whole last one, and NUL is in none"
	Filter string `json:"filter"`
	// QoS is the highest quality of service of deliveries.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2
	// +optional
	QoS int32 `json:"qos,omitempty"`
	// NoLocal keeps the client's own messages from it.
	// +optional
	NoLocal bool `json:"noLocal,omitempty"`
	// RetainAsPublished keeps the retain flag of what is delivered.
	// +optional
	RetainAsPublished bool `json:"retainAsPublished,omitempty"`
	// RetainHandling 0 sends retained messages, 1 those of a subscription that is new, 2 none.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2
	// +optional
	RetainHandling int32 `json:"retainHandling,omitempty"`
}

// TopicPolicyStatus is the observed state of a TopicPolicy.
type TopicPolicyStatus struct {
	TopologyStatus `json:",inline"`
}

// TopicPolicy is who may use topics, and within which limits, for MQTT topics and AMQP routing keys alike; and limits of queues by pattern.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=tpol,categories=turnstone
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Filter",type=string,JSONPath=`.spec.filter`
// +kubebuilder:printcolumn:name="Queues",type=string,JSONPath=`.spec.queues.pattern`
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="Broker",type=string,JSONPath=`.spec.brokerRef.name`,priority=1
// +kubebuilder:printcolumn:name="Plan",type=string,JSONPath=`.status.plan.action`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type TopicPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              TopicPolicySpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status TopicPolicyStatus `json:"status,omitzero"`
}

// TopicPolicyList is a list of TopicPolicy objects.
// +kubebuilder:object:root=true
type TopicPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TopicPolicy `json:"items"`
}

// BrokerName implements Topology.
func (o *TopicPolicy) BrokerName() string { return o.Spec.BrokerRef.Name }

// Reference implements Topology.
func (o *TopicPolicy) Reference() BrokerReference { return o.Spec.BrokerRef }

// NameInBroker implements Topology.
func (o *TopicPolicy) NameInBroker() string { return nameOr(o.Spec.Name, o) }

// Deletion implements Topology.
func (o *TopicPolicy) Deletion() DeletionPolicy { return o.Spec.DeletionPolicy }

// Common implements Topology.
func (o *TopicPolicy) Common() *TopologyStatus { return &o.Status.TopologyStatus }

// Managed implements Topology.
func (o *TopicPolicy) Managed() *Management { return &o.Spec.Management }
