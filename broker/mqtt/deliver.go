package mqtt

import (
	"sync"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// Deliver encodes deliveries into the outbox. Those of QoS 0 are dropped when there is no room, or no CONNACK yet; the
// others come only when there is: the hub holds back after a false.
func (c *connection) Deliver(_ *hub.Consumer, ds []queue.Delivery) bool {
	skip := !c.live.Load() || c.out.Full()
	var dead []hub.Range // not for this protocol
	dropped := uint64(0)
	c.out.Append(func(dst []byte) []byte {
		for i := range ds {
			d := &ds[i]
			switch {
			case d.Tag == 0 && skip:
				dropped++
			case !translatable(d.Message):
				c.endpoint.stats.Untranslatable.Add(1)
				if d.Tag != 0 {
					dead = append(dead, hub.Range{From: d.Tag, To: d.Tag})
				}
			default:
				dst = c.appendDelivery(dst, d)
			}
		}
		return dst
	})
	if dropped > 0 {
		c.endpoint.stats.Dropped.Add(dropped)
	}
	if dead != nil {
		go c.session.Settle(queue.Accept, dead...) // ends when the queue has it; the hub must not be called from here
	}
	return !c.out.Full()
}

// translatable says whether a message can be sent: the key of another protocol may be no topic name. [MQTT-3.3.2-2]
func translatable(m *message.Message) bool {
	return m.Encoding == message.MQTT || packet.ValidTopic([]byte(m.Topic()))
}

// appendDelivery writes the PUBLISH of a delivery.
func (c *connection) appendDelivery(dst []byte, d *queue.Delivery) []byte {
	f := packet.PublishFlags{Retain: d.Retained} // [MQTT-3.3.1-8], [MQTT-3.3.1-9]
	var id uint16
	if d.Tag != 0 {
		f.QoS, f.Dup = 1, d.Returned // [MQTT-3.3.1-1], [MQTT-3.3.1-3]
		id = c.inflight.add(d.ID, d.Tag)
	}
	return packet.AppendPublish(dst, c.version, f, d.Message.Topic(), id, nil, d.Message.Payload)
}

func (c *connection) handlePuback(frame []byte) error {
	var p packet.Puback
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	tag, ok := c.inflight.take(p.PacketID)
	if !ok {
		return nil // of a session that ended, or twice: 3.1.1 has no answer
	}
	if n := len(c.settled); n > 0 && c.settled[n-1].To+1 == tag {
		c.settled[n-1].To = tag
		return nil
	}
	c.settled = append(c.settled, hub.Range{From: tag, To: tag})
	return nil
}

func (c *connection) settle() {
	c.session.Settle(queue.Accept, c.settled...)
	c.replay.wake.raise()
}

// maxPacketIDs is how many packet identifiers there are.
const maxPacketIDs = 1<<16 - 1

// inflight is the deliveries that wait for PUBACK, by packet identifier.
//
// The identifier of a delivery is the number of its item in the session's queue modulo 65535, plus 1. So a delivery that
// is repeated, on another connection or after a restart, has the identifier that it had [MQTT-4.4.0-1], without its
// being stored. When an old delivery that was never acknowledged still has it, the next free one is taken.
type inflight struct {
	mu   sync.Mutex
	tags map[uint16]uint64 // guarded by mu
}

func (f *inflight) add(item, tag uint64) uint16 {
	id := uint16((item-1)%maxPacketIDs) + 1 // [MQTT-2.3.1-1]
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tags == nil {
		f.tags = make(map[uint16]uint64)
	}
	for {
		if _, taken := f.tags[id]; !taken { // [MQTT-2.3.1-4]
			f.tags[id] = tag
			return id
		}
		if id++; id == 0 {
			id = 1
		}
	}
}

func (f *inflight) take(id uint16) (tag uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	tag, ok = f.tags[id]
	delete(f.tags, id)
	return tag, ok
}
