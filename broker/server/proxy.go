package server

import (
	"net"
	"net/netip"
	"slices"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// trusted are the networks of load balancers that say whose connection they pass on.
type trusted []netip.Prefix

func newTrusted(networks []string) (t trusted) {
	for _, n := range networks {
		t = append(t, netip.MustParsePrefix(n).Masked()) // the configuration was validated
	}
	return t
}

func (t trusted) has(a net.Addr) bool {
	p, err := netip.ParseAddrPort(a.String())
	return err == nil && slices.ContainsFunc(t, func(n netip.Prefix) bool { return n.Contains(p.Addr().Unmap()) })
}

// unwrap makes a connection that comes through a load balancer one from its client: the header of the PROXY protocol,
// version 1 or 2, is read with the first bytes. A connection without one is the balancer's own, such as a health check.
func (t trusted) unwrap(conn net.Conn, patience time.Duration) net.Conn {
	if len(t) == 0 || !t.has(conn.RemoteAddr()) {
		return conn
	}
	return proxyproto.NewConn(conn, proxyproto.WithPolicy(proxyproto.USE), proxyproto.SetReadHeaderTimeout(patience))
}

// proxyListener does that for HTTP.
type proxyListener struct {
	net.Listener
	trusted  trusted
	patience time.Duration
}

func (l *proxyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.trusted.unwrap(conn, l.patience), nil
}
