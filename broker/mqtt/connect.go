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
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/session"
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
	ack := packet.Connack{}
	if err := c.connect(ctx, p, &ack); err != nil {
		return c.refuse(p.Version, err)
	}
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("clear deadline: %w", err)
	}
	if c.stopped() { // the deadline that was cleared may have been that of stop
		return c.cause
	}
	c.endpoint.stats.Connects.Add(1)
	c.send(&ack) // [MQTT-3.2.2-1], [MQTT-3.2.2-2], [MQTT-3.2.2-3]
	c.live.Store(true)
	c.in.trusted, c.quiet = true, true
	c.active = c.endpoint.wheel.now.Load()
	c.endpoint.wheel.add(c)
	c.session.Resume()
	c.resumeQueues()
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
			return nil, c.refuseMalformed(p.Version, err)
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

// refuseMalformed answers a CONNECT that cannot be read: one of an unknown version in the oldest form that can say so,
// one of version 5 with the reason. Others are not answered. [MQTT-3.1.4-1], [MQTT5-3.1.4-1]
func (c *connection) refuseMalformed(v packet.Version, err error) error {
	var e *packet.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case e.Code == packet.UnsupportedVersion: // [MQTT-3.1.2-2]
		if v > packet.V5 && v < packet.V31|0x80 { // a bridge of Mosquitto asks with the highest bit and then without
			v = packet.V5
		} else {
			v = packet.V311
		}
	case v != packet.V5:
		return err
	}
	return c.refuse(v, &refusal{e.Code, err})
}

// refuse sends CONNACK with an error, after which the connection ends. [MQTT-3.2.2-5]
func (c *connection) refuse(v packet.Version, err error) error {
	c.endpoint.stats.Refused.Add(1)
	c.version = v
	ack := packet.Connack{Reason: reasonOf(err)}
	if ack.Reason != packet.UnsupportedVersion { // who knows what its client can read
		ack.Properties = c.reasonText(err, true)
	}
	c.send(&ack)
	return fmt.Errorf("refuse CONNECT: %w", err)
}

// connect authenticates the client and attaches it to its session, and fills in the answer.
func (c *connection) connect(ctx context.Context, p *packet.Connect, ack *packet.Connack) (err error) {
	c.version = p.Version
	if err := c.negotiate(p, ack); err != nil {
		return err
	}
	credentials := c.credentials(p)
	c.access, err = c.endpoint.hub.Authority().Authenticate(ctx, credentials)
	if err != nil {
		return err
	}
	c.host, err = c.endpoint.hub.Enter(credentials.VirtualHost)
	if err != nil {
		return err
	}
	if err := c.acceptWill(p.Will); err != nil {
		return err
	}
	c.exchange = []byte(c.endpoint.hub.Config().MQTT.Exchange)
	c.session, ack.SessionPresent, err = c.host.OpenSession(ctx, hub.SessionOptions{
		ClientID: c.clientID, Clean: p.CleanStart, Expiry: c.expiry, Access: c.access, Sink: c, Origin: c.origin,
		Limit: c.inFlight,
	})
	if err != nil {
		return err
	}
	if c.version == packet.V5 {
		c.outgoing.follow(c.session.Subscriptions())
	}
	c.rejoinQueues()
	return nil
}

// negotiate takes what CONNECT asks for and says in CONNACK what of it is different, and what the broker asks for.
func (c *connection) negotiate(p *packet.Connect, ack *packet.Connack) error {
	if err := c.identify(p); err != nil {
		return err
	}
	settings := c.endpoint.hub.Config().MQTT
	c.inFlight = min(c.limits.InFlight, int(p.Properties.Number(packet.ReceiveMaximum, maxPacketIDs))) // [MQTT5-3.3.4-9]
	longest := uint32(settings.MaxSessionExpirySeconds)
	c.silence = silenceOf(p.KeepAlive)
	if c.version != packet.V5 {
		if !p.CleanStart {
			c.expiry = longest
		}
		return nil
	}
	if _, ok := p.Properties.Get(packet.AuthMethod); ok {
		return &refusal{packet.BadAuthenticationMethod, errors.New("authentication method is not known")} // [MQTT5-4.12.0-1]
	}
	wanted := p.Properties.Number(packet.SessionExpiry, 0)
	c.expiry = min(wanted, longest)
	c.reticent = p.Properties.Number(packet.RequestProblemInfo, 1) == 0
	c.outgoing.most = int(p.Properties.Number(packet.MaximumPacketSize, 0))
	c.outgoing.aliases.most = min(c.limits.TopicAliases, int(p.Properties.Number(packet.TopicAliasMaximum, 0))) // [MQTT5-3.1.2-26], [MQTT5-3.1.2-27]
	a := packet.Properties(nil)
	if c.expiry != wanted {
		a = a.AppendNumber(packet.SessionExpiry, c.expiry)
	}
	a = a.AppendNumber(packet.ReceiveMaximum, uint32(c.limits.InFlight))
	a = a.AppendNumber(packet.MaximumPacketSize, uint32(c.limits.PacketBytes))
	if p.ClientID == "" {
		a = a.AppendText(packet.AssignedClientID, c.clientID) // [MQTT5-3.2.2-16]
	}
	a = a.AppendNumber(packet.TopicAliasMaximum, uint32(c.limits.TopicAliases))
	if most := uint16(settings.MaxKeepAliveSeconds); most > 0 && (p.KeepAlive == 0 || p.KeepAlive > most) {
		c.silence = silenceOf(most)
		a = a.AppendNumber(packet.ServerKeepAlive, uint32(most)) // [MQTT5-3.2.2-22]
	}
	ack.Properties = a
	return nil
}

// identify takes or makes the client id.
func (c *connection) identify(p *packet.Connect) error {
	c.clientID = p.ClientID
	switch {
	case p.ClientID != "":
		return nil
	case p.Version == packet.V31 || p.Version == packet.V311 && !p.CleanStart: // [MQTT-3.1.3-7], [MQTT-3.1.3-8]
		return &refusal{packet.ClientIDNotValid, errors.New("client id is empty")} // [MQTT-3.1.3-9]
	}
	c.clientID = "auto-" + randomID() // [MQTT-3.1.3-6], [MQTT5-3.1.3-7]
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
		Peer: endpoint.Peer(c.conn), VirtualHost: vhost, ClientID: c.clientID,
	}
	if s := endpoint.TLSState(c.conn); s != nil {
		cr.Certificate = auth.PeerCertificate(*s)
	}
	return cr
}

// changeExpiry obeys what DISCONNECT says of the session's expiry. [MQTT 5 §3.14.2.2.2]
func (c *connection) changeExpiry(seconds uint32) error {
	if c.expiry == 0 && seconds > 0 {
		return protocolError("session expiry was zero and must stay so")
	}
	longest := uint32(c.endpoint.hub.Config().MQTT.MaxSessionExpirySeconds)
	return c.session.SetExpiry(context.Background(), min(seconds, longest, session.Never))
}
