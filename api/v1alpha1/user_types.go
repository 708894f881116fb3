package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// UserSpec is the wanted state of a User.
// +kubebuilder:validation:XValidation:rule="self.brokerRef == oldSelf.brokerRef",message="brokerRef cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="(has(self.name) ? [self.name] : []) == (has(oldSelf.name) ? [oldSelf.name] : [])",message="name cannot be changed: delete the object and make another"
// +kubebuilder:validation:XValidation:rule="!(has(self.passwordSecretRef) && has(self.passwordHashSecretRef))",message="passwordSecretRef and passwordHashSecretRef exclude one another: a user has one password"
// +kubebuilder:validation:XValidation:rule="!has(self.passwordRevision) || self.passwordRevision == 0 || !(has(self.passwordSecretRef) || has(self.passwordHashSecretRef))",message="passwordRevision is for passwords that are made: change what is in the Secret instead"
// +kubebuilder:validation:XValidation:rule="!has(self.ownershipPolicy) || self.ownershipPolicy != 'Shared' || has(self.passwordSecretRef) || has(self.passwordHashSecretRef)",message="a Shared user needs passwordSecretRef: a password that is made is for one object alone"
type UserSpec struct {
	// BrokerRef names the broker.
	BrokerRef  BrokerReference `json:"brokerRef"`
	Management `json:",inline"`
	// Name of the user in the broker; unset, that of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255 && !self.contains('\u0000')",message="name must be at most 255 bytes of UTF-8 without NUL"
	// +optional
	Name string `json:"name,omitempty"`
	// PasswordSecretRef is where the password is. Unset, one is made and kept in the Secret NAME-user-credentials. Another
	// password in the Secret is taken over without a restart.
	// +optional
	PasswordSecretRef *PasswordReference `json:"passwordSecretRef,omitempty"`
	// PasswordHashSecretRef is where a hash of the password is, in the form $argon2id$v=19$m=…,t=…,p=…$salt$hash or one of
	// RabbitMQ's behind $rabbit-sha256$ or $rabbit-sha512$. SCRAM is not for such a user, and its binding has no password.
	// +optional
	PasswordHashSecretRef *HashReference `json:"passwordHashSecretRef,omitempty"`
	// PasswordRevision of a password that is made: another number makes another password.
	// +kubebuilder:validation:Minimum=0
	// +optional
	PasswordRevision int32 `json:"passwordRevision,omitempty"`
	// RotationOverlap is how long the password of before is right beside a new one.
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('720h')",message="rotationOverlap must be between 0s and 720h"
	// +optional
	RotationOverlap *metav1.Duration `json:"rotationOverlap,omitempty"`
	// ClientIDs are patterns of the MQTT client ids that the user may have: * is any text, %u the user's name in the broker.
	// None is any.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:XValidation:rule="size(bytes(self)) <= 1024 && !self.contains('\u0000')",message="a pattern must be at most 1024 bytes of UTF-8 without NUL"
	// +listType=set
	// +optional
	ClientIDs []string `json:"clientIDs,omitempty"`
	// Tags: an administrator may change the broker through its admin API, monitoring may read it. The others are known to
	// tools and give no right.
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:Enum=administrator;monitoring;management;policymaker
	// +listType=set
	// +optional
	Tags []string `json:"tags,omitempty"`
	// Limits of the user's connections and of what comes over them.
	// +optional
	Limits *UserLimits `json:"limits,omitempty"`
	// DeletionPolicy says what becomes of it in the broker when this object is deleted: DeleteIfUnused waits until the user has
	// no connections.
	// +kubebuilder:default=Delete
	// +kubebuilder:validation:Enum=Retain;Delete;DeleteIfUnused
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// PasswordReference names a key of a Secret in the namespace.
type PasswordReference struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key in it.
	// +kubebuilder:default=password
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Key string `json:"key,omitempty"`
}

// HashReference names a key of a Secret in the namespace.
type HashReference struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key in it.
	// +kubebuilder:default=passwordHash
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Key string `json:"key,omitempty"`
}

// UserStatus is the observed state of a User.
type UserStatus struct {
	TopologyStatus `json:",inline"`
	// Username in the broker.
	// +optional
	Username string `json:"username,omitempty"`
	// Binding names the Secret that says how to connect as the user, as the Service Binding specification has it. It follows
	// the password, the endpoints and the authority.
	// +optional
	Binding *LocalReference `json:"binding,omitempty"`
	// PasswordVersion says which content of the Secret the broker has.
	// +optional
	PasswordVersion string `json:"passwordVersion,omitempty"`
}

// User is somebody who may connect.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=tuser,categories=turnstone
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Username",type=string,JSONPath=`.status.username`
// +kubebuilder:printcolumn:name="Broker",type=string,JSONPath=`.spec.brokerRef.name`,priority=1
// +kubebuilder:printcolumn:name="Plan",type=string,JSONPath=`.status.plan.action`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type User struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              UserSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status UserStatus `json:"status,omitzero"`
}

// UserList is a list of User objects.
// +kubebuilder:object:root=true
type UserList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []User `json:"items"`
}

// BrokerName implements Topology.
func (o *User) BrokerName() string { return o.Spec.BrokerRef.Name }

// Reference implements Topology.
func (o *User) Reference() BrokerReference { return o.Spec.BrokerRef }

// NameInBroker implements Topology.
func (o *User) NameInBroker() string { return nameOr(o.Spec.Name, o) }

// Deletion implements Topology.
func (o *User) Deletion() DeletionPolicy { return o.Spec.DeletionPolicy }

// Common implements Topology.
func (o *User) Common() *TopologyStatus { return &o.Status.TopologyStatus }

// Managed implements Topology.
func (o *User) Managed() *Management { return &o.Spec.Management }
