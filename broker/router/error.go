package router

import (
	"errors"
	"fmt"
)

// Code says what kind of failure an Error is; an endpoint maps it to its protocol's code.
type Code uint8

// The codes, with what AMQP 0-9-1 answers.
const (
	NotFound     Code = iota + 1 // no such exchange: 404
	Reserved                     // the default exchange, or a name that begins with "amq.": 403
	Inequivalent                 // it exists with other properties: 406
	InUse                        // it has bindings: 406
	UnknownType                  // no such type of exchange: 503
	BadArgument                  // an argument or a filter that means nothing: 406
)

// Error is a refused call; the table is as before.
type Error struct {
	Code     Code
	Exchange string
	// Field is what differs when Code is Inequivalent: type, durable, auto_delete, internal or the name of an argument.
	Field string
	text  string
}

func (e *Error) Error() string { return e.text }

// ErrNoExchange is what every Error with the code NotFound is, for errors.Is.
var ErrNoExchange = errors.New("no such exchange")

// Is makes errors.Is(err, ErrNoExchange) work.
func (e *Error) Is(target error) bool { return target == ErrNoExchange && e.Code == NotFound }

func errorf(c Code, exchange, format string, args ...any) *Error {
	return &Error{Code: c, Exchange: exchange, text: fmt.Sprintf(format, args...)}
}

func noExchange(name string) *Error { return errorf(NotFound, name, "no exchange '%s'", name) }
