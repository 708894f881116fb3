package object

import (
	"fmt"
	"slices"
)

// Deletion says what must hold before an object is deleted.
type Deletion string

// The deletions of a Change. The zero value deletes nothing: the object is wanted.
const (
	DeleteAlways   Deletion = "Always"
	DeleteIfEmpty  Deletion = "IfEmpty"
	DeleteIfUnused Deletion = "IfUnused"
)

// deletions are those on a condition that a kind has. A queue is empty without messages and unused without consumers; an
// exchange is unused when nothing is bound from it, a virtual host and a user without connections, a policy when it applies
// to no queue and no exchange. A virtual host is empty when its queues, its sessions and its retained messages are none.
var deletions = map[Kind][]Deletion{
	KindVirtualHost:    {DeleteIfEmpty, DeleteIfUnused},
	KindUser:           {DeleteIfUnused},
	KindPolicy:         {DeleteIfUnused},
	KindOperatorPolicy: {DeleteIfUnused},
	KindExchange:       {DeleteIfUnused},
	KindQueue:          {DeleteIfEmpty, DeleteIfUnused},
}

// Check says what is wrong with a deletion of a kind.
func (d Deletion) Check(k Kind) error {
	known := append([]Deletion{DeleteAlways}, deletions[k]...)
	if !slices.Contains(known, d) {
		return fmt.Errorf("delete: %q is not for the kind %s, which has %v", d, k, known)
	}
	return nil
}

// Adoption says what of that which is there already an owner takes over.
type Adoption string

// The adoptions of a Change. The zero value takes over what nobody owns and is as wished.
const (
	AdoptUnowned Adoption = "Unowned" // what nobody owns, whatever it is like
	AdoptAny     Adoption = "Any"     // also what another owner has
)

// Change is one wish: that an object is as written, or, with Delete set, that it is gone. A deletion with a Ref is about the
// object that stands for it, and leaves one that stands for another resource.
type Change struct {
	Object
	Delete Deletion `json:"delete,omitempty"`
	Adopt  Adoption `json:"adopt,omitempty"`
}

// Outcome is what became of one change.
type Outcome string

// The outcomes. Conflict: another owner has it, or nobody and it is not as wished. Refused: it breaks a rule or would lose data; Result.Message says which.
const (
	Created   Outcome = "created"
	Updated   Outcome = "updated"
	Unchanged Outcome = "unchanged"
	Deleted   Outcome = "deleted"
	Conflict  Outcome = "conflict"
	Refused   Outcome = "refused"
)

// Reason is the machine's word for why a change was refused.
type Reason string

// The reasons of refused changes.
const (
	ReasonInvalid      Reason = "Invalid"      // the spec breaks a rule
	ReasonMissing      Reason = "Missing"      // something that it refers to is not there (yet)
	ReasonInequivalent Reason = "Inequivalent" // it exists with properties that cannot be changed in place
	ReasonNotEmpty     Reason = "NotEmpty"     // the queue holds messages
	ReasonInUse        Reason = "InUse"        // the queue has consumers, the exchange bindings, the user connections
	ReasonProtected    Reason = "Protected"    // built in: the default exchange, amq.*, the last administrator
	ReasonOwned        Reason = "Owned"        // a conflict: another owner has it
	ReasonDiffers      Reason = "Differs"      // a conflict: nobody owns it, and it is not as wished
	ReasonUnavailable  Reason = "Unavailable"  // the broker cannot store it now, such as with a full disk
)

// Result is what became of one change, in the order of the request.
type Result struct {
	Key
	Outcome  Outcome `json:"outcome"`
	Reason   Reason  `json:"reason,omitempty"`
	Message  string  `json:"message,omitempty"`
	Owner    string  `json:"owner,omitempty"` // who has it, on a conflict
	Ref      string  `json:"ref,omitempty"`   // and what it is for there
	Revision uint64  `json:"revision,omitempty"`
	// Adopted says that somebody else had it, or nobody.
	Adopted bool `json:"adopted,omitempty"`
	// Differences are the fields that change, in a dry run and with the reason Differs.
	Differences []Difference `json:"differences,omitempty"`
	Toll
}

// Toll is what a deletion takes along, or, when it was refused, what stands in its way. With the reason Inequivalent it is
// what deleting the object, to make it anew, would take.
type Toll struct {
	Messages    int `json:"messages,omitempty"`    // of the queue, or of all in the virtual host
	Consumers   int `json:"consumers,omitempty"`   // of the same
	Bindings    int `json:"bindings,omitempty"`    // from and to the exchange, to the queue, or in the virtual host
	Connections int `json:"connections,omitempty"` // of the user, or in the virtual host
}
