package mqtt

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

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
	if c.end.Begun() { // before the deadline was set, which took back that of stop
		return c.end.Cause()
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
	if c.end.Begun() { // the deadline that was cleared may have been that of stop
		return c.end.Cause()
	}
	c.endpoint.stats.Connects.Add(1)
	c.arrived(hub.Connected{
		CleanStart: p.CleanStart, SessionPresent: ack.SessionPresent, SessionExpirySeconds: c.expiry, KeepAliveSeconds: p.KeepAlive,
	})
	c.out.Hold()
	c.send(&ack) // [MQTT-3.1.4-4], [MQTT-3.2.2-1 to 3], [MQTT5-3.2.0-2]
	c.live.Store(true)
	c.in.trusted, c.quiet = true, true
	c.active = c.endpoint.wheel.now.Load()
	c.endpoint.wheel.add(c)
	c.autoSubscribe() // in force before the client reads CONNACK
	c.session.Resume()
	c.resumeQueues()
	c.out.Release()
	return nil
}

// readConnect waits for the first packet, which is CONNECT. [MQTT-3.1.0-1]
func (c *connection) readConnect() (*packet.Connect, error) {
	frame, err := c.await(func(t packet.Type) error {
		if t != packet.TypeConnect {
			return protocolError("first packet is not CONNECT")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p := new(packet.Connect)
	if err := p.Decode(frame, 0); err != nil {
		return nil, c.refuseMalformed(p.Version, err)
	}
	if _, ok := p.Properties.Get(packet.AuthMethod); ok { // more is read before CONNECT is done with
		return p, p.Decode(bytes.Clone(frame), 0)
	}
	return p, nil
}

// await reads the next packet of a peer that is not authenticated. Fits is asked as soon as the packet's type is known.
// The packet is valid until the next fill.
func (c *connection) await(fits func(packet.Type) error) ([]byte, error) {
	for {
		if rest := c.in.buf[c.in.start:c.in.end]; len(rest) > 0 {
			if err := fits(packet.TypeOf(rest)); err != nil {
				return nil, err
			}
		}
		if frame, err := c.in.next(c.limits.PreAuthPacketBytes); frame != nil || err != nil {
			return frame, err
		}
		if err := c.in.fill(); err != nil {
			return nil, err
		}
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

// refuse sends CONNACK with an error, after which the connection ends and nothing more is read, unless the client ended it.
// [MQTT-3.2.2-5], [MQTT-3.1.4-5], [MQTT5-4.13.2-1]
func (c *connection) refuse(v packet.Version, err error) error {
	if errors.Is(err, errEnd) || gone(err) || errors.As(err, new(*net.OpError)) {
		return err
	}
	c.endpoint.stats.Refused.Add(1)
	c.version = v
	ack := packet.Connack{}
	ack.Reason, ack.Properties = c.farewell(packet.TypeConnack, err)
	if ack.Reason == packet.UnsupportedVersion { // who knows what its client can read
		ack.Properties = nil
	}
	c.send(&ack)
	return fmt.Errorf("refuse CONNECT: %w", err)
}

// connect authenticates the client and attaches it to its session, and fills in the answer.
func (c *connection) connect(ctx context.Context, p *packet.Connect, ack *packet.Connack) (err error) {
	c.version = p.Version
	if c.endpoint.hub.Config().MQTT.ServerMoved {
		return errMoved
	}
	if err := c.negotiate(p, ack); err != nil {
		return err
	}
	if err := c.authenticate(ctx, p, ack); err != nil { // [MQTT5-3.1.4-2]
		return err
	}
	c.host, err = c.endpoint.hub.Enter(c.access)
	if hub.CodeOf(err) == hub.TooFast {
		return &refusal{packet.ConnectionRateExceeded, err}
	}
	if err != nil {
		return err
	}
	if err := c.acceptWill(p.Will); err != nil {
		return err
	}
	c.exchange = []byte(c.endpoint.hub.Config().MQTT.Exchange)
	c.session, ack.SessionPresent, err = c.host.OpenSession(ctx, hub.SessionOptions{
		ClientID: c.clientID, Clean: p.CleanStart, Expiry: c.expiry, Access: c.access, Sink: c, Origin: c.origin,
		Limit: c.inFlight, Will: c.testament(),
	})
	if err != nil {
		return err
	}
	c.entrustWill()
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
	c.inFlight = min(c.limits.InFlight, int(p.Properties.Number(packet.ReceiveMaximum, maxPacketIDs))) // [MQTT5-3.3.4-9], [MQTT5-4.9.0-1]
	longest := uint32(settings.MaxSessionExpirySeconds)
	c.silence = silenceOf(p.KeepAlive)
	if c.version != packet.V5 {
		if !p.CleanStart {
			c.expiry = longest
		}
		return nil
	}
	if method, ok := p.Properties.Get(packet.AuthMethod); ok {
		c.authentication.method = string(method.Bytes)
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
	if !c.outgoing.fits(len(ack.Append(nil, c.version))) {
		return &refusal{packet.PacketTooLarge, errors.New("maximum packet size is less than CONNACK has")}
	}
	return nil
}

// identify takes or makes the client id, which may be any string. [MQTT-3.1.3-5]
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

// changeExpiry obeys what DISCONNECT says of the session's expiry. [MQTT 5 §3.14.2.2.2]
func (c *connection) changeExpiry(seconds uint32) error {
	if c.expiry == 0 && seconds > 0 {
		return protocolError("session expiry was zero and must stay so")
	}
	longest := uint32(c.endpoint.hub.Config().MQTT.MaxSessionExpirySeconds)
	return c.session.SetExpiry(context.Background(), min(seconds, longest, session.Never))
}
