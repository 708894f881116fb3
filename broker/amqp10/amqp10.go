// Package amqp10 is the AMQP 1.0 endpoint: it turns connections of AMQP clients into calls of package hub, and what the hub
// delivers into frames. docs/amqp10.md says what is served.
//
// # A connection
//
// One goroutine, that of Serve, reads. It handles every frame that one read brought and then flushes once: settled
// deliveries as ranges, then the published messages of each session as one batch, then credit and windows. Outcomes come
// back from the hub in order, and leave as dispositions over ranges; deliveries come as batches to outgoing.Deliver. Both
// are encoded straight into the connection's outbox. A connection that is idle has no buffer and no timer: its endpoint
// watches the idle timeouts. One of plain TCP that says nothing for a while sleeps: it has no goroutine either.
//
// # Who may touch what
//
// The fields of connections, sessions and links that belong to the reader need no lock. What the hub's callbacks share with
// the reader (the window, delivery-ids, whether a link is attached) is guarded by session.mu, which also makes the order of
// transfer-ids that of the frames. Nothing holds session.mu while it calls the hub.
//
// Clauses are cited as in package frame: 2 §2.5.6 is part 2 of the standard, transport.
package amqp10

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/endpoint"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/idle"
)

// Endpoint serves AMQP 1.0 connections. Its methods are safe for concurrent use.
type Endpoint struct {
	hub     *hub.Hub
	logger  *slog.Logger
	version string
	stats   Stats
	seconds atomic.Uint32 // since the start, as of the last tick

	connections *endpoint.Connections[*connection]
	bedroom     *idle.Bedroom
	termini     *termini
}

// Stats are totals since the start.
type Stats struct {
	Opened        atomic.Uint64 // connections that were opened
	Refused       atomic.Uint64 // connections whose credentials or virtual host were refused
	Errors        atomic.Uint64 // connections that the broker closed because of what the peer did
	SessionErrors atomic.Uint64 // sessions that the broker ended
	LinkErrors    atomic.Uint64 // links that the broker refused or detached
	TimedOut      atomic.Uint64 // connections that said nothing for too long
}

// New makes an endpoint of a hub. Clients are told the broker's version.
func New(h *hub.Hub, logger *slog.Logger, version string) *Endpoint {
	e := &Endpoint{
		hub:         h,
		logger:      logger,
		version:     version,
		connections: endpoint.New[*connection](),
		termini:     newTermini(),
	}
	e.bedroom = idle.NewBedroom(func(err error) { logger.Warn("amqp10: idle connections keep a goroutine each", "error", err) })
	e.connections.Go(e.tick) // ends when Stopping is closed
	return e
}

// Stats are the endpoint's totals.
func (e *Endpoint) Stats() *Stats { return &e.stats }

// Serve speaks AMQP on a connection until it ends, closes it, and calls ended. It returns before that when the connection
// sleeps. The connection may be plain TCP, a *tls.Conn, or anything with a method TLS() *tls.ConnectionState that says how it is
// encrypted.
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

// Shutdown closes every connection with amqp:connection:forced and returns when all have ended, or when ctx has: then the
// rest is cut. It is idempotent.
func (e *Endpoint) Shutdown(ctx context.Context) error {
	return e.connections.Shutdown(ctx, errShutdown)
}

// Pause refuses new connections until Resume, and ends those that are there as Shutdown does. It does not wait for them.
func (e *Endpoint) Pause() { e.connections.Pause(errShutdown) }

// Resume lets connections in again.
func (e *Endpoint) Resume() { e.connections.Resume() }

// Connections lists those that are open, in the order in which they came.
func (e *Endpoint) Connections() []client.ConnectionState { return e.connections.Connections() }

// Count is how many connections are open.
func (e *Endpoint) Count() int { return e.connections.Count() }
