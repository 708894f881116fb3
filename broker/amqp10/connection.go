package amqp10

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
	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/endpoint"
	"github.com/turnstone-mq/turnstone/broker/hub"
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
	config   config.Config // at the start: limits do not change under a connection

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
	exchange *auth.Exchange         // while SASL goes on in steps
	sessions map[uint16]*session    // written with sessionsMu held, so that others may read with it
	links    links                  // of all sessions
	declared transactions           // likewise
	resting  map[*terminus]struct{} // termini that have no link now
	touched  []*session             // have something to flush
	waits    []*session             // were flushed, and may have to wait
	pace     *hub.Pace              // of all sessions
	present  bool                   // it was open, and that was told
	ending   hub.Disconnected       // why and how the connection was closed by either end; no reason while it was not
	transfer frame.Transfer         // scratch
	flow     frame.Flow             // scratch
	settled  frame.Disposition      // scratch

	live    atomic.Bool // open: others may read what the handshake set
	numbers atomic.Int32
	reading atomic.Bool // the reader waits for the peer
	heard   atomic.Bool // something arrived since the last beat
	overdue atomic.Bool // the reader is to look for deliveries and transactions whose time is up
	beats   beats
	room    chan struct{} // the outbox has room again; holds one signal
	errands errands
	left    chan struct{} // closed when the reader has ended, and given up its termini
	held    held

	sessionsMu sync.Mutex

	stopOnce sync.Once
	stopping chan struct{} // closed by stop
	cause    error         // why; set before stopping is closed
}

// held is the consumers that hold back because the outbox was full.
type held struct {
	mu   sync.Mutex
	list []*outgoing
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
		config:   e.hub.Config(),
		sessions: make(map[uint16]*session),
		links:    links{incoming: make(map[string]*incoming), outgoing: make(map[string]*outgoing)},
		mostSent: frame.MinMax,
		room:     make(chan struct{}, 1),
		errands:  errands{wake: make(chan struct{}, 1)},
		left:     make(chan struct{}),
		resting:  make(map[*terminus]struct{}),
		stopping: make(chan struct{}),
	}
	c.in = endpoint.NewInput(conn, frame.Size)
	if t, ok := conn.(interface{ SetNoDelay(bool) error }); ok {
		t.SetNoDelay(true) //nolint:errcheck // a connection that is gone says so at the first read
	}
	c.out = outbox.New(conn, outbox.Options{
		Limit:    c.config.Limits.OutboxBytes,
		Patience: writePatience,
		Drained:  c.drained,
		Failed:   c.Stop,
	})
	return c
}

// Stop makes the reader end for a reason; the first one counts. It does not block.
func (c *connection) Stop(cause error) {
	c.stopOnce.Do(func() {
		c.cause = cause
		close(c.stopping)
		c.interrupt()
	})
}

// Cut closes the socket of a peer that had its time.
func (c *connection) Cut() { c.conn.Close() } //nolint:errcheck // nothing depends on it

// Live says that the connection is open.
func (c *connection) Live() bool { return c.live.Load() }

// interrupt wakes the reader from a read; what the outbox holds can still be written.
func (c *connection) interrupt() {
	if err := c.conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		c.conn.Close() //nolint:errcheck // it is closed already, or cannot be woken otherwise
	}
}

func (c *connection) stopped() bool {
	select {
	case <-c.stopping:
		return true
	default:
		return false
	}
}

// drained is called by the outbox's writer when there is room again.
func (c *connection) drained() {
	select {
	case c.room <- struct{}{}:
	default:
	}
	c.held.mu.Lock()
	list := c.held.list
	c.held.list = nil
	c.held.mu.Unlock()
	for _, l := range list {
		l.hub.Resume()
	}
}

// hasRoom says whether the outbox takes more; if not, the consumer is resumed when it does.
func (c *connection) hasRoom(l *outgoing) bool {
	if !c.out.Full() {
		return true
	}
	// drained takes the lock too: it either comes before Full, which then sees the room, or finds the consumer.
	c.held.mu.Lock()
	defer c.held.mu.Unlock()
	if !c.out.Full() {
		return true
	}
	c.held.list = append(c.held.list, l)
	return false
}

