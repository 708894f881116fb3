// Package message holds the one message of all protocols.
//
// A message keeps the encoding in which it arrived: its properties are raw bytes of that protocol, its key is in that
// protocol's form. It is converted only when a consumer of another protocol reads it, by that consumer's endpoint.
package message

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/topic"
)

// Encoding says in which protocol's form Key and Properties are.
type Encoding uint8

// The encodings. They are written to the journal: never renumber them.
const (
	// MQTT: Key is a topic name, Properties are the properties of an MQTT 5 PUBLISH without their length (empty before MQTT 5).
	MQTT Encoding = 1
	// AMQP091: Key is a routing key, Properties are property flags and property list of a content header (AMQP 0-9-1 §4.2.6.1).
	AMQP091 Encoding = 2
	// AMQP10: Key is a routing key, Properties are the sections message-annotations, properties and application-properties,
	// those that there are, as they came, and Payload the sections of the body with the footer (AMQP 1.0 part 3 §3.2). What the
	// header said is in the fields of Message.
	AMQP10 Encoding = 3
)

// Encodings are all of them.
var Encodings = [...]Encoding{MQTT, AMQP091, AMQP10}

// Message is immutable once it is built, but for who owns its bytes: a message that an endpoint publishes aliases the
// endpoint's read buffer and is valid until the endpoint's next Flush returns; the hub takes a Clone of what it keeps.
type Message struct {
	Exchange string
	Key      string
	Encoding Encoding
	// QoS is the MQTT quality of service; AMQP publishes have 1 when persistent and 0 when not.
	QoS uint8
	// Durable messages survive a restart in durable queues (MQTT QoS > 0, delivery-mode 2 of AMQP 0-9-1, durable of 1.0).
	Durable bool
	Retain  bool // MQTT: the publish had the RETAIN flag
	// Priority is 0 to 255, as in AMQP.
	Priority uint8
	// Owned says that Key, Properties and Payload belong to the message alone and need no copy to be kept.
	Owned bool
	// Expiry is when the message is no longer wanted, in milliseconds since 1970; zero is never.
	Expiry int64
	// Origin is the connection that published it, for no-local; it does not survive a restart.
	Origin uint64
	// Publisher is the MQTT client id, empty for AMQP.
	Publisher  string
	Properties []byte
	Payload    []byte
}

// Size is what the message counts against byte limits.
func (m *Message) Size() int { return len(m.Payload) + len(m.Properties) + len(m.Key) }

// Clone is a message that owns its bytes: m itself if it does already, else a copy with one allocation for all bytes.
// Exchange and Publisher are taken as they are: endpoints intern them.
func (m *Message) Clone() *Message {
	c := *m
	if m.Owned {
		return &c
	}
	buf := make([]byte, 0, len(m.Properties)+len(m.Payload))
	buf = append(buf, m.Properties...)
	c.Properties = buf[:len(buf):len(buf)]
	buf = append(buf, m.Payload...)
	c.Payload = buf[len(m.Properties):]
	c.Owned = true
	return &c
}

// Keeper makes clones that share memory: it takes little more time than copying their bytes. A chunk lives as long as one
// of its messages, so chunks are small. The zero Keeper is ready for use; it is not safe for concurrent use.
type Keeper struct {
	messages []Message
	bytes    []byte
}

// A chunk has at most so many messages and, of those that are not larger than a quarter of it, bytes.
const (
	keptMessages = 32
	keptBytes    = 16 << 10
)

// Clone is Message.Clone; more says how many messages will be cloned soon, this one included.
func (k *Keeper) Clone(m *Message, more int) *Message {
	if len(k.messages) == 0 {
		k.messages = make([]Message, min(more, keptMessages))
	}
	c := &k.messages[0]
	k.messages = k.messages[1:]
	*c = *m
	if m.Owned {
		return c
	}
	n := len(m.Properties) + len(m.Payload)
	buf := k.take(n, more)
	at := copy(buf, m.Properties)
	copy(buf[at:], m.Payload)
	c.Properties, c.Payload, c.Owned = buf[:at:at], buf[at:n:n], true
	return c
}

