package amqp10_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// certificate makes a key and a certificate that signs itself.
func certificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	raw := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: must(x509.ParseCertificate(raw))}
}

// TestExternal: a client certificate says who the client is, and a large message passes through TLS. 5 §5.2, 5 §5.3.3
func TestExternal(t *testing.T) {
	b := start(t, defaults())
	b.apply(object.KindUser, "", "sensor", object.UserSpec{Password: "x"})
	b.apply(object.KindPermission, "/", "sensor", everything)
	server, sensor, stranger := certificate(t, "broker"), certificate(t, "sensor"), certificate(t, "stranger")
	clients, servers := x509.NewCertPool(), x509.NewCertPool()
	clients.AddCert(sensor.Leaf)
	clients.AddCert(stranger.Leaf)
	servers.AddCert(server.Leaf)
	l := must(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients, MinVersion: tls.VersionTLS12}))
	served := make(chan struct{})
	go func() { // ends when the listener is closed
		defer close(served)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if conn.(*tls.Conn).Handshake() == nil {
				go b.serve(conn) // ends with Shutdown
			}
		}
	}()
	t.Cleanup(func() {
		l.Close() //nolint:errcheck // wakes the loop
		<-served
	})
	dial := func(c tls.Certificate, sasl amqp.SASLType) (*amqp.Conn, error) {
		return amqp.Dial(soon(t), "amqps://"+l.Addr().String(), &amqp.ConnOptions{
			SASLType: sasl, TLSConfig: &tls.Config{Certificates: []tls.Certificate{c}, RootCAs: servers, MinVersion: tls.VersionTLS12},
		})
	}
	for name, sasl := range map[string]amqp.SASLType{"EXTERNAL": amqp.SASLTypeExternal(""), "no SASL": nil} {
		if _, err := dial(stranger, sasl); err == nil {
			t.Errorf("%s: a certificate of no user is let in", name)
		}
		conn, err := dial(sensor, sasl)
		check(t, err)
		if got := b.endpoint.Connections(); len(got) != 1 || got[0].User != "sensor" || !got[0].TLS {
			t.Errorf("%s: connections %+v", name, got)
		}
		s := must(conn.NewSession(soon(t), nil))
		check(t, must(s.NewSender(soon(t), "/queue/q", nil)).Send(soon(t), amqp.NewMessage(make([]byte, 300_000)), nil))
		r := must(s.NewReceiver(soon(t), "/queues/q", nil))
		m := must(r.Receive(soon(t), nil))
		if len(m.GetData()) != 300_000 {
			t.Errorf("%s: got %d bytes", name, len(m.GetData()))
		}
		check(t, r.AcceptMessage(soon(t), m))
		check(t, conn.Close())
		b.connections(0)
	}
}
