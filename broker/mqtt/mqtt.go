// Package mqtt is the MQTT endpoint: it turns connections of MQTT clients into calls of package hub, and what the hub
// delivers into packets.
//
// It serves versions 3.1, 3.1.1 and 5.0 with QoS 0, 1 and 2. What version 5 can refuse with a reason, it does; older
// versions end the connection over a topic that the user may not publish to, or a message that cannot be stored. A filter
// that the user may not subscribe to is refused in SUBACK.
//
// # A connection
//
// One goroutine, that of Serve, reads. It handles every packet that one read brought and then flushes once: messages to
// the hub as one batch, acknowledged deliveries as ranges, answers as one append to the outbox. Acknowledgements of
// publishes come back from the hub in order, as batches, and deliveries come as batches to Deliver; both are encoded
// straight into the outbox. A connection that is idle has no buffer and no timer: the wheel of its endpoint watches its
// keep alive. One of plain TCP that says nothing for a while sleeps: it has no goroutine either.
//
// # Who may touch what
//
// The fields of a connection that its reader owns need no lock. The hub's callbacks (Deliver, Displaced, the publisher's
// Confirmed) take only the locks of acknowledging, of outgoing and of the outbox, none of which is held while the hub
// is called.
package mqtt

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/endpoint"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/idle"
)

// Endpoint serves MQTT connections. Its methods are safe for concurrent use.
type Endpoint struct {
	hub    *hub.Hub
	logger *slog.Logger
	stats  Stats
	wheel  *wheel

	connections *endpoint.Connections[*connection]
	bedroom     *idle.Bedroom
	wrote       func(n int)
}

// Stats are totals since the start.
type Stats struct {
	Connects  atomic.Uint64 // accepted CONNECT packets
	Refused   atomic.Uint64 // CONNECT packets answered with an error
	Malformed atomic.Uint64 // connections ended because of a packet that breaks the protocol or a limit
	TimedOut  atomic.Uint64 // connections ended by keep alive
	TakenOver atomic.Uint64 // connections ended because their client connected again
	Dropped   atomic.Uint64 // messages of QoS 0 for connections without room
	Denied    atomic.Uint64 // messages of clients of version 5 that were refused with a reason, or dropped with QoS 0
	TooLarge  atomic.Uint64 // deliveries that were larger than their client takes

	PacketsIn, PacketsOut     atomic.Uint64 // control packets
	BytesIn, BytesOut         atomic.Uint64 // of the connections, TLS and WebSocket apart
	PublishesIn, PublishesOut atomic.Uint64 // PUBLISH packets
}

// New makes an endpoint of a hub.
func New(h *hub.Hub, logger *slog.Logger) *Endpoint {
	e := &Endpoint{
		hub:         h,
		logger:      logger,
		connections: endpoint.New[*connection](),
	}
	e.bedroom = idle.NewBedroom(e.sleepless)
	e.wheel = newWheel()
	e.wrote = func(n int) { e.stats.BytesOut.Add(uint64(n)) }
	e.connections.Go(e.tick) // ends when Stopping is closed
	return e
}

// Stats are the endpoint's totals.
func (e *Endpoint) Stats() *Stats { return &e.stats }

var (
	errShuttingDown = errors.New("broker is stopping")
	errTakenOver    = errors.New("client connected again")
	errKeepAlive    = errors.New("client was silent for longer than its keep alive")
	errRevoked      = errors.New("user may no longer connect")
)

// Serve speaks MQTT on a connection until it ends, closes it, and calls ended. It returns before that when the connection
// sleeps. The connection may be plain TCP, a *tls.Conn, or anything with a method TLS() *tls.ConnectionState that says how
// it is encrypted.
func (e *Endpoint) Serve(conn net.Conn, ended func()) {
	c := newConnection(e, conn)
	c.ended = ended
	if !e.connections.Enter(c) {
		conn.Close() //nolint:errcheck // refused
		ended()
		return
	}
	c.serve()
}

// Shutdown ends every connection and returns when all have ended, or when ctx has: then the rest is cut. Wills are
// published, as for every end without DISCONNECT. It is idempotent.
func (e *Endpoint) Shutdown(ctx context.Context) error {
	return e.connections.Shutdown(ctx, errShuttingDown)
}

// Pause refuses new connections until Resume, and ends those that are there as Shutdown does. It does not wait for them.
func (e *Endpoint) Pause() { e.connections.Pause(errShuttingDown) }

// Resume lets connections in again.
func (e *Endpoint) Resume() { e.connections.Resume() }

// Connections lists those that are authenticated, in the order in which they came.
func (e *Endpoint) Connections() []client.ConnectionState { return e.connections.Connections() }

// Count is how many connections are authenticated.
func (e *Endpoint) Count() int { return e.connections.Count() }
