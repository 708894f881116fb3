package mqtt

import (
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/socket"
)

const (
	// bufferSize is what one read can bring: some hundred small packets.
	bufferSize = 64 << 10
	// smallSize is the buffer of those who wait with one in their hands.
	smallSize = 1 << 10
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// input is the read side of a connection. Between packets it has no buffer: it waits until there is something to read
// before it borrows one. A peer that is not trusted, and a connection that cannot wait without a buffer, have a small
// one until they fill it with a read.
type input struct {
	conn    net.Conn
	trusted bool // the peer is authenticated

	pooled     *[bufferSize]byte // what buf is a slice of; nil when buf is a small buffer or one for a large packet
	buf        []byte            // nil while the connection is idle
	start, end int               // of the bytes not yet handled
	wanted     int               // the size of the packet that is there in part; zero when it is not known

	raw    syscall.RawConn // nil when the connection cannot wait without a buffer
	looked bool            // raw was asked for

	impatient bool // attempt does not ask to be called again
	attempt   func(fd uintptr) bool
	n         int   // what the last read brought
	err       error // of attempt
}

// next takes the next packet out of the buffer; nil when it is not there yet. The packet is valid until fill.
func (in *input) next(most int) ([]byte, error) {
	size, err := packet.Next(in.buf[in.start:in.end], most)
	if err != nil {
		return nil, err
	}
	if in.wanted = size; size == 0 || size > in.end-in.start {
		return nil, nil
	}
	frame := in.buf[in.start : in.start+size : in.start+size]
	in.start += size
	in.wanted = 0
	return frame, nil
}

// fill reads once, one byte at least.
func (in *input) fill() error {
	in.compact()
	if in.end == 0 && in.trusted && in.waits() {
		in.release()
	}
	switch {
	case in.buf != nil, in.trusted && in.waits():
	case in.trusted && in.n >= smallSize: // busy
		in.borrow()
	default:
		in.buf = make([]byte, smallSize)
	}
	if in.waits() {
		return in.fillWhenReady()
	}
	n, err := in.conn.Read(in.buf[in.end:])
	in.end += n
	in.n = n
	if n > 0 {
		return nil
	}
	return err
}

// compact makes room behind what is left of the last read. A packet that is larger than the buffer gets one that grows
// with what arrives of it, not with what it says it has.
func (in *input) compact() {
	left := in.end - in.start
	switch {
	case in.buf == nil:
	case left == 0 && in.small() && in.n < smallSize:
		in.start, in.end = 0, 0 // kept for the next wait
	case left == 0:
		in.release()
	case in.trusted && in.small() && in.end == smallSize: // busy
		rest := in.buf[in.start:in.end]
		in.borrow()
		in.start, in.end = 0, copy(in.buf, rest)
	case in.wanted > len(in.buf) && left == len(in.buf):
		grown := make([]byte, min(in.wanted, 4*len(in.buf)))
		copy(grown, in.buf[in.start:in.end])
		in.release()
		in.buf, in.end = grown, left
	case in.start > 0:
		copy(in.buf, in.buf[in.start:in.end])
		in.start, in.end = 0, left
	}
}

// small says that the buffer is one of those of smallSize.
func (in *input) small() bool { return in.pooled == nil && len(in.buf) == smallSize }

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

// waits says whether the connection can wait for readiness alone.
func (in *input) waits() bool {
	if !in.looked {
		in.looked = true
		if s, ok := in.conn.(syscall.Conn); ok {
			in.raw, _ = s.SyscallConn()
			in.attempt = in.try
		}
	}
	return in.raw != nil
}

// empty says that nothing is there and nothing held.
func (in *input) empty() bool { return in.buf == nil }

// fillNow is fill for what is there already; ready says that there was something. Without, an input that can wait without
// a buffer has none.
func (in *input) fillNow() (ready bool, err error) {
	in.compact()
	if in.end > 0 || !in.trusted || !in.waits() {
		return false, nil
	}
	in.release()
	in.impatient = true
	err = in.fillWhenReady()
	in.impatient = false
	if in.err == syscall.EAGAIN && err == in.err {
		in.n, in.end = 0, 0
		return false, nil
	}
	return err == nil, err
}

func (in *input) fillWhenReady() error {
	in.n, in.err = 0, nil
	if err := in.raw.Read(in.attempt); err != nil {
		return err
	}
	in.end += in.n
	switch {
	case in.err != nil:
		return in.err
	case in.n == 0:
		return io.EOF
	}
	return nil
}

// try reads what is there; false asks to be called when there is something.
func (in *input) try(fd uintptr) bool {
	idle := in.buf == nil
	if idle {
		in.borrow()
	}
	in.n, in.err = socket.Read(fd, in.buf[in.end:])
	if in.err != syscall.EAGAIN {
		return true
	}
	if idle {
		in.release()
		return in.impatient
	}
	return false
}
