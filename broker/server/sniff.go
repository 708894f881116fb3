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

// A listener of scheme tcp, tls or unix serves MQTT and AMQP: the first byte tells them apart. A client of MQTT begins
// with CONNECT, 0x10; one of AMQP with its protocol header, an A.

// sniff waits for the first byte of a connection, which stays to be read, and answers the connection to go on with.
func sniff(conn net.Conn, patience time.Duration) (net.Conn, string, error) {
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
	switch first {
	case 'A':
		return conn, "amqp", nil
	case 0x10:
		return conn, "mqtt", nil
	}
	return conn, "", fmt.Errorf("first byte %#x is neither MQTT's nor AMQP's", first)
}

// peek reads the first byte; the connection that it answers begins with it.
func peek(conn net.Conn) (first byte, _ net.Conn, err error) {
	var b [1]byte
	s, ok := conn.(syscall.Conn)
	if !ok {
		_, err := io.ReadFull(conn, b[:])
		return b[0], &begun{Conn: conn, first: b[:]}, err
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, conn, err
	}
	n := 0
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, _, failed = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK)
		return failed != unix.EAGAIN && failed != unix.EINTR
	})
	switch {
	case err != nil:
		return 0, conn, err
	case failed != nil:
		return 0, conn, failed
	case n == 0:
		return 0, conn, io.EOF
	}
	return b[0], conn, nil
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
