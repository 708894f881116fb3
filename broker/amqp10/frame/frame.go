// Package frame is the codec of AMQP 1.0: protocol headers, frames, performatives, the type system, and the sections of a
// message.
//
// It is pure: bytes in, values out, and the other way round; no limits but those passed in. Decoded values alias the bytes
// they were read from wherever their type is a slice; strings are copies. It knows no connection and no state: package
// amqp10 decides which frame may come when.
//
// Clauses are cited as AMQP 1.0 with the part and the section of the OASIS standard: 2 §2.3.1 is part 2, transport.
package frame

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Type says how the body of a frame is read. 2 §2.3.1
type Type uint8

// The types of frames.
const (
	TypeAMQP Type = 0
	TypeSASL Type = 1
)

func (t Type) String() string {
	switch t {
	case TypeAMQP:
		return "AMQP"
	case TypeSASL:
		return "SASL"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

const (
	headerSize = 8
	wordSize   = 4 // of what the data offset counts
	leastWords = headerSize / wordSize
	// MinMax is the lowest max-frame-size that a peer may have, what holds before open, and the most for SASL. 2 §2.3.1, 5 §5.3.1
	MinMax = 512
	// Unlimited is the max-frame-size of a peer that names none. 2 §2.7.1
	Unlimited = math.MaxUint32
)

// Frame is one frame. Body aliases the bytes it was read from. An AMQP frame without a body is a heartbeat. 2 §2.4.5
//
//	0      4      5      6         8                      4*doff         size
//	+------+------+------+---------+----------------------+--------------+
//	| size | doff | type | channel | extended header      | body         |
//	+------+------+------+---------+----------------------+--------------+
//
// The extended header is skipped. Bytes 6 and 7 mean nothing in a SASL frame.
type Frame struct {
	Type    Type
	Channel uint16
	Body    []byte
}

// Read reads the frame that src begins with, of at most most bytes, and answers its length; zero when src holds only a
// part of it. What cannot be a frame is refused with its first bytes. The error is a *Fault with FramingError.
func Read(src []byte, most int) (f Frame, n int, err error) {
	if len(src) < wordSize {
		return f, 0, nil
	}
	size := binary.BigEndian.Uint32(src)
	switch {
	case size < headerSize:
		return f, 0, framingError("frame of %d bytes is shorter than its header", size)
	case uint64(size) > uint64(most):
		return f, 0, framingError("frame of %d bytes is larger than the maximum of %d", size, most)
	case len(src) > 4 && src[4] < leastWords:
		return f, 0, framingError("frame's data offset is %d, less than %d", src[4], leastWords)
	case len(src) > 4 && uint32(src[4])*wordSize > size:
		return f, 0, framingError("frame's data offset is %d, behind its %d bytes", src[4], size)
	case len(src) > 5 && Type(src[5]) > TypeSASL:
		return f, 0, framingError("unknown frame %s", Type(src[5]))
	case uint64(len(src)) < uint64(size):
		return f, 0, nil
	}
	n = int(size)
	f.Type, f.Body = Type(src[5]), src[int(src[4])*wordSize:n:n]
	switch {
	case f.Type == TypeAMQP:
		f.Channel = binary.BigEndian.Uint16(src[6:])
	case len(f.Body) == 0:
		return f, 0, framingError("SASL frame is empty") // 5 §5.3.1
	}
	return f, n, nil
}

func framingError(format string, args ...any) *Fault {
	return faultf(ScopeConnection, FramingError, format, args...)
}

// Size is how many bytes the frame that src begins with has, as far as src tells; at least the size of a frame's header.
// It is for making room, after Read answered that the frame is incomplete.
func Size(src []byte) int {
	if len(src) < wordSize {
		return headerSize
	}
	return max(headerSize, int(binary.BigEndian.Uint32(src)))
}

// Append writes a frame.
func (f *Frame) Append(dst []byte) []byte {
	dst, at := beginFrame(dst, f.Type, f.Channel)
	return endFrame(append(dst, f.Body...), at)
}

// AppendHeartbeat writes an empty frame. 2 §2.4.5
func AppendHeartbeat(dst []byte) []byte {
	dst, at := beginFrame(dst, TypeAMQP, 0)
	return endFrame(dst, at)
}

func beginFrame(dst []byte, t Type, channel uint16) (_ []byte, at int) {
	return append(dst, 0, 0, 0, 0, leastWords, byte(t), byte(channel>>8), byte(channel)), len(dst)
}

// endFrame ends the frame that begins at dst[at], whose size was not known when it began.
func endFrame(dst []byte, at int) []byte {
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at))
	return dst
}

// limited ends a frame as endFrame does, unless it has more than most bytes: then dst is as before, and the error a
// *Fault with FrameSizeTooSmall.
func limited(dst []byte, at, most int, what Descriptor) ([]byte, error) {
	if size := len(dst) - at; size > most {
		return dst[:at], faultf(what.scope(), FrameSizeTooSmall, "%s needs a frame of %d bytes, the maximum is %d", what, size, most)
	}
	return endFrame(dst, at), nil
}

// AppendFrame writes a frame with a performative, of at most most bytes, which is what the peer takes. If it would be
// larger, dst comes back as it was, with a *Fault of FrameSizeTooSmall.
func AppendFrame(dst []byte, channel uint16, p Performative, most int) ([]byte, error) {
	d := p.Descriptor()
	dst, at := beginFrame(dst, d.frameType(), channel)
	return limited(p.Append(dst), at, most, d)
}

// AppendFlow writes a frame as AppendFrame does, without the allocation that an interface would cost.
func AppendFlow(dst []byte, channel uint16, p *Flow, most int) ([]byte, error) {
	dst, at := beginFrame(dst, TypeAMQP, channel)
	return limited(p.Append(dst), at, most, CodeFlow)
}

// AppendDisposition writes a frame; see AppendFlow.
func AppendDisposition(dst []byte, channel uint16, p *Disposition, most int) ([]byte, error) {
	dst, at := beginFrame(dst, TypeAMQP, channel)
	return limited(p.Append(dst), at, most, CodeDisposition)
}

// AppendTransfer writes a frame with as much of a delivery as fits in most bytes, and answers how many bytes of the message
// that is. The message is head, the sections that are written anew for this delivery, followed by p.Payload. If some of it
// is left, the frame says that more comes, whatever p says; the frames that follow need no field of p but the handle.
// 2 §2.6.14. An error is one of AppendFrame.
func AppendTransfer(dst []byte, channel uint16, p *Transfer, head []byte, most int) (_ []byte, n int, err error) {
	size := len(head) + len(p.Payload)
	dst, at := beginFrame(dst, TypeAMQP, channel)
	body := len(dst)
	dst = p.appendFields(dst, p.More)
	if len(dst)-at+size > most && !p.More {
		dst = p.appendFields(dst[:body], true)
	}
	n = min(size, most-(len(dst)-at))
	if n < 0 || n == 0 && size > 0 {
		return dst[:at], 0, faultf(ScopeSession, FrameSizeTooSmall, "transfer needs a frame of more than %d bytes", most)
	}
	fromHead := min(n, len(head))
	dst = append(dst, head[:fromHead]...)
	dst = append(dst, p.Payload[:n-fromHead]...)
	return endFrame(dst, at), n, nil
}