// waitForRoom blocks while the outbox is full: a peer that does not read its answers is not listened to.
func (c *connection) waitForRoom() {
	for c.out.Full() {
		select {
		case <-c.room:
		case <-c.errands.wake:
			c.errands.run(false)
		case <-c.stopping:
			return
		}
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

// serve runs the connection from its first byte to its last.
func (c *connection) serve() {
	err := c.run()
	c.live.Store(false)
	c.endSessions()
	c.errands.run(true)
	close(c.left)
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
	c.endpoint.logger.Log(context.Background(), level, what, append([]any{"protocol", "amqp10", "peer", c.conn.RemoteAddr().String()}, args...)...)
}

func (c *connection) run() error {
	if err := c.conn.SetReadDeadline(time.Now().Add(c.config.Limits.ConnectTimeout())); err != nil {
		return err
	}
	for c.state != closed {
		if c.stopped() && c.state < closing {
			c.forced()
			continue
		}
		c.reading.Store(true)
		err := c.in.Fill()
		c.reading.Store(false)
		if err != nil {
			if c.stopped() && c.state < closing && errors.Is(err, os.ErrDeadlineExceeded) {
				continue // woken by stop
			}
			if c.state == open && !c.stopped() && errors.Is(err, os.ErrDeadlineExceeded) { // there is no deadline but that of who wakes it
				if err := c.woken(); err != nil {
					return err
				}
				continue
			}
			return c.ended(err)
		}
		c.heard.Store(true)
		c.handleRead()
		c.flush()
		c.waitForRoom()
	}
	if c.stopped() {
		return c.cause
	}
	return nil
}

// woken does what the reader was woken for.
func (c *connection) woken() error {
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if c.stopped() {
		c.interrupt() // stop may have come before the deadline was taken off
	}
	if c.overdue.Swap(false) {
		c.endOverdue()
	}
	c.errands.run(false)
	return nil
}

// ended says what a failed read means.
func (c *connection) ended(err error) error {
	switch {
	case c.state >= closing:
		return nil
	case c.stopped():
		return c.cause
	}
	return err
}

// forced begins the end that Stop asked for.
func (c *connection) forced() {
	switch {
	case errors.Is(c.cause, errSilent):
		c.fail(connectionError(frame.ResourceLimitExceeded, "%v", c.cause)) // 2 §2.4.5
		c.state = closed                                                    // it is told, and not waited for
	case c.state < awaitOpen:
		c.state = closed // nobody that could be told
	case errors.Is(c.cause, errShutdown), errors.Is(c.cause, errRevoked), errors.Is(c.cause, errStolen):
		c.fail(connectionError(frame.ConnectionForced, "%v", c.cause))
	default:
		c.state = closed
	}
}

// handleRead handles every whole frame that has arrived, and protocol headers between them.
func (c *connection) handleRead() {
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
	s := c.sessions[f.Channel]
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
	for i, s := range c.waits {
		c.waits[i] = nil
		s.publisher.Wait()
		s.grant()
	}
	c.waits = c.waits[:0]
}

// handOver hands over what the sessions collected: settled deliveries first, which makes room for what is published. What
// aliases the read buffer is void afterwards.
func (c *connection) handOver() {
	for i, s := range c.touched {
		c.touched[i] = nil
		s.flush()
		c.waits = append(c.waits, s)
	}
	c.touched = c.touched[:0]
}

func (c *connection) endSessions() {
	c.handOver()
	clear(c.waits) // nobody is held back any more
	c.waits = c.waits[:0]
	for _, s := range c.sessions {
		s.end()
	}
	c.sessionsMu.Lock()
	clear(c.sessions)
	c.sessionsMu.Unlock()
	c.numbers.Store(0)
	c.restless(endedConnection, nil)
}

// newPublisher makes the publisher of a session.
func (c *connection) newPublisher(confirmed func(hub.Confirmation)) *hub.Publisher {
	return c.host.NewPublisher(hub.PublisherOptions{Access: c.access, Origin: c.origin, Encoding: message.AMQP10, Confirmed: confirmed, Ended: c.stopping, Pace: c.pace})
}
