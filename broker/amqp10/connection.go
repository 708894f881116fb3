package amqp10

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/endpoint"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/idle"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/outbox"
)

// state is where a connection is between its first byte and its last. 2 §2.4.7, 5 §5.3.2
type state uint8

const (
	awaitHeader state = iota
	awaitInit
	awaitResponse
	awaitOpen
	open
	closing // close was sent: everything but the peer's is passed over
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
	config   *config.Config // at the start: limits do not change under a connection
	ended    func()         // what Serve is to call

	// Set by the handshake; immutable once live.
	access     *auth.Access // nil before the peer is authenticated; in no virtual host before open
	host       *hub.VirtualHost
	container  string // the peer's container-id
	mostSent   int    // bytes of a frame that the peer takes
	channelMax int    // of either
	idle       int64  // milliseconds after which the peer gives up on a silent broker; zero is never
	patience   int64  // milliseconds after which the broker gives up on a silent peer; zero is never

	// Owned by the reader.
	state    state
	opened   bool // our open was sent
	in       endpoint.Input
	waits    waits
	exchange *auth.Exchange         // while SASL goes on in steps
	sessions few[uint16, *session]  // written with sessionsMu held, so that others may read with it
	links    links                  // of all sessions
	declared transactions           // likewise
	resting  map[*terminus]struct{} // termini that have no link now
	touched  []*session             // have something to flush
	flushed  []*session             // and may have to wait
	pace     *hub.Pace              // of all sessions
	present  bool                   // it was open, and that was told
	ending   hub.Disconnected       // why and how the connection was closed by either end; no reason while it was not
	*scratch                        // nil while no frame is handled

	bed     idle.Bed    // see sleep.go
	live    atomic.Bool // open: others may read what the handshake set
	numbers atomic.Int32
	reading atomic.Bool    // the reader waits for the peer
	heard   atomic.Bool    // something arrived since the last beat
	overdue atomic.Bool    // the reader is to look for deliveries and transactions whose time is up
	pulse   endpoint.Pulse // only tick touches it
	room    endpoint.Room
	errands errands
	left    endpoint.Ending // begun when the reader has ended, and given up its termini

	sessionsMu sync.Mutex

	end endpoint.Ending // begun by Stop
}

const (
	// writePatience is how long a peer may take to receive 256 KiB before it counts as gone.
	writePatience = 30 * time.Second
	// closePatience is how long a peer may take to answer close.
	closePatience = 3 * time.Second
	// linger is how long the last frames may take to reach a peer whose connection ends.
	linger = time.Second
)

var (
	errShutdown = errors.New("broker is stopping")
	errRevoked  = errors.New("user may no longer connect")
	errSilent   = errors.New("nothing came from the client for longer than the idle timeout")
)

func newConnection(e *Endpoint, conn net.Conn) *connection {
	c := &connection{
		endpoint: e,
		conn:     conn,
		origin:   e.hub.NewOrigin(),
		since:    time.Now(),
		config:   e.hub.Configuration(),
		mostSent: frame.MinMax,
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
		c.Wake()
	}
}

// Cut closes the socket of a peer that had its time.
func (c *connection) Cut() { c.conn.Close() } //nolint:errcheck // nothing depends on it

// Live says that the connection is open.
func (c *connection) Live() bool { return c.live.Load() }

// interrupt wakes the reader from a read.
func (c *connection) interrupt() { endpoint.Interrupt(c.conn) }

// awaitRoom holds the reader back while the peer does not read its answers. It does its errands meanwhile.
func (c *connection) awaitRoom() {
	if !c.out.Full() {
		return
	}
	for c.room.Await(c.out, &c.end, c.errands.asked()) {
		c.errands.run(false)
	}
}

const protocolName = "AMQP 1.0"

// State describes the connection once it is open.
func (c *connection) State() client.ConnectionState {
	return client.ConnectionState{
		ID: c.origin, Protocol: protocolName, VirtualHost: c.host.Name(), User: c.access.User(), Peer: c.conn.RemoteAddr().String(),
		TLS: endpoint.TLSState(c.conn) != nil, Since: c.since, Channels: int(c.numbers.Load()),
	}
}

// serve runs the connection until it sleeps or has ended.
func (c *connection) serve() {
	asleep, err := c.run()
	if asleep { // it is not this goroutine's any more
		return
	}
	c.live.Store(false)
	c.endSessions()
	c.errands.run(true)
	c.left.Begin(nil)
	if c.host != nil {
		c.departed(err)
		c.host.EndOrigin(c.origin)
		c.host.Leave(c.access)
	}
	c.forget()
	c.out.Close(linger)
	c.in.Release()
	if err != nil && !errors.Is(err, io.EOF) {
		c.log(slog.LevelInfo, "connection ended", "error", err)
	}
	c.endpoint.connections.Leave(c)
	c.ended()
}

