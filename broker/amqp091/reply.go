package amqp091

import (
	"errors"
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/hub"
)

// Error closes a channel or a connection, as its code says (frame.ReplyCode.Hard): a hard code always closes the
// connection, others close it too where there is no channel to close.
type Error struct {
	Code frame.ReplyCode
	Text string
	// Method is the one that caused it; zero if that was not a method.
	Method frame.ID
	rate   bool // the client sent more than it may
}

func (e *Error) Error() string { return e.Code.String() + " - " + e.Text }

func errorf(c frame.ReplyCode, format string, args ...any) *Error {
	return &Error{Code: c, Text: fmt.Sprintf(format, args...)}
}

// replyText is the text of the close method.
func (e *Error) replyText() string { return frame.Shorten(e.Error()) }

// toError makes any error that a frame led to into one that a peer is told. Errors of this package and of the codec are
// so already; the hub's have a code.
func toError(err error, id frame.ID) *Error {
	var e *Error
	var f *frame.Error
	var d *auth.Denied
	var h *hub.Error
	switch {
	case errors.As(err, &e):
		e = &Error{Code: e.Code, Text: e.Text, Method: e.Method, rate: e.rate}
	case errors.As(err, &f):
		e = &Error{Code: f.Code, Text: f.Text}
	case errors.As(err, &d):
		e = &Error{Code: frame.AccessRefused, Text: deniedText(d)}
	case errors.As(err, &h):
		e = &Error{Code: replyCode(h.Code), Text: h.Text, rate: h.Code == hub.Excess}
	case errors.Is(err, hub.ErrClosed):
		e = &Error{Code: frame.ConnectionForced, Text: "broker is stopping"}
	default:
		e = &Error{Code: frame.InternalError, Text: err.Error()}
	}
	if e.Method == 0 {
		e.Method = id
	}
	return e
}

func replyCode(c hub.Code) frame.ReplyCode {
	switch c {
	case hub.NotFound:
		return frame.NotFound
	case hub.Refused:
		return frame.AccessRefused
	case hub.Locked:
		return frame.ResourceLocked
	case hub.Precondition, hub.Invalid, hub.BadTopic, hub.TooMany:
		return frame.PreconditionFailed
	case hub.Unavailable:
		return frame.ResourceError
	case hub.TooFast, hub.Excess:
		return frame.ConnectionForced
	}
	return frame.InternalError
}

// deniedText is RabbitMQ's sentence for a missing permission where there is one.
func deniedText(d *auth.Denied) string {
	verbs := map[string]string{"configure": "configure", "write to": "write", "read from": "read"}
	verb, ok := verbs[d.Verb]
	if !ok || d.Why != "" {
		return d.Error()
	}
	return fmt.Sprintf("%s access to '%s' in vhost '%s' refused for user '%s'", verb, d.Resource, d.VirtualHost, d.User)
}

// notImplemented is the answer to what the specification has and this broker has not.
func notImplemented(format string, args ...any) *Error {
	return errorf(frame.NotImplemented, format, args...)
}
