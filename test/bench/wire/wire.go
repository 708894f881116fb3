// Package wire moves packets between a connection and a load: everything that one read brought is handled at once, and
// writes carry many packets.
package wire

import (
	"errors"
	"net"
)

// Reader cuts packets out of a connection.
type Reader struct {
	conn net.Conn
	// cut answers the length of the packet at the start of src, zero when it is not whole.
	cut  func(src []byte) (int, error)
	buf  []byte
	used int  // bytes in buf
	left bool // the buffer may have whole packets that nobody has handled
}

// NewReader makes a reader; cut knows the protocol.
func NewReader(conn net.Conn, cut func([]byte) (int, error)) *Reader {
	return &Reader{conn: conn, cut: cut, buf: make([]byte, 256<<10)}
}

// ErrStop is what a handler answers to leave the packets behind the one at hand to the next Read.
var ErrStop = errors.New("stop reading")

// Read calls handle for each whole packet that an earlier Read left behind, or else waits for bytes and calls it for each
// that they bring. Packets are valid during the call.
func (r *Reader) Read(handle func(packet []byte) error) error {
	if r.left {
		r.left = false
		return r.handle(handle)
	}
	if r.used == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := r.conn.Read(r.buf[r.used:])
	if err != nil {
		return err
	}
	r.used += n
	return r.handle(handle)
}

func (r *Reader) handle(handle func(packet []byte) error) (err error) {
	at := 0
	for err == nil {
		size, wrong := r.cut(r.buf[at:r.used])
		if wrong != nil {
			return wrong
		}
		if size == 0 {
			break
		}
		err = handle(r.buf[at : at+size])
		at += size
	}
	if errors.Is(err, ErrStop) {
		r.left, err = at < r.used, nil
	}
	r.used = copy(r.buf, r.buf[at:r.used])
	return err
}
