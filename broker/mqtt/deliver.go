package mqtt

import (
	"sync"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// Deliver encodes deliveries into the outbox. Those of QoS 0 are dropped when there is no room, or no CONNACK yet; the
// others come only when there is: the hub holds back after a false.
func (c *connection) Deliver(_ *hub.Consumer, ds []queue.Delivery) bool {
	skip := !c.Live() || c.out.Full()
	dropped := uint64(0)
	c.inflight.mu.Lock()
	c.out.Append(func(dst []byte) []byte {
		for i := range ds {
			if ds[i].Tag == 0 && skip {
				dropped++
				continue
			}
			dst = c.appendDelivery(dst, &ds[i])
		}
		return dst
	})
	c.inflight.mu.Unlock()
	if dropped > 0 {
		c.endpoint.stats.Dropped.Add(dropped)
	}
	return !c.out.Full()
}

// appendDelivery writes the PUBLISH of a delivery; inflight is locked. The key of a message of another protocol is a
// topic name [MQTT-3.3.2-2]: the router passes over others for the filters of MQTT.
func (c *connection) appendDelivery(dst []byte, d *queue.Delivery) []byte {
	f := packet.PublishFlags{Retain: d.Retained} // [MQTT-3.3.1-8], [MQTT-3.3.1-9]
	var id uint16
	if d.Tag != 0 {
		f.QoS, f.Dup = 1, d.Returned // [MQTT-3.3.1-1], [MQTT-3.3.1-3]
		id = c.inflight.addLocked(d.ID, d.Tag)
	}
	return packet.AppendPublish(dst, c.version, f, d.Message.Topic(), id, nil, d.Message.Payload)
}

func (c *connection) handlePuback(frame []byte) error {
	var p packet.Puback
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	c.acked = append(c.acked, p.PacketID)
	return nil
}

// settle ends the deliveries that were acknowledged since the last flush. An acknowledgement that nobody waits for is of
// a session that ended, or comes twice: 3.1.1 has no answer to it.
func (c *connection) settle() {
	var space [16]hub.Range
	ranges := space[:0]
	c.inflight.mu.Lock()
	for _, id := range c.acked {
		tag := c.inflight.takeLocked(id)
		switch n := len(ranges); {
		case tag == 0:
		case n > 0 && ranges[n-1].To+1 == tag:
			ranges[n-1].To = tag
		default:
			ranges = append(ranges, hub.Range{From: tag, To: tag})
		}
	}
	c.inflight.mu.Unlock()
	c.acked = c.acked[:0]
	c.session.Settle(queue.Accept, ranges...)
	c.replay.wake.raise()
}

// maxPacketIDs is how many packet identifiers there are.
const maxPacketIDs = 1<<16 - 1

// inflight is the deliveries that wait for PUBACK, by packet identifier.
//
// The identifier of a delivery is the number of its item in the session's queue modulo 65535, plus 1. So a delivery that
// is repeated, on another connection or after a restart, has the identifier that it had [MQTT-4.4.0-1], without its
// being stored. When an old delivery that was never acknowledged still has it, the next free one is taken.
//
// What waits is mostly a dense window of identifiers, so it lies in a small table by their low bits; the few that find
// their place taken are in a map.
type inflight struct {
	mu    sync.Mutex
	table []flight          // guarded by mu; its length is a power of two
	apart map[uint16]uint64 // guarded by mu; tags of those without a place
}

// flight is a delivery that waits; its tag is zero when the place is free.
type flight struct {
	tag uint64
	id  uint16
}

const (
	firstTable = 16
	mostTable  = 1024
)

func (f *inflight) addLocked(item, tag uint64) uint16 {
	id := uint16((item-1)%maxPacketIDs) + 1 // [MQTT-2.3.1-1]
	for f.waits(id) {                       // [MQTT-2.3.1-4]
		if id++; id == 0 {
			id = 1
		}
	}
	f.place(id, tag)
	return id
}

func (f *inflight) slot(id uint16) *flight { return &f.table[int(id)&(len(f.table)-1)] }

func (f *inflight) waits(id uint16) bool {
	if len(f.table) == 0 {
		return false
	}
	if s := f.slot(id); s.tag == 0 || s.id == id {
		return s.tag != 0 || f.isApart(id)
	}
	return f.isApart(id)
}

func (f *inflight) isApart(id uint16) bool {
	if len(f.apart) == 0 {
		return false
	}
	_, ok := f.apart[id]
	return ok
}

func (f *inflight) place(id uint16, tag uint64) {
	for len(f.table) == 0 || f.slot(id).tag != 0 && len(f.table) < mostTable {
		f.grow()
	}
	if s := f.slot(id); s.tag == 0 {
		*s = flight{tag: tag, id: id}
		return
	}
	if f.apart == nil {
		f.apart = make(map[uint16]uint64)
	}
	f.apart[id] = tag
}

func (f *inflight) grow() {
	old := f.table
	f.table = make([]flight, max(firstTable, 2*len(old)))
	for _, s := range old {
		if s.tag != 0 {
			*f.slot(s.id) = s // two of them differ in the bits of the old table already
		}
	}
}

// takeLocked takes out the delivery with an identifier and answers its tag; zero when there is none.
func (f *inflight) takeLocked(id uint16) (tag uint64) {
	if len(f.table) == 0 {
		return 0
	}
	if s := f.slot(id); s.tag != 0 && s.id == id {
		tag, s.tag = s.tag, 0
		return tag
	}
	tag = f.apart[id]
	delete(f.apart, id)
	return tag
}
