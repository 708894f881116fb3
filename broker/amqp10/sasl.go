package amqp10

import (
	"context"
	"errors"
	"log/slog"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/endpoint"
)

// handleHeader answers a protocol header, or any other first bytes with the header that would have been right. False: there
// is nothing more to handle now. 2 §2.2, 5 §5.3.2
func (c *connection) handleHeader() bool {
	h, n, err := frame.ReadProtocolHeader(c.in.Unread())
	switch {
	case err == nil && n == 0:
		return false
	case err != nil || !h.Supported():
		return c.refuseHeader()
	case h.ID == frame.ProtocolSASL && c.access == nil:
		c.in.Take(n)
		c.sendHeader(frame.ProtocolSASL)
		c.send(0, &frame.SASLMechanisms{Mechanisms: c.mechanisms()})
		c.state = awaitInit
		return true
	case h.ID == frame.ProtocolAMQP && (c.access != nil || c.enterUnasked()):
		c.in.Take(n)
		c.sendHeader(frame.ProtocolAMQP)
		c.state = awaitOpen
		return true
	}
	return c.refuseHeader()
}

// refuseHeader says which header would have been right, and ends the connection.
func (c *connection) refuseHeader() bool {
	id := frame.ProtocolSASL
	if c.access != nil {
		id = frame.ProtocolAMQP
	}
	c.sendHeader(id)
	c.state = closed
	return false
}

func (c *connection) sendHeader(id frame.ProtocolID) {
	c.out.Append(func(dst []byte) []byte { return frame.Version10(id).Append(dst) })
}

// The mechanisms that are no exchange.
const (
	externalMechanism  = "EXTERNAL"
	anonymousMechanism = "ANONYMOUS"
)

// mechanisms are those that can succeed on this connection, the best first.
func (c *connection) mechanisms() (all []string) {
	if c.credentials().Certificate != nil {
		all = append(all, externalMechanism)
	}
	all = append(all, auth.Mechanisms...)
	if c.endpoint.hub.Authority().AdmitsAnonymous(endpoint.Peer(c.conn)) {
		all = append(all, anonymousMechanism)
	}
	return all
}

// credentials are what the connection shows of the client by itself.
func (c *connection) credentials() auth.Credentials {
	cr := auth.Credentials{Peer: endpoint.Peer(c.conn)}
	if s := endpoint.TLSState(c.conn); s != nil {
		cr.Certificate = auth.PeerCertificate(*s)
	}
	return cr
}

// enterUnasked lets a client in that uses no SASL: by its certificate, or because nobody has to give a name. 5 §5.3.2
func (c *connection) enterUnasked() bool {
	cr := c.credentials()
	if cr.Certificate == nil && !c.endpoint.hub.Authority().AdmitsAnonymous(cr.Peer) {
		return false
	}
	cr.Anonymous = true
	return c.authenticate(cr) == nil
}

func (c *connection) authenticate(cr auth.Credentials) (err error) {
	ctx, cancel := c.hurry()
	defer cancel()
	c.access, err = c.endpoint.hub.Authority().Authenticate(ctx, cr)
	return err
}

// hurry bounds how long a login may take the broker.
func (c *connection) hurry() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), c.config.Limits.ConnectTimeout())
}

func (c *connection) handleSASL(d frame.Descriptor, f *frame.Frame) error {
	switch {
	case d == frame.CodeSASLInit && c.state == awaitInit:
		var p frame.SASLInit
		if err := p.Decode(f.Body, c.limits()); err != nil {
			return err
		}
		return c.handleInit(&p)
	case d == frame.CodeSASLResponse && c.state == awaitResponse:
		var p frame.SASLResponse
		if err := p.Decode(f.Body, c.limits()); err != nil {
			return err
		}
		return c.step(p.Response)
	}
	return connectionError(frame.NotAllowed, "%s is not expected now", d)
}

func (c *connection) handleInit(p *frame.SASLInit) error {
	switch p.Mechanism {
	case externalMechanism:
		cr := c.credentials()
		cr.User = string(p.InitialResponse)
		if cr.Certificate == nil {
			return c.loginFailed(auth.ErrCredentials)
		}
		return c.loggedIn(nil, c.authenticate(cr))
	case anonymousMechanism:
		return c.loggedIn(nil, c.authenticate(auth.Credentials{Peer: endpoint.Peer(c.conn), Anonymous: true}))
	}
	x, err := c.endpoint.hub.Authority().Begin(p.Mechanism, func(name string) (auth.Credentials, error) {
		return auth.Credentials{User: name, Peer: endpoint.Peer(c.conn)}, nil
	})
	if err != nil {
		return c.loginFailed(err)
	}
	c.exchange = x
	return c.step(p.InitialResponse)
}

// step takes the client's next message of an exchange.
func (c *connection) step(in []byte) error {
	ctx, cancel := c.hurry()
	defer cancel()
	out, access, err := c.exchange.Step(ctx, in)
	if err == nil && access == nil {
		c.state = awaitResponse
		c.send(0, &frame.SASLChallenge{Challenge: out})
		return nil
	}
	c.access = access
	return c.loggedIn(out, err)
}

// loggedIn ends SASL; more is what the mechanism says with its end. 5 §5.3.3.5
func (c *connection) loggedIn(more []byte, err error) error {
	c.exchange = nil
	if err != nil {
		return c.loginFailed(err)
	}
	c.send(0, &frame.SASLOutcome{Code: frame.SASLOk, AdditionalData: more})
	c.state = awaitHeader
	return nil
}

// loginFailed tells the client that it is not let in, and ends the connection.
func (c *connection) loginFailed(err error) error {
	c.endpoint.stats.Refused.Add(1)
	code := frame.SASLAuthenticationFail
	if errors.Is(err, auth.ErrThrottled) || errors.Is(err, context.DeadlineExceeded) {
		code = frame.SASLTemporaryError
	}
	var why any = err
	var f *auth.Failure
	if errors.As(err, &f) {
		why = f.Why
	}
	c.log(slog.LevelWarn, "login refused", "error", why)
	c.send(0, &frame.SASLOutcome{Code: code})
	c.state = closed
	return nil
}
