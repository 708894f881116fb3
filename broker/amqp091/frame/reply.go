package frame

import "fmt"

// ReplyCode says why a connection or a channel is closed, or a message is returned. §1.2
type ReplyCode uint16

// The reply codes.
const (
	ReplySuccess       ReplyCode = 200
	ContentTooLarge    ReplyCode = 311
	NoRoute            ReplyCode = 312
	NoConsumers        ReplyCode = 313
	ConnectionForced   ReplyCode = 320
	InvalidPath        ReplyCode = 402
	AccessRefused      ReplyCode = 403
	NotFound           ReplyCode = 404
	ResourceLocked     ReplyCode = 405
	PreconditionFailed ReplyCode = 406
	FrameError         ReplyCode = 501
	SyntaxError        ReplyCode = 502
	CommandInvalid     ReplyCode = 503
	ChannelError       ReplyCode = 504
	UnexpectedFrame    ReplyCode = 505
	ResourceError      ReplyCode = 506
	NotAllowed         ReplyCode = 530
	NotImplemented     ReplyCode = 540
	InternalError      ReplyCode = 541
)

var replyNames = map[ReplyCode]string{
	ReplySuccess: "OK", ContentTooLarge: "CONTENT_TOO_LARGE", NoRoute: "NO_ROUTE", NoConsumers: "NO_CONSUMERS",
	ConnectionForced: "CONNECTION_FORCED", InvalidPath: "INVALID_PATH", AccessRefused: "ACCESS_REFUSED", NotFound: "NOT_FOUND",
	ResourceLocked: "RESOURCE_LOCKED", PreconditionFailed: "PRECONDITION_FAILED", FrameError: "FRAME_ERROR",
	SyntaxError: "SYNTAX_ERROR", CommandInvalid: "COMMAND_INVALID", ChannelError: "CHANNEL_ERROR",
	UnexpectedFrame: "UNEXPECTED_FRAME", ResourceError: "RESOURCE_ERROR", NotAllowed: "NOT_ALLOWED",
	NotImplemented: "NOT_IMPLEMENTED", InternalError: "INTERNAL_ERROR",
}

// String is the name that RabbitMQ puts before the text.
func (c ReplyCode) String() string {
	if n, ok := replyNames[c]; ok {
		return n
	}
	return fmt.Sprintf("%d", uint16(c))
}

// Hard says that the code closes the connection; the others close one channel. §1.2
func (c ReplyCode) Hard() bool {
	return c == ConnectionForced || c == InvalidPath || c >= FrameError
}

// Error is bytes that are not what they should be.
type Error struct {
	Code ReplyCode // FrameError or SyntaxError
	Text string
}

func (e *Error) Error() string { return e.Text }

func errorf(c ReplyCode, format string, args ...any) *Error {
	return &Error{Code: c, Text: fmt.Sprintf(format, args...)}
}
