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

// farewell is what CONNACK or DISCONNECT says of an error: why, and where to go instead. A client that takes no packet with
// the reference hears that the broker stops.
func (c *connection) farewell(err error) (packet.ReasonCode, packet.Properties) {
	reason, text := reasonOf(err), c.reasonText(err, true)
	server := c.endpoint.hub.Config().MQTT.ServerReference
	if c.version == packet.V5 && server != "" && (reason == packet.ServerShuttingDown || reason == packet.ServerMoved) {
		reference := packet.Properties(nil).AppendText(packet.ServerReference, server)
		fits := c.fitting(reference) != nil
		if fits && reason == packet.ServerShuttingDown {
			reason = packet.UseAnotherServer
		}
		if both := c.fitting(append(text, reference...)); both != nil {
			return reason, both
		}
		if fits {
			return reason, reference
		}
	}
	return reason, c.fitting(text) // [MQTT5-3.2.2-19], [MQTT5-3.14.2-3]
}
