// Package amqp091 is the AMQP 0-9-1 endpoint: it turns connections of AMQP clients into calls of package hub, and what
// the hub delivers into frames. docs/amqp091.md says what is served and where that differs from RabbitMQ.
//
// # A connection
//
// One goroutine, that of Serve, reads. It handles every frame that one read brought and then flushes once: settled
// deliveries as ranges, then the published messages of each channel as one batch. Confirms come back from the hub in
// order, as ranges, and deliveries come as batches to consumer.Deliver; both are encoded straight into the connection's
// outbox. A connection that is idle has no buffer, no timer and no second goroutine: its endpoint watches the heartbeats.
//
// # Who may touch what
//
// The fields of connections and channels that belong to the reader need no lock. What the hub's callbacks share with the
// reader (delivery tags, whether the channel is closed) is guarded by channel.mu, which also makes the order of delivery
// tags that of the frames. Nothing holds channel.mu while it calls the hub.
package amqp091

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/endpoint"
	"github.com/turnstone-mq/turnstone/broker/hub"
)

// Endpoint serves AMQP 0-9-1 connections. Its methods are safe for concurrent use.
type Endpoint struct {
	hub     *hub.Hub
	logger  *slog.Logger
	version string
	stats   Stats
	seconds atomic.Uint32 // since the start, as of the last tick

	connections *endpoint.Connections[*connection]
}

// Stats are totals since the start.
type Stats struct {
	Opened        atomic.Uint64 // connections that reached connection.open-ok
	Refused       atomic.Uint64 // connections whose credentials or virtual host were refused
	ChannelErrors atomic.Uint64 // channels that the broker closed
	Errors        atomic.Uint64 // connections that the broker closed because of what the peer did
	TimedOut      atomic.Uint64 // connections without a heartbeat
}

// New makes an endpoint of a hub. Clients are told the broker's version.
func New(h *hub.Hub, logger *slog.Logger, version string) *Endpoint {
	e := &Endpoint{
		hub:         h,
		logger:      logger,
		version:     version,
		connections: endpoint.New[*connection](),
	}
	e.connections.Go(e.tick) // ends when Stopping is closed
	return e
}

// Stats are the endpoint's totals.
func (e *Endpoint) Stats() *Stats { return &e.stats }

// Serve speaks AMQP on a connection until it ends, closes it, and calls ended. The connection may be plain TCP, a *tls.Conn, or
// anything with a method TLS() *tls.ConnectionState that says how it is encrypted.
func (e *Endpoint) Serve(conn net.Conn, ended func()) {
	defer ended()
	c := newConnection(e, conn)
	if !e.connections.Run(c, c.serve) {
		conn.Close() //nolint:errcheck // refused
	}
}

// Shutdown ends every connection with CONNECTION_FORCED and returns when all have ended, or when ctx has: then the rest
// is cut. It is idempotent.
func (e *Endpoint) Shutdown(ctx context.Context) error {
	return e.connections.Shutdown(ctx, errShutdown)
}

// Pause refuses new connections until Resume, and ends those that are there as Shutdown does. It does not wait for them.
func (e *Endpoint) Pause() { e.connections.Pause(errShutdown) }

// Resume lets connections in again.
func (e *Endpoint) Resume() { e.connections.Resume() }

// Connections lists those that are authenticated, in the order in which they came.
func (e *Endpoint) Connections() []client.ConnectionState { return e.connections.Connections() }

// Count is how many connections are authenticated.
func (e *Endpoint) Count() int { return e.connections.Count() }
