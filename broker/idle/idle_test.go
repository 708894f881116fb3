//go:build linux

package idle

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

type sleeper chan struct{}

func (s sleeper) Wake() { s <- struct{}{} }

func (s sleeper) await(t *testing.T) {
	t.Helper()
	select {
	case <-s:
	case <-time.After(patience):
		t.Fatal("nobody was woken")
	}
}

func watch(t *testing.T) *Watch {
	t.Helper()
	w, err := NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(w.Run) // ends with Close
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	return w
}

// pair is both ends of a connection.
func pair(t *testing.T) (near, far *net.TCPConn) {
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
	t.Cleanup(func() { a.Close(); b.Close() }) //nolint:errcheck // they may be closed
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

func control(t *testing.T, c *net.TCPConn, do func(fd uintptr) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := errors.Join(raw.Control(func(fd uintptr) { failed = do(fd) }), failed); err != nil {
		t.Fatal(err)
	}
}

// TestWake: what comes, before or after Await, wakes once; so does the end. Go's own poller still works for the socket.
func TestWake(t *testing.T) {
	w := watch(t)
	near, far := pair(t)
	s := make(sleeper, 10)
	for _, before := range []bool{true, false, true, false} {
		if before {
			far.Write([]byte("x")) //nolint:errcheck // the read says so
		}
		control(t, near, func(fd uintptr) error { return w.Await(fd, s) })
		if !before {
			far.Write([]byte("x")) //nolint:errcheck // likewise
		}
		s.await(t)
		if _, err := io.ReadFull(near, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan error, 1)
	go func() { // ends with the byte
		_, err := near.Read(make([]byte, 1))
		got <- err
	}()
	far.Write([]byte("x")) //nolint:errcheck // the read says so
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if len(s) != 0 {
		t.Error("woken without a wish for it")
	}
	control(t, near, func(fd uintptr) error { return w.Await(fd, s) })
	far.Close() //nolint:errcheck // that is the test
	s.await(t)
}

// TestForget: who is forgotten is not woken, and a descriptor that is used again wakes its new owner.
func TestForget(t *testing.T) {
	w := watch(t)
	near, far := pair(t)
	gone, next := make(sleeper, 1), make(sleeper, 1)
	control(t, near, func(fd uintptr) error { return w.Await(fd, gone) })
	control(t, near, func(fd uintptr) error { w.Forget(fd); return nil })
	far.Write([]byte("x")) //nolint:errcheck // nobody reads it
	near.Close()           //nolint:errcheck // that is the test
	again, other := pair(t)
	control(t, again, func(fd uintptr) error { return w.Await(fd, next) })
	other.Write([]byte("x")) //nolint:errcheck // the wake says so
	next.await(t)
	if len(gone) > 0 {
		t.Error("a forgotten one was woken")
	}
}

// TestMany: of many sleepers each is woken.
func TestMany(t *testing.T) {
	const count = 500
	w := watch(t)
	s := make(sleeper, count)
	var far []*net.TCPConn
	for range count {
		a, b := pair(t)
		control(t, a, func(fd uintptr) error { return w.Await(fd, s) })
		far = append(far, b)
	}
	for _, c := range far {
		c.Write([]byte("x")) //nolint:errcheck // the wake says so
	}
	for range count {
		s.await(t)
	}
}

// TestClosed: a watch that is closed says so, and a socket that cannot be watched does.
func TestClosed(t *testing.T) {
	w, err := NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	near, _ := pair(t)
	if err := w.Await(1<<20, make(sleeper)); !errors.Is(err, syscall.EBADF) {
		t.Errorf("got %v for no descriptor", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	control(t, near, func(fd uintptr) error {
		if w.Await(fd, make(sleeper)) == nil {
			t.Error("a closed watch waits")
		}
		return nil
	})
	w.Run() // returns
}
