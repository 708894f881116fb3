package amqp091

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/endpoint"
	"github.com/turnstone-mq/turnstone/broker/hub"
)

// handleHeader answers the protocol header with connection.start, or any other first bytes with the header that would
// have been right. False: there is nothing more to handle now. §4.2.2
func (c *connection) handleHeader() bool {
	got := c.in.Unread()
	n := min(len(got), len(frame.ProtocolHeader))
	switch {
	case !bytes.Equal(got[:n], []byte(frame.ProtocolHeader[:n])):
		c.out.Write([]byte(frame.ProtocolHeader))
		c.state = closed
		return false
	case n < len(frame.ProtocolHeader):
		return false
	}
	c.in.Take(n)
	c.state = awaitStartOk
	c.send(0, &frame.ConnectionStart{
		VersionMajor: 0, VersionMinor: 9, ServerProperties: c.serverProperties(),
		Mechanisms: []byte(strings.Join(c.mechanisms(), " ")), Locales: []byte("en_US"),
	})
	return true
}

func (c *connection) serverProperties() frame.Table {
	return frame.NewTable(map[string]any{
		"product":     "Turnstone",
		"version":     c.endpoint.version,
		"platform":    "Go",
		"information": "Licensed under the Apache License 2.0",
		"capabilities": map[string]any{
			"authentication_failure_close": true,
			"basic.nack":                   true,
			"connection.blocked":           true,
			"consumer_cancel_notify":       true,
			"consumer_priorities":          true,
			"direct_reply_to":              true,
			"exchange_exchange_bindings":   true,
			"per_consumer_qos":             true,
			"publisher_confirms":           true,
		},
	})
}

// The SASL mechanisms.
const (
	plainMechanism     = "PLAIN"
	amqplainMechanism  = "AMQPLAIN"
	externalMechanism  = "EXTERNAL"
	anonymousMechanism = "ANONYMOUS"
)

// mechanisms are those that can succeed on this connection.
func (c *connection) mechanisms() []string {
	m := []string{plainMechanism, amqplainMechanism}
	if s := endpoint.TLSState(c.conn); s != nil && auth.PeerCertificate(*s) != nil {
		m = append(m, externalMechanism)
	}
	if c.config.Auth.Anonymous == "always" {
		m = append(m, anonymousMechanism)
	}
	return m
}

// handleMethod handles a method of the connection itself. §2.2.4
func (c *connection) handleMethod(m frame.Method) error {
	switch m := m.(type) {
	case *frame.ConnectionClose:
		c.ending = hub.Disconnected{Reason: hub.ByClient, Code: int(m.ReplyCode), Text: m.ReplyText}
		c.endChannels()
		c.send(0, &frame.ConnectionCloseOk{})
		c.state = closed
		return nil
	case *frame.ConnectionStartOk:
		if c.state == awaitStartOk {
			return c.startOk(m)
		}
	case *frame.ConnectionTuneOk:
		if c.state == awaitTuneOk {
			return c.tuneOk(m)
		}
	case *frame.ConnectionOpen:
		if c.state == awaitOpen {
			return c.open(m)
		}
	case *frame.ConnectionUpdateSecret:
		if c.state == open {
			return c.updateSecret(m)
		}
	case *frame.ConnectionBlocked, *frame.ConnectionUnblocked:
		if c.state == open {
			return nil // a client that is short of something; consumers have prefetch for that
		}
	}
	return errorf(frame.CommandInvalid, "%v is not expected now", m.ID())
}

func (c *connection) startOk(m *frame.ConnectionStartOk) error {
	limits := c.tableLimits()
	if err := m.ClientProperties.Check(limits); err != nil {
		return err
	}
	capabilities := nestedTable(m.ClientProperties, "capabilities")
	c.notify = flag(capabilities, "consumer_cancel_notify")
	c.blockable = flag(capabilities, "connection.blocked")
	credentials, err := c.credentials(m, limits)
	if err != nil {
		return err
	}
	c.user = credentials
	if _, err := c.authenticate(""); err != nil {
		return c.refused(m.Mechanism, flag(capabilities, "authentication_failure_close"), err)
	}
	c.state = awaitTuneOk
	c.send(0, &frame.ConnectionTune{ChannelMax: uint16(c.mostChannels()), FrameMax: uint32(c.config.AMQP.FrameMaxBytes), Heartbeat: uint16(c.config.AMQP.HeartbeatSeconds)})
	return nil
}

func (c *connection) mostChannels() int {
	return min(c.config.AMQP.ChannelMax, c.config.Limits.Channels)
}

func nestedTable(t frame.Table, name string) frame.Table {
	if v, ok := t.Lookup(name); ok && v.Kind == frame.Nested {
		return frame.Table(v.Raw)
	}
	return nil
}

func flag(t frame.Table, name string) bool {
	v, ok := t.Lookup(name)
	b, isBool := v.Any().(bool)
	return ok && isBool && b
}

// refused ends a connection that failed to authenticate. A client that does not know that it will be told is cut off.
func (c *connection) refused(mechanism string, tell bool, cause error) error {
	c.endpoint.stats.Refused.Add(1)
	if tell {
		return &Error{Code: frame.AccessRefused, Text: "Login was refused using authentication mechanism " + mechanism + ": " + cause.Error()}
	}
	c.log(slog.LevelWarn, "login refused", "user", c.user.User, "error", cause)
	c.state = closed
	return nil
}

