package mqtt

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/endpoint"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/idle"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/outbox"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// connection is one client's connection. It is the hub's SessionSink.
type connection struct {
	endpoint *Endpoint
	conn     net.Conn
	out      *outbox.Outbox
	origin   uint64
	since    time.Time

	// Set while CONNECT is handled, before live; immutable afterwards.
	limits   *config.Limits // those in force when the connection began
	version  packet.Version
	clientID string
	host     *hub.VirtualHost
	access   *auth.Access
	session  *hub.Session
	exchange []byte
	silence  int64  // seconds after which the client counts as gone; zero is never
	expiry   uint32 // of the session, as CONNECT asked
	ended    func() // what Serve is to call
	reticent bool   // the client wants no reason strings but in CONNACK and DISCONNECT

	// Owned by the reader.
	in        input
	*incoming // nil while the client has published nothing
	will      *will
	goodbye   goodbye
	done      []uint64  // tags of deliveries that were acknowledged since the last flush
	returned  []loan    // deliveries of queues, likewise
	released  []release // PUBRECs since the last flush
	active    int64     // the wheel's second in which the last whole packet came
	second    int64     // the wheel's second in which the last wait ended
	waits     int32     // of that second
	quiet     bool      // the peer says so little that the connection sleeps while it waits

	// live: CONNACK is in the outbox, deliveries may follow. [MQTT-3.2.0-1]
	live atomic.Bool
	bed  idle.Bed // see sleep.go
	// heard is active while the reader waits for the peer, and zero while it does not.
	heard atomic.Int64

	queues   queueConsumers
	flow     *queue.Flow // owned by the reader; of all consumers, nil while there are none but the session's
	inFlight int         // deliveries that may wait for their acknowledgement; set by CONNECT

	authentication authentication

	outgoing outgoing
	replay   replay
	presence presence
	tasks    sync.WaitGroup  // goroutines that end soon, or with stop
	room     endpoint.Signal // the outbox has room again

	end endpoint.Ending // begun by Stop
}

const (
	// writePatience is how long a peer may take to receive 256 KiB before it counts as gone.
	writePatience = 30 * time.Second
	// linger is how long the last packets may take to reach a peer whose connection ends.
	linger = time.Second
)

func newConnection(e *Endpoint, conn net.Conn) *connection {
	c := &connection{
		endpoint: e,
		conn:     conn,
		origin:   e.hub.NewOrigin(),
		since:    time.Now(),
		limits:   e.hub.Limits(),
	}
	c.in.conn = conn
	if t, ok := conn.(interface{ SetNoDelay(bool) error }); ok {
		t.SetNoDelay(true) //nolint:errcheck // a connection that is gone says so at the first read
	}
	c.out = outbox.New(conn, outbox.Options{
		Limit:    c.limits.OutboxBytes,
		Patience: writePatience,
		Drained:  c.drained,
		Failed:   c.Stop,
		Wrote:    e.wrote,
	})
	return c
}

// Stop makes the reader end for a reason, the first one counts. It does not block.
func (c *connection) Stop(cause error) {
	if c.end.Begin(cause) {
		c.interrupt()
		c.Wake()
	}
}

// Cut closes the socket of a peer that had its time.
func (c *connection) Cut() { c.conn.Close() } //nolint:errcheck // nothing depends on it

// Live says that the peer is authenticated.
func (c *connection) Live() bool { return c.live.Load() }

// interrupt wakes the reader from a read.
func (c *connection) interrupt() { endpoint.Interrupt(c.conn) }

// drained is called by the outbox's writer when there is room again.
func (c *connection) drained() {
	c.room.Raise()
	c.replay.wake.Raise()
	if c.Live() {
		c.session.Resume()
		c.resumeQueues()
	}
}

// errEnd is a connection's end by DISCONNECT, or before it began.
var errEnd = errors.New("connection ended")

func (c *connection) serve() {
	err := c.accept()
	if err == nil {
		err = c.work()
	}
	asleep := false
	if err == nil {
		asleep, err = c.run()
	}
	c.finishUnlessAsleep(asleep, err)
}

// run reads and handles packets until the connection ends or sleeps.
func (c *connection) run() (asleep bool, err error) {
	for {
		if asleep, err = c.read(); asleep || err != nil {
			return asleep, err
		}
		if err = c.work(); err != nil {
			return false, err
		}
	}
}

// work handles what the buffer holds, all of it.
func (c *connection) work() error {
	err := c.handleBuffered()
	c.handOver()
	if err != nil {
		return err // not held back: it ends
	}
	c.holdBack()
	return c.awaitRoom()
}

// finishUnlessAsleep follows run. A connection that sleeps is not the caller's any more.
func (c *connection) finishUnlessAsleep(asleep bool, err error) {
	if asleep {
		return
	}
	if c.end.Begun() {
		err = c.end.Cause()
	}
	c.finish(err)
	c.in.release()
	c.endpoint.connections.Leave(c)
	c.ended()
}

