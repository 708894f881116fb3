package amqp091

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/endpoint"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/outbox"
)

// state is where a connection is between its first byte and its last. §2.2.4
type state uint8

const (
	awaitHeader state = iota
	awaitStartOk
	awaitTuneOk
	awaitOpen
	open
	closing // connection.close was sent: everything but its answer is passed over
	deaf    // closing, and what arrives cannot be told apart any more
	closed
)

// connection is one client's connection.
type connection struct {
	endpoint *Endpoint
	conn     net.Conn
	out      *outbox.Outbox
	origin   uint64
	since    time.Time
	config   config.Config // at the start: limits do not change under a connection

	// Set by the handshake; immutable once live.
	user       auth.Credentials
	host       *hub.VirtualHost
	access     *auth.Access
	frameMax   int
	channelMax int
	heartbeat  int64 // seconds; zero is none
	notify     bool  // the client understands basic.cancel from the server
	blockable  bool  // the client understands connection.blocked

	// Owned by the reader.
	state    state
	in       endpoint.Input
	channels map[uint16]*channel // written with channelsMu held, so that others may read with it
	current  *channel            // of the last frame; nil or one of channels
	touched  []*channel          // published or settled since the last flush
	waits    []*channel          // were flushed, and may have to wait
	pace     *hub.Pace           // of all channels
	present  bool                // it was open, and that was told
	ending   hub.Disconnected    // why and how the connection was closed by either end; no reason while it was not
	begun    []*channel          // began to assemble a message since the last flush

	live    atomic.Bool // open: others may read what the handshake set
	numbers atomic.Int32
	reading atomic.Bool    // the reader waits for the peer
	heard   atomic.Bool    // something arrived since the last beat
	sends   atomic.Bool    // it has published
	overdue atomic.Bool    // the reader is to look for deliveries whose time is up
	pulse   endpoint.Pulse // only tick touches it
	room    endpoint.Room
	blocked bool // connection.blocked was sent; only the endpoint's tick touches it

	channelsMu sync.Mutex

	end endpoint.Ending // begun by Stop
}

const (
	// writePatience is how long a peer may take to receive 256 KiB before it counts as gone.
	writePatience = 30 * time.Second
	// closePatience is how long a peer may take to answer connection.close.
	closePatience = 3 * time.Second
	// linger is how long the last frames may take to reach a peer whose connection ends.
	linger = time.Second
)

var (
	errShutdown  = errors.New("broker is stopping")
	errRevoked   = errors.New("user may no longer connect")
	errHeartbeat = errors.New("no heartbeat from the client")
)

func newConnection(e *Endpoint, conn net.Conn) *connection {
	c := &connection{
		endpoint: e,
		conn:     conn,
		origin:   e.hub.NewOrigin(),
		since:    time.Now(),
		config:   e.hub.Config(),
		channels: make(map[uint16]*channel),
	}
	c.in = endpoint.NewInput(conn, frame.Size)
	if t, ok := conn.(interface{ SetNoDelay(bool) error }); ok {
		t.SetNoDelay(true) //nolint:errcheck // a connection that is gone says so at the first read
	}
	c.out = outbox.New(conn, outbox.Options{
		Limit:    c.config.Limits.OutboxBytes,
		Patience: writePatience,
		Drained:  c.room.Freed,
		Failed:   c.Stop,
	})
	return c
}

// Stop makes the reader end for a reason; the first one counts. It does not block.
func (c *connection) Stop(cause error) {
	if c.end.Begin(cause) {
		c.interrupt()
	}
}

// Cut closes the socket of a peer that had its time.
func (c *connection) Cut() { c.conn.Close() } //nolint:errcheck // nothing depends on it

// Live says that the peer is authenticated.
func (c *connection) Live() bool { return c.live.Load() }

// interrupt wakes the reader from a read.
func (c *connection) interrupt() { endpoint.Interrupt(c.conn) }

const protocolName = "AMQP 0-9-1"

// State describes the connection once it is authenticated.
func (c *connection) State() client.ConnectionState {
	return client.ConnectionState{
		ID: c.origin, Protocol: protocolName, VirtualHost: c.host.Name(), User: c.access.User(), Peer: c.conn.RemoteAddr().String(),
		TLS: endpoint.TLSState(c.conn) != nil, Since: c.since, Channels: int(c.numbers.Load()),
	}
}