func (c *connection) log(level slog.Level, what string, args ...any) {
	c.endpoint.logger.Log(context.Background(), level, what, append([]any{"protocol", "amqp10", "peer", c.conn.RemoteAddr().String()}, args...)...)
}

// run reads and handles frames until the connection ends or sleeps.
func (c *connection) run() (asleep bool, err error) {
	if c.state == awaitHeader && c.access == nil {
		if err := c.conn.SetReadDeadline(time.Now().Add(c.config.Limits.ConnectTimeout())); err != nil {
			return false, err
		}
	}
	for c.state != closed {
		if c.end.Begun() && c.state < closing {
			c.forced()
			continue
		}
		if asleep, err = c.read(); asleep {
			return true, nil
		}
		if err != nil {
			if c.end.Begun() && c.state < closing && woken(err) {
				continue
			}
			if c.state == open && !c.end.Begun() && woken(err) { // there is no deadline but that of who wakes it
				if err := c.attend(); err != nil {
					return false, err
				}
				continue
			}
			return false, c.failed(err)
		}
		c.heard.Store(true)
		c.handleRead()
		c.flush()
		c.awaitRoom()
	}
	if c.end.Begun() {
		return false, c.end.Cause()
	}
	return false, nil
}

// attend does what the reader was woken for.
func (c *connection) attend() error {
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if c.end.Begun() {
		c.interrupt() // stop may have come before the deadline was taken off
	}
	if c.overdue.Swap(false) {
		c.endOverdue()
	}
	c.errands.run(false)
	return nil
}

// failed says what a failed read means.
func (c *connection) failed(err error) error {
	switch {
	case c.state >= closing:
		return nil
	case c.end.Begun():
		return c.end.Cause()
	}
	return err
}

// forced begins the end that Stop asked for.
func (c *connection) forced() {
	switch {
	case errors.Is(c.end.Cause(), errSilent):
		c.fail(connectionError(frame.ResourceLimitExceeded, "%v", c.end.Cause())) // 2 §2.4.5
		c.state = closed                                                          // it is told, and not waited for
	case c.state < awaitOpen:
		c.state = closed // nobody that could be told
	case errors.Is(c.end.Cause(), errShutdown), errors.Is(c.end.Cause(), errRevoked), errors.Is(c.end.Cause(), errStolen):
		c.fail(connectionError(frame.ConnectionForced, "%v", c.end.Cause()))
	default:
		c.state = closed
	}
}

// scratch is what frames are decoded into, for as long as they are handled.
type scratch struct {
	transfer   frame.Transfer
	flow       frame.Flow
	settled    frame.Disposition
	scan       frame.Message   // of the message that is published
	message    message.Message // likewise
	attributes attributes      // of scan
}

var scratches = sync.Pool{New: func() any {
	s := new(scratch)
	s.attributes.message = &s.scan
	return s
}}

// handleRead handles every whole frame that has arrived, and protocol headers between them.
func (c *connection) handleRead() {
	c.scratch = scratches.Get().(*scratch)
	defer c.tidy()
	for c.state < deaf {
		if c.state == awaitHeader {
			if !c.handleHeader() {
				return
			}
			continue
		}
		f, n, err := frame.Read(c.in.Unread(), c.mostReceived())
		if err != nil {
			c.fail(toError(err))
			c.state = max(c.state, deaf)
			break
		}
		if n == 0 {
			return
		}
		c.in.Take(n)
		if err := c.handleFrame(&f); err != nil {
			c.fail(toError(err))
		}
	}
	if c.state == deaf {
		c.in.Take(len(c.in.Unread()))
	}
}

// tidy gives the scratch back; it keeps nothing of the read buffer.
func (c *connection) tidy() {
	s := c.scratch
	c.scratch = nil
	s.transfer, s.flow, s.settled, s.scan, s.message = frame.Transfer{}, frame.Flow{}, frame.Disposition{}, frame.Message{}, message.Message{}
	scratches.Put(s)
}

// mostReceived bounds a frame. Before open it would be 512 bytes, for which some tokens and certificates' names are too long.
func (c *connection) mostReceived() int {
	if c.state < open {
		return max(c.config.Limits.PreAuthPacketBytes, frame.MinMax)
	}
	return c.config.AMQP.FrameMaxBytes
}

func (c *connection) limits() frame.Limits {
	return frame.Limits{Depth: c.config.Limits.TableDepth, Elements: c.config.Limits.TableEntries}
}

