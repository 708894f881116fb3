// Package session is the durable record of an MQTT session: what the broker must know of a client when neither its
// connection nor the process that served it is there any more. It is data with an encoding; package hub acts on it.
package session

import (
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/router"
)

// State is one session.
type State struct {
	ClientID string
	// QueueID is the session's queue in the journal. An ended session's id is never given to another.
	QueueID uint64
	// Expiry is for how many seconds the session outlives its connection; Never is for ever.
	Expiry        uint32
	Subscriptions map[string]router.Options
}

// Never is the expiry of a session that does not expire. [MQTT 5 §3.1.2.11.2]
const Never = math.MaxUint32

const (
	flagNoLocal = 1 << iota
	flagRetainAsPublished
)

// Append writes the state, subscriptions in the order of their filters, in the form that Decode reads:
//
//	client id | queue id uvarint | count uvarint | count × (filter | qos u8 | flags u8 | subscription id uvarint)
//
// where client id and filter are a uvarint length and bytes.
func (s State) Append(dst []byte) []byte {
	dst = appendText(dst, s.ClientID)
	dst = binary.AppendUvarint(dst, s.QueueID)
	dst = binary.AppendUvarint(dst, uint64(s.Expiry))
	dst = binary.AppendUvarint(dst, uint64(len(s.Subscriptions)))
	for _, filter := range slices.Sorted(maps.Keys(s.Subscriptions)) {
		o := s.Subscriptions[filter]
		var flags byte
		if o.NoLocal {
			flags |= flagNoLocal
		}
		if o.RetainAsPublished {
			flags |= flagRetainAsPublished
		}
		dst = appendText(dst, filter)
		dst = append(dst, o.QoS, flags)
		dst = binary.AppendUvarint(dst, uint64(o.SubscriptionID))
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

var errShort = errors.New("session record is cut short")

// Decode reads what Append wrote and answers the bytes after it. The state does not alias src.
func Decode(src []byte) (s State, rest []byte, err error) {
	c := cursor{src: src}
	s.ClientID = c.text()
	s.QueueID = c.number()
	s.Expiry = uint32(c.number())
	n := c.number()
	if n > uint64(len(c.src)) { // a subscription has three bytes at least
		return State{}, nil, errShort
	}
	if n > 0 {
		s.Subscriptions = make(map[string]router.Options, n)
	}
	for range n {
		filter, qos, flags := c.text(), c.octet(), c.octet()
		s.Subscriptions[filter] = router.Options{
			QoS:               qos,
			NoLocal:           flags&flagNoLocal != 0,
			RetainAsPublished: flags&flagRetainAsPublished != 0,
			SubscriptionID:    uint32(c.number()),
		}
	}
	if c.short {
		return State{}, nil, errShort
	}
	return s, c.src, nil
}

// cursor reads fields and remembers whether one was missing.
type cursor struct {
	src   []byte
	short bool
}

func (c *cursor) number() uint64 {
	n, w := binary.Uvarint(c.src)
	if w <= 0 {
		c.short, c.src = true, nil
		return 0
	}
	c.src = c.src[w:]
	return n
}

func (c *cursor) octet() byte {
	if len(c.src) == 0 {
		c.short = true
		return 0
	}
	b := c.src[0]
	c.src = c.src[1:]
	return b
}

func (c *cursor) text() string {
	n := c.number()
	if n > uint64(len(c.src)) {
		c.short, c.src = true, nil
		return ""
	}
	s := string(c.src[:n])
	c.src = c.src[n:]
	return s
}