// handleBuffered handles every packet that the buffer holds.
func (c *connection) handleBuffered() error {
	packets, bytes := uint64(0), uint64(0)
	defer func() {
		stats := &c.endpoint.stats
		stats.PacketsIn.Add(packets)
		stats.BytesIn.Add(bytes)
		if c.incoming != nil {
			stats.PublishesIn.Add(c.published)
			c.published = 0
		}
	}()
	for {
		frame, err := c.in.next(c.limits.PacketBytes)
		if err != nil || frame == nil {
			return err
		}
		packets++
		bytes += uint64(len(frame))
		c.active = c.endpoint.wheel.now.Load()
		if err := c.handle(frame); err != nil {
			return err
		}
	}
}

// flush hands over what came, and waits as long as the client is to be held back.
func (c *connection) flush() {
	c.handOver()
	c.holdBack()
}

// holdBack waits as long as the client is to be held back.
func (c *connection) holdBack() {
	if c.incoming != nil {
		c.publisher.Wait()
	}
}

// handOver hands over what the packets since the last time brought. Nothing points into the buffer afterwards.
func (c *connection) handOver() {
	c.out.Hold() // what all of it is answered with goes with one write
	if c.incoming != nil {
		c.publisher.HandOver()
	}
	c.settle()
	if c.incoming != nil && len(c.completed) > 0 {
		c.finishReceived()
	}
	c.out.Release()
}

// awaitRoom holds the reader back while its client does not read what it is sent: a client that lets answers pile up
// gets no further requests heard.
func (c *connection) awaitRoom() error {
	if !c.out.Full() {
		return nil
	}
	room, stopping := c.room.Channel(), c.end.Done()
	for c.out.Full() {
		select {
		case <-room:
		case <-stopping:
			return c.end.Cause()
		}
	}
	return nil
}

// read waits for bytes, awake or asleep. The keep alive runs only while it waits: what makes the broker slow is not the
// client's silence, and bytes that are no whole packet do not end it.
func (c *connection) read() (asleep bool, err error) {
	if c.silence > 0 {
		c.heard.Store(c.active)
	}
	ready := false
	if c.quiet {
		ready, err = c.in.fillNow()
		if !ready && err == nil && c.in.empty() && c.sleep() {
			return true, nil
		}
	}
	if !ready && err == nil {
		err = c.in.fill()
	}
	c.note()
	return false, err
}

// note follows a wait.
func (c *connection) note() {
	if now := c.endpoint.wheel.now.Load(); now != c.second {
		c.quiet = c.waits <= busy || now > c.second+1
		c.second, c.waits = now, 0
	}
	if c.waits++; c.waits > busy {
		c.quiet = false
	}
	if c.silence > 0 {
		c.heard.Store(0)
	}
}

func (c *connection) handle(frame []byte) error {
	switch t := packet.TypeOf(frame); t {
	case packet.TypePublish:
		return c.handlePublish(frame)
	case packet.TypePuback:
		return c.handlePuback(frame)
	case packet.TypePubrec:
		return c.handlePubrec(frame)
	case packet.TypePubrel:
		return c.handlePubrel(frame)
	case packet.TypePubcomp:
		return c.handlePubcomp(frame)
	case packet.TypeSubscribe:
		return c.handleSubscribe(frame)
	case packet.TypeUnsubscribe:
		return c.handleUnsubscribe(frame)
	case packet.TypePingreq:
		return c.handlePingreq(frame)
	case packet.TypeDisconnect:
		return c.handleDisconnect(frame)
	case packet.TypeConnect:
		return protocolError("a second CONNECT") // [MQTT-3.1.0-2]
	case packet.TypeAuth:
		return c.handleAuth(frame)
	default:
		return protocolError(t.String() + " from a client") // AUTH without a method, too: [MQTT5-4.12.0-6], [MQTT5-4.12.0-7]
	}
}

func protocolError(text string) error {
	return &packet.Error{Code: packet.ProtocolError, Text: text}
}

func (c *connection) handlePingreq(frame []byte) error {
	var p packet.Pingreq
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	c.send(new(packet.Pingresp)) // [MQTT-3.12.4-1]
	return nil
}

func (c *connection) handleDisconnect(frame []byte) error {
	var p packet.Disconnect
	if err := p.Decode(frame, c.version); err != nil {
		return err
	}
	if v, ok := p.Properties.Get(packet.SessionExpiry); ok {
		if err := c.changeExpiry(v.Number); err != nil {
			return err
		}
	}
	c.goodbye.reason = p.Reason
	if v, ok := p.Properties.Get(packet.ReasonString); ok {
		c.goodbye.text = string(v.Bytes)
	}
	if p.Reason == packet.Success { // [MQTT5-3.1.2-8], [MQTT5-3.1.2-10]
		c.will = nil // [MQTT-3.14.4-3]
		if err := c.session.TakeBackWill(context.Background()); err != nil {
			c.log(slog.LevelWarn, "will was not taken back", err)
		}
	}
	return errEnd
}

