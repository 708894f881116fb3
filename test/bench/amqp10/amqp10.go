// Package amqp10 is a client of AMQP 1.0 for loads: github.com/Azure/go-amqp, with one link for each connection. It needs more
// CPU than the broker does, so rates are mostly its own; what the broker used for each message is what counts.
package amqp10

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/Azure/go-amqp"
)

// patience bounds what is answered at once.
const patience = 30 * time.Second

// Client is one connection with one session.
type Client struct {
	conn    *amqp.Conn
	session *amqp.Session
	ctx     context.Context // of what Publish, Confirmed and Receive wait for; ended by Interrupt
	end     context.CancelFunc

	sender   *amqp.Sender
	settled  bool
	out      []*amqp.Message       // what Flush sends
	receipts chan amqp.SendReceipt // of what was sent and is not confirmed, in order
	receiver *amqp.Receiver
	unacked  []*amqp.Message // what Ack accepts; nil where deliveries are settled by the broker
	acks     bool
}

// Dial connects and begins a session.
func Dial(address, user, password string) (*Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := amqp.Dial(ctx, "amqp://"+address, &amqp.ConnOptions{SASLType: amqp.SASLTypePlain(user, password)})
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn}
	if c.session, err = conn.NewSession(ctx, nil); err != nil {
		conn.Close() //nolint:errcheck // the other error says more
		return nil, err
	}
	c.ctx, c.end = context.WithCancel(context.Background())
	return c, nil
}

// Address is that of a queue which is there, the same for RabbitMQ 3.
func Address(queue string) string { return "/amq/queue/" + queue }

// Send attaches a sender. With unconfirmed other than zero its messages are not settled, and at most so many wait for Confirmed.
func (c *Client) Send(queue string, unconfirmed int) (err error) {
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	mode := amqp.SenderSettleModeUnsettled
	if c.settled = unconfirmed == 0; c.settled {
		mode = amqp.SenderSettleModeSettled
	}
	c.receipts = make(chan amqp.SendReceipt, unconfirmed)
	c.sender, err = c.session.NewSender(ctx, Address(queue), &amqp.SenderOptions{SettlementMode: &mode})
	return err
}

// Publish adds a message to what Flush sends. It is durable unless messages are settled as they are sent.
func (c *Client) Publish(payload []byte, properties map[string]any) {
	m := amqp.NewMessage(append([]byte(nil), payload...))
	m.Header = &amqp.MessageHeader{Durable: !c.settled}
	m.ApplicationProperties = properties
	c.out = append(c.out, m)
}

// Flush sends what was published.
func (c *Client) Flush() error {
	defer func() { c.out = c.out[:0] }()
	for _, m := range c.out {
		if c.settled {
			if err := c.sender.Send(c.ctx, m, nil); err != nil {
				return c.reason(err)
			}
			continue
		}
		receipt, err := c.sender.SendWithReceipt(c.ctx, m, nil)
		if err != nil {
			return c.reason(err)
		}
		c.receipts <- receipt
	}
	return nil
}

// Confirmed waits until the oldest message was accepted, and answers how many more were with it.
func (c *Client) Confirmed() (int, error) {
	select {
	case r := <-c.receipts:
		state, err := r.Wait(c.ctx)
		if err != nil {
			return 0, c.reason(err)
		}
		if _, ok := state.(*amqp.StateAccepted); !ok {
			return 0, fmt.Errorf("the outcome of a message is %T", state)
		}
		return 1, nil
	case <-c.ctx.Done():
		return 0, os.ErrDeadlineExceeded
	}
}

// Receive options of a link.
type Receive struct {
	Credit   int
	Settled  bool   // by the broker, as it sends
	Selector string // none when empty
}

// Attach attaches a receiver.
func (c *Client) Attach(queue string, o Receive) (err error) {
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	mode := amqp.SenderSettleModeUnsettled
	if c.acks = !o.Settled; o.Settled {
		mode = amqp.SenderSettleModeSettled
	}
	options := amqp.ReceiverOptions{Credit: int32(o.Credit), RequestedSenderSettleMode: &mode}
	if o.Selector != "" {
		options.Filters = []amqp.LinkFilter{amqp.NewSelectorFilter(o.Selector)}
	}
	c.receiver, err = c.session.NewReceiver(ctx, Address(queue), &options)
	return err
}

// Receive waits for a message, and calls fn for it and for those that have come with it.
func (c *Client) Receive(fn func(payload []byte)) error {
	m, err := c.receiver.Receive(c.ctx, nil)
	if err != nil {
		return c.reason(err)
	}
	for n := 1; ; n++ {
		if c.acks {
			c.unacked = append(c.unacked, m)
		}
		if fn(m.GetData()); n == atOnce {
			return nil
		}
		if m = c.receiver.Prefetched(); m == nil {
			return nil
		}
	}
}

// atOnce bounds how many messages one Receive brings.
const atOnce = 100

// Ack accepts everything that Receive has brought.
func (c *Client) Ack() error {
	for _, m := range c.unacked {
		if err := c.receiver.AcceptMessage(c.ctx, m); err != nil {
			return c.reason(err)
		}
	}
	c.unacked = c.unacked[:0]
	return nil
}

// reason is an error as the load knows it: one that Interrupt caused is os.ErrDeadlineExceeded.
func (c *Client) reason(err error) error {
	if c.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return os.ErrDeadlineExceeded
	}
	return err
}

// Interrupt makes what waits, and what would wait later, end with os.ErrDeadlineExceeded.
func (c *Client) Interrupt() error {
	c.end()
	return nil
}

// Close ends the connection.
func (c *Client) Close() error {
	c.end()
	return c.conn.Close()
}

// Quiet is a connection with two sessions, each with a sender and a receiver, that says nothing.
type Quiet struct{ conn *amqp.Conn }

// DialQuiet connects, begins the sessions and attaches the links, all to one queue.
func DialQuiet(address, user, password, queue string) (*Quiet, error) {
	c, err := Dial(address, user, password)
	if err != nil {
		return nil, err
	}
	q := &Quiet{conn: c.conn}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	second, err := c.conn.NewSession(ctx, nil)
	for _, s := range []*amqp.Session{c.session, second} {
		if err == nil {
			_, err = s.NewSender(ctx, Address(queue), nil)
		}
		if err == nil {
			_, err = s.NewReceiver(ctx, Address(queue), nil)
		}
	}
	if err != nil {
		c.Close() //nolint:errcheck // the other error says more
		return nil, err
	}
	return q, nil
}

// Answers says whether the broker still serves the connection.
func (q *Quiet) Answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := q.conn.NewSession(ctx, nil)
	if err != nil {
		return err
	}
	return s.Close(ctx)
}

// Close ends the connection.
func (q *Quiet) Close() error { return q.conn.Close() }