// serve runs the connection from its first byte to its last.
func (c *connection) serve() {
	err := c.run()
	c.live.Store(false)
	c.endChannels()
	if c.host != nil {
		c.departed(err)
		c.host.EndOrigin(c.origin)
		c.host.Leave(c.access)
	}
	c.out.Close(linger)
	c.in.Release()
	if err != nil && !errors.Is(err, io.EOF) {
		c.log(slog.LevelInfo, "connection ended", "error", err)
	}
}

func (c *connection) log(level slog.Level, what string, args ...any) {
	c.endpoint.logger.Log(context.Background(), level, what, append([]any{"protocol", "amqp091", "peer", c.conn.RemoteAddr().String()}, args...)...)
}

func (c *connection) run() error {
	if err := c.conn.SetReadDeadline(time.Now().Add(c.config.Limits.ConnectTimeout())); err != nil {
		return err
	}
	for c.state != closed {
		if c.end.Begun() && c.state < closing {
			c.forced()
		}
		c.reading.Store(true)
		err := c.in.Fill()
		c.reading.Store(false)
		if err != nil {
			if c.end.Begun() && c.state < closing && errors.Is(err, os.ErrDeadlineExceeded) {
				continue // woken by stop
			}
			if c.state == open && c.overdue.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
				if err := c.endOverdue(); err != nil {
					return err
				}
				continue
			}
			return c.ended(err)
		}
		c.heard.Store(true)
		c.handleRead()
		c.flush()
		c.room.Await(c.out, &c.end, nil)
	}
	if c.end.Begun() {
		return c.end.Cause()
	}
	return nil
}

// ended says what a failed read means.
func (c *connection) ended(err error) error {
	switch {
	case c.state >= closing:
		return nil
	case c.end.Begun():
		return c.end.Cause()
	}
	return err
}

// forced begins the end that stop asked for.
func (c *connection) forced() {
	switch {
	case errors.Is(c.end.Cause(), errHeartbeat), c.state < awaitOpen:
		c.state = closed // nobody listens, or nobody that could be told
	case errors.Is(c.end.Cause(), errShutdown), errors.Is(c.end.Cause(), errRevoked):
		c.fail(errorf(frame.ConnectionForced, "%v", c.end.Cause()))
	default:
		c.state = closed
	}
}

// handleRead handles every whole frame that has arrived.
func (c *connection) handleRead() {
	if c.state == awaitHeader && !c.handleHeader() {
		return
	}
	for c.state < deaf {
		if n, err := c.publishAgain(c.in.Unread()); n > 0 {
			c.in.Take(n)
			if err != nil {
				c.handleError(c.current.number, toError(err, frame.BasicPublishID))
			}
			continue
		}
		f, n, err := frame.Read(c.in.Unread(), c.mostFrame())
		if err != nil {
			c.fail(toError(err, 0))
			c.state = max(c.state, deaf)
			return
		}
		if n == 0 {
			return
		}
		c.in.Take(n)
		if err := c.handleFrame(f); err != nil {
			c.handleError(f.Channel, toError(err, methodOf(f)))
		}
	}
	if c.state == deaf {
		c.in.Take(len(c.in.Unread()))
	}
}

func (c *connection) mostFrame() int {
	if c.state < open && c.frameMax == 0 {
		return max(c.config.Limits.PreAuthPacketBytes, frame.MinMax)
	}
	return c.frameMax
}

func (c *connection) handleFrame(f frame.Frame) error {
	switch {
	case c.state == closing:
		return c.handleClosing(f)
	case f.Type == frame.TypeHeartbeat:
		if f.Channel != 0 {
			return errorf(frame.FrameError, "heartbeat on channel %d", f.Channel) // §4.2.7
		}
		return nil
	case f.Channel == 0:
		return c.handleOwn(f)
	case c.state != open:
		return errorf(frame.CommandInvalid, "channel %d is used before connection.open", f.Channel)
	}
	if c.current == nil || c.current.number != f.Channel {
		if c.current = c.channels[f.Channel]; c.current == nil {
			return c.handleUnopened(f)
		}
	}
	return c.current.handle(f)
}

// handleOwn handles a frame of channel 0, which is the connection's.
func (c *connection) handleOwn(f frame.Frame) error {
	if f.Type != frame.TypeMethod {
		return errorf(frame.UnexpectedFrame, "%s frame on channel 0", f.Type)
	}
	id, args, err := frame.CutID(f.Payload)
	if err != nil {
		return err
	}
	m, err := decode(id, args)
	if err != nil {
		return err
	}
	return c.handleMethod(m)
}

