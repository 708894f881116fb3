package endpoint

import (
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/turnstone-mq/turnstone/broker/socket"
)

// bufferSize is what one read can bring: some hundred small messages.
const bufferSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Input is the read side of a connection whose protocol has frames. While nothing is there to be handled it has no buffer:
// it borrows one when the socket has something to read, where the connection lets it know. It belongs to the reader.
type Input struct {
	conn net.Conn
	size func(src []byte) int // of the frame that src begins with, as far as src tells

	pooled     *[bufferSize]byte // what buf is a slice of, unless a frame was too large for it
	buf        []byte            // nil while the connection is idle
	start, end int               // of the bytes not yet handled

	raw    syscall.RawConn // nil when the connection cannot wait without a buffer
	asked  bool            // for raw
	ready  func(fd uintptr) bool
	n      int // what ready read
	failed error
	once   bool // ready does not ask to be called again
}

// NewInput makes the read side of a connection. Size says how many bytes the frame has that src begins with, as far as src
// tells.
func NewInput(conn net.Conn, size func(src []byte) int) Input { return Input{conn: conn, size: size} }

// Unread is what has arrived and was not taken yet. It is valid until Fill.
func (in *Input) Unread() []byte { return in.buf[in.start:in.end] }

// Take counts the first n bytes of Unread as handled.
func (in *Input) Take(n int) { in.start += n }

// Raw is the socket of a connection that can wait without a buffer, and that has none now; nil for any other.
func (in *Input) Raw() syscall.RawConn {
	if in.makeRoom(); in.buf != nil || !in.waits() {
		return nil
	}
	return in.raw
}

// Socket is that of a connection that can wait without a buffer; nil for any other.
func (in *Input) Socket() syscall.RawConn { return in.raw }

// FillNow is Fill for an input that Raw knows, when there is something to read; else it answers false. Then the input has no
// buffer.
func (in *Input) FillNow() (ready bool, err error) {
	in.once = true
	err = in.fillWhenReady()
	in.once = false
	if in.failed == syscall.EAGAIN && err == in.failed {
		return false, nil
	}
	return err == nil, err
}

// Fill reads once, one byte at least. Everything that aliases the buffer is void.
func (in *Input) Fill() error {
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
func (in *Input) makeRoom() {
	left := in.end - in.start
	switch {
	case in.buf == nil:
	case left == 0:
		in.Release()
	case left == len(in.buf):
		grown := make([]byte, min(max(in.size(in.Unread()), left+1), 4*left))
		copy(grown, in.Unread())
		in.Release()
		in.buf, in.end = grown, left
	case in.start > 0:
		copy(in.buf, in.Unread())
		in.start, in.end = 0, left
	}
}

func (in *Input) borrow() {
	in.pooled = buffers.Get().(*[bufferSize]byte)
	in.buf = in.pooled[:]
}

// Release gives the buffer back; what it holds is void.
func (in *Input) Release() {
	if in.pooled != nil {
		buffers.Put(in.pooled)
	}
	in.pooled, in.buf, in.start, in.end = nil, nil, 0, 0
}

// waits says whether the connection can wait for something to read without a buffer to read into.
func (in *Input) waits() bool {
	if !in.asked {
		in.asked = true
		if s, ok := in.conn.(syscall.Conn); ok {
			in.raw, _ = s.SyscallConn()
			in.ready = in.readNow
		}
	}
	return in.raw != nil
}

func (in *Input) fillWhenReady() error {
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
func (in *Input) readNow(fd uintptr) bool {
	idle := in.buf == nil
	if idle {
		in.borrow()
	}
	in.n, in.failed = socket.Read(fd, in.buf[in.end:])
	if in.failed != syscall.EAGAIN {
		return true
	}
	if idle {
		in.Release()
	}
	return in.once
}
