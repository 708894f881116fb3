// Package mqtt is the smallest client of MQTT 3.1.1 that a load needs: connect, subscribe, QoS 0.
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
}

// Dial connects with a clean session and waits for CONNACK; without a user it does so anonymously.
func Dial(address, clientID, user, password string) (*Client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, reader: wire.NewReader(conn, cut)}
	flags := byte(2)
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

// call writes a packet and waits for the answer of a type.
func (c *Client) call(request []byte, answer byte) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	for done := false; !done; {
		err := c.reader.Read(func(p []byte) error {
			done = done || p[0]&0xf0 == answer
			if p[0]&0xf0 == 0x20 && p[3] != 0 {
				return fmt.Errorf("CONNACK with code %d", p[3])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Subscribe subscribes with QoS 0 and waits for SUBACK.
func (c *Client) Subscribe(filter string) error {
	return c.call(packet(nil, 0x82, append(text([]byte{0, 1}, filter), 0)), 0x90)
}

// Publish adds a PUBLISH to what Flush writes.
func (c *Client) Publish(topic string, payload []byte) {
	c.out = append(c.out, 0x30)
	c.out = length(c.out, 2+len(topic)+len(payload))
	c.out = text(c.out, topic)
	c.out = append(c.out, payload...)
}

// Flush writes what was published with one write.
func (c *Client) Flush() error {
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// Receive waits for bytes and calls fn for the payload of each message that they bring.
func (c *Client) Receive(fn func(payload []byte)) error {
	return c.reader.Read(func(p []byte) error {
		if p[0]&0xf0 != 0x30 {
			return nil
		}
		at := 1
		for p[at]&0x80 != 0 {
			at++
		}
		at++
		at += 2 + int(binary.BigEndian.Uint16(p[at:]))
		fn(p[at:])
		return nil
	})
}

// Interrupt makes the Receive that waits, and later ones, end with os.ErrDeadlineExceeded.
func (c *Client) Interrupt() error { return c.conn.SetReadDeadline(time.Unix(1, 0)) }

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
