package mqtt

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/endpoint"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// accept reads CONNECT and answers it. When it returns nil, the connection is live.
func (c *connection) accept() error {
	deadline := c.since.Add(c.limits.ConnectTimeout())
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	if c.stopped() { // before the deadline was set, which took back that of stop
		return c.cause
	}
	p, err := c.readConnect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	present, err := c.connect(ctx, p)
	if err != nil {
		return c.refuse(p.Version, err)
	}
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("clear deadline: %w", err)
	}
	if c.stopped() { // the deadline that was cleared may have been that of stop
		return c.cause
	}
	c.endpoint.stats.Connects.Add(1)
	c.send(&packet.Connack{SessionPresent: present}) // [MQTT-3.2.2-1], [MQTT-3.2.2-2], [MQTT-3.2.2-3]
	c.live.Store(true)
	c.in.trusted = true
	c.active = c.endpoint.wheel.now.Load()
	c.endpoint.wheel.add(c)
	c.session.Resume()
	return nil
}

// readConnect waits for the first packet, which is CONNECT. [MQTT-3.1.0-1]
func (c *connection) readConnect() (*packet.Connect, error) {
	for {
		frame, err := c.in.next(c.limits.PreAuthPacketBytes)
		if err != nil {
			return nil, err
		}
		if frame == nil {
			if err := c.in.fill(); err != nil {
				return nil, err
			}
			if packet.TypeOf(c.in.buf[c.in.start:]) != packet.TypeConnect {
				return nil, protocolError("first packet is not CONNECT")
			}
			continue
		}
		p := new(packet.Connect)
		if err := p.Decode(frame, 0); err != nil {
			return nil, c.refuseVersion(p.Version, err)
		}
		if p.Version == packet.V5 {
			return nil, c.refuse(packet.V5, &refusal{packet.UnsupportedVersion, errors.New("MQTT 5 is not served yet")})
		}
		return p, nil
	}
}

// refusal is a CONNECT that is answered with an error.
type refusal struct {
	reason packet.ReasonCode
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// refuseVersion answers a CONNECT of an unknown version in the oldest form that can say so. Other malformed packets are
// not answered.
func (c *connection) refuseVersion(v packet.Version, err error) error {
	var e *packet.Error
	if errors.As(err, &e) && e.Code == packet.UnsupportedVersion { // [MQTT-3.1.2-2]
		if v > packet.V5 && v < packet.V31|0x80 { // a bridge of Mosquitto asks with the highest bit and then without
			v = packet.V5
		} else {
			v = packet.V311
		}
		return c.refuse(v, &refusal{e.Code, err})
	}
	return err
}

// refuse sends CONNACK with an error, after which the connection ends. [MQTT-3.2.2-5]
func (c *connection) refuse(v packet.Version, err error) error {
	var r *refusal
	if !errors.As(err, &r) {
		r = &refusal{reasonOf(err), err}
	}
	c.endpoint.stats.Refused.Add(1)
	c.version = v
	c.send(&packet.Connack{Reason: r.reason})
	return fmt.Errorf("refuse CONNECT: %w", err)
}

// reasonOf is the reason code of an error of the hub or of auth.
func reasonOf(err error) packet.ReasonCode {
	switch {
	case errors.Is(err, auth.ErrCredentials):
		return packet.BadUserNameOrPassword
	case errors.Is(err, auth.ErrAnonymous):
		return packet.NotAuthorized
	case errors.Is(err, auth.ErrThrottled):
		return packet.ConnectionRateExceeded
	}
	switch hub.CodeOf(err) {
	case hub.Refused, hub.NotFound:
		return packet.NotAuthorized
	case hub.TooMany:
		return packet.QuotaExceeded
	}
	return packet.ServerUnavailable
}

// connect authenticates the client and attaches it to its session.
func (c *connection) connect(ctx context.Context, p *packet.Connect) (present bool, err error) {
	c.version = p.Version
	if err := c.identify(p); err != nil {
		return false, err
	}
	credentials := c.credentials(p)
	c.access, err = c.endpoint.hub.Authority().Authenticate(ctx, credentials)
	if err != nil {
		return false, err
	}
	c.host, err = c.endpoint.hub.Enter(credentials.VirtualHost)
	if err != nil {
		return false, err
	}
	if err := c.acceptWill(p.Will); err != nil {
		return false, err
	}
	c.exchange = []byte(c.endpoint.hub.Config().MQTT.Exchange)
	c.publisher = c.host.NewPublisher(hub.PublisherOptions{
		Access: c.access, Origin: c.origin, Encoding: message.MQTT, Confirmed: c.confirmed, Ended: c.stopping,
	})
	c.silence = silenceOf(p.KeepAlive)
	c.session, present, err = c.host.OpenSession(ctx, hub.SessionOptions{
		ClientID: c.clientID, Clean: p.CleanStart, Access: c.access, Sink: c, Origin: c.origin,
		Limit: min(c.limits.InFlight, maxPacketIDs),
	})
	return present, err
}

// identify takes or makes the client id.
func (c *connection) identify(p *packet.Connect) error {
	c.clientID = p.ClientID
	switch {
	case p.ClientID != "":
		return nil
	case p.Version == packet.V31 || !p.CleanStart: // [MQTT-3.1.3-7], [MQTT-3.1.3-8]
		return &refusal{packet.ClientIDNotValid, errors.New("client id is empty")} // [MQTT-3.1.3-9]
	}
	c.clientID = "auto-" + randomID() // [MQTT-3.1.3-6]
	return nil
}

func randomID() string {
	var b [15]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// defaultVirtualHost is that of users who name none.
const defaultVirtualHost = "/"

// credentials are what the client says and shows of itself. The user name can name a virtual host: vhost:user.
func (c *connection) credentials(p *packet.Connect) auth.Credentials {
	vhost, user := defaultVirtualHost, string(p.Username)
	if at := strings.LastIndexByte(user, ':'); at >= 0 {
		vhost, user = user[:at], user[at+1:]
	}
	cr := auth.Credentials{
		User: user, Password: string(p.Password), Anonymous: user == "" && len(p.Password) == 0,
		Peer: c.peer(), VirtualHost: vhost, ClientID: c.clientID,
	}
	if s := endpoint.TLSState(c.conn); s != nil {
		cr.Certificate = auth.PeerCertificate(*s)
	}
	return cr
}
