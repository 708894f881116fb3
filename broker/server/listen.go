package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnstone-mq/turnstone/broker/admin"
	"github.com/turnstone-mq/turnstone/broker/config"
)

// bound is one listener with its real address.
type bound struct{ scheme, address string }

// addresses are the attributes of the line that says ready: per scheme, where it listens.
func (s *Server) addresses() []any {
	by := make(map[string][]string)
	for _, b := range s.bound {
		by[b.scheme] = append(by[b.scheme], b.address)
	}
	var out []any
	for _, scheme := range config.Schemes {
		if list := by[scheme]; list != nil {
			out = append(out, slog.String(scheme, strings.Join(list, ",")))
		}
	}
	return out
}

func administrative(scheme string) bool { return scheme == "http" || scheme == "https" }

// listenAdmin opens the listeners of the admin API, so that health is answered while the broker recovers.
func (s *Server) listenAdmin(ctx context.Context) error {
	s.api.Set(admin.Starting(s.options.Version))
	return s.listen(ctx, administrative)
}

// listenClients opens the other listeners.
func (s *Server) listenClients(ctx context.Context) error {
	return s.listen(ctx, func(scheme string) bool { return !administrative(scheme) })
}

func (s *Server) listen(ctx context.Context, which func(scheme string) bool) error {
	for _, raw := range s.options.Config.Listeners {
		u, err := config.ParseListener(raw)
		if err != nil {
			return err
		}
		if !which(u.Scheme) {
			continue
		}
		network, address := "tcp", u.Host
		if u.Scheme == "unix" {
			network, address = "unix", u.Path
			removeStale(ctx, address)
		}
		l, err := new(net.ListenConfig).Listen(ctx, network, address)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", raw, err)
		}
		s.bound = append(s.bound, bound{u.Scheme, l.Addr().String()})
		s.serve(ctx, u.Scheme, l)
	}
	return nil
}

// removeStale removes a socket that an earlier process left behind: nobody answers there.
func removeStale(ctx context.Context, path string) {
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeSocket == 0 {
		return
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close() //nolint:errcheck // somebody is there: to listen fails and says so
		return
	}
	os.Remove(path) //nolint:errcheck // to listen fails and says so
}

// serve begins to accept. Each way of serving ends through onStop; ctx ends what is not yet served.
func (s *Server) serve(ctx context.Context, scheme string, l net.Listener) {
	switch {
	case administrative(scheme):
		s.serveHTTP(scheme, l, &s.api, "h2", "http/1.1")
	case scheme == "ws" || scheme == "wss":
		s.serveHTTP(scheme, l, s.webSocket(scheme), "http/1.1")
	default:
		s.serveClients(ctx, scheme, l)
	}
}

// serveHTTP runs an HTTP server until stop, which lets requests end.
func (s *Server) serveHTTP(scheme string, l net.Listener, h http.Handler, protocols ...string) {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: admin.HeaderPatience, MaxHeaderBytes: admin.HeaderBytes, IdleTimeout: 2 * time.Minute,
		ErrorLog: log.New(quiet{s.logger, scheme}, "", 0),
	}
	counted := &countedListener{&proxyListener{l, s.trusted, s.options.Config.Limits.ConnectTimeout()}, &s.traffic}
	serve := func() error { return server.Serve(counted) }
	if config.Secure(scheme) {
		server.TLSConfig = s.certificates.server(scheme, protocols...)
		serve = func() error { return server.ServeTLS(counted, "", "") }
	}
	s.running.Go(func() { // ends when the server is shut down
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			s.logger.Error("listener ended", "scheme", scheme, "error", err)
		}
	})
	s.onStop(func() error {
		const patience = time.Second
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if server.Shutdown(ctx) == nil {
			return nil
		}
		return server.Close()
	})
}

// quiet takes what net/http says of peers that break off: not worth more than debug.
type quiet struct {
	logger *slog.Logger
	scheme string
}

func (q quiet) Write(b []byte) (int, error) {
	q.logger.Debug("HTTP connection failed", "scheme", q.scheme, "error", strings.TrimSpace(string(b)))
	return len(b), nil
}

