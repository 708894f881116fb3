package socket_test

import (
	"bytes"
	"net"
	"syscall"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/socket"
)

// ends are both ends of a connection over loopback, as descriptors to call with.
func ends(t *testing.T) (near, far *end) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it has served its purpose
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return newEnd(t, a), newEnd(t, b)
}

type end struct {
	*testing.T
	conn net.Conn
	raw  syscall.RawConn
}

func newEnd(t *testing.T, conn net.Conn) *end {
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // it may be closed
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return &end{T: t, conn: conn, raw: raw}
}

// now calls f once, whether the socket is ready or not.
func (e *end) now(f func(fd uintptr, b []byte) (int, error), b []byte) (n int, err error) {
	e.Helper()
	if wrong := e.raw.Write(func(fd uintptr) bool { n, err = f(fd, b); return true }); wrong != nil {
		e.Fatal(wrong)
	}
	return n, err
}

// read waits for bytes and reads them.
func (e *end) read(b []byte) (n int, err error) {
	e.Helper()
	if wrong := e.raw.Read(func(fd uintptr) bool {
		n, err = socket.Read(fd, b)
		return err != syscall.EAGAIN
	}); wrong != nil {
		e.Fatal(wrong)
	}
	return n, err
}

func TestReadAndWrite(t *testing.T) {
	near, far := ends(t)
	b := make([]byte, 16)
	if n, err := far.now(socket.Read, b); n != 0 || err != syscall.EAGAIN {
		t.Errorf("read %d bytes where nothing is: %v", n, err)
	}
	if n, err := near.now(socket.Write, []byte("hello")); n != 5 || err != nil {
		t.Fatalf("wrote %d bytes: %v", n, err)
	}
	if n, err := far.read(b); err != nil || string(b[:n]) != "hello" {
		t.Errorf("read %q: %v", b[:n], err)
	}
	near.conn.Close() //nolint:errcheck // the read says so
	if n, err := far.read(b); n != 0 || err != nil {
		t.Errorf("at the end: read %d bytes: %v", n, err)
	}
}

// TestFull: a socket that takes no more says so, and what it took arrives.
func TestFull(t *testing.T) {
	near, far := ends(t)
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	sent := 0
	for {
		n, err := near.now(socket.Write, chunk)
		if err == syscall.EAGAIN {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sent += n
	}
	got := 0
	for got < sent {
		n, err := far.read(chunk)
		if n == 0 || err != nil {
			t.Fatalf("%d of %d bytes came: %v", got, sent, err)
		}
		got += n
	}
}

func TestClosed(t *testing.T) {
	if _, err := socket.Write(^uintptr(0), []byte("x")); err != syscall.EBADF {
		t.Errorf("a descriptor that is none: %v", err)
	}
	if n, err := socket.Read(^uintptr(0), nil); n != 0 || err != syscall.EBADF {
		t.Errorf("a descriptor that is none: %d, %v", n, err)
	}
}
