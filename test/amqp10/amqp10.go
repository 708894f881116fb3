// Package amqp10 is a client for tests that speaks AMQP 1.0 in frames: no library for Go resumes links, or does what must not
// be done. It has one session, on channel 0, and belongs to one goroutine.
package amqp10

import (
	"fmt"
	"net"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// Client is a connection with a session.
type Client struct {
	conn net.Conn
	in   []byte
	out  []byte

	next uint32 // delivery-id
	got  uint32 // transfers that came
	most int    // bytes of a frame
}

// window is how many transfers either peer may send ahead.
const window = 1 << 20

var limits = frame.Limits{Depth: 100, Elements: 100_000}

// Dial connects without SASL, opens as a container, and begins the session.
func Dial(address, container string) (*Client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, most: 64 << 10}
	if err := c.begin(container); err != nil {
		conn.Close() //nolint:errcheck // there is an error already
		return nil, err
	}
	return c, nil
}

func (c *Client) begin(container string) error {
	c.out = frame.Version10(frame.ProtocolAMQP).Append(nil)
	c.Send(&frame.Open{ContainerID: container, MaxFrameSize: uint32(c.most), ChannelMax: 0})
	c.Send(&frame.Begin{IncomingWindow: window, OutgoingWindow: window, HandleMax: 100})
	if err := c.Flush(); err != nil {
		return err
	}
	for len(c.in) < frame.ProtocolHeaderSize {
		if err := c.fill(); err != nil {
			return err
		}
	}
	h, n, err := frame.ReadProtocolHeader(c.in)
	if err != nil || h != frame.Version10(frame.ProtocolAMQP) {
		return fmt.Errorf("protocol header %v, %v", h, err)
	}
	c.in = c.in[n:]
	if _, err := Expect[*frame.Open](c); err != nil {
		return err
	}
	_, err = Expect[*frame.Begin](c)
	return err
}

// Close closes the socket without a word.
func (c *Client) Close() { c.conn.Close() } //nolint:errcheck // nothing depends on it

// Send adds a performative to what Flush writes.
func (c *Client) Send(p frame.Performative) {
	var err error
	if c.out, err = frame.AppendFrame(c.out, 0, p, c.most); err != nil {
		panic(fmt.Sprintf("%v does not fit into a frame: %v", p.Descriptor(), err))
	}
}

// Transfer adds a transfer that begins a delivery, and answers its id.
func (c *Client) Transfer(t frame.Transfer) uint32 {
	id := c.next
	c.next++
	t.DeliveryID, t.MessageFormat = frame.Some(id), frame.Some[uint32](0)
	c.Send(&t)
	return id
}

// Credit lets the broker send so many deliveries, when it has sent count.
func (c *Client) Credit(handle, count, credit uint32) {
	c.Send(&frame.Flow{NextIncomingID: frame.Some(c.got), IncomingWindow: window, OutgoingWindow: window, Handle: frame.Some(handle), DeliveryCount: frame.Some(count), LinkCredit: frame.Some(credit)})
}

// CreditIn is Credit for deliveries that are acquired in a transaction.
func (c *Client) CreditIn(txn []byte, handle, count, credit uint32) {
	c.Send(&frame.Flow{NextIncomingID: frame.Some(c.got), IncomingWindow: window, OutgoingWindow: window, Handle: frame.Some(handle), DeliveryCount: frame.Some(count), LinkCredit: frame.Some(credit),
		Properties: frame.Map(frame.AppendBinary(frame.AppendSymbol(nil, "txn-id"), txn))})
}

// Flush writes what was added.
func (c *Client) Flush() error {
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *Client) fill() error {
	chunk := make([]byte, 64<<10)
	n, err := c.conn.Read(chunk)
	if n > 0 {
		c.in = append(c.in, chunk[:n]...)
		return nil
	}
	return err
}

// Buffered says that a whole frame is there, so that Next does not wait.
func (c *Client) Buffered() bool {
	_, n, err := frame.Read(c.in, c.most)
	return err == nil && n > 0
}

// Next reads a performative, past empty frames. What it holds stays valid.
func (c *Client) Next() (frame.Performative, error) {
	for {
		f, n, err := frame.Read(c.in, c.most)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			if err := c.fill(); err != nil {
				return nil, err
			}
			continue
		}
		body := append([]byte(nil), f.Body...)
		c.in = c.in[n:]
		if f.Body = body; len(body) == 0 {
			continue
		}
		d, err := f.Performative()
		if err != nil {
			return nil, err
		}
		if d == frame.CodeTransfer {
			c.got++
		}
		p := frame.New(d)
		return p, p.Decode(body, limits)
	}
}

// Expect reads a performative of type P, past flows.
func Expect[P frame.Performative](c *Client) (P, error) {
	for {
		p, err := c.Next()
		if err != nil {
			var none P
			return none, err
		}
		if want, ok := p.(P); ok {
			return want, nil
		}
		if _, ok := p.(*frame.Flow); ok {
			continue
		}
		var none P
		return none, fmt.Errorf("got %v %+v, want %T", p.Descriptor(), p, none)
	}
}

// Attach attaches a link, and answers what the broker says of it.
func (c *Client) Attach(a *frame.Attach) (*frame.Attach, error) {
	if a.Role == frame.Sender {
		a.InitialDeliveryCount = frame.Some[uint32](0)
	}
	if a.Source == nil {
		a.Source = &frame.Source{ExpiryPolicy: frame.ExpireSessionEnd}
	}
	if a.Target == nil && a.Coordinator == nil {
		a.Target = &frame.Target{ExpiryPolicy: frame.ExpireSessionEnd}
	}
	c.Send(a)
	if err := c.Flush(); err != nil {
		return nil, err
	}
	return Expect[*frame.Attach](c)
}

// Map is a map of unsettled deliveries, which is not nil, by their tags.
func Map(states map[string]frame.State) frame.Map {
	m := frame.Map{}
	for tag, state := range states {
		m = state.Append(frame.AppendBinary(m, tag))
	}
	return m
}

// States are those of a map.
func States(m frame.Map) (map[string]frame.State, error) {
	states := make(map[string]frame.State)
	for k, v := range m.All() {
		tag, _ := k.Bytes()
		state, err := frame.StateOf(v)
		if err != nil {
			return nil, err
		}
		states[string(tag)] = state
	}
	return states, nil
}

// Message is a durable message with a body.
func Message(body []byte) []byte {
	return frame.AppendData((&frame.Header{Durable: true, Priority: frame.DefaultPriority}).Append(nil), body)
}

// Body is that of a message.
func Body(message []byte) ([]byte, error) {
	var m frame.Message
	if err := m.Scan(message, limits); err != nil {
		return nil, err
	}
	v, _, err := frame.ReadValue(m.Sections.Body, limits)
	if err != nil {
		return nil, err
	}
	b, _ := v.Bytes()
	return b, nil
}
