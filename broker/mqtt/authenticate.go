package mqtt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/endpoint"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// authentication is the exchange of a client of version 5 that named a method in CONNECT. The reader owns it.
type authentication struct {
	method   string // of CONNECT; empty when it named none
	exchange *auth.Exchange
	until    time.Time // when the client must be done
}

// authenticate finds out who the client is, in an exchange if it wants one, and completes the answer.
func (c *connection) authenticate(ctx context.Context, p *packet.Connect, ack *packet.Connack) (err error) {
	if c.authentication.method == "" {
		c.access, err = c.endpoint.hub.Authority().Authenticate(ctx, c.credentials(p))
		return err
	}
	out, err := c.identifyInSteps(ctx, p)
	if err != nil {
		return notAuthorized(err)
	}
	ack.Properties = c.appendAuthentication(ack.Properties, out)
	return nil
}

// identifyInSteps goes on until the client is in, with the method of CONNECT. Until then the client may send AUTH and DISCONNECT.
// [MQTT5-3.1.2-30], [MQTT5-4.12.0-4]
func (c *connection) identifyInSteps(ctx context.Context, p *packet.Connect) (out []byte, err error) {
	a := &c.authentication
	if a.exchange, err = c.endpoint.hub.Authority().Begin(a.method, c.naming(p)); err != nil {
		return nil, err
	}
	defer func() { a.exchange = nil }()
	data := authenticationData(p.Properties)
	for {
		if out, c.access, err = a.exchange.Step(ctx, data); err != nil || c.access != nil {
			return out, err
		}
		if err := c.challenge(packet.ContinueAuthentication, out); err != nil {
			return nil, err
		}
		if data, err = c.awaitAuth(); err != nil {
			return nil, err
		}
	}
}

