// Package mqtt is the smallest client of MQTT 3.1.1 that a load needs. It answers all that one read brought with one write.
package mqtt

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/turnstone-mq/turnstone/test/bench/wire"
)

// Client is one connection.
type Client struct {
	conn   net.Conn
	reader *wire.Reader
	out    []byte
	id     uint16 // of the last PUBLISH with QoS above 0
	acks   []byte // of what the last read brought
}

// Dial connects and waits for CONNACK; without a user it does so anonymously.
func Dial(address, clientID, user, password string, clean bool) (*Client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, reader: wire.NewReader(conn, cut)}
	flags := byte(0)
	if clean {
		flags = 2
	}
	if user != "" {
		flags |= 0xc0
	}
	body := text(append(text(nil, "MQTT"), 4, flags, 0, 0), clientID)
	if user != "" {
		body = text(text(body, user), password)
	}
	if err := c.call(packet(nil, 0x10, body), 0x20); err != nil {
		conn.Close() //nolint:errcheck // the other error says more
		return nil, fmt.Errorf("connect %s: %w", clientID, err)
	}
	return c, nil
}

// call writes a packet and waits for the answer of a type. What comes behind it is left to Receive.
func (c *Client) call(request []byte, answer byte) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	for done := false; !done; {
		err := c.reader.Read(func(p []byte) error {
			if p[0]&0xf0 == 0x20 && p[3] != 0 {
				return fmt.Errorf("CONNACK with code %d", p[3])
			}
			if done = p[0]&0xf0 == answer; done {
				return wire.ErrStop
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Subscribe subscribes and waits for SUBACK.
func (c *Client) Subscribe(filter string, qos byte) error {
	return c.call(packet(nil, 0x82, append(text([]byte{0, 1}, filter), qos)), 0x90)
}

// batch is how many packets are under way when each has an answer.
const batch = 100

// SubscribeEach subscribes with filter(0) to filter(n-1), each with a packet of its own, and waits for their SUBACKs.
func (c *Client) SubscribeEach(n int, qos byte, filter func(i int) string) error {
	return c.askEach(n, 0x90, func(i int) { c.out = packet(c.out, 0x82, append(text([]byte{0, 1}, filter(i)), qos)) })
}

// UnsubscribeEach is the reverse of SubscribeEach.
func (c *Client) UnsubscribeEach(n int, filter func(i int) string) error {
	return c.askEach(n, 0xb0, func(i int) { c.out = packet(c.out, 0xa2, text([]byte{0, 1}, filter(i))) })
}

func (c *Client) askEach(n int, answer byte, add func(i int)) error {
	for i := 0; i < n; {
		under := min(batch, n-i)
		for range under {
			add(i)
			i++
		}
		if err := c.Flush(); err != nil {
			return err
		}
		for under > 0 {
			if err := c.reader.Read(func(p []byte) error {
				if p[0]&0xf0 != answer {
					return nil
				}
				if answer == 0x90 && p[len(p)-1] >= 0x80 {
					return fmt.Errorf("SUBACK with code %#x", p[len(p)-1])
				}
				under--
				return nil
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Ping returns when the broker has handled what was sent before.
func (c *Client) Ping() error { return c.call([]byte{0xc0, 0}, 0xd0) }

// Retain is Publish of a retained message.
func (c *Client) Retain(topic string, payload []byte, qos byte) {
	at := len(c.out)
	c.Publish(topic, payload, qos)
	c.out[at] |= 1
}

// ReceiveRetained waits for bytes and answers how many retained messages they bring.
func (c *Client) ReceiveRetained() (n int, err error) {
	err = c.reader.Read(func(p []byte) error {
		if p[0]&0xf1 == 0x31 {
			n++
		}
		return nil
	})
	return n, err
}

// Publish adds a PUBLISH to what Flush writes.
func (c *Client) Publish(topic string, payload []byte, qos byte) {
	n := 2 + len(topic) + len(payload)
	if qos > 0 {
		n += 2
	}
	c.out = append(c.out, 0x30|qos<<1)
	c.out = text(length(c.out, n), topic)
	if qos > 0 {
		if c.id++; c.id == 0 {
			c.id = 1
		}
		c.out = binary.BigEndian.AppendUint16(c.out, c.id)
	}
	c.out = append(c.out, payload...)
}

// Confirmed waits for bytes and answers how many publishes they say are complete. It goes on with those of QoS 2.
func (c *Client) Confirmed() (n int, err error) {
	err = c.reader.Read(func(p []byte) error {
		switch p[0] & 0xf0 {
		case 0x40, 0x70:
			n++
		case 0x50:
			c.acks = append(c.acks, 0x62, 2, p[2], p[3])
		}
		return nil
	})
	return n, c.acknowledge(err)
}

func (c *Client) acknowledge(err error) error {
	if err != nil || len(c.acks) == 0 {
		return err
	}
	_, err = c.conn.Write(c.acks)
	c.acks = c.acks[:0]
	return err
}

// Flush writes what was published with one write.
func (c *Client) Flush() error {
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// Receive waits for bytes, calls fn for the payload of each message that they bring, and acknowledges them.
func (c *Client) Receive(fn func(payload []byte)) error {
	return c.acknowledge(c.reader.Read(func(p []byte) error {
		switch p[0] & 0xf0 {
		case 0x60:
			c.acks = append(c.acks, 0x70, 2, p[2], p[3])
		case 0x30:
			fn(c.payload(p))
		}
		return nil
	}))
}

// payload is that of a PUBLISH, for which an acknowledgement is added if it needs one.
func (c *Client) payload(p []byte) []byte {
	at := 1
	for p[at]&0x80 != 0 {
		at++
	}
	at++
	at += 2 + int(binary.BigEndian.Uint16(p[at:]))
	switch p[0] & 0x06 {
	case 0x02:
		c.acks = append(c.acks, 0x40, 2, p[at], p[at+1])
		at += 2
	case 0x04:
		c.acks = append(c.acks, 0x50, 2, p[at], p[at+1])
		at += 2
	}
	return p[at:]
}

// Interrupt makes the Receive that waits, and later ones, end with os.ErrDeadlineExceeded.
func (c *Client) Interrupt() error { return c.conn.SetReadDeadline(time.Unix(1, 0)) }

// Within makes what takes longer than d from now end with os.ErrDeadlineExceeded.
func (c *Client) Within(d time.Duration) error { return c.conn.SetDeadline(time.Now().Add(d)) }

// Continue takes Interrupt back.
func (c *Client) Continue() error { return c.conn.SetReadDeadline(time.Time{}) }

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

func text(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

func packet(dst []byte, first byte, body []byte) []byte {
	return append(length(append(dst, first), len(body)), body...)
}

func length(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// cut reads the fixed header.
func cut(src []byte) (int, error) {
	n := 0
	for i := 1; i < len(src); i++ {
		if i > 4 {
			return 0, fmt.Errorf("remaining length of more than four bytes")
		}
		n |= int(src[i]&0x7f) << (7 * (i - 1))
		if src[i]&0x80 == 0 {
			if size := 1 + i + n; size <= len(src) {
				return size, nil
			}
			return 0, nil
		}
	}
	return 0, nil
}
