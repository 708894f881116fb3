package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// network is a listener to which connections are pipes, any of which can be cut without a word to either end.
type network struct {
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
	dialed   []*cable
}

// cable is the client's end of a pipe.
type cable struct {
	net.Conn
	cut atomic.Bool
}

func (c *cable) Write(b []byte) (int, error) {
	if c.cut.Load() {
		return len(b), nil // it is in the kernel's buffer
	}
	return c.Conn.Write(b)
}

func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case n.incoming <- theirs:
		n.dialed = append(n.dialed, &cable{Conn: ours})
		return n.dialed[len(n.dialed)-1], nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.incoming:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error   { n.once.Do(func() { close(n.closed) }); return nil }
func (n *network) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// TestSilence: a connection whose other end is gone without a word is given up soon, although requests come all the time, and
// the next request goes over another one.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{incoming: make(chan net.Conn), closed: make(chan struct{})}
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 {
				t.Errorf("a request came over %s", r.Proto)
			}
			fmt.Fprint(w, `{"ready":true}`)
		}))
		s.Listener.Close() //nolint:errcheck // the network is another one
		s.Listener, s.EnableHTTP2 = n, true
		s.StartTLS()
		defer s.Close()
		c, err := New(Options{URL: "https://example.com", TLS: &tls.Config{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.http.Transport.(*http.Transport).DialContext = n.dial
		ask := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := c.Ready(ctx)
			return err
		}
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		n.dialed[0].cut.Store(true)
		began := time.Now()
		for err = ask(); err != nil; err = ask() {
			if time.Since(began) > time.Minute {
				t.Fatalf("after %s of silence: %v", time.Since(began), err)
			}
		}
		if took, most := time.Since(began), silence+2*patience; took > most || len(n.dialed) != 2 {
			t.Errorf("it took %s and %d connections, want at most %s and 2", took, len(n.dialed), most)
		}
	})
}
