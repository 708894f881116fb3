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
	// BrokerName is the MessageBroker, in the object's namespace, in which the object lives.
	BrokerName() string
	// NameInBroker is the object's name there.
	NameInBroker() string
	// Deletion is what happens in the broker when the object is deleted.
	Deletion() DeletionPolicy
	// Managed is how the object is kept in step with the broker.
	Managed() *Management
	// Common is the part of the status that every kind has. It may be written to.
	Common() *TopologyStatus
}

// BrokerReference names a MessageBroker in the same namespace.
type BrokerReference struct {
	// Name of the MessageBroker.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
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
	// DeletionDeleteIfEmpty waits until a queue holds no messages.
	DeletionDeleteIfEmpty DeletionPolicy = "DeleteIfEmpty"
	// DeletionDeleteIfUnused waits until a queue has no consumers, an exchange no bindings.
	DeletionDeleteIfUnused DeletionPolicy = "DeleteIfUnused"
)

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
	// Adopt takes over an object that somebody else made in the broker, also when it is not as written here. One that nobody
	// owns and that is equal is taken over without.
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
	// Applied is what of this object the broker was given last.
	// +optional
	Applied *Applied `json:"applied,omitempty"`
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
