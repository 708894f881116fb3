package amqp091

import (
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/socket"
)

// bufferSize is what one read can bring: some hundred small messages.
const bufferSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// input is the read side of a connection. While nothing is there to be handled it has no buffer: it borrows one when the
// socket has something to read, where the connection lets it know.
type input struct {
	conn net.Conn

	pooled     *[bufferSize]byte // what buf is a slice of, unless a frame was too large for it
	buf        []byte            // nil while the connection is idle
	start, end int               // of the bytes not yet handled

	raw    syscall.RawConn // nil when the connection cannot wait without a buffer
	asked  bool            // for raw
	ready  func(fd uintptr) bool
	n      int // what ready read
	failed error
}

// unread is what has arrived and was not taken yet. It is valid until fill.
func (in *input) unread() []byte { return in.buf[in.start:in.end] }

// take counts the first n bytes of unread as handled.
func (in *input) take(n int) { in.start += n }

// fill reads once, one byte at least. Everything that aliases the buffer is void.
func (in *input) fill() error {
	in.makeRoom()
	if in.waits() {
		return in.fillWhenReady()
	}
	if in.buf == nil {
		in.borrow()
	}
	n, err := in.conn.Read(in.buf[in.end:])
	in.end += n
	if n > 0 {
		return nil
	}
	return err
}

// makeRoom moves the part of a frame that is left to the front. A frame larger than the buffer gets one of its own that
// grows with what arrives, not with what the frame says.
func (in *input) makeRoom() {
	left := in.end - in.start
	switch {
	case in.buf == nil:
	case left == 0:
		in.release()
	case left == len(in.buf):
		grown := make([]byte, min(max(frame.Size(in.unread()), left+1), 4*left))
		copy(grown, in.unread())
		in.release()
		in.buf, in.end = grown, left
	case in.start > 0:
		copy(in.buf, in.unread())
		in.start, in.end = 0, left
	}
}

func (in *input) borrow() {
	in.pooled = buffers.Get().(*[bufferSize]byte)
	in.buf = in.pooled[:]
}

// release gives the buffer back; what it holds is void.
func (in *input) release() {
	if in.pooled != nil {
		buffers.Put(in.pooled)
	}
	in.pooled, in.buf, in.start, in.end = nil, nil, 0, 0
}

// waits says whether the connection can wait for something to read without a buffer to read into.
func (in *input) waits() bool {
	if !in.asked {
		in.asked = true
		if s, ok := in.conn.(syscall.Conn); ok {
			in.raw, _ = s.SyscallConn()
			in.ready = in.readNow
		}
	}
	return in.raw != nil
}

func (in *input) fillWhenReady() error {
	in.n, in.failed = 0, nil
	if err := in.raw.Read(in.ready); err != nil {
		return err
	}
	in.end += in.n
	switch {
	case in.failed != nil:
		return in.failed
	case in.n == 0:
		return io.EOF
	}
	return nil
}

// readNow reads what is there; false asks to be called again when there is something.
func (in *input) readNow(fd uintptr) bool {
	idle := in.buf == nil
	if idle {
		in.borrow()
	}
	in.n, in.failed = socket.Read(fd, in.buf[in.end:])
	if in.failed != syscall.EAGAIN {
		return true
	}
	if idle {
		in.release()
	}
	return false
}