// send appends a packet to the outbox, unless it is larger than the client takes: that counts as sent. [MQTT5-3.1.2-24],
// [MQTT5-3.1.2-25]
func (c *connection) send(p packet.Packet) {
	c.endpoint.stats.PacketsOut.Add(1)
	c.out.Append(func(dst []byte) []byte {
		at := len(dst)
		if dst = p.Append(dst, c.version); !c.outgoing.fits(len(dst) - at) {
			return dst[:at]
		}
		return dst
	})
}

// fitting answers the properties if a packet with them and with a payload of so many bytes is not too large for the
// client. [MQTT5-3.4.2-2], [MQTT5-3.5.2-2], [MQTT5-3.9.2-1]
func (c *connection) fitting(p packet.Properties, payload int) packet.Properties {
	const others = 16
	if !c.outgoing.fits(len(p) + payload + others) {
		return nil
	}
	return p
}

// finish ends what the connection holds, in this order: deliveries, the will, the outbox. After DISCONNECT, of either side,
// nothing is read or written. [MQTT-3.14.4-1], [MQTT-3.14.4-2]
func (c *connection) finish(err error) {
	c.disconnect(err)
	c.Stop(errEnd) // ends the replay
	c.endpoint.wheel.remove(c)
	if c.session != nil {
		if c.incoming != nil {
			c.publisher.Flush()
		}
		c.leaveQueues()
		c.departed(err) // while the client has no other connection
		if err := c.session.Close(context.Background()); err != nil {
			c.log(slog.LevelWarn, "session was not ended", err)
		}
		c.bequeath()
	}
	if c.host != nil {
		c.host.Leave(c.access)
	}
	c.forget()
	c.out.Close(linger) // [MQTT5-3.14.4-2], [MQTT-4.8.0-1], [MQTT-4.8.0-2], [MQTT5-4.13.2-1]
	c.tasks.Wait()
	c.record(err)
}

// record counts and logs how the connection ended, the only place where that is done.
func (c *connection) record(err error) {
	var malformed *packet.Error
	stats := &c.endpoint.stats
	switch {
	case errors.Is(err, errEnd), errors.Is(err, errShuttingDown), errors.Is(err, errMoved):
		c.log(slog.LevelDebug, "connection ended", nil)
	case errors.As(err, &malformed):
		stats.Malformed.Add(1)
		c.log(slog.LevelInfo, "connection ended: client broke the protocol or a limit", err)
	case errors.Is(err, errKeepAlive):
		stats.TimedOut.Add(1)
		c.log(slog.LevelInfo, "connection ended", err)
	case errors.Is(err, errTakenOver):
		stats.TakenOver.Add(1)
		c.log(slog.LevelInfo, "connection ended", err)
	case gone(err):
		c.log(slog.LevelDebug, "connection ended without DISCONNECT", err)
	default:
		c.log(slog.LevelInfo, "connection ended", err)
	}
}

func (c *connection) log(level slog.Level, text string, err error) {
	attrs := []slog.Attr{slog.String("peer", address(c.conn)), slog.String("client", c.clientID)}
	if c.access != nil {
		attrs = append(attrs, slog.String("vhost", c.access.VirtualHost()), slog.String("user", c.access.User()))
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	var failure *auth.Failure
	if errors.As(err, &failure) {
		attrs = append(attrs, slog.String("why", failure.Why))
	}
	c.endpoint.logger.LogAttrs(context.Background(), level, "mqtt: "+text, attrs...)
}

func address(conn net.Conn) string {
	if a := conn.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

// State describes the connection once it is authenticated.
func (c *connection) State() client.ConnectionState {
	return client.ConnectionState{
		ID:          c.origin,
		Protocol:    protocolName(c.version),
		VirtualHost: c.host.Name(),
		User:        c.access.User(),
		ClientID:    c.clientID,
		Peer:        address(c.conn),
		TLS:         endpoint.TLSState(c.conn) != nil,
		Since:       c.since,
	}
}

func protocolName(v packet.Version) string {
	switch v {
	case packet.V31:
		return "MQTT 3.1"
	case packet.V311:
		return "MQTT 3.1.1"
	}
	return "MQTT 5.0"
}

// Displaced says that the client connected again. [MQTT-3.1.4-2]
func (c *connection) Displaced() {
	c.Stop(errTakenOver)
	c.departed(errTakenOver)
}

// Cancelled is for consumers of queues; the queue of a session goes only after its connection.
func (c *connection) Cancelled(*hub.Consumer) {}
