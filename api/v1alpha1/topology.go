package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Topology is what the kinds that live inside a broker have in common.
// +kubebuilder:object:generate=false
type Topology interface {
	metav1.Object
	runtime.Object
	// BrokerName is the name of the MessageBroker in which the object lives; empty where a Secret names the broker.
	BrokerName() string
	// Reference says in which broker the object lives.
	Reference() BrokerReference
	// NameInBroker is the object's name there.
	NameInBroker() string
	// Deletion is what happens in the broker when the object is deleted.
	Deletion() DeletionPolicy
	// Managed is how the object is kept in step with the broker.
	Managed() *Management
	// Common is the part of the status that every kind has. It may be written to.
	Common() *TopologyStatus
}

// BrokerReference names a broker: a MessageBroker, or one that the operator does not run.
// +kubebuilder:validation:XValidation:rule="has(self.name) != has(self.connectionSecret)",message="brokerRef needs exactly one of name, for a MessageBroker, and connectionSecret, for a broker elsewhere"
// +kubebuilder:validation:XValidation:rule="!has(self.__namespace__) || has(self.name)",message="brokerRef.namespace is that of a MessageBroker and goes with name: a connectionSecret is always in the object's own namespace"
type BrokerReference struct {
	// Name of the MessageBroker.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Name string `json:"name,omitempty"`
	// Namespace of the MessageBroker; unset, that of the object. Another one has to be allowed by the MessageBroker's
	// spec.allowedNamespaces.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// ConnectionSecret names a Secret in the object's namespace that says how to reach the admin API of a broker which this
	// operator does not run: url (https://HOST:PORT), username and password or token or tls.crt and tls.key, and ca.crt if its
	// certificate is of no public authority.
	// +optional
	ConnectionSecret *LocalReference `json:"connectionSecret,omitempty"`
}

// LocalReference names an object in the same namespace.
type LocalReference struct {
	// Name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// DeletionPolicy says what becomes of an object in the broker when its Kubernetes object is deleted.
type DeletionPolicy string

// The deletion policies. Each kind admits those that make sense for it.
const (
	// DeletionRetain leaves the object in the broker.
	DeletionRetain DeletionPolicy = "Retain"
	// DeletionDelete deletes it, with what it holds.
	DeletionDelete DeletionPolicy = "Delete"
	// DeletionDeleteIfEmpty waits until a queue, or all of a virtual host, holds no messages.
	DeletionDeleteIfEmpty DeletionPolicy = "DeleteIfEmpty"
	// DeletionDeleteIfUnused waits until a queue has no consumers, an exchange nothing bound from it, a virtual host and a user
	// no connections, and a policy applies to nothing.
	DeletionDeleteIfUnused DeletionPolicy = "DeleteIfUnused"
)

// PlanAnnotation, with any value but "false", makes an object say in status.plan what it would do, and do nothing.
const PlanAnnotation = "messaging.turnstone.dev/plan"

// Management says how an object is kept in step with the broker.
type Management struct {
	// DriftPolicy says what happens when somebody changes or deletes the object in the broker: Correct brings it back, Report
	// says in the condition Drifted what differs and leaves it, Ignore does not look.
	// +kubebuilder:default=Correct
	// +kubebuilder:validation:Enum=Correct;Report;Ignore
	// +optional
	DriftPolicy DriftPolicy `json:"driftPolicy,omitempty"`
	// OwnershipPolicy says whether the object in the broker belongs to this one alone, or to all that are Shared and want the
	// same; then it is deleted with the last of them.
	// +kubebuilder:default=Exclusive
	// +kubebuilder:validation:Enum=Exclusive;Shared
	// +optional
	OwnershipPolicy OwnershipPolicy `json:"ownershipPolicy,omitempty"`
	// Adopt takes over an object that somebody else made in the broker, also when it is not as written here; what cannot be
	// changed in place stays as it is, and the condition says so. One that nobody owns and that is equal is taken over without.
	// +optional
	Adopt bool `json:"adopt,omitempty"`
}

// DriftPolicy says what the operator does about drift.
type DriftPolicy string

// The drift policies.
const (
	DriftCorrect DriftPolicy = "Correct"
	DriftReport  DriftPolicy = "Report"
	DriftIgnore  DriftPolicy = "Ignore"
)

// OwnershipPolicy says to how many Kubernetes objects an object in a broker belongs.
type OwnershipPolicy string

// The ownership policies.
const (
	OwnershipExclusive OwnershipPolicy = "Exclusive"
	OwnershipShared    OwnershipPolicy = "Shared"
)

// TopologyStatus is the status that every kind inside a broker has.
type TopologyStatus struct {
	// ObservedGeneration is the generation that the conditions are about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Ready (the broker has the object as it is written here), Reconciling, Stalled and, with driftPolicy Report,
	// Drifted, which says what differs. All but Ready are only present while true.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Plan is what the object would do in the broker. It is only there while the object has the annotation
	// messaging.turnstone.dev/plan.
	// +optional
	Plan *Plan `json:"plan,omitempty"`
	// Applied is what of this object the broker was given last.
	// +optional
	Applied *Applied `json:"applied,omitempty"`
}

// PlanAction is what an object would do in its broker.
type PlanAction string

// The actions.
const (
	PlanCreate   PlanAction = "create"
	PlanUpdate   PlanAction = "update"   // in place
	PlanRecreate PlanAction = "recreate" // it cannot be changed in place: somebody has to delete it first
	PlanDelete   PlanAction = "delete"
	PlanAdopt    PlanAction = "adopt" // take it over, and change what differs
	PlanNone     PlanAction = "none"
)

// Plan is what an object would do in its broker.
type Plan struct {
	// Action is create, update, recreate, delete, adopt or none. What is to be recreated has to be deleted first: the operator
	// never does that by itself.
	// +kubebuilder:validation:Enum=create;update;recreate;delete;adopt;none
	Action PlanAction `json:"action"`
	// Message says why there is nothing to do, or what stands in the way.
	// +optional
	Message string `json:"message,omitempty"`
	// Changes are the fields that would change, by their names in the broker's admin API.
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	// +optional
	Changes []PlannedChange `json:"changes,omitempty"`
	// MessagesLost is how many messages would be lost, or stand in the way of a deletion.
	// +optional
	MessagesLost int64 `json:"messagesLost,omitempty"`
	// ConsumersCut is how many consumers would be cancelled, or stand in the way.
	// +optional
	ConsumersCut int64 `json:"consumersCut,omitempty"`
	// BindingsLost is how many bindings would go along, or stand in the way.
	// +optional
	BindingsLost int64 `json:"bindingsLost,omitempty"`
	// ConnectionsCut is how many connections would be closed, or stand in the way.
	// +optional
	ConnectionsCut int64 `json:"connectionsCut,omitempty"`
}

// PlannedChange is one field that would change. Old and new are JSON; absent where the field is not set.
type PlannedChange struct {
	// Field is its path, such as arguments.x-max-length.
	Field string `json:"field"`
	// Old is its value in the broker.
	// +optional
	Old string `json:"old,omitempty"`
	// New is its value as written here.
	// +optional
	New string `json:"new,omitempty"`
}

// Applied says what a broker was given: a later difference is drift only if it is about this generation and this data.
type Applied struct {
	// Generation of the object.
	Generation int64 `json:"generation"`
	// Incarnation is the identity of the broker's data directory: one that lost its data has another.
	Incarnation string `json:"incarnation"`
}

func nameOr(name string, o metav1.Object) string {
	if name != "" {
		return name
	}
	return o.GetName()
}