func (k *Keeper) take(n, more int) []byte {
	if n > keptBytes/4 {
		return make([]byte, n)
	}
	if len(k.bytes) < n {
		k.bytes = make([]byte, min(n*more, keptBytes))
	}
	buf := k.bytes[:n:n]
	k.bytes = k.bytes[n:]
	return buf
}

// Done ends the use of what is left of a chunk, so that nothing of it outlives the batch.
func (k *Keeper) Done() { *k = Keeper{} }

const (
	flagDurable = 1 << iota
	flagRetain
	flagExpiry
	flagPriority
)

// Append writes the message in the form of the journal, which Decode reads:
//
//	encoding u8 | qos u8 | flags u8 | [priority u8] | [expiry varint] | exchange | key | publisher | properties | payload
//
// where each of the last five is a uvarint length and its bytes.
func (m *Message) Append(dst []byte) []byte {
	var flags byte
	if m.Durable {
		flags |= flagDurable
	}
	if m.Retain {
		flags |= flagRetain
	}
	if m.Expiry != 0 {
		flags |= flagExpiry
	}
	if m.Priority != 0 {
		flags |= flagPriority
	}
	dst = append(dst, byte(m.Encoding), m.QoS, flags)
	if m.Priority != 0 {
		dst = append(dst, m.Priority)
	}
	if m.Expiry != 0 {
		dst = binary.AppendVarint(dst, m.Expiry)
	}
	dst = appendBytes(dst, m.Exchange)
	dst = appendBytes(dst, m.Key)
	dst = appendBytes(dst, m.Publisher)
	dst = appendBytes(dst, m.Properties)
	return appendBytes(dst, m.Payload)
}

func appendBytes[T string | []byte](dst []byte, b T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

var errShort = errors.New("message is cut short")

// Decode reads what Append wrote and answers the bytes after it. Properties and Payload alias src; the strings do not.
func Decode(src []byte) (m Message, rest []byte, err error) {
	rest, err = m.Decode(src)
	return m, rest, err
}

// Decode is the function Decode. Strings that are as they were in m stay, so that of messages that have them in common only the
// first one is allocated for.
func (m *Message) Decode(src []byte) (rest []byte, err error) {
	exchange, key, publisher := m.Exchange, m.Key, m.Publisher
	*m = Message{}
	if len(src) < 3 {
		return nil, errShort
	}
	m.Encoding, m.QoS = Encoding(src[0]), src[1]
	flags := src[2]
	src = src[3:]
	if m.Encoding < MQTT || m.Encoding > AMQP10 {
		return nil, fmt.Errorf("message encoding %d is unknown", m.Encoding)
	}
	m.Durable, m.Retain = flags&flagDurable != 0, flags&flagRetain != 0
	if flags&flagPriority != 0 {
		if len(src) < 1 {
			return nil, errShort
		}
		m.Priority, src = src[0], src[1:]
	}
	if flags&flagExpiry != 0 {
		v, n := binary.Varint(src)
		if n <= 0 {
			return nil, errShort
		}
		m.Expiry, src = v, src[n:]
	}
	var fields [5][]byte
	for i := range fields {
		n, w := binary.Uvarint(src)
		if w <= 0 || n > uint64(len(src)-w) {
			return nil, errShort
		}
		fields[i], src = src[w:w+int(n):w+int(n)], src[w+int(n):]
	}
	m.Exchange, m.Key, m.Publisher = same(exchange, fields[0]), same(key, fields[1]), same(publisher, fields[2])
	m.Properties, m.Payload = fields[3], fields[4]
	return src, nil
}

// same is b as a string, which is old if that is the same.
func same(old string, b []byte) string {
	if old == string(b) {
		return old
	}
	return string(b)
}

// Topic is Key as an MQTT topic name, and RoutingKey is Key as an AMQP routing key. The two forms are one another's
// swap of '/' and '.', so that every key comes back unchanged from the other form.
func (m *Message) Topic() string {
	if m.Encoding == MQTT {
		return m.Key
	}
	return topic.Swap(m.Key)
}

// RoutingKey is Key as an AMQP routing key; see Topic.
func (m *Message) RoutingKey() string {
	if m.Encoding == MQTT {
		return topic.Swap(m.Key)
	}
	return m.Key
}
