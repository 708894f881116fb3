// Package outbox holds the bytes on their way to one socket.
//
// Anybody may append frames. When the socket was quiet and takes them at once, whoever appends writes them, which spares a
// busy second goroutine where there is little to do; otherwise one goroutine writes, and exists only while there is
// something to write, and what is appended meanwhile goes with its next write. Appending never blocks: a producer that must not overfill a peer asks Full before it appends and is told by the drained callback when
// there is room again. Who may drop, and what, is the producer's decision.
package outbox

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/turnstone-mq/turnstone/broker/socket"
)

// ErrClosed is the error of a box that was closed by its owner.
var ErrClosed = errors.New("connection is closed")

// Outbox collects frames for one connection. Its methods are safe for concurrent use.
type Outbox struct {
	conn     net.Conn
	limit    int           // bytes waiting from which the box counts as full
	patience time.Duration // one write may take this long
	drained  func()        // called by the writer when a box that was full is half empty
	wrote    func(n int)   // called with what reached the socket
	failed   func(error)   // called once, by the writer, when a write failed

	raw     syscall.RawConn              // nil when the socket cannot be written to without blocking
	attempt func(fd uintptr) (done bool) // writes moving into the socket as far as it goes, bound once
	moving  []byte                       // of attempt: owned by the writer, or by who holds mu while there is none
	moved   int                          // by the last attempt

	waiting atomic.Int64 // bytes appended and not yet written
	wasFull atomic.Bool
	written atomic.Uint64

	mu      sync.Mutex
	buf     []byte // frames appended since the writer last took them
	spare   []byte // the writer's last buffer, for reuse
	writing bool
	held    bool      // appended frames wait for Release
	ended   bool      // End was called
	last    time.Time // when the last write ended
	err     error
	idle    *sync.Cond // signalled when the writer ends; nil until Close waits for that
}

// Options of New. Drained and Failed may be nil; they are called without any lock of the box and must not block.
type Options struct {
	Limit    int           // bytes
	Patience time.Duration // how long a peer may take for one write before the connection fails; zero is for ever
	Drained  func()
	Failed   func(error)
	Wrote    func(n int) // bytes that reached the socket; called with the box's lock held or not
}

// New makes a box for conn. It starts no goroutine.
func New(conn net.Conn, o Options) *Outbox {
	b := &Outbox{conn: conn, limit: o.Limit, patience: o.Patience, drained: o.Drained, failed: o.Failed, wrote: o.Wrote}
	if s, ok := conn.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			b.raw, b.attempt = raw, b.move
		}
	}
	return b
}

// Append calls fill with the bytes that wait, to which fill appends whole frames; they will be written in order. Fill
// runs under the box's lock: it encodes and returns. It answers false when the connection is gone.
func (b *Outbox) Append(fill func(dst []byte) []byte) bool {
	b.mu.Lock()
	if b.err != nil || b.ended {
		b.mu.Unlock()
		return false
	}
	b.borrow()
	before := len(b.buf)
	b.buf = fill(b.buf)
	b.added(len(b.buf) - before)
	b.mu.Unlock()
	return true
}

// Write appends one whole frame that is encoded already. It answers false when the connection is gone.
func (b *Outbox) Write(frame []byte) bool {
	b.mu.Lock()
	if b.err != nil || b.ended {
		b.mu.Unlock()
		return false
	}
	b.borrow()
	b.buf = append(b.buf, frame...)
	b.added(len(frame))
	b.mu.Unlock()
	return true
}

// End says that the last frame was appended: what comes later is refused. What waits is still written.
func (b *Outbox) End() {
	b.mu.Lock()
	b.ended = true
	b.mu.Unlock()
}

// buffers are those of boxes that are idle now; a box that has something to write borrows one, so that a burst does not
// have to grow its own.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// borrow takes a buffer unless there is one. The caller holds mu.
func (b *Outbox) borrow() {
	if b.buf == nil {
		b.buf = (*buffers.Get().(*[]byte))[:0]
	}
}

// giveBack returns the buffers of an idle box. The caller holds mu.
func (b *Outbox) giveBack() {
	for _, buf := range [...][]byte{b.buf, b.spare} {
		if cap(buf) > 0 && cap(buf) <= biggestKept {
			buffers.Put(&buf)
		}
	}
	b.buf, b.spare = nil, nil
}

func (b *Outbox) added(n int) {
	if n == 0 {
		if !b.writing && len(b.buf) == 0 { // what waits for Release stays
			b.giveBack()
		}
		return
	}
	if b.waiting.Add(int64(n)) >= int64(b.limit) {
		b.wasFull.Store(true)
	}
	if !b.held {
		b.begin()
	}
}

// begin writes what waits, or starts the writer. The caller holds mu.
func (b *Outbox) begin() {
	if !b.writing && !b.direct() {
		b.writing = true
		go b.write() // ends when nothing waits or a write failed
	}
}

// Hold makes what is appended wait for Release, so that the answers to many frames go with one write. Whoever holds must
// not wait for anything that takes long before Release. A box is held by one at a time.
func (b *Outbox) Hold() {
	b.mu.Lock()
	b.held = true
	b.mu.Unlock()
}

// Release ends Hold.
func (b *Outbox) Release() {
	b.mu.Lock()
	b.held = false
	if len(b.buf) > 0 && b.err == nil {
		b.begin()
	}
	b.mu.Unlock()
}

