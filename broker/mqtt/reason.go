package mqtt

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// reasonOf is the reason code of an error of the endpoint, of the hub or of auth.
func reasonOf(err error) packet.ReasonCode {
	var r *refusal
	var e *packet.Error
	switch {
	case errors.As(err, &r):
		return r.reason
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, auth.ErrCredentials):
		return packet.BadUserNameOrPassword
	case errors.Is(err, auth.ErrAnonymous):
		return packet.NotAuthorized
	case errors.Is(err, auth.ErrClientID):
		return packet.ClientIDNotValid
	case errors.Is(err, auth.ErrThrottled):
		return packet.ConnectionRateExceeded
	case errors.Is(err, errKeepAlive):
		return packet.KeepAliveTimeout
	case errors.Is(err, errTakenOver):
		return packet.SessionTakenOver
	case errors.Is(err, errShuttingDown):
		return packet.ServerShuttingDown
	case errors.Is(err, errMoved):
		return packet.ServerMoved
	case errors.Is(err, errRevoked):
		return packet.NotAuthorized
	}
	switch hub.CodeOf(err) {
	case hub.Refused, hub.NotFound:
		return packet.NotAuthorized
	case hub.TooMany, hub.TooFast:
		return packet.QuotaExceeded
	case hub.Excess:
		return packet.MessageRateTooHigh
	case hub.BadTopic:
		return packet.TopicNameInvalid
	case hub.Invalid:
		return packet.ImplementationError
	}
	return packet.ServerUnavailable
}

// publishReason is reasonOf for PUBACK and PUBREC, which know fewer codes. [MQTT5-3.4.2-1], [MQTT5-3.5.2-1]
func publishReason(err error) packet.ReasonCode {
	switch r := reasonOf(err); {
	case packet.TypePuback.Knows(r):
		return r
	case r == packet.ServerUnavailable: // a queue is full, or the disk
		return packet.QuotaExceeded
	}
	return packet.Failure
}

// reasonText is the properties that say why, unless the client does not want to know. Always says that the packet is
// CONNACK or DISCONNECT, which may say it all the same. [MQTT5-3.1.2-29]
func (c *connection) reasonText(err error, always bool) packet.Properties {
	if c.version != packet.V5 || c.reticent && !always || err == nil {
		return nil
	}
	text := err.Error()
	text = strings.ToValidUTF8(text[:min(len(text), mostReason)], "")
	return packet.Properties(nil).AppendText(packet.ReasonString, text)
}

// mostReason is how long a reason string may be; the texts of the broker are shorter but for the names in them.
const mostReason = 1024

// disconnect tells a client of version 5 why its connection ends, with its last packet. [MQTT5-3.14.0-1],
// [MQTT5-3.14.4-1], [MQTT5-4.13.1-1]
func (c *connection) disconnect(err error) {
	if c.version != packet.V5 || !c.Live() || errors.Is(err, errEnd) || gone(err) {
		return
	}
	p := packet.Disconnect{} // [MQTT5-3.14.2-2], [MQTT5-3.14.2-3]
	p.Reason, p.Properties = c.farewell(packet.TypeDisconnect, err)
	c.send(&p)
	c.out.End()
}

// gone says that the peer ended the connection without a word.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded)
}
