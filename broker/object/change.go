package object

// Deletion says what must hold before a queue is deleted; other kinds take every deletion for DeleteAlways, but an
// exchange, for which DeleteIfUnused means without bindings.
type Deletion string

// The deletions of a Change. The zero value deletes nothing: the object is wanted.
const (
	DeleteAlways   Deletion = "Always"
	DeleteIfEmpty  Deletion = "IfEmpty"
	DeleteIfUnused Deletion = "IfUnused"
)

// Change is one wish: that an object is as written, or, with Delete set, that it is gone.
type Change struct {
	Object
	Delete Deletion `json:"delete,omitempty"`
}

// Outcome is what became of one change.
type Outcome string

// The outcomes. Conflict: another owner has it. Refused: it breaks a rule or would lose data; Result.Message says which.
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
	ReasonInUse        Reason = "InUse"        // the queue has consumers, the exchange bindings
	ReasonProtected    Reason = "Protected"    // built in: the default exchange, amq.*, the last administrator
	ReasonOwned        Reason = "Owned"        // goes with Conflict
	ReasonUnavailable  Reason = "Unavailable"  // the broker cannot store it now, such as with a full disk
)

// Result is what became of one change, in the order of the request.
type Result struct {
	Key
	Outcome  Outcome `json:"outcome"`
	Reason   Reason  `json:"reason,omitempty"`
	Message  string  `json:"message,omitempty"`
	Owner    string  `json:"owner,omitempty"` // who has it, on a conflict
	Revision uint64  `json:"revision,omitempty"`
	// Messages is how many messages stand in the way of a deletion.
	Messages int `json:"messages,omitempty"`
}
