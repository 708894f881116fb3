// Package frame is the codec of AMQP 0-9-1 with RabbitMQ's extensions: frames, methods, field tables and content headers.
//
// It is pure: bytes in, values out, and the other way round. The methods are generated from methods.txt; what needs
// judgement is written by hand. Decoded values alias the bytes they were read from wherever their type is a slice. It
// knows no connection and no state: package amqp091 decides which frame may come when.
//
//go:generate go run ../../../hack/amqp091methods methods.txt methods_gen.go
package frame

import (
	"encoding/binary"
	"fmt"
)

// ProtocolHeader is what a client sends first, and what a server answers when it was sent something else. §4.2.2
const ProtocolHeader = "AMQP\x00\x00\x09\x01"

// Type says what a frame's payload is. §4.2.3
type Type uint8

// The types of frames.
const (
	TypeMethod    Type = 1
	TypeHeader    Type = 2
	TypeBody      Type = 3
	TypeHeartbeat Type = 8
)

func (t Type) String() string {
	switch t {
	case TypeMethod:
		return "method"
	case TypeHeader:
		return "content header"
	case TypeBody:
		return "content body"
	case TypeHeartbeat:
		return "heartbeat"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

const (
	end        = 0xCE
	headerSize = 7 // type, channel, size
	// Overhead is what a frame adds to its payload.
	Overhead = headerSize + 1
	// MinMax is the lowest frame-max that peers may agree on, and what holds before they did. §4.2.3, §1.4.2.6
	MinMax = 4096
)

// Frame is one frame. Payload aliases the bytes it was read from.
//
//	0      1         3             7                  size+7 size+8
//	+------+---------+-------------+ +------------+ +-----------+
//	| type | channel |     size    | |  payload   | | frame-end |
//	+------+---------+-------------+ +------------+ +-----------+
type Frame struct {
	Type    Type
	Channel uint16
	Payload []byte
}

// Read reads the frame that src begins with, of at most most bytes with its overhead, and answers its length; zero when
// src holds only a part of it. The error is a *Error of the code FrameError.
func Read(src []byte, most int) (f Frame, n int, err error) {
	if len(src) < headerSize {
		if len(src) > 0 && !known(Type(src[0])) {
			return f, 0, errorf(FrameError, "unknown frame %s", Type(src[0]))
		}
		return f, 0, nil
	}
	f.Type, f.Channel = Type(src[0]), binary.BigEndian.Uint16(src[1:])
	size := binary.BigEndian.Uint32(src[3:])
	if !known(f.Type) {
		return f, 0, errorf(FrameError, "unknown frame %s", f.Type)
	}
	if uint64(size)+Overhead > uint64(most) {
		return f, 0, errorf(FrameError, "frame of %d bytes is larger than the maximum of %d", uint64(size)+Overhead, most)
	}
	n = int(size) + Overhead
	if len(src) < n {
		return f, 0, nil
	}
	if src[n-1] != end {
		return f, 0, errorf(FrameError, "frame ends with %#02x, not %#02x", src[n-1], end) // §4.2.3
	}
	f.Payload = src[headerSize : n-1 : n-1]
	return f, n, nil
}

// Size is how many bytes the frame that src begins with has, as far as src tells; at least the size of a frame's header.
// It is for making room, after Read answered that the frame is incomplete.
func Size(src []byte) int {
	if len(src) < headerSize {
		return headerSize
	}
	return int(binary.BigEndian.Uint32(src[3:])) + Overhead
}

func known(t Type) bool {
	return t == TypeMethod || t == TypeHeader || t == TypeBody || t == TypeHeartbeat
}

// Append writes a frame.
func (f *Frame) Append(dst []byte) []byte {
	dst = appendHeader(dst, f.Type, f.Channel, len(f.Payload))
	dst = append(dst, f.Payload...)
	return append(dst, end)
}

// Of is the payload in a frame that Append wrote.
func (f *Frame) Of(written []byte) []byte { return written[headerSize : len(written)-1] }

func appendHeader(dst []byte, t Type, channel uint16, size int) []byte {
	return append(dst, byte(t), byte(channel>>8), byte(channel), byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
}

// AppendHeartbeat writes a heartbeat frame. §4.2.7
func AppendHeartbeat(dst []byte) []byte {
	return append(appendHeader(dst, TypeHeartbeat, 0, 0), end)
}

// AppendMethod writes a method frame.
func AppendMethod(dst []byte, channel uint16, m Method) []byte {
	dst, at := beginMethod(dst, channel, m.ID())
	return endFrame(m.Append(dst), at)
}

func beginMethod(dst []byte, channel uint16, id ID) (_ []byte, at int) {
	at = len(dst)
	dst = appendHeader(dst, TypeMethod, channel, 0)
	return binary.BigEndian.AppendUint32(dst, uint32(id)), at
}

// endFrame ends the frame that begins at dst[at], whose size was not known when it began.
func endFrame(dst []byte, at int) []byte {
	binary.BigEndian.PutUint32(dst[at+3:], uint32(len(dst)-at-headerSize))
	return append(dst, end)
}

// AppendDeliver writes the method frame of a basic.deliver, without the allocation that an interface would cost.
func AppendDeliver(dst []byte, channel uint16, m *BasicDeliver) []byte {
	dst, at := beginMethod(dst, channel, BasicDeliverID)
	return endFrame(m.Append(dst), at)
}

// AppendAck writes the method frame of a basic.ack; see AppendDeliver.
func AppendAck(dst []byte, channel uint16, m *BasicAck) []byte {
	dst, at := beginMethod(dst, channel, BasicAckID)
	return endFrame(m.Append(dst), at)
}

// AppendPublish writes the method frame of a basic.publish; see AppendDeliver.
func AppendPublish(dst []byte, channel uint16, m *BasicPublish) []byte {
	dst, at := beginMethod(dst, channel, BasicPublishID)
	return endFrame(m.Append(dst), at)
}

// AppendContent writes the header frame and the body frames of a message; a body of no bytes has no frame. most is the
// negotiated frame-max. §4.2.6
func AppendContent(dst []byte, channel uint16, p Properties, body []byte, most int) []byte {
	if len(p) == 0 {
		p = NoProperties
	}
	dst = appendHeader(dst, TypeHeader, channel, contentHeaderSize+len(p))
	dst = append(dst, byte(ClassBasic>>8), byte(ClassBasic), 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(len(body)))
	dst = append(dst, p...)
	dst = append(dst, end)
	for len(body) > 0 {
		n := min(len(body), most-Overhead)
		dst = appendHeader(dst, TypeBody, channel, n)
		dst = append(dst, body[:n]...)
		dst = append(dst, end)
		body = body[n:]
	}
	return dst
}
