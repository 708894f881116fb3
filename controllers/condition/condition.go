// Package condition holds the conditions of all kinds: their types and reasons, and the one way to set them.
//
// They follow kstatus: Ready says whether what the object asks for is true now; Reconciling is present while the operator
// works towards it or waits for something; Stalled is present when somebody has to change something first. Each carries
// the generation that it is about.
package condition

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The types.
const (
	Ready       = "Ready"
	Reconciling = "Reconciling"
	Stalled     = "Stalled"
	// Drifted is present while the broker has another object than what is written, and the object's driftPolicy leaves it so.
	Drifted = "Drifted"
)

// The reasons of what lives in a broker.
const (
	Synced            = "Synced"            // the broker has it as it is written
	Pending           = "Pending"           // the broker was not asked yet
	BrokerNotFound    = "BrokerNotFound"    // there is no such MessageBroker
	BrokerUnavailable = "BrokerUnavailable" // it does not answer
	Missing           = "Missing"           // it refers to something that the broker does not have (yet)
	Invalid           = "Invalid"           // the broker refuses it
	Inequivalent      = "Inequivalent"      // it exists with properties that cannot be changed
	ResourceConflict  = "ResourceConflict"  // somebody else has it
	SecretNotFound    = "SecretNotFound"    // the password's Secret or key is missing
	DeletionBlocked   = "DeletionBlocked"   // its deletion would lose data
	Planned           = "Planned"           // it is under plan: nothing is done
	Changed           = "Changed"           // somebody changed it in the broker; goes with Drifted

	NamespaceNotAllowed = "NamespaceNotAllowed" // the MessageBroker does not allow its namespace
	InvalidConnection   = "InvalidConnection"   // the connection Secret does not say how to reach a broker
)

// The reasons of brokers, beside BrokerUnavailable and Pending.
const (
	Available            = "Available"            // it serves
	ReconcileFailed      = "ReconcileFailed"      // a call of the Kubernetes API failed; it is tried again
	InvalidConfiguration = "InvalidConfiguration" // the broker would refuse its configuration
	NameTaken            = "NameTaken"            // somebody else's object has the name that one of ours needs
	CredentialsRejected  = "CredentialsRejected"  // the broker does not take the administrator's password
)

// State is what a status says of an object: Ready or why not, and whether waiting helps.
type State struct {
	Ready   bool
	Stalled bool // waiting does not help: the object must be changed
	Reason  string
	Message string
}

// OK is the state of what is as it should be.
func OK(reason, message string) State { return State{Ready: true, Reason: reason, Message: message} }

// Waiting is the state of what will be right by itself, once something else is.
func Waiting(reason, message string) State { return State{Reason: reason, Message: message} }

// Stuck is the state of what needs a change first.
func Stuck(reason, message string) State {
	return State{Stalled: true, Reason: reason, Message: message}
}

// Set brings conditions to a state at a generation, and says whether that changed anything.
func Set(conditions *[]metav1.Condition, generation int64, s State) (changed bool) {
	put := func(kind string, status metav1.ConditionStatus) {
		c := metav1.Condition{Type: kind, Status: status, ObservedGeneration: generation, Reason: s.Reason, Message: s.Message}
		changed = meta.SetStatusCondition(conditions, c) || changed
	}
	status := metav1.ConditionFalse
	if s.Ready {
		status = metav1.ConditionTrue
	}
	put(Ready, status)
	for kind, present := range map[string]bool{Reconciling: !s.Ready && !s.Stalled, Stalled: !s.Ready && s.Stalled} {
		if present {
			put(kind, metav1.ConditionTrue)
		} else {
			changed = meta.RemoveStatusCondition(conditions, kind) || changed
		}
	}
	return changed
}

// IsReady says whether the Ready condition is true.
func IsReady(conditions []metav1.Condition) bool {
	return meta.IsStatusConditionTrue(conditions, Ready)
}
