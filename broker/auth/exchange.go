package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// MechanismPlain is name and password in one message. [RFC 4616]
const MechanismPlain = "PLAIN"

// Mechanisms are those of SASL that an Exchange speaks, the best first.
var Mechanisms = []string{object.ScramSHA512, object.ScramSHA256, MechanismPlain}

// Exchange is an authentication in steps, as SASL has it: a message of the client goes into each, and one for the client
// comes out of it. It does no I/O, and holds nothing that must be closed: an endpoint that gives up drops it. It belongs to
// one goroutine.
type Exchange struct {
	authority *Authority
	steps     steps
	asked     bool // the client was asked for its first message
	ended     bool
}

// steps is the broker's side of a mechanism. After an error or an Access there are no further ones.
type steps interface {
	step(ctx context.Context, in []byte) (out []byte, access *Access, err error)
}

// Naming turns the name that a client gives in a message into credentials, without the password: how a name says a
// virtual host is up to the endpoint.
type Naming func(name string) (Credentials, error)

// longestMessage of a client: names, a nonce, a password or a proof, with room to spare.
const longestMessage = 8 << 10 // bytes

// The ways in which an exchange fails, beside those of Authenticate.
var (
	ErrMechanism = errors.New("authentication method is not known")
	ErrMessage   = errors.New("authentication data is not a message of its method, or asks for what is not offered")
)

// Failure is a failed authentication of which more is known than a peer may be told.
type Failure struct {
	Err error  // one of the Err values
	Why string // for the log
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Begin begins an exchange by a mechanism. The error is ErrMechanism if there is no such mechanism.
func (a *Authority) Begin(mechanism string, naming Naming) (*Exchange, error) {
	e := &Exchange{authority: a}
	switch mechanism {
	case object.ScramSHA256, object.ScramSHA512:
		s, err := newScramSteps(a, mechanism, naming, nil)
		if err != nil {
			return nil, err
		}
		e.steps = s
	case MechanismPlain:
		e.steps = &plainSteps{authority: a, naming: naming}
	default:
		a.failures.Add(1)
		return nil, fmt.Errorf("%w; there are %v", ErrMechanism, Mechanisms)
	}
	return e, nil
}

// Step takes a message of the client; nil is that none came, which only the beginning allows. Out is what to answer. Once
// access is not nil the client is in and out, if there is any, ends the exchange. Errors are those of Authenticate and of an
// exchange; after one there are no further steps.
func (e *Exchange) Step(ctx context.Context, in []byte) (out []byte, access *Access, err error) {
	switch {
	case e.ended:
		return nil, nil, ErrMessage
	case in == nil && !e.asked: // all mechanisms begin with a message of the client
		e.asked = true
		return []byte{}, nil, nil
	case len(in) > longestMessage:
		err = ErrMessage
	default:
		e.asked = true
		out, access, err = e.steps.step(ctx, in)
	}
	var denied *Denied
	if err != nil && !errors.As(err, &denied) {
		e.authority.failures.Add(1)
	}
	e.ended = err != nil || access != nil
	return out, access, err
}

// plainSteps is the broker's side of PLAIN.
type plainSteps struct {
	authority *Authority
	naming    Naming
}

func (s *plainSteps) step(ctx context.Context, in []byte) ([]byte, *Access, error) {
	parts := bytes.Split(in, []byte{0})
	if len(parts) != 3 {
		return nil, nil, ErrMessage
	}
	name := string(parts[1])
	c, err := s.naming(name)
	if err != nil {
		return nil, nil, err
	}
	switch string(parts[0]) {
	case "", name, c.User:
	default:
		return nil, nil, &Failure{Err: ErrCredentials, Why: "client wants to act for another user"}
	}
	c.Password = string(parts[2])
	w, err := s.authority.byPassword(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	access, err := s.authority.admit(w, c)
	return nil, access, err
}