// awaitAuth waits for the client's next message before CONNACK. The deadline of CONNECT holds on.
func (c *connection) awaitAuth() ([]byte, error) {
	frame, err := c.await(func(t packet.Type) error {
		if t != packet.TypeAuth && t != packet.TypeDisconnect {
			return protocolError(t.String() + " before the client is authenticated")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if packet.TypeOf(frame) == packet.TypeDisconnect {
		var p packet.Disconnect
		if err := p.Decode(frame, c.version); err != nil {
			return nil, err
		}
		return nil, errEnd
	}
	p, err := c.decodeAuth(frame)
	if err != nil {
		return nil, err
	}
	if p.Reason != packet.ContinueAuthentication { // [MQTT5-4.12.0-3]
		return nil, protocolError("AUTH does not continue the authentication")
	}
	return authenticationData(p.Properties), nil
}

// decodeAuth reads an AUTH, which must name the method of CONNECT. [MQTT5-4.12.0-5], [MQTT5-4.12.1-1]
func (c *connection) decodeAuth(frame []byte) (p packet.Auth, err error) {
	if err := p.Decode(frame, c.version); err != nil {
		return p, err
	}
	method, ok := p.Properties.Get(packet.AuthMethod)
	switch {
	case c.authentication.method == "":
		return p, protocolError("AUTH without an authentication method in CONNECT") // [MQTT5-4.12.0-7]
	case !ok:
		return p, protocolError("AUTH without an authentication method") // MQTT 5 §3.15.2.2.2
	case string(method.Bytes) != c.authentication.method:
		return p, protocolError("AUTH with another authentication method than CONNECT")
	}
	return p, nil
}

// authenticationData is what a packet says in the exchange; nil if it says nothing.
func authenticationData(p packet.Properties) []byte {
	v, ok := p.Get(packet.AuthData)
	if !ok {
		return nil
	}
	return append([]byte{}, v.Bytes...)
}

// appendAuthentication adds the method, as every AUTH and CONNACK of an exchange has it, and data. [MQTT5-4.12.0-5]
func (c *connection) appendAuthentication(p packet.Properties, data []byte) packet.Properties {
	p = p.AppendText(packet.AuthMethod, c.authentication.method)
	if len(data) > 0 {
		p = p.AppendText(packet.AuthData, string(data))
	}
	return p
}

// challenge sends an AUTH, to a client that named a method. [MQTT5-4.12.0-2], [MQTT5-4.12.0-6], [MQTT5-3.15.2-1]
func (c *connection) challenge(reason packet.ReasonCode, data []byte) error {
	p := c.fitting(c.appendAuthentication(nil, data), 0)
	if p == nil {
		return &refusal{packet.PacketTooLarge, errors.New("AUTH would be larger than the client takes")}
	}
	c.send(&packet.Auth{Reason: reason, Properties: p})
	return nil
}

// handleAuth lets a client authenticate itself again, while everything else goes on by what it proved before.
// [MQTT5-4.12.1-1]
func (c *connection) handleAuth(frame []byte) error {
	if len(frame) > c.limits.PreAuthPacketBytes {
		return &packet.Error{Code: packet.PacketTooLarge, Text: fmt.Sprintf("AUTH of %d bytes is more than %d", len(frame), c.limits.PreAuthPacketBytes)}
	}
	p, err := c.decodeAuth(frame)
	if err != nil {
		return err
	}
	a := &c.authentication
	switch {
	case p.Reason == packet.Reauthenticate && a.exchange == nil:
		if a.exchange, err = c.endpoint.hub.Authority().Begin(a.method, c.sameNaming); err != nil {
			return notAuthorized(err)
		}
		a.until = time.Now().Add(c.limits.ConnectTimeout())
	case p.Reason == packet.ContinueAuthentication && a.exchange != nil: // [MQTT5-4.12.0-3]
	default:
		return protocolError(fmt.Sprintf("AUTH with reason 0x%02x is not expected now", byte(p.Reason)))
	}
	return notAuthorized(c.reauthenticate(authenticationData(p.Properties))) // [MQTT5-4.12.1-2]
}

// reauthenticate takes the next message of an exchange, which has to prove that the client is who it was.
func (c *connection) reauthenticate(data []byte) error {
	a := &c.authentication
	ctx, cancel := context.WithDeadline(context.Background(), a.until)
	defer cancel()
	if ctx.Err() != nil {
		return errors.New("authentication took too long")
	}
	out, access, err := a.exchange.Step(ctx, data)
	switch {
	case err != nil:
		return err
	case access == nil:
		return c.challenge(packet.ContinueAuthentication, out)
	case !access.Same(c.access):
		return errors.New("client authenticated itself as somebody else")
	}
	a.exchange = nil
	return c.challenge(packet.Success, out)
}

// notAuthorized gives the error of an exchange the reason code that says so, unless it has a better one: which half was
// wrong, as BadUserNameOrPassword says, is not the matter here.
func notAuthorized(err error) error {
	var known *refusal
	var broken *packet.Error
	switch {
	case err == nil, errors.As(err, &known), errors.As(err, &broken), errors.Is(err, errEnd), gone(err), errors.Is(err, auth.ErrThrottled), errors.Is(err, auth.ErrClientID):
		return err
	case errors.Is(err, auth.ErrMechanism):
		return &refusal{packet.BadAuthenticationMethod, err} // [MQTT5-4.12.0-1]
	case errors.Is(err, context.DeadlineExceeded): // the broker had no time to verify a password
		return &refusal{packet.ServerBusy, err}
	}
	return &refusal{packet.NotAuthorized, err}
}

// naming is how the client says who it is in an exchange: user or vhost:user, as in the user name of CONNECT. When CONNECT
// has a user name too, the two must not contradict one another.
func (c *connection) naming(p *packet.Connect) auth.Naming {
	said := string(p.Username)
	return func(name string) (auth.Credentials, error) {
		vhost, user, placed := splitUser(name)
		if p.Username != nil {
			v, u, also := splitUser(said)
			if u != user || also && placed && v != vhost {
				return auth.Credentials{}, &auth.Failure{Err: auth.ErrCredentials, Why: "the user name of CONNECT is another than that of the exchange"}
			}
			if also {
				vhost = v
			}
		}
		return c.named(vhost, user), nil
	}
}

// sameNaming is naming for a client that is in: it stays where it is unless it says so.
func (c *connection) sameNaming(name string) (auth.Credentials, error) {
	vhost, user, placed := splitUser(name)
	if !placed {
		vhost = c.access.VirtualHost()
	}
	return c.named(vhost, user), nil
}

func (c *connection) named(vhost, user string) auth.Credentials {
	return auth.Credentials{User: user, Peer: endpoint.Peer(c.conn), VirtualHost: vhost, ClientID: c.clientID}
}

// defaultVirtualHost is that of users who name none.
const defaultVirtualHost = "/"

// splitUser reads a user name, which can name a virtual host: vhost:user.
func splitUser(name string) (vhost, user string, placed bool) {
	if at := strings.LastIndexByte(name, ':'); at >= 0 {
		return name[:at], name[at+1:], true
	}
	return defaultVirtualHost, name, false
}

// credentials are what the client says and shows of itself in CONNECT.
func (c *connection) credentials(p *packet.Connect) auth.Credentials {
	vhost, user, _ := splitUser(string(p.Username))
	cr := c.named(vhost, user)
	cr.Password, cr.Anonymous = string(p.Password), user == "" && len(p.Password) == 0
	if s := endpoint.TLSState(c.conn); s != nil {
		cr.Certificate = auth.PeerCertificate(*s)
	}
	return cr
}
