// Package endpoint keeps the connections of one protocol: it lets them in until the protocol is shut down, lists them, and
// ends them, and it has what connections share: their read side, their end on demand, the wait for room in their outbox. What a
// connection says is the protocols'.
package endpoint

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
)

// Connection is one connection of a protocol.
type Connection interface {
	comparable
	// Stop asks the connection to end in its protocol's own way. It does not wait.
	Stop(cause error)
	// Cut closes its socket.
	Cut()
	// Live says that the peer is authenticated; State describes such a connection.
	Live() bool
	State() client.ConnectionState
}

// Connections are those of one protocol. Its methods are safe for concurrent use.
type Connections[C Connection] struct {
	mu      sync.Mutex
	open    map[C]struct{} // guarded by mu
	closing bool           // guarded by mu
	paused  bool           // guarded by mu

	running  sync.WaitGroup
	stopping chan struct{} // closed by Shutdown
}

// New makes an empty set.
func New[C Connection]() *Connections[C] {
	return &Connections[C]{open: make(map[C]struct{}), stopping: make(chan struct{})}
}

// Run lets a connection in and serves it; it returns when the connection has ended. After Shutdown, and while
// the protocol is paused, it is refused, false.
func (s *Connections[C]) Run(c C, serve func()) bool {
	if !s.Enter(c) {
		return false
	}
	defer s.Leave(c)
	serve()
	return true
}

// Enter lets a connection in, until Leave, for who does not serve it in one call; false says that it is refused.
func (s *Connections[C]) Enter(c C) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.paused {
		return false
	}
	s.open[c] = struct{}{}
	s.running.Add(1)
	return true
}

// Leave says that a connection has ended.
func (s *Connections[C]) Leave(c C) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	s.running.Done()
}

// Go runs what belongs to the protocol until Stopping is closed; Shutdown waits for it.
func (s *Connections[C]) Go(f func()) { s.running.Go(f) } // ends as the caller says

// Stopping is closed when Shutdown begins.
func (s *Connections[C]) Stopping() <-chan struct{} { return s.stopping }

// Shutdown stops every connection and returns when all have ended, or when ctx has: then the rest is cut. It is
// idempotent.
func (s *Connections[C]) Shutdown(ctx context.Context, cause error) error {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		close(s.stopping)
	}
	s.mu.Unlock()
	s.Each(func(c C) { c.Stop(cause) })
	ended := make(chan struct{})
	go func() { // ends when the connections have, which Cut makes sure of
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		s.Each(C.Cut)
		return ctx.Err()
	}
}

// Pause refuses new connections until Resume, and stops those that are there. It does not wait for them.
func (s *Connections[C]) Pause(cause error) {
	s.mu.Lock()
	s.paused = true
	s.mu.Unlock()
	s.Each(func(c C) { c.Stop(cause) })
}

// Resume lets connections in again.
func (s *Connections[C]) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = false
}

// Each calls fn for every connection, authenticated or not. Fn must not wait for a connection.
func (s *Connections[C]) Each(fn func(C)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		fn(c)
	}
}

// Connections describes those that are authenticated, in the order in which they came.
func (s *Connections[C]) Connections() []client.ConnectionState {
	out := []client.ConnectionState{}
	s.Each(func(c C) {
		if c.Live() {
			out = append(out, c.State())
		}
	})
	slices.SortFunc(out, func(a, b client.ConnectionState) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Count is how many connections are authenticated.
func (s *Connections[C]) Count() (n int) {
	s.Each(func(c C) {
		if c.Live() {
			n++
		}
	})
	return n
}

// TLSState says how a connection is encrypted; nil when it is not. Besides *tls.Conn it knows anything with a method
// TLS() *tls.ConnectionState, such as a WebSocket.
func TLSState(conn net.Conn) *tls.ConnectionState {
	switch c := conn.(type) {
	case *tls.Conn:
		s := c.ConnectionState()
		return &s
	case interface{ TLS() *tls.ConnectionState }:
		return c.TLS()
	}
	return nil
}

// Peer is the client's address. A client on a Unix socket is on this machine; the zero address is that of a transport
// which has none.
func Peer(conn net.Conn) netip.Addr {
	a := conn.RemoteAddr()
	if a == nil {
		return netip.Addr{}
	}
	if a.Network() == "unix" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr().Unmap()
}
