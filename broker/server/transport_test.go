package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/turnstone-mq/turnstone/broker/config"
)

// TestProxyProtocol: a trusted balancer's word counts, with both versions, and its connections without a header are its
// own. From elsewhere a header is the client's bytes.
func TestProxyProtocol(t *testing.T) {
	const version2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x01\x12\x34\x07\x5b"
	for _, c := range []struct{ network, header, peer, read string }{
		{"127.0.0.0/8", "PROXY TCP4 192.0.2.7 127.0.0.1 4660 1883\r\n", "192.0.2.7:4660", "ping"},
		{"127.0.0.0/8", "PROXY TCP6 2001:db8::7 ::1 4660 1883\r\n", "[2001:db8::7]:4660", "ping"},
		{"127.0.0.0/8", version2, "192.0.2.7:4660", "ping"},
		{"127.0.0.0/8", "", "", "ping"},
		{"192.0.2.0/24", "PROXY TCP4 192.0.2.7 127.0.0.1 4660 1883\r\n", "", "PROX"},
	} {
		s, e := withHub(t, 10)
		s.trusted = newTrusted([]string{c.network})
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.serve(t.Context(), "mqtt", l)
		conn := dial(t, l.Addr().String())
		if _, err := conn.Write([]byte(c.header + "ping")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != c.read {
			t.Errorf("%q: the endpoint reads %q, %v", c.header, got, err)
		}
		served := <-e.served
		want := c.peer
		if want == "" {
			want = conn.LocalAddr().String()
		}
		if served.RemoteAddr().String() != want {
			t.Errorf("%q: the peer is %v, not %s", c.header, served.RemoteAddr(), want)
		}
		served.Close() //nolint:errcheck // as an endpoint's Shutdown would
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestFirstBytes: they choose the endpoint and are there for it; others end the connection, as does the server's end.
func TestFirstBytes(t *testing.T) {
	s, mqtt := withHub(t, 10)
	amqp, amqp10 := &echo{served: make(chan net.Conn, 10)}, &echo{served: make(chan net.Conn, 10)}
	s.endpoints[protocolAMQP], s.endpoints[protocolAMQP10] = amqp, amqp10
	if err := s.endSniffing(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.serve(t.Context(), "tcp", l)
	for first, e := range map[string]*echo{
		"\x10abc": mqtt, "AMQP\x00\x00\x09\x01": amqp, "AMQP\x01\x01\x08\x00": amqp, "Any other": amqp,
		"AMQP\x00\x01\x00\x00": amqp10, "AMQP\x03\x01\x00\x00": amqp10, "AMQP\x02\x01\x00\x00": amqp10, "AMQP\x00\x02\x00\x00": amqp10,
	} {
		conn := dial(t, l.Addr().String())
		for _, part := range []string{first[:3], first[3:]} { // a header may come in parts
			if _, err := conn.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, len(first))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != first {
			t.Errorf("%q: got %q, %v", first, got, err)
		}
		select {
		case served := <-e.served:
			served.Close() //nolint:errcheck // as an endpoint's Shutdown would
		case <-time.After(patience):
			t.Errorf("%q came to the wrong endpoint", first)
		}
	}
	other := dial(t, l.Addr().String())
	if _, err := other.Write([]byte("GET / HTTP/1.1\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(other); err != nil && !isReset(err) {
		t.Errorf("another protocol: %v", err)
	}
	silent := dial(t, l.Addr().String())
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(silent); err != nil && !isReset(err) {
		t.Errorf("a silent connection: %v", err)
	}
}

// isReset: the connection ended, one way or the other, and did not run into the test's deadline.
func isReset(err error) bool { return !errors.Is(err, os.ErrDeadlineExceeded) }

// TestStaleSocket: a socket that nobody listens on does not keep the broker from starting, a file does.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	removeStale(t.Context(), path)
	if _, err := os.Stat(path); err != nil {
		t.Error("a socket in use is removed")
	}
	l.SetUnlinkOnClose(false)
	l.Close() //nolint:errcheck // it was open
	removeStale(t.Context(), path)
	if _, err := os.Stat(path); err == nil {
		t.Error("a stale socket stays")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	removeStale(t.Context(), path)
	if _, err := os.Stat(path); err != nil {
		t.Error("a file is removed")
	}
}

func TestWebSocketPathAndOrigin(t *testing.T) {
	s, e := withHub(t, 10)
	s.options.Config.WebSocket = config.WebSocket{Path: "/mqtt", Origins: []string{"*.example.com"}}
	server := httptest.NewServer(s.webSocket("ws"))
	defer server.Close()
	for _, c := range []struct {
		path, origin string
		status       int
	}{
		{"/mqtt", "", http.StatusSwitchingProtocols},
		{"/mqtt", "https://app.example.com", http.StatusSwitchingProtocols},
		{"/mqtt", "https://evil.example", http.StatusForbidden},
		{"/other", "", http.StatusNotFound},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		o := &websocket.DialOptions{Subprotocols: []string{"mqtt"}, HTTPHeader: http.Header{}}
		if c.origin != "" {
			o.HTTPHeader.Set("Origin", c.origin)
		}
		ws, response, err := websocket.Dial(ctx, server.URL+c.path, o)
		if response == nil || response.StatusCode != c.status {
			t.Errorf("%s from %q: %v, %v", c.path, c.origin, response, err)
		}
		if err == nil {
			(<-e.served).Close() //nolint:errcheck // as an endpoint's Shutdown would
			ws.CloseNow()        //nolint:errcheck // it was opened
		}
		cancel()
	}
}

// authority issues certificates, and takes them back.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.issue(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign})
	return a
}

func (a *authority) issue(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return parsed, key
}

func (a *authority) revoke(serials ...int64) []byte {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

// TestRevocation: a certificate on its authority's list is refused, in PEM and DER, and not one of another authority with
// the same number.
func TestRevocation(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	client := func(a *authority, serial int64) tls.ConnectionState {
		c, _ := a.issue(&x509.Certificate{SerialNumber: big.NewInt(serial)})
		return tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{c, a.cert}}}
	}
	der := ours.revoke(7, 8)
	armored := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	for _, form := range [][]byte{der, armored} {
		r, err := readRevocations(form)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			of      *authority
			serial  int64
			revoked bool
		}{{ours, 7, true}, {ours, 8, true}, {ours, 9, false}, {theirs, 7, false}} {
			if err := r.verify(client(c.of, c.serial)); (err != nil) != c.revoked {
				t.Errorf("serial %d: %v", c.serial, err)
			}
		}
		if err := r.verify(tls.ConnectionState{}); err != nil {
			t.Errorf("without a certificate: %v", err)
		}
	}
	for _, bad := range []string{"", "nothing", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"} {
		if _, err := readRevocations([]byte(bad)); err == nil {
			t.Errorf("%q is a list", bad)
		}
	}
}

// TestAdminWithoutCert: where clients must show a certificate, probes of https need not.
func TestAdminWithoutCert(t *testing.T) {
	a := newAuthority(t)
	leaf, key := a.issue(&x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"broker"}})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"crt": {Type: "CERTIFICATE", Bytes: leaf.Raw}, "key": {Type: "PRIVATE KEY", Bytes: der}, "ca": {Type: "CERTIFICATE", Bytes: a.cert.Raw}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		scheme          string
		excepted, taken bool
	}{{"https", true, true}, {"https", false, false}, {"mqtts", true, false}, {"wss", true, false}} {
		files := config.TLS{
			CertFile: filepath.Join(dir, "crt"), KeyFile: filepath.Join(dir, "key"), ClientCAFile: filepath.Join(dir, "ca"),
			RequireClientCert: true, AdminWithoutCert: c.excepted,
		}
		certs := &certificates{files: files}
		if _, err := certs.load(); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		near := dial(t, l.Addr().String())
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		shaken := make(chan struct{})
		go func() { // ends with the handshake, or with near
			defer close(shaken)
			tls.Client(near, &tls.Config{InsecureSkipVerify: true}).Handshake() //nolint:errcheck // the server's is looked at
		}()
		err = tls.Server(far, certs.server(c.scheme)).HandshakeContext(t.Context())
		if (err == nil) != c.taken {
			t.Errorf("%s, excepted %v: %v", c.scheme, c.excepted, err)
		}
		far.Close() //nolint:errcheck // a test's
		<-shaken
		l.Close() //nolint:errcheck // a test's
	}
}
