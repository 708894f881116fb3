package amqp10

import (
	"errors"
	"math"
	"strings"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/message"
)

// defaultVirtualHost is that of clients whose open names none.
const defaultVirtualHost = "/"

// virtualHost is what a hostname asks for: vhost:NAME, as RabbitMQ 4 has it. Any other is the name of a machine.
func virtualHost(hostname string) string {
	if name, ok := strings.CutPrefix(hostname, "vhost:"); ok {
		return name
	}
	return defaultVirtualHost
}

// leastIdle is the shortest idle timeout that can be kept with a look at the connections once a second, in milliseconds.
const leastIdle = 1000

// handleOpen takes the peer's half of what is negotiated and sends ours. 2 §2.4.1
func (c *connection) handleOpen(f *frame.Frame) error {
	if c.state != awaitOpen {
		return connectionError(frame.NotAllowed, "second open")
	}
	var p frame.Open
	if err := p.Decode(f.Body, c.limits()); err != nil {
		return err
	}
	if f.Channel != 0 {
		return connectionError(frame.NotAllowed, "open on channel %d", f.Channel)
	}
	c.container = p.ContainerID
	c.mostSent = int(min(p.MaxFrameSize, uint32(c.config.AMQP.FrameMaxBytes))) // not more, so that links share the socket
	c.channelMax = min(int(p.ChannelMax), c.mostChannels()-1)
	c.idle = int64(p.IdleTimeout)
	c.patience = 2 * c.announcedIdle()
	if c.idle > 0 && c.idle < leastIdle { // 2 §2.4.5
		return connectionError(frame.NotAllowed, "idle-time-out of %d ms is less than the least of %d", c.idle, leastIdle)
	}
	if err := c.enter(virtualHost(p.Hostname)); err != nil {
		c.endpoint.stats.Refused.Add(1)
		return err
	}
	c.pace = c.endpoint.hub.NewPace(hub.PaceOptions{Access: c.access, Losable: c.losable})
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		return connectionError(frame.InternalError, "%v", err)
	}
	c.out.Hold() // the connection is listed, and its coming told, before the client reads our open
	c.sendOpen()
	c.state = open
	c.endpoint.stats.Opened.Add(1)
	c.live.Store(true)
	c.arrived()
	c.out.Release()
	if c.end.Begun() {
		c.interrupt() // stop may have come before the deadline was taken off
	}
	return nil
}

// mostChannels is how many sessions there may be.
func (c *connection) mostChannels() int {
	return min(c.config.AMQP.ChannelMax, c.config.Limits.Channels, math.MaxUint16+1)
}

// announcedIdle is the idle timeout that the peer is told, in milliseconds: half of what it is given. 2 §2.4.5
func (c *connection) announcedIdle() int64 { return int64(c.config.AMQP.HeartbeatSeconds) * 1000 }

// enter takes a place in the virtual host. Whether one that may not be entered exists is nobody's business.
func (c *connection) enter(name string) error {
	access, err := c.access.In(name)
	var host *hub.VirtualHost
	if err == nil {
		host, err = c.endpoint.hub.Enter(access)
	}
	var denied *auth.Denied
	switch code := hub.CodeOf(err); {
	case errors.As(err, &denied), code == hub.NotFound:
		return connectionError(frame.UnauthorizedAccess, "access to vhost '%s' refused for user '%s'", name, c.access.User())
	case code == hub.TooMany, code == hub.TooFast:
		return connectionError(frame.ResourceLimitExceeded, "%v", err)
	case err != nil:
		return connectionError(frame.InternalError, "%v", err)
	}
	c.access, c.host = access, host
	return nil
}

// offered are the capabilities of the connection, as JMS clients look for them.
var offered = []string{"ANONYMOUS-RELAY", "SHARED-SUBS", "DELAYED_DELIVERY"}

func (c *connection) sendOpen() {
	c.opened = true
	var properties frame.Map
	for _, p := range [...][2]string{
		{"product", "Turnstone"}, {"version", c.endpoint.version}, {"platform", "Go"}, {"information", "Licensed under the Apache License 2.0"},
	} {
		properties = frame.AppendString(frame.AppendSymbol(properties, p[0]), p[1])
	}
	c.send(0, &frame.Open{
		ContainerID: "turnstone-" + c.endpoint.hub.Incarnation(), MaxFrameSize: uint32(c.config.AMQP.FrameMaxBytes),
		ChannelMax: uint16(c.mostChannels() - 1), IdleTimeout: uint32(c.announcedIdle()),
		OfferedCapabilities: offered, Properties: properties,
	})
}

// cut cuts UTF-8, and not through a character.
func cut(s string, most int) string {
	for most > 0 && s[most]&0xc0 == 0x80 {
		most--
	}
	return s[:most]
}

// losable says that a message over a rate may be dropped, since its sender is told, or did not ask to be. One of a transaction,
// which is committed as a whole, may not.
func (c *connection) losable(*message.Message) bool { return !c.declared.posting }
