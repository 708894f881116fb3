package frame

import "fmt"

// Condition is the symbol of an error. Peers send others than these, too. 2 §2.8.14
type Condition string

// The conditions of any scope.
const (
	InternalError         Condition = "amqp:internal-error"          // 2 §2.8.15/internal-error
	NotFound              Condition = "amqp:not-found"               // 2 §2.8.15/not-found
	UnauthorizedAccess    Condition = "amqp:unauthorized-access"     // 2 §2.8.15/unauthorized-access
	DecodeError           Condition = "amqp:decode-error"            // 2 §2.8.15/decode-error
	ResourceLimitExceeded Condition = "amqp:resource-limit-exceeded" // 2 §2.8.15/resource-limit-exceeded
	NotAllowed            Condition = "amqp:not-allowed"             // 2 §2.8.15/not-allowed
	InvalidField          Condition = "amqp:invalid-field"           // 2 §2.8.15/invalid-field
	NotImplemented        Condition = "amqp:not-implemented"         // 2 §2.8.15/not-implemented
	ResourceLocked        Condition = "amqp:resource-locked"         // 2 §2.8.15/resource-locked
	PreconditionFailed    Condition = "amqp:precondition-failed"     // 2 §2.8.15/precondition-failed
	ResourceDeleted       Condition = "amqp:resource-deleted"        // 2 §2.8.15/resource-deleted
	IllegalState          Condition = "amqp:illegal-state"           // 2 §2.8.15/illegal-state
	FrameSizeTooSmall     Condition = "amqp:frame-size-too-small"    // 2 §2.8.15/frame-size-too-small
)

// The conditions of connections.
const (
	ConnectionForced   Condition = "amqp:connection:forced"        // 2 §2.8.16/forced
	FramingError       Condition = "amqp:connection:framing-error" // 2 §2.8.16/framing-error
	ConnectionRedirect Condition = "amqp:connection:redirect"      // 2 §2.8.16/redirect
)

// The conditions of sessions.
const (
	WindowViolation  Condition = "amqp:session:window-violation"  // 2 §2.8.17/window-violation
	ErrantLink       Condition = "amqp:session:errant-link"       // 2 §2.8.17/errant-link
	HandleInUse      Condition = "amqp:session:handle-in-use"     // 2 §2.8.17/handle-in-use
	UnattachedHandle Condition = "amqp:session:unattached-handle" // 2 §2.8.17/unattached-handle
)

// The conditions of links.
const (
	DetachForced          Condition = "amqp:link:detach-forced"           // 2 §2.8.18/detach-forced
	TransferLimitExceeded Condition = "amqp:link:transfer-limit-exceeded" // 2 §2.8.18/transfer-limit-exceeded
	MessageSizeExceeded   Condition = "amqp:link:message-size-exceeded"   // 2 §2.8.18/message-size-exceeded
	LinkRedirect          Condition = "amqp:link:redirect"                // 2 §2.8.18/redirect
	Stolen                Condition = "amqp:link:stolen"                  // 2 §2.8.18/stolen
)

// The conditions of transactions.
const (
	UnknownTransaction  Condition = "amqp:transaction:unknown-id" // 4 §4.5.8/unknown-id
	TransactionRollback Condition = "amqp:transaction:rollback"   // 4 §4.5.8/rollback
	TransactionTimeout  Condition = "amqp:transaction:timeout"    // 4 §4.5.8/timeout
)

// Error is what close, end, detach and rejected say of a failure. 2 §2.8.14
type Error struct {
	Condition   Condition
	Description string // empty when absent
	Info        Map    // nil when absent
}

func (e *Error) decode(f *fields) {
	e.Condition = Condition(f.mustSymbol("condition"))
	e.Description = f.text("description")
	e.Info = f.symbolMap("info")
}

func (e *Error) append(dst []byte) []byte {
	w := begin(dst, CodeError)
	w.mustSymbol(string(e.Condition))
	w.text(e.Description)
	w.mapping(e.Info)
	return w.done()
}

// Scope is what an error ends.
type Scope uint8

// The scopes. What is wrong in a message ends its link, what is wrong in a performative of a session, the session. What
// is wrong in begin and end leaves no session that could be ended, and ends the connection.
const (
	ScopeConnection Scope = iota
	ScopeSession
	ScopeLink
)

func (s Scope) String() string {
	switch s {
	case ScopeConnection:
		return "connection"
	case ScopeSession:
		return "session"
	case ScopeLink:
		return "link"
	}
	return fmt.Sprintf("scope %d", uint8(s))
}

// Fault is bytes that are not what they should be, or that do not fit: what ends, and what the peer is told. Scope is the
// least that has to end; more may.
type Fault struct {
	Scope     Scope
	Condition Condition
	Text      string // fit for a peer
}

func (f *Fault) Error() string { return f.Text }

// Wire is the error that goes to the peer.
func (f *Fault) Wire() *Error { return &Error{Condition: f.Condition, Description: f.Text} }

func faultf(s Scope, c Condition, format string, args ...any) *Fault {
	return &Fault{Scope: s, Condition: c, Text: fmt.Sprintf(format, args...)}
}