const (
	// quiet is how long nothing was written when whoever appends writes: more often, and it is better to collect.
	quiet = 100 * time.Microsecond
	// mostDirect bounds what whoever appends writes.
	mostDirect = 64 << 10
)

// direct writes what waits if the socket was quiet and takes all of it at once. The caller holds mu.
func (b *Outbox) direct() bool {
	if b.raw == nil || len(b.buf) > mostDirect || b.wasFull.Load() {
		return false
	}
	now := time.Now()
	if now.Sub(b.last) < quiet {
		return false
	}
	b.last = now
	n := b.try(b.buf)
	if n == 0 {
		return false // the writer meets the error, if it is one, and tells of it
	}
	b.count(n)
	b.waiting.Add(-int64(n))
	if n < len(b.buf) {
		b.buf = b.buf[:copy(b.buf, b.buf[n:])]
		return false
	}
	b.buf = b.buf[:0]
	b.giveBack()
	return true
}

// try writes what the socket takes at once.
func (b *Outbox) try(out []byte) int {
	b.moving, b.moved = out, 0
	err := b.raw.Write(b.attempt)
	b.moving = nil
	if err != nil {
		return 0
	}
	return b.moved
}

// move is attempt.
func (b *Outbox) move(fd uintptr) bool {
	if n, err := socket.Write(fd, b.moving); err == nil {
		b.moved = n
	}
	return true // whatever became of it: nobody waits here
}

// Full says that limit bytes or more wait to be written. Whoever sees it and holds back is woken through Drained.
func (b *Outbox) Full() bool {
	if b.waiting.Load() < int64(b.limit) {
		return false
	}
	b.wasFull.Store(true)
	return b.waiting.Load() >= int64(b.limit) // else the writer may have passed the mark before it was set
}

func (b *Outbox) count(n int) {
	b.written.Add(uint64(n))
	if b.wrote != nil && n > 0 {
		b.wrote(n)
	}
}

// Written is the count of bytes that reached the socket.
func (b *Outbox) Written() uint64 { return b.written.Load() }

// biggestKept is the largest buffer that a box keeps for reuse while it writes.
const biggestKept = 4 << 20

func (b *Outbox) write() {
	for {
		b.mu.Lock()
		if len(b.buf) == 0 || b.err != nil {
			b.writing, b.last = false, time.Now()
			b.giveBack() // an idle connection holds no buffer
			if b.idle != nil {
				b.idle.Broadcast()
			}
			b.mu.Unlock()
			return
		}
		out := b.buf
		b.buf, b.spare = b.spare[:0], nil
		b.mu.Unlock()

		err := b.flush(out)

		b.mu.Lock()
		if cap(out) <= biggestKept {
			b.spare = out[:0]
		}
		if err != nil && b.err == nil {
			b.err = err
		} else {
			err = nil // closed by its owner meanwhile: nobody to tell
		}
		b.mu.Unlock()
		if err != nil && b.failed != nil {
			b.failed(err)
		}
	}
}

func (b *Outbox) flush(out []byte) error {
	const most = 256 << 10 // one write, so that Drained comes while a big box empties
	for len(out) > 0 {
		chunk := out[:min(len(out), most)]
		n, err := b.put(chunk)
		b.count(n)
		left := b.waiting.Add(-int64(n))
		if left <= int64(b.limit)/2 && b.wasFull.CompareAndSwap(true, false) && b.drained != nil {
			b.drained()
		}
		if err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
}

// put writes a chunk: what the socket takes at once, and then, within the patience, what it takes later.
func (b *Outbox) put(chunk []byte) (n int, err error) {
	if b.raw != nil {
		if n = b.try(chunk); n == len(chunk) {
			return n, nil
		}
	}
	if b.patience > 0 {
		if err := b.conn.SetWriteDeadline(time.Now().Add(b.patience)); err != nil {
			return n, err
		}
	}
	more, err := b.conn.Write(chunk[n:])
	if n += more; err == nil && n < len(chunk) {
		err = io.ErrShortWrite
	}
	if b.raw != nil && b.patience > 0 && err == nil {
		err = b.conn.SetWriteDeadline(time.Time{}) // try must not meet it
	}
	return n, err
}

// Close refuses further frames, waits up to linger for those appended to be written, and closes the connection. It is
// idempotent, and returns when the writer has ended.
func (b *Outbox) Close(linger time.Duration) {
	b.mu.Lock()
	if b.idle == nil {
		b.idle = sync.NewCond(&b.mu)
	}
	if b.err == nil && linger > 0 && b.writing {
		cut := time.AfterFunc(linger, func() { b.fail(ErrClosed) })
		for b.writing && b.err == nil {
			b.idle.Wait()
		}
		cut.Stop()
	}
	if b.err == nil {
		b.err = ErrClosed
	}
	b.mu.Unlock()
	b.conn.Close() //nolint:errcheck // the peer is gone or told; nothing depends on it
	b.mu.Lock()
	for b.writing {
		b.idle.Wait()
	}
	b.mu.Unlock()
}

func (b *Outbox) fail(err error) {
	b.mu.Lock()
	if b.err == nil {
		b.err = err
	}
	b.mu.Unlock()
	b.conn.Close() //nolint:errcheck // wakes the writer
}
