// Package wire moves packets between a connection and a load: everything that one read brought is handled at once, and
// writes carry many packets.
package wire

import "net"

// Reader cuts packets out of a connection.
type Reader struct {
	conn net.Conn
	// cut answers the length of the packet at the start of src, zero when it is not whole.
	cut  func(src []byte) (int, error)
	buf  []byte
	used int // bytes in buf
}

// NewReader makes a reader; cut knows the protocol.
func NewReader(conn net.Conn, cut func([]byte) (int, error)) *Reader {
	return &Reader{conn: conn, cut: cut, buf: make([]byte, 256<<10)}
}

// Read waits for bytes, and calls handle for each whole packet. Packets are valid during the call.
func (r *Reader) Read(handle func(packet []byte) error) error {
	if r.used == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := r.conn.Read(r.buf[r.used:])
	if err != nil {
		return err
	}
	r.used += n
	at := 0
	for {
		size, err := r.cut(r.buf[at:r.used])
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
		if err := handle(r.buf[at : at+size]); err != nil {
			return err
		}
		at += size
	}
	r.used = copy(r.buf, r.buf[at:r.used])
	return nil
}
