package amqp091

import (
	"errors"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// A connection of AMQP is a client of its own, which events call amqp- and its address.

// arrived tells that the connection is open.
func (c *connection) arrived() {
	c.present = true
	c.tell(object.EventConnected, nil)
}

// departed tells that the connection has ended, if it was open; err is what run answered.
func (c *connection) departed(err error) {
	if !c.present {
		return
	}
	d := c.ending
	switch {
	case d.Reason != "":
	case errors.Is(err, errHeartbeat):
		d.Reason, d.Text = hub.KeepAlive, err.Error()
	default:
		d.Reason = hub.ConnectionLost
	}
	c.tell(object.EventDisconnected, &d)
}

func (c *connection) tell(kind object.EventKind, d *hub.Disconnected) {
	if !c.host.Tells(kind) {
		return
	}
	address := c.conn.RemoteAddr().String()
	c.host.Tell(hub.ClientEvent{
		Kind: kind, ClientID: "amqp-" + address, User: c.access.User(), Protocol: protocolName, Address: address,
		Connection: c.origin, Disconnected: d,
	})
}

// endingWith says how a connection ends that the broker closes.
func (c *connection) endingWith(e *Error) hub.Disconnected {
	d := hub.Disconnected{Reason: hub.ProtocolError, Code: int(e.Code), Text: e.Text}
	switch {
	case e.rate:
		d.Reason = hub.OverRate
	case e.Code != frame.ConnectionForced || !c.end.Begun():
	case errors.Is(c.end.Cause(), errRevoked):
		d.Reason = hub.Revoked
	case errors.Is(c.end.Cause(), errShutdown):
		d.Reason = hub.Stopping
	}
	return d
}
