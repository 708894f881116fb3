package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

const patience = 20 * time.Second

// echo is an endpoint that gives back what it reads.
type echo struct{ served chan net.Conn }

func (e *echo) Serve(conn net.Conn, ended func()) {
	defer ended()
	e.served <- conn
	io.Copy(conn, conn) //nolint:errcheck // until the peer is gone
	conn.Close()        //nolint:errcheck // the peer is gone
}

func (e *echo) Shutdown(context.Context) error        { return nil }
func (e *echo) Pause()                                {}
func (e *echo) Resume()                               {}
func (e *echo) Connections() []client.ConnectionState { return nil }
func (e *echo) Count() int                            { return 0 }

// withHub is a server that serves nothing yet.
func withHub(t *testing.T, limit int) (*Server, *echo) {
	t.Helper()
	c := config.Default()
	c.Limits.Connections = limit
	s := newServer(Options{Config: c, LogTo: io.Discard})
	h, err := hub.Open(hub.Options{Config: c, FS: vfs.NewMemory(), Dir: "journal", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.hub = h
	t.Cleanup(func() {
		if err := h.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	e := &echo{served: make(chan net.Conn, 10)}
	s.endpoints = map[string]endpoint{"mqtt": e}
	return s, e
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // it may be closed
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func pings(conn io.ReadWriter) error {
	if _, err := conn.Write([]byte("ping")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 4))
	return err
}

// TestConnectionsAreLimited: one more is closed at once, and one that ends makes room.
func TestConnectionsAreLimited(t *testing.T) {
	s, e := withHub(t, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.serve(t.Context(), "mqtt", l)
	first := dial(t, l.Addr().String())
	if err := pings(first); err != nil {
		t.Fatal(err)
	}
	<-e.served
	if _, err := dial(t, l.Addr().String()).Read(make([]byte, 1)); err == nil {
		t.Error("a connection over the limit is served")
	}
	if n := s.traffic.refused.Load(); n != 1 {
		t.Errorf("%d connections counted as refused, wanted 1", n)
	}
	first.Close() //nolint:errcheck // to make room
	var served bool
	for limit := time.Now().Add(patience); !served && time.Now().Before(limit); {
		served = pings(dial(t, l.Addr().String())) == nil // the place becomes free soon after the close
	}
	if !served {
		t.Error("the place of a connection that ended is not given again")
	}
	for len(e.served) > 0 {
		conn := <-e.served
		conn.Close() //nolint:errcheck // as an endpoint's Shutdown would
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

// TestWebSocket: the subprotocols that are answered, and what ends the connection. [MQTT-6.0.0-4]
func TestWebSocket(t *testing.T) {
	s, e := withHub(t, 10)
	server := httptest.NewServer(s.webSocket("ws"))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.endpoints[protocolAMQP10] = e
	for protocol := range webSocketProtocols {
		ws, response, err := websocket.Dial(ctx, server.URL, &websocket.DialOptions{
			Subprotocols: []string{protocol}, HTTPHeader: http.Header{"Origin": {"https://elsewhere.example"}},
		})
		if err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		if got := response.Header.Get("Sec-Websocket-Protocol"); got != protocol {
			t.Errorf("subprotocol %q, wanted %q", got, protocol)
		}
		conn := websocket.NetConn(ctx, ws, websocket.MessageBinary)
		if err := pings(conn); err != nil {
			t.Errorf("%s: %v", protocol, err)
		}
		served := <-e.served
		if host, _, err := net.SplitHostPort(served.RemoteAddr().String()); err != nil || host != "127.0.0.1" {
			t.Errorf("the endpoint sees the peer as %v", served.RemoteAddr())
		}
		ws.Close(websocket.StatusNormalClosure, "") //nolint:errcheck // it was used
	}
	// A text message ends the connection. [MQTT-6.0.0-1]
	ws, _, err := websocket.Dial(ctx, server.URL, &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := ws.Write(ctx, websocket.MessageText, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("after a text message: %v", err)
	}
	// So does a client that asks for another protocol. [MQTT-6.0.0-3]
	ws, _, err = websocket.Dial(ctx, server.URL, &websocket.DialOptions{Subprotocols: []string{"stomp"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("with another subprotocol: %v", err)
	}
}

// TestStartUndoesWhatItDid: a step that fails leaves nothing behind.
func TestStartUndoesWhatItDid(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close() //nolint:errcheck // nobody connects
	c := config.Default()
	c.DataDir = t.TempDir()
	c.Listeners = []string{"http://127.0.0.1:0", "mqtt://" + taken.Addr().String()}
	for range 2 { // the second run would find the lock of the first
		err := Run(t.Context(), Options{Config: c, LogTo: io.Discard, Fatal: func() { t.Error("fatal") }})
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "listen" {
			t.Fatalf("with a port that is taken: %v", err)
		}
	}
}
