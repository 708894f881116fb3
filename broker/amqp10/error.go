package amqp10

import (
	"errors"
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/hub"
)

// Error ends a link, a session or the connection, and is what the peer is told. Whoever handles a frame of a link knows
// which link it is about.
type Error struct {
	Scope     frame.Scope
	Condition frame.Condition
	Text      string // fit for a peer
	rate      bool   // the client sent more than it may
}

func (e *Error) Error() string { return string(e.Condition) + ": " + e.Text }

// wire is the error as a performative carries it.
func (e *Error) wire() *frame.Error { return &frame.Error{Condition: e.Condition, Description: e.Text} }

func errorf(s frame.Scope, c frame.Condition, format string, args ...any) *Error {
	return &Error{Scope: s, Condition: c, Text: fmt.Sprintf(format, args...)}
}

func connectionError(c frame.Condition, format string, args ...any) *Error {
	return errorf(frame.ScopeConnection, c, format, args...)
}

func sessionError(c frame.Condition, format string, args ...any) *Error {
	return errorf(frame.ScopeSession, c, format, args...)
}

func linkError(c frame.Condition, format string, args ...any) *Error {
	return errorf(frame.ScopeLink, c, format, args...)
}

// toError makes any error into one that a peer is told. Errors of this package and of the codec know their scope; others
// are about a link, but for those that end the connection.
func toError(err error) *Error {
	var e *Error
	var f *frame.Fault
	var d *auth.Denied
	var h *hub.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &f):
		return &Error{Scope: f.Scope, Condition: f.Condition, Text: f.Text}
	case errors.As(err, &d):
		return linkError(frame.UnauthorizedAccess, "%v", d)
	case errors.As(err, &h) && h.Code == hub.Excess:
		return &Error{Scope: frame.ScopeConnection, Condition: frame.ConnectionForced, Text: h.Text, rate: true}
	case errors.As(err, &h):
		return linkError(condition(h.Code), "%s", h.Text)
	case errors.Is(err, hub.ErrClosed):
		return connectionError(frame.ConnectionForced, "broker is stopping")
	}
	return linkError(frame.InternalError, "%v", err)
}

// rollback is why a transaction does not take effect. 4 §4.5.8/rollback
func rollback(format string, args ...any) *Error {
	return linkError(frame.TransactionRollback, format, args...)
}

func condition(c hub.Code) frame.Condition {
	switch c {
	case hub.NotFound:
		return frame.NotFound
	case hub.Refused:
		return frame.UnauthorizedAccess
	case hub.Locked:
		return frame.ResourceLocked
	case hub.Precondition:
		return frame.PreconditionFailed
	case hub.Invalid, hub.BadTopic:
		return frame.NotAllowed
	case hub.TooMany, hub.TooFast, hub.Unavailable:
		return frame.ResourceLimitExceeded
	}
	return frame.InternalError
}