// credentials reads what a mechanism says of the client. The password is not kept anywhere but in them.
func (c *connection) credentials(m *frame.ConnectionStartOk, limits frame.Limits) (auth.Credentials, error) {
	cr := auth.Credentials{Peer: endpoint.Peer(c.conn)}
	switch m.Mechanism {
	case plainMechanism: // RFC 4616: authorisation identity NUL user NUL password
		parts := bytes.Split(m.Response, []byte{0})
		if len(parts) != 3 {
			return cr, errorf(frame.SyntaxError, "response of PLAIN has %d parts, not 3", len(parts))
		}
		cr.User, cr.Password = string(parts[1]), string(parts[2])
	case amqplainMechanism: // a table without its length
		t := frame.Table(m.Response)
		if err := t.Check(limits); err != nil {
			return cr, err
		}
		cr.User, cr.Password = text(t, "LOGIN"), text(t, "PASSWORD")
	case externalMechanism:
		if s := endpoint.TLSState(c.conn); s != nil {
			cr.Certificate = auth.PeerCertificate(*s)
		}
		if cr.Certificate == nil {
			return cr, errorf(frame.NotAllowed, "EXTERNAL needs a client certificate")
		}
	case anonymousMechanism:
		cr.Anonymous = true
	default:
		return cr, &Error{Code: frame.CommandInvalid, Text: "unknown authentication mechanism '" + m.Mechanism + "'; there are " + strings.Join(c.mechanisms(), ", ")}
	}
	return cr, nil
}

func text(t frame.Table, name string) string {
	v, _ := t.Lookup(name)
	s, _ := v.Any().(string)
	return s
}

func (c *connection) authenticate(vhost string) (*auth.Access, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.config.Limits.ConnectTimeout())
	defer cancel()
	credentials := c.user
	credentials.VirtualHost = vhost
	return c.endpoint.hub.Authority().Authenticate(ctx, credentials)
}

// tuneOk takes the client's part of the negotiation. Zero is no limit, and so ours. §1.4.2.6
func (c *connection) tuneOk(m *frame.ConnectionTuneOk) error {
	most := c.mostChannels()
	switch {
	case int(m.ChannelMax) > most:
		return errorf(frame.NotAllowed, "negotiated channel_max = %d is greater than the maximum allowed value (%d)", m.ChannelMax, most)
	case m.FrameMax != 0 && m.FrameMax < frame.MinMax:
		return errorf(frame.NotAllowed, "negotiated frame_max = %d is lower than the minimum allowed value (%d)", m.FrameMax, frame.MinMax)
	case int64(m.FrameMax) > int64(c.config.AMQP.FrameMaxBytes):
		return errorf(frame.NotAllowed, "negotiated frame_max = %d is greater than the maximum allowed value (%d)", m.FrameMax, c.config.AMQP.FrameMaxBytes)
	}
	c.channelMax, c.frameMax, c.heartbeat = most, c.config.AMQP.FrameMaxBytes, int64(m.Heartbeat)
	if m.ChannelMax != 0 {
		c.channelMax = int(m.ChannelMax)
	}
	if m.FrameMax != 0 {
		c.frameMax = int(m.FrameMax)
	}
	c.state = awaitOpen
	return nil
}

func (c *connection) open(m *frame.ConnectionOpen) error {
	access, err := c.authenticate(m.VirtualHost)
	if err == nil {
		c.host, err = c.endpoint.hub.Enter(access)
	}
	var denied *auth.Denied
	switch {
	case errors.As(err, &denied), hub.CodeOf(err) == hub.NotFound:
		c.endpoint.stats.Refused.Add(1)
		return errorf(frame.NotAllowed, "access to vhost '%s' refused for user '%s'", m.VirtualHost, c.user.User)
	case hub.CodeOf(err) == hub.TooMany:
		c.endpoint.stats.Refused.Add(1)
		return errorf(frame.NotAllowed, "%v", err)
	case hub.CodeOf(err) == hub.TooFast:
		c.endpoint.stats.Refused.Add(1)
		return errorf(frame.ConnectionForced, "%v", err)
	case err != nil:
		c.endpoint.stats.Refused.Add(1)
		return errorf(frame.AccessRefused, "%v", err)
	}
	c.access = access
	c.pace = c.endpoint.hub.NewPace(hub.PaceOptions{Access: access, Losable: c.losable})
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	c.state = open
	c.endpoint.stats.Opened.Add(1)
	c.live.Store(true)
	c.arrived()
	if c.end.Begun() {
		c.interrupt() // stop may have come before the deadline was taken off
	}
	c.send(0, &frame.ConnectionOpenOk{})
	return nil
}

// updateSecret takes a new password, as clients of tokens that expire send it. It must be right, or the connection ends.
func (c *connection) updateSecret(m *frame.ConnectionUpdateSecret) error {
	c.user.Password = string(m.NewSecret)
	access, err := c.authenticate(c.host.Name())
	if err != nil {
		return errorf(frame.NotAllowed, "new secret was refused: %v", err)
	}
	if access.User() != c.access.User() {
		return errorf(frame.NotAllowed, "new secret is of another user")
	}
	c.send(0, &frame.ConnectionUpdateSecretOk{})
	return nil
}

func (c *connection) tableLimits() frame.Limits {
	return frame.Limits{Depth: c.config.Limits.TableDepth, Entries: c.config.Limits.TableEntries}
}
