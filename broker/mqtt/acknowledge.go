package mqtt

import (
	"fmt"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// What a client says of deliveries is gathered while the packets of one read are handled, and told to the hub at once by
// settle. An acknowledgement that nobody waits for is of a session that ended, or comes twice: version 3.1.1 has no answer
// to it, version 5 has one for PUBREC alone.

func (c *connection) handlePuback(frame []byte) error {
	var p packet.Puback
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	return c.complete(p.PacketID, awaitsPuback)
}

func (c *connection) handlePubcomp(frame []byte) error {
	var p packet.Pubcomp
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	return c.complete(p.PacketID, awaitsPubcomp)
}

// complete ends a delivery whose last acknowledgement came.
func (c *connection) complete(id uint16, last flightState) error {
	o := &c.outgoing
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.inflight.find(id)
	if f.tag == 0 {
		if l, ok := o.inflight.takeLoan(id); ok {
			c.returned = append(c.returned, l)
		}
		return nil
	}
	if f.state != last {
		return protocolError(fmt.Sprintf("acknowledgement of packet identifier %d is not the one that it waits for", id))
	}
	c.done = append(c.done, o.inflight.take(id)) // whatever its reason [MQTT5-4.4.0-2], [MQTT5-4.8.2-6]
	return nil
}

func (c *connection) handlePubrec(frame []byte) error {
	var p packet.Pubrec
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	o := &c.outgoing
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.inflight.find(p.PacketID)
	switch {
	case f.tag == 0:
		c.released = append(c.released, release{id: p.PacketID, reason: c.reason(packet.PacketIDNotFound)})
	case f.state == awaitsPuback:
		return protocolError(fmt.Sprintf("PUBREC for packet identifier %d, which has QoS 1", p.PacketID))
	case p.Reason >= packet.Failure: // the client does not want it [MQTT5-4.4.0-2], [MQTT5-4.8.2-6]
		c.done = append(c.done, o.inflight.take(p.PacketID))
	default:
		o.inflight.received(p.PacketID)
		c.released = append(c.released, release{id: p.PacketID, tag: f.tag})
	}
	return nil
}

// reason is what version 5 says, and nothing before it.
func (c *connection) reason(r packet.ReasonCode) packet.ReasonCode {
	if c.version != packet.V5 {
		return packet.Success
	}
	return r
}

// release is a PUBREL that is due when the hub knows of the delivery's PUBREC.
type release struct {
	tag    uint64 // zero: there is no such delivery
	id     uint16
	reason packet.ReasonCode
}

// settle tells the hub what the client said of deliveries since the last flush.
func (c *connection) settle() {
	if len(c.done) > 0 {
		c.session.Settle(queue.Accept, rangesOf(c.done)...)
		c.giveFlow(len(c.done))
		c.done = c.done[:0]
		c.replay.wake.Raise()
	}
	if len(c.returned) > 0 {
		c.settleLoans()
	}
	if len(c.released) > 0 {
		c.release()
	}
}

// release sends PUBREL when it is as durable as the deliveries are that the client has them: after PUBREL it forgets
// them, and would take a second PUBLISH for another message. They come in the order of the PUBRECs. [MQTT5-4.3.3-4],
// [MQTT5-4.3.3-6], [MQTT-4.6.0-4]
func (c *connection) release() {
	due := slices.Clone(c.released)
	tags := make([]uint64, 0, len(due))
	for _, r := range due {
		if r.tag != 0 {
			tags = append(tags, r.tag)
		}
	}
	c.released = c.released[:0]
	c.session.Receive(func(err error) {
		if err != nil {
			c.Stop(err)
			return
		}
		c.out.Append(func(dst []byte) []byte {
			for _, r := range due {
				dst = appendAck(dst, packet.TypePubrel, r.id, r.reason)
			}
			return dst
		})
	}, rangesOf(tags)...)
}

// rangesOf joins tags that follow one another.
func rangesOf(tags []uint64) []hub.Range {
	ranges := make([]hub.Range, 0, min(len(tags), 4))
	for _, tag := range tags {
		if n := len(ranges); n > 0 && ranges[n-1].To+1 == tag {
			ranges[n-1].To = tag
			continue
		}
		ranges = append(ranges, hub.Range{From: tag, To: tag})
	}
	return ranges
}