// handleFrame handles a frame. Its error ends the connection: sessions deal with their own.
func (c *connection) handleFrame(f *frame.Frame) error {
	if f.Type == frame.TypeAMQP && len(f.Body) == 0 {
		if c.state < awaitOpen {
			return connectionError(frame.NotAllowed, "empty frame before the client is authenticated")
		}
		return nil // 2 §2.4.5
	}
	d, err := f.Performative()
	if err != nil {
		return err
	}
	switch {
	case c.state == closing:
		if d == frame.CodeClose {
			c.state = closed
		}
		return nil
	case f.Type == frame.TypeSASL:
		return c.handleSASL(d, f)
	case c.state < awaitOpen:
		return connectionError(frame.NotAllowed, "%s before the client is authenticated", d)
	case c.state == awaitOpen && d != frame.CodeOpen:
		return connectionError(frame.NotAllowed, "%s before open", d)
	}
	switch d {
	case frame.CodeOpen:
		return c.handleOpen(f)
	case frame.CodeClose:
		return c.handleClose(f)
	case frame.CodeBegin:
		return c.handleBegin(f)
	}
	s := c.sessions.get(f.Channel)
	if s == nil {
		return connectionError(frame.NotAllowed, "%s on channel %d, where no session is", d, f.Channel)
	}
	return s.handle(d, f)
}

func (c *connection) handleClose(f *frame.Frame) error {
	var p frame.Close
	if err := p.Decode(f.Body, c.limits()); err != nil {
		return err
	}
	c.ending = hub.Disconnected{Reason: hub.ByClient}
	if p.Error != nil {
		c.ending.Text = string(p.Error.Condition) + ": " + p.Error.Description
	}
	c.endSessions()
	c.send(0, &frame.Close{})
	c.state = closed
	return nil
}

// fail closes the connection for a reason. 2 §2.4.3
func (c *connection) fail(e *Error) {
	switch {
	case c.state >= closing:
		return
	case c.state < awaitOpen: // there is no way to tell
		c.endpoint.stats.Errors.Add(1)
		c.log(slog.LevelWarn, "connection cut", "error", e)
		c.state = closed
		return
	}
	if e.Condition != frame.ConnectionForced {
		c.endpoint.stats.Errors.Add(1)
		c.log(slog.LevelWarn, "connection closed", "error", e)
	}
	c.ending = c.endingWith(e)
	c.endSessions()
	c.errands.run(false) // who asks for its links does not wait until the peer has answered
	if !c.opened {
		c.sendOpen() // 2 §2.4.1
	}
	c.send(0, &frame.Close{Error: c.fitting(e)})
	c.state = closing
	c.live.Store(false)
	if err := c.conn.SetReadDeadline(time.Now().Add(closePatience)); err != nil {
		c.state = closed
	}
}

// fitting is an error with as much of its description as fits into the smallest frame.
func (c *connection) fitting(e *Error) *frame.Error {
	const most = frame.MinMax - 160 // what else is in the frame, and a condition
	w := e.wire()
	w.Description = mapping.Text(w.Description)
	if len(w.Description) > most {
		w.Description = cut(w.Description, most)
	}
	return w
}

// send sends a performative of channel. What does not fit into a frame that the peer takes is not sent: it is an answer with
// properties of the peer's own making, whose session does without.
func (c *connection) send(channel uint16, p frame.Performative) bool {
	var err error
	c.out.Append(func(dst []byte) []byte {
		dst, err = frame.AppendFrame(dst, channel, p, c.mostSent)
		return dst
	})
	return err == nil
}

// flush hands over what the sessions collected, waits as long as the client is to be held back, and then lets it send more.
func (c *connection) flush() {
	c.handOver()
	for i, s := range c.flushed {
		c.flushed[i] = nil
		s.holdBack()
		s.grant()
	}
	c.flushed = c.flushed[:0]
}

// handOver hands over what the sessions collected: settled deliveries first, which makes room for what is published. What
// aliases the read buffer is void afterwards.
func (c *connection) handOver() {
	for i, s := range c.touched {
		c.touched[i] = nil
		s.flush()
		c.flushed = append(c.flushed, s)
	}
	c.touched = c.touched[:0]
}

func (c *connection) endSessions() {
	c.handOver()
	clear(c.flushed) // nobody is held back any more
	c.flushed = c.flushed[:0]
	for _, s := range c.sessions.all() {
		s.end()
	}
	c.sessionsMu.Lock()
	c.sessions.clear()
	c.sessionsMu.Unlock()
	c.numbers.Store(0)
	c.restless(endedConnection, nil)
}

// newPublisher makes the publisher of a session.
func (c *connection) newPublisher(confirmed func(hub.Confirmation)) *hub.Publisher {
	return c.host.NewPublisher(hub.PublisherOptions{Access: c.access, Origin: c.origin, Encoding: message.AMQP10, Confirmed: confirmed, Ended: c.end.Done(), Pace: c.pace})
}
