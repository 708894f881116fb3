package amqp10

import (
	"errors"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
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
	if d.Reason == "" {
		d.Reason = hub.ConnectionLost
	}
	if errors.Is(err, errSilent) {
		d = hub.Disconnected{Reason: hub.KeepAlive, Text: err.Error()}
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

// endingWith says how a connection ends that the broker closes. Conditions of AMQP 1.0 are no numbers.
func (c *connection) endingWith(e *Error) hub.Disconnected {
	d := hub.Disconnected{Reason: hub.ProtocolError, Text: e.Error()}
	switch {
	case e.rate:
		d.Reason = hub.OverRate
	case e.Condition != frame.ConnectionForced || !c.end.Begun():
	case errors.Is(c.end.Cause(), errRevoked):
		d.Reason = hub.Revoked
	case errors.Is(c.end.Cause(), errShutdown):
		d.Reason = hub.Stopping
	}
	return d
}