// decode reads a method that a client may send.
func decode(id frame.ID, args []byte) (frame.Method, error) {
	if !id.Known() {
		return nil, errorf(frame.CommandInvalid, "%v does not exist", id)
	}
	if !id.FromClient() {
		return nil, errorf(frame.CommandInvalid, "%v is not a client's method", id)
	}
	m := id.New()
	return m, m.Decode(args)
}

// handleUnopened handles a frame of a channel that is not open: only channel.open may be.
func (c *connection) handleUnopened(f frame.Frame) error {
	if f.Type != frame.TypeMethod {
		return errorf(frame.ChannelError, "%s frame on channel %d, which is not open", f.Type, f.Channel)
	}
	id, args, err := frame.CutID(f.Payload)
	if err != nil {
		return err
	}
	switch {
	case id == frame.ChannelCloseOkID:
		return nil // both ends closed it at once
	case id != frame.ChannelOpenID:
		return &Error{Code: frame.ChannelError, Text: "expected 'channel.open'", Method: id}
	case int(f.Channel) > c.channelMax:
		return &Error{Code: frame.ChannelError, Text: "channel number is above the negotiated channel_max", Method: id}
	}
	if _, err := decode(id, args); err != nil {
		return err
	}
	ch := newChannel(c, f.Channel)
	c.channelsMu.Lock()
	c.channels[f.Channel] = ch
	c.channelsMu.Unlock()
	c.numbers.Add(1)
	c.send(f.Channel, &frame.ChannelOpenOk{})
	return nil
}

// methodOf is the method that a frame has; zero for others.
func methodOf(f frame.Frame) (id frame.ID) {
	if f.Type == frame.TypeMethod {
		id, _, _ = frame.CutID(f.Payload)
	}
	return id
}

// handleError closes what an error is about: the channel if there is one and the code lets it.
func (c *connection) handleError(channel uint16, e *Error) {
	if ch := c.channels[channel]; ch != nil && !e.Code.Hard() {
		c.endpoint.stats.ChannelErrors.Add(1)
		c.log(slog.LevelDebug, "channel closed", "channel", channel, "error", e)
		ch.fail(e)
		return
	}
	c.fail(e)
}

// fail closes the connection for a reason. §1.4.2.10
func (c *connection) fail(e *Error) {
	if c.state >= closing {
		return
	}
	if e.Code != frame.ConnectionForced {
		c.endpoint.stats.Errors.Add(1)
		c.log(slog.LevelWarn, "connection closed", "error", e)
	}
	c.ending = c.endingWith(e)
	c.endChannels()
	c.send(0, &frame.ConnectionClose{ReplyCode: uint16(e.Code), ReplyText: e.replyText(), ClassID: e.Method.Class(), MethodID: e.Method.Method()})
	c.state = closing
	c.live.Store(false)
	if err := c.conn.SetReadDeadline(time.Now().Add(closePatience)); err != nil {
		c.state = closed
	}
}

// handleClosing looks for the end of the connection and passes everything else over.
func (c *connection) handleClosing(f frame.Frame) error {
	if f.Type != frame.TypeMethod || f.Channel != 0 {
		return nil
	}
	switch id, _, _ := frame.CutID(f.Payload); id {
	case frame.ConnectionCloseOkID:
		c.state = closed
	case frame.ConnectionCloseID:
		c.send(0, &frame.ConnectionCloseOk{})
		c.state = closed
	}
	return nil
}

func (c *connection) send(channel uint16, m frame.Method) {
	c.out.Append(func(dst []byte) []byte { return frame.AppendMethod(dst, channel, m) })
}

// flush hands over what the channels collected, and waits as long as the client is to be held back.
func (c *connection) flush() {
	c.handOver()
	for i, ch := range c.waits {
		c.waits[i] = nil
		ch.publisher.Wait()
	}
	c.waits = c.waits[:0]
}

// handOver hands over what the channels collected: settled deliveries first, which makes room for what is published. What
// aliases the read buffer is void afterwards.
func (c *connection) handOver() {
	for i, ch := range c.touched {
		c.touched[i] = nil
		ch.flush()
		c.waits = append(c.waits, ch)
	}
	c.touched = c.touched[:0]
	for i, ch := range c.begun {
		c.begun[i] = nil
		ch.content.detach()
	}
	c.begun = c.begun[:0]
}

func (c *connection) endChannels() {
	c.handOver()
	clear(c.waits) // nobody is held back any more
	c.waits = c.waits[:0]
	for _, ch := range c.channels {
		ch.end(nil)
	}
	c.channelsMu.Lock()
	clear(c.channels)
	c.channelsMu.Unlock()
	c.current = nil
	c.numbers.Store(0)
}
