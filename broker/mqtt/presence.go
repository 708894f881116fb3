package mqtt

import (
	"errors"
	"sync"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// presence is what was told of a connection: that it came, then its subscriptions, then once that it went. A client that
// connects again ends its former connection from another goroutine, and tells so before the new one comes: whoever listens
// never hears last that a client went which is there.
type presence struct {
	mu    sync.Mutex
	there bool // guarded by mu
}

// arrived tells that the client is connected.
func (c *connection) arrived(d hub.Connected) {
	c.presence.mu.Lock()
	defer c.presence.mu.Unlock()
	if c.end.Begun() { // it was taken over, and that was told, or will be
		return
	}
	c.presence.there = true
	c.tell(object.EventConnected, func(e *hub.ClientEvent) { e.Connected = &d })
}

// departed tells that the client is gone, the first time it is called.
func (c *connection) departed(err error) {
	c.presence.mu.Lock()
	defer c.presence.mu.Unlock()
	if !c.presence.there {
		return
	}
	c.presence.there = false
	c.tell(object.EventDisconnected, func(e *hub.ClientEvent) { e.Disconnected = c.disconnected(err) })
}

func (c *connection) subscribed(filter string, qos uint8) {
	c.changed(object.EventSubscribed, hub.Subscribed{Filter: filter, QoS: &qos})
}

func (c *connection) unsubscribed(filter string) {
	c.changed(object.EventUnsubscribed, hub.Subscribed{Filter: filter})
}

func (c *connection) changed(kind object.EventKind, s hub.Subscribed) {
	c.presence.mu.Lock()
	defer c.presence.mu.Unlock()
	if c.presence.there {
		c.tell(kind, func(e *hub.ClientEvent) { e.Subscribed = &s })
	}
}

// tell publishes an event if the virtual host has it published; presence is locked.
func (c *connection) tell(kind object.EventKind, fill func(*hub.ClientEvent)) {
	if !c.host.Tells(kind) {
		return
	}
	e := hub.ClientEvent{
		Kind: kind, ClientID: c.clientID, User: c.access.User(), Protocol: protocolName(c.version), Address: address(c.conn),
		Connection: c.origin,
	}
	fill(&e)
	c.host.Tell(e)
}

// disconnected says how the connection ended.
func (c *connection) disconnected(err error) *hub.Disconnected {
	d := &hub.Disconnected{Reason: reasonWord(err), Code: int(reasonOf(err))}
	switch d.Reason {
	case hub.ByClient:
		d.Code, d.Text = int(c.goodbye.reason), c.goodbye.text
	case hub.ConnectionLost:
		d.Code = int(packet.Failure)
	default:
		d.Text = err.Error()
	}
	return d
}

// goodbye is what DISCONNECT of the client said.
type goodbye struct {
	reason packet.ReasonCode
	text   string
}

// reasonWord is why a connection ended.
func reasonWord(err error) hub.DisconnectReason {
	var malformed *packet.Error
	switch {
	case errors.Is(err, errEnd):
		return hub.ByClient
	case errors.Is(err, errKeepAlive):
		return hub.KeepAlive
	case errors.Is(err, errTakenOver):
		return hub.TakenOver
	case errors.Is(err, errShuttingDown):
		return hub.Stopping
	case errors.Is(err, errRevoked):
		return hub.Revoked
	case hub.CodeOf(err) == hub.Excess:
		return hub.OverRate
	case errors.As(err, &malformed), hub.CodeOf(err) == hub.Refused, hub.CodeOf(err) == hub.Invalid:
		return hub.ProtocolError
	case gone(err):
		return hub.ConnectionLost
	}
	return hub.Failed
}
