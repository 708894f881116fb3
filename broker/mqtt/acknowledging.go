package mqtt

import (
	"sync"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// ack is an acknowledgement that is due.
type ack struct {
	id     uint16
	kind   packet.Type
	reason packet.ReasonCode
}

// acknowledging is the publishes that wait for PUBACK or PUBREC, in the order of their tokens.
type acknowledging struct {
	mu     sync.Mutex
	acks   []ack    // guarded by mu; acks[head:] wait
	head   int      // guarded by mu
	token  uint64   // guarded by mu; that of the last one acknowledged
	ended  bool     // guarded by mu; one was refused: nothing is acknowledged any more
	void   []uint16 // guarded by mu; identifiers of messages of QoS 2 that were refused
	unsure int      // guarded by mu; messages of QoS 2 between PUBREC and PUBCOMP
}

func (a *acknowledging) expect(e ack) {
	a.mu.Lock()
	if a.head > 0 && len(a.acks) == cap(a.acks) {
		a.acks = a.acks[:copy(a.acks, a.acks[a.head:])]
		a.head = 0
	}
	a.acks = append(a.acks, e)
	a.mu.Unlock()
}

// waiting is how many messages are in flight from the client, which QoS 0 does not count.
func (a *acknowledging) waiting(qos uint8) int {
	if qos == 0 {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.acks) - a.head + a.unsure
}

// takeVoid answers the identifiers of messages of QoS 2 that were refused since the last call: their exchange is over.
func (a *acknowledging) takeVoid() (ids []uint16) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ids, a.void = a.void, nil
	return ids
}

// completed says that PUBCOMP is due for so many messages. Those of connections before were never counted.
func (a *acknowledging) completed(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unsure = max(a.unsure-n, 0)
}

// append writes the acknowledgement of every publish up to a token, in their order; refused, unless it is nil, writes
// those of messages that were not taken. With last, it is the last time: what comes after is not acknowledged.
// [MQTT-3.3.4-1], [MQTT-4.6.0-2], [MQTT-4.6.0-3], [MQTT5-4.3.2-4]
func (a *acknowledging) append(dst []byte, upTo uint64, last bool, refused func([]byte, ack) []byte) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return dst
	}
	a.ended = last
	for ; a.token < upTo; a.token++ {
		e := a.acks[a.head]
		a.head++
		switch {
		case refused == nil:
			dst = appendAck(dst, e.kind, e.id, e.reason) // [MQTT-2.3.1-6], [MQTT-4.3.2-2], [MQTT5-4.3.3-8]
			if e.kind == packet.TypePubrec {
				a.unsure++
			}
		default:
			dst = refused(dst, e)
			if e.kind == packet.TypePubrec {
				a.void = append(a.void, e.id) // [MQTT5-4.3.3-9]
			}
		}
	}
	if a.head == len(a.acks) {
		a.acks, a.head = a.acks[:0], 0
	}
	return dst
}
