package mqtt

import (
	"errors"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// Where clients should go that cannot be here says mqtt.serverReference, and mqtt.serverMoved that nobody can. MQTT 5 §4.11

var errMoved = errors.New("broker has moved")

// endMoved ends the connections of a broker that has moved.
func (e *Endpoint) endMoved() {
	if !e.hub.Config().MQTT.ServerMoved {
		return
	}
	e.connections.Each(func(c *connection) {
		if c.Live() {
			c.Stop(errMoved)
		}
	})
}

// unknown is what a packet says for want of a code that it knows.
var unknown = map[packet.Type]packet.ReasonCode{packet.TypeConnack: packet.ServerUnavailable, packet.TypeDisconnect: packet.ServerBusy}

// farewell is what CONNACK or DISCONNECT says of an error: why, in a code that the packet knows, and where to go
// instead. A client that takes no packet with the reference hears that the broker stops.
func (c *connection) farewell(t packet.Type, err error) (packet.ReasonCode, packet.Properties) {
	reason, text := reasonOf(err), c.reasonText(err, true)
	server := c.endpoint.hub.Config().MQTT.ServerReference
	if c.version == packet.V5 && server != "" && (reason == packet.ServerShuttingDown || reason == packet.ServerMoved) {
		reference := packet.Properties(nil).AppendText(packet.ServerReference, server)
		fits := c.fitting(reference, 0) != nil
		if fits && reason == packet.ServerShuttingDown {
			reason = packet.UseAnotherServer
		}
		if both := c.fitting(append(text, reference...), 0); both != nil {
			return reason, both
		}
		if fits {
			return reason, reference
		}
	}
	if !t.Knows(reason) { // [MQTT5-3.2.2-8], [MQTT5-3.14.2-1]
		reason = unknown[t]
	}
	return reason, c.fitting(text, 0) // [MQTT5-3.2.2-19], [MQTT5-3.14.2-3]
}
