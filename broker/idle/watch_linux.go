package idle

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Watch watches sockets. Its methods are safe for concurrent use.
type Watch struct {
	file *os.File        // an epoll instance, which Go's poller can wait for like for a pipe
	raw  syscall.RawConn // of file

	mu       sync.Mutex
	sleepers []Sleeper // guarded by mu; by descriptor, nil for those that are awake
}

// NewWatch makes a watch; Run must run and Close must be called.
func NewWatch() (*Watch, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a poller: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("make a poller: %w", err), unix.Close(fd))
	}
	w := &Watch{file: os.NewFile(uintptr(fd), "epoll")}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("make a poller: %w", err), w.file.Close())
	}
	return w, nil
}

// Await calls s.Wake once when the socket has something to read, which may be before Await returns. The caller sees to it
// that the descriptor is not closed meanwhile.
func (w *Watch) Await(fd uintptr, s Sleeper) error {
	w.mu.Lock()
	for int(fd) >= len(w.sleepers) {
		w.sleepers = append(w.sleepers, nil)
	}
	w.sleepers[fd] = s
	w.mu.Unlock()
	var failed error
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(fd)}
	err := w.raw.Control(func(epoll uintptr) {
		failed = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_MOD, int(fd), &event)
		if failed == unix.ENOENT { // a socket is forgotten when it is closed
			failed = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, int(fd), &event)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		w.take(int(fd))
	}
	return err
}

// take is who sleeps on a descriptor, nil for nobody.
func (w *Watch) take(fd int) (s Sleeper) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if fd < len(w.sleepers) {
		s, w.sleepers[fd] = w.sleepers[fd], nil
	}
	return s
}

// Forget says that whoever sleeps on a descriptor is not to be woken any more. The caller sees to it that the descriptor
// is not closed meanwhile.
func (w *Watch) Forget(fd uintptr) { w.take(int(fd)) }

// Run wakes, until Close.
func (w *Watch) Run() {
	events := make([]unix.EpollEvent, 128)
	for {
		n := 0
		if err := w.raw.Read(func(epoll uintptr) bool {
			n, _ = unix.EpollWait(int(epoll), events, 0)
			return n > 0 // else wait until there is something, or the signal that interrupted it is over
		}); err != nil {
			return
		}
		for _, e := range events[:n] {
			if s := w.take(int(e.Fd)); s != nil {
				s.Wake()
			}
		}
	}
}

// Close ends Run. Nobody is woken by it.
func (w *Watch) Close() error { return w.file.Close() }
