// Package amqp is the smallest client of AMQP 0-9-1 that a load needs: one channel; declare, publish, confirm, consume.
package amqp

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/turnstone-mq/turnstone/test/bench/wire"
)

// Client is one connection with one channel.
type Client struct {
	conn   net.Conn
	reader *wire.Reader
	out    []byte

	coming uint64 // delivery tag of the message whose body comes next
	last   uint64 // delivery tag of the newest message that is whole

	base  uint64 // the oldest message that is not confirmed
	early [window]bool
}

// window is more messages than may be unconfirmed at once.
const window = 1024

// Methods, as class and id.
const (
	start             = 10<<16 | 10
	tune              = 10<<16 | 30
	openOK            = 10<<16 | 41
	closeConn         = 10<<16 | 50
	channelOpenOK     = 20<<16 | 11
	closeChannel      = 20<<16 | 40
	declareOK         = 50<<16 | 11
	bindOK            = 50<<16 | 21
	deleteOK          = 50<<16 | 41
	exchangeDeclareOK = 40<<16 | 11
	exchangeDeleteOK  = 40<<16 | 21
	qosOK             = 60<<16 | 11
	consumeOK         = 60<<16 | 21
	deliver           = 60<<16 | 60
	ack               = 60<<16 | 80
	confirmOK         = 85<<16 | 11
	frameMethod       = 1
	frameHeader       = 2
	frameBody         = 3
	frameEnd          = 0xce
	propertiesNone    = 0
	deliveryMode      = 1 << 12
)

// Dial connects and opens channel 1.
func Dial(address, user, password, vhost string) (*Client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, reader: wire.NewReader(conn, cut)}
	if err := c.open(user, password, vhost); err != nil {
		conn.Close() //nolint:errcheck // the other error says more
		return nil, err
	}
	return c, nil
}

func (c *Client) open(user, password, vhost string) error {
	if _, err := c.conn.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return err
	}
	startOK := short(long(short(binary.BigEndian.AppendUint32(nil, 0), "PLAIN"), "\x00"+user+"\x00"+password), "en_US")
	tuneOK := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, 10), 131072), 0)
	for _, step := range []struct {
		wait    uint32
		request []byte
	}{
		{start, method(nil, 0, 10, 11, startOK)},
		{tune, method(method(nil, 0, 10, 31, tuneOK), 0, 10, 40, append(short(nil, vhost), 0, 0))},
		{openOK, method(nil, 1, 20, 10, []byte{0})},
		{channelOpenOK, nil},
	} {
		if err := c.await(step.wait); err != nil {
			return err
		}
		if _, err := c.conn.Write(step.request); err != nil {
			return err
		}
	}
	return nil
}