// serveClients accepts connections for an endpoint until stop.
func (s *Server) serveClients(ctx context.Context, scheme string, l net.Listener) {
	var secure *tls.Config
	if config.Secure(scheme) {
		secure = s.certificates.server(scheme, applicationProtocols[scheme]...)
	}
	s.running.Go(func() { // ends when the listener is closed
		for s.accept(ctx, scheme, l, secure) {
		}
	})
	s.onStop(l.Close)
}

// applicationProtocols are what clients may name in the handshake (ALPN, RFC 7301); those that name none are served, too.
// The longer names are those that AWS IoT wants on port 443.
var applicationProtocols = map[string][]string{
	"mqtts": {"mqtt", "x-amzn-mqtt-ca"},
	"amqps": {"amqp"},
	"tls":   {"mqtt", "amqp", "x-amzn-mqtt-ca"},
}

// accept takes one connection; false says that the listener is closed. [MQTT-7.1.1-1]
func (s *Server) accept(ctx context.Context, scheme string, l net.Listener, secure *tls.Config) bool {
	conn, err := l.Accept()
	switch {
	case errors.Is(err, net.ErrClosed):
		return false
	case err != nil: // such as too many open files: a pause lets connections end
		s.logger.Warn("connection was not accepted", "scheme", scheme, "error", err)
		const pause = 100 * time.Millisecond
		<-time.After(pause)
		return true
	case !s.traffic.enter():
		conn.Close() //nolint:errcheck // refused
		return true
	}
	s.running.Go(func() { // ends with the connection or before it; the endpoint's Shutdown ends it
		patience := s.hub.Config().Limits.ConnectTimeout()
		conn = s.trusted.unwrap(conn, patience)
		if secure != nil {
			conn = s.handshake(ctx, conn, secure)
		}
		if conn == nil {
			s.traffic.leave()
			return
		}
		s.serveConn(scheme, conn, patience)
	})
	return true
}

// serveConn serves a connection by its listener's protocol, or by what it begins with. Its end gives its place back.
func (s *Server) serveConn(scheme string, conn net.Conn, patience time.Duration) {
	own := strings.TrimSuffix(scheme, "s")
	if own == protocolMQTT {
		s.endpoints[protocolMQTT].Serve(conn, s.left)
		return
	}
	if own != protocolAMQP {
		own = ""
	}
	release := s.sniffing.hold(conn)
	conn, protocol, err := sniff(conn, patience, own)
	release()
	if err != nil {
		s.logger.Debug("connection does not say what it speaks", "scheme", scheme, "peer", conn.RemoteAddr(), "error", err)
		conn.Close() //nolint:errcheck // refused
		s.traffic.leave()
		return
	}
	s.endpoints[protocol].Serve(conn, s.left)
}

// handshake makes a connection secure; nil when the peer did not bring it to an end in time, or before the broker stops.
func (s *Server) handshake(ctx context.Context, conn net.Conn, c *tls.Config) net.Conn {
	ctx, cancel := context.WithTimeout(ctx, s.hub.Config().Limits.ConnectTimeout())
	defer cancel()
	t := tls.Server(conn, c)
	if err := t.HandshakeContext(ctx); err != nil {
		s.traffic.handshakeFailures.Add(1)
		s.logger.Debug("TLS handshake failed", "peer", conn.RemoteAddr(), "error", err)
		conn.Close() //nolint:errcheck // it failed already
		return nil
	}
	return t
}

// countedListener holds HTTP connections to the limit.
type countedListener struct {
	net.Listener
	traffic *traffic
}

func (l *countedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.traffic.enter() {
			return &countedConn{Conn: conn, leave: sync.OnceFunc(l.traffic.leave)}, nil
		}
		conn.Close() //nolint:errcheck // refused
	}
}

type countedConn struct {
	net.Conn
	leave func()
}

func (c *countedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// switchHandler serves by a handler that can be replaced.
type switchHandler struct{ now atomic.Pointer[http.Handler] }

// Set puts another handler in place.
func (h *switchHandler) Set(next http.Handler) { h.now.Store(&next) }

func (h *switchHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*h.now.Load()).ServeHTTP(w, r)
}
