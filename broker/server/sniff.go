package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A listener of scheme tcp, tls or unix serves MQTT and AMQP: the first bytes tell them apart. A client of MQTT begins with
// CONNECT, 0x10; one of AMQP with a protocol header, an A, whose fifth byte and the one behind it tell AMQP 1.0 from 0-9-1. A
// listener of scheme amqp or amqps tells these two apart.

// The protocols of endpoints.
const (
	protocolMQTT    = "mqtt"
	protocolAMQP    = "amqp" // 0-9-1
	protocolAMQP10  = "amqp10"
	protocolHeader  = 8    // bytes of one of AMQP
	firstOfMQTT     = 0x10 // CONNECT
	firstOfAMQP     = 'A'
	layerTLS        = 2 // of AMQP 1.0, part 5
	layerSASL       = 3
	placeOfLayer    = 4
	placeOfRelease  = 5 // the major version of 1.0; zero in 0-9-1
	releaseOfAMQP10 = 1
)

// sniff waits for the first bytes of a connection, which stay to be read, and answers the connection to go on with. Own is
// the protocol of what is neither: empty to refuse it.
func sniff(conn net.Conn, patience time.Duration, own string) (net.Conn, string, error) {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return conn, "", err
	}
	first, conn, err := peek(conn)
	if err != nil {
		return conn, "", err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return conn, "", err
	}
	switch {
	case first[0] == firstOfMQTT && own == "":
		return conn, protocolMQTT, nil
	case isAMQP10(first):
		return conn, protocolAMQP10, nil
	case first[0] == firstOfAMQP:
		return conn, protocolAMQP, nil
	case own != "":
		return conn, own, nil
	}
	return conn, "", fmt.Errorf("first byte %#x is neither MQTT's nor AMQP's", first[0])
}

// isAMQP10 says whether bytes begin with a protocol header of AMQP 1.0. That of 0-9-1 is AMQP, 0, 0, 9, 1.
func isAMQP10(first []byte) bool {
	if len(first) < protocolHeader {
		return false
	}
	layer, release := first[placeOfLayer], first[placeOfRelease]
	return layer == layerTLS || layer == layerSASL || layer == 0 && release >= releaseOfAMQP10
}

// enough says whether bytes tell what the connection speaks.
func enough(first []byte) bool {
	return len(first) >= protocolHeader || len(first) > 0 && first[0] != firstOfAMQP
}

// peek reads the first bytes, as many as it takes; the connection that it answers begins with them.
func peek(conn net.Conn) (first []byte, _ net.Conn, err error) {
	var b [protocolHeader]byte
	n := 0
	s, ok := conn.(syscall.Conn)
	if !ok {
		for !enough(b[:n]) {
			more, err := conn.Read(b[n:])
			if n += more; more == 0 && err != nil {
				return nil, conn, err
			}
		}
		return b[:n], &begun{Conn: conn, first: b[:n]}, nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, conn, err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool { // false waits for more to come
		n, _, failed = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK)
		if failed != nil {
			return failed != unix.EAGAIN && failed != unix.EINTR
		}
		return n == 0 || enough(b[:n])
	})
	switch {
	case err != nil:
		return nil, conn, err
	case failed != nil:
		return nil, conn, failed
	case n == 0:
		return nil, conn, io.EOF
	}
	return b[:n], conn, nil
}

// begun is a connection whose first bytes were read already.
type begun struct {
	net.Conn
	first []byte
}

func (c *begun) Read(b []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// TLS is the state of the encryption; nil when there is none.
func (c *begun) TLS() *tls.ConnectionState {
	if t, ok := c.Conn.(*tls.Conn); ok {
		s := t.ConnectionState()
		return &s
	}
	return nil
}

// sniffing are the connections that are waited for. They end with the server, as those of endpoints do.
type sniffing struct {
	mu     sync.Mutex
	conns  map[net.Conn]struct{} // guarded by mu
	closed bool                  // guarded by mu
}

// hold takes a connection in until release.
func (s *sniffing) hold(conn net.Conn) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close() //nolint:errcheck // to read fails, which is what is wanted
		return func() {}
	}
	if s.conns == nil {
		s.conns = make(map[net.Conn]struct{})
	}
	s.conns[conn] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, conn)
	}
}

// endSniffing has stop close what has not said anything.
func (s *Server) endSniffing(context.Context) error {
	s.onStop(func() error {
		s.sniffing.mu.Lock()
		defer s.sniffing.mu.Unlock()
		s.sniffing.closed = true
		for conn := range s.sniffing.conns {
			conn.Close() //nolint:errcheck // nothing was said
		}
		return nil
	})
	return nil
}