// await reads until a method comes.
func (c *Client) await(wanted uint32) error {
	for done := false; !done; {
		err := c.reader.Read(func(f []byte) error {
			if f[0] != frameMethod {
				return nil
			}
			switch m := binary.BigEndian.Uint32(f[7:]); m {
			case wanted:
				done = true
				return wire.ErrStop // deliveries may be behind it
			case closeConn, closeChannel:
				return fmt.Errorf("closed by the broker: %q", f[11:])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) call(request []byte, answer uint32) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	return c.await(answer)
}

// Declare declares a queue of a type ("" is the broker's default).
func (c *Client) Declare(queue string, durable bool, kind string) error {
	flags := byte(0)
	if durable {
		flags = 2
	}
	var arguments []byte
	if kind != "" {
		arguments = long(append(short(nil, "x-queue-type"), 'S'), kind)
	}
	body := binary.BigEndian.AppendUint32(append(short([]byte{0, 0}, queue), flags), uint32(len(arguments)))
	return c.call(method(nil, 1, 50, 10, append(body, arguments...)), declareOK)
}

// DeclareTopic declares a transient topic exchange.
func (c *Client) DeclareTopic(exchange string) error {
	return c.call(method(nil, 1, 40, 10, append(short(short([]byte{0, 0}, exchange), "topic"), 0, 0, 0, 0, 0)), exchangeDeclareOK)
}

// Bind binds a queue.
func (c *Client) Bind(queue, exchange, key string) error {
	return c.call(method(nil, 1, 50, 20, append(short(short(short([]byte{0, 0}, queue), exchange), key), 0, 0, 0, 0, 0)), bindOK)
}

// Delete deletes a queue, DeleteExchange an exchange.
func (c *Client) Delete(queue string) error {
	return c.call(method(nil, 1, 50, 40, append(short([]byte{0, 0}, queue), 0)), deleteOK)
}

// DeleteExchange deletes an exchange.
func (c *Client) DeleteExchange(exchange string) error {
	return c.call(method(nil, 1, 40, 20, append(short([]byte{0, 0}, exchange), 0)), exchangeDeleteOK)
}

// Confirm asks for publisher confirms.
func (c *Client) Confirm() error { return c.call(method(nil, 1, 85, 10, []byte{0}), confirmOK) }

// Consume begins to consume; with a prefetch other than zero deliveries must be acknowledged.
func (c *Client) Consume(queue string, prefetch int) error {
	flags := byte(2) // no-ack
	if prefetch > 0 {
		flags = 0
		qos := append(binary.BigEndian.AppendUint16([]byte{0, 0, 0, 0}, uint16(prefetch)), 0)
		if err := c.call(method(nil, 1, 60, 10, qos), qosOK); err != nil {
			return err
		}
	}
	body := append(short(short([]byte{0, 0}, queue), ""), flags, 0, 0, 0, 0)
	return c.call(method(nil, 1, 60, 20, body), consumeOK)
}

// Route is where messages are published to, encoded.
type Route []byte

// NewRoute makes the route of an exchange and a routing key.
func NewRoute(exchange, key string) Route {
	return method(nil, 1, 60, 40, append(short(short([]byte{0, 0}, exchange), key), 0))
}

// Publish adds a message to what Flush writes.
func (c *Client) Publish(r Route, payload []byte, persistent bool) {
	c.out = append(c.out, r...)
	var header [32]byte
	h := binary.BigEndian.AppendUint16(header[:0], 60)
	h = binary.BigEndian.AppendUint16(h, 0)
	h = binary.BigEndian.AppendUint64(h, uint64(len(payload)))
	if persistent {
		h = append(binary.BigEndian.AppendUint16(h, deliveryMode), 2)
	} else {
		h = binary.BigEndian.AppendUint16(h, propertiesNone)
	}
	c.out = frame(c.out, frameHeader, 1, h)
	c.out = frame(c.out, frameBody, 1, payload)
}

// Flush writes what was published with one write.
func (c *Client) Flush() error {
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// Receive waits for bytes and calls fn for the body of each message that they bring, which is in one frame.
func (c *Client) Receive(fn func(payload []byte)) error {
	return c.reader.Read(func(f []byte) error {
		switch f[0] {
		case frameBody:
			c.last = c.coming
			fn(f[7 : len(f)-1])
		case frameMethod:
			switch m := binary.BigEndian.Uint32(f[7:]); m {
			case deliver:
				tag := f[12+int(f[11]):]
				c.coming = binary.BigEndian.Uint64(tag)
			case closeConn, closeChannel:
				return fmt.Errorf("closed by the broker: %q", f[11:])
			}
		}
		return nil
	})
}

// Ack acknowledges everything that Receive has brought.
func (c *Client) Ack() error {
	body := append(binary.BigEndian.AppendUint64(nil, c.last), 1)
	_, err := c.conn.Write(method(nil, 1, 60, 80, body))
	return err
}

// Confirmed waits for bytes and answers how many more of the oldest messages the broker has confirmed.
func (c *Client) Confirmed() (n int, err error) {
	err = c.reader.Read(func(f []byte) error {
		if f[0] != frameMethod {
			return nil
		}
		switch m := binary.BigEndian.Uint32(f[7:]); m {
		case ack:
			n += c.confirm(binary.BigEndian.Uint64(f[11:]), f[19] != 0)
		case closeConn, closeChannel:
			return fmt.Errorf("closed by the broker: %q", f[11:])
		}
		return nil
	})
	return n, err
}

func (c *Client) confirm(tag uint64, multiple bool) (n int) {
	c.base = max(c.base, 1)
	c.early[tag%window] = true
	for multiple && tag > c.base {
		tag--
		c.early[tag%window] = true
	}
	for c.early[c.base%window] {
		c.early[c.base%window] = false
		c.base++
		n++
	}
	return n
}

// Interrupt makes the Receive or Confirmed that waits, and later ones, end with os.ErrDeadlineExceeded.
func (c *Client) Interrupt() error { return c.conn.SetReadDeadline(time.Unix(1, 0)) }

// Close ends the connection without a handshake.
func (c *Client) Close() error { return c.conn.Close() }

func short(dst []byte, s string) []byte { return append(append(dst, byte(len(s))), s...) }

func long(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(s))), s...)
}

func method(dst []byte, channel, class, id uint16, arguments []byte) []byte {
	dst = append(dst, frameMethod)
	dst = binary.BigEndian.AppendUint16(dst, channel)
	dst = binary.BigEndian.AppendUint32(dst, uint32(4+len(arguments)))
	dst = binary.BigEndian.AppendUint16(dst, class)
	dst = binary.BigEndian.AppendUint16(dst, id)
	return append(append(dst, arguments...), frameEnd)
}

func frame(dst []byte, kind byte, channel uint16, payload []byte) []byte {
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint16(dst, channel)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload)))
	return append(append(dst, payload...), frameEnd)
}

// cut reads the frame header.
func cut(src []byte) (int, error) {
	if len(src) < 8 {
		return 0, nil
	}
	if src[0] == 'A' {
		return 0, fmt.Errorf("the broker speaks another version: %q", src[:8])
	}
	if size := 8 + int(binary.BigEndian.Uint32(src[3:])); size <= len(src) {
		if src[size-1] != frameEnd {
			return 0, fmt.Errorf("frame without its end octet")
		}
		return size, nil
	}
	return 0, nil
}
