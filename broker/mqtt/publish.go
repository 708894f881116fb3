package mqtt

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// handlePublish adds a message to the batch. Nothing is copied and nothing allocated: the hub copies what it keeps.
func (c *connection) handlePublish(frame []byte) error {
	p := &c.publish
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	if p.QoS == 2 {
		return &packet.Error{Code: packet.QoSNotSupported, Text: "PUBLISH with QoS 2"}
	}
	if n := packet.Levels(p.Topic); n > c.limits.TopicLevels {
		return &packet.Error{Code: packet.TopicNameInvalid, Text: fmt.Sprintf("topic name has %d levels, more than %d", n, c.limits.TopicLevels)}
	}
	if int64(len(p.Payload)) > c.limits.MessageBytes {
		return &packet.Error{Code: packet.PacketTooLarge, Text: fmt.Sprintf("payload of %d bytes is more than %d", len(p.Payload), c.limits.MessageBytes)}
	}
	route, err := c.publisher.Route(c.exchange, p.Topic)
	if err != nil {
		return err // [MQTT-3.3.5-2]
	}
	m := message.Message{
		Exchange: route.Exchange, Key: route.Key, Encoding: message.MQTT,
		QoS: p.QoS, Durable: p.QoS > 0, Retain: p.Retain,
		Publisher: c.clientID, Payload: p.Payload,
	}
	var token uint64
	if p.QoS > 0 {
		c.token++
		token = c.token
		c.acknowledging.expect(p.PacketID)
	}
	_, err = c.publisher.Publish(route, &m, nil, token)
	return err
}

// acknowledging is the packet identifiers of publishes that wait for PUBACK, in the order of their tokens.
type acknowledging struct {
	mu    sync.Mutex
	ids   []uint16 // guarded by mu; ids[head:] wait
	head  int      // guarded by mu
	token uint64   // guarded by mu; that of the last one acknowledged
	ended bool     // guarded by mu; one was refused: nothing is acknowledged any more
}

func (a *acknowledging) expect(id uint16) {
	a.mu.Lock()
	if a.head > 0 && len(a.ids) == cap(a.ids) {
		a.ids = a.ids[:copy(a.ids, a.ids[a.head:])]
		a.head = 0
	}
	a.ids = append(a.ids, id)
	a.mu.Unlock()
}

// appendAcks writes PUBACK for every publish up to a token, in their order. With last, it is the last time: what comes
// after is not acknowledged. [MQTT-3.3.4-1], [MQTT-4.6.0-2]
func (a *acknowledging) appendAcks(dst []byte, upTo uint64, last bool) []byte {
	const length = 2
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return dst
	}
	a.ended = last
	for ; a.token < upTo; a.token++ {
		dst = append(dst, byte(packet.TypePuback)<<4, length)
		dst = binary.BigEndian.AppendUint16(dst, a.ids[a.head]) // [MQTT-2.3.1-6]
		a.head++
	}
	if a.head == len(a.ids) {
		a.ids, a.head = a.ids[:0], 0
	}
	return dst
}

// confirmed is the publisher's callback: messages up to a token are where they belong. A message that a queue refused
// cannot be refused to the client; it is not acknowledged, and the connection ends.
func (c *connection) confirmed(done hub.Confirmation) {
	upTo, refused := done.UpTo, len(done.Refused) > 0
	if refused {
		upTo = done.Refused[0].Token - 1
	}
	c.out.Append(func(dst []byte) []byte { return c.acknowledging.appendAcks(dst, upTo, refused) })
	if refused {
		c.Stop(fmt.Errorf("message was not taken: %w", done.Refused[0].Err))
	}
}
