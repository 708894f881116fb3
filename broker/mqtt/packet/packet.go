// Package packet is the wire format of MQTT 3.1, 3.1.1 and 5.0: a struct per control packet with Decode and Append.
//
// It is pure: no I/O, no pools, no limits but those passed in. Next finds packets in a read buffer, Decode of a packet's
// type reads one, Append writes one. The endpoint above owns the buffers, checks topic names and filters beyond their
// bytes, and knows what may follow what.
//
// Clauses are cited as [MQTT-x.y.z-n] of version 3.1.1 where both versions have the rule, and as [MQTT5-x.y.z-n] where
// only version 5 does.
package packet

import "math"

// Version is the protocol level that a client names in CONNECT.
type Version uint8

// The versions.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// Type is the type of a control packet. [MQTT 3.1.1 §2.2.1]
type Type uint8

// The control packets.
const (
	TypeConnect     Type = 1
	TypeConnack     Type = 2
	TypePublish     Type = 3
	TypePuback      Type = 4
	TypePubrec      Type = 5
	TypePubrel      Type = 6
	TypePubcomp     Type = 7
	TypeSubscribe   Type = 8
	TypeSuback      Type = 9
	TypeUnsubscribe Type = 10
	TypeUnsuback    Type = 11
	TypePingreq     Type = 12
	TypePingresp    Type = 13
	TypeDisconnect  Type = 14
	TypeAuth        Type = 15 // MQTT 5
)

var typeNames = [...]string{"type 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
	"UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

func (t Type) String() string { return typeNames[t&15] }

// TypeOf is the type of a packet of at least one byte.
func TypeOf(packet []byte) Type { return Type(packet[0] >> 4) }

// Packet is one control packet.
type Packet interface {
	// Decode reads one whole packet, fixed header included. The error is an *Error.
	Decode(src []byte, v Version) error
	// Append writes the whole packet.
	Append(dst []byte, v Version) []byte
}

// New is an empty packet of a type; nil if there is no such type.
func New(t Type) Packet {
	switch t {
	case TypeConnect:
		return new(Connect)
	case TypeConnack:
		return new(Connack)
	case TypePublish:
		return new(Publish)
	case TypePuback:
		return new(Puback)
	case TypePubrec:
		return new(Pubrec)
	case TypePubrel:
		return new(Pubrel)
	case TypePubcomp:
		return new(Pubcomp)
	case TypeSubscribe:
		return new(Subscribe)
	case TypeSuback:
		return new(Suback)
	case TypeUnsubscribe:
		return new(Unsubscribe)
	case TypeUnsuback:
		return new(Unsuback)
	case TypePingreq:
		return new(Pingreq)
	case TypePingresp:
		return new(Pingresp)
	case TypeDisconnect:
		return new(Disconnect)
	case TypeAuth:
		return new(Auth)
	}
	return nil
}

// The fixed header. The remaining length has 7 bits a byte, least first, in at most four bytes. [MQTT 3.1.1 §2.2]
//
//	+------+-------+----------------------+
//	| type | flags | remaining length     |
//	| 4    | 4     | 8 … 32               |
//	+------+-------+----------------------+
const (
	flagsMask       = 0x0f
	reservedFlags   = 0x02 // of PUBREL, SUBSCRIBE, UNSUBSCRIBE
	maxLengthBytes  = 4
	maxHeader       = 1 + maxLengthBytes
	more            = 0x80
	maxVarint       = 1<<28 - 1
	maxPacket       = maxVarint + maxHeader
	maxText         = math.MaxUint16
	unknownLength   = -1 // of a length that is cut short
	malformedLength = -2 // of a length of more than four bytes
)

// Next says how many bytes the packet at the start of src has, of which src may hold only some; zero says that src
// does not tell yet. A packet of more than most bytes is an error, whether it is there or only announced.
func Next(src []byte, most int) (size int, err error) {
	if len(src) == 0 {
		return 0, nil
	}
	if TypeOf(src) == 0 {
		return 0, malformed("packet of type 0")
	}
	length, n := varint(src[1:])
	switch n {
	case unknownLength:
		return 0, nil
	case malformedLength:
		return 0, malformed("remaining length of more than four bytes")
	}
	if size = 1 + n + length; size > most {
		return 0, errorf(PacketTooLarge, "packet of %d bytes is more than %d", size, most) // [MQTT5-3.2.2-15]
	}
	return size, nil
}

// varint reads a variable byte integer and answers the count of its bytes, or one of the negative lengths.
func varint(src []byte) (value, n int) {
	for i := range maxLengthBytes {
		if i == len(src) {
			return 0, unknownLength
		}
		value |= int(src[i]&^more) << (7 * i)
		if src[i]&more == 0 {
			return value, i + 1
		}
	}
	return 0, malformedLength
}

func appendVarint(dst []byte, v int) []byte {
	for v >= more {
		dst = append(dst, byte(v)|more)
		v >>= 7
	}
	return append(dst, byte(v))
}

func varintLen(v int) int {
	n := 1
	for ; v >= more; v >>= 7 {
		n++
	}
	return n
}

// open checks the fixed header of a packet and answers a cursor over what follows it, and the flags.
func open(src []byte, t Type, v Version) (c cursor, flags byte) {
	if len(src) == 0 || TypeOf(src) != t {
		c.fail(MalformedPacket, "not a packet of this type")
		return c, 0
	}
	length, n := varint(src[1:])
	if n < 0 || 1+n+length != len(src) {
		c.fail(MalformedPacket, "remaining length is not that of the packet")
		return c, 0
	}
	if v == V5 && n != varintLen(length) {
		c.fail(MalformedPacket, "remaining length is longer than it needs to be") // [MQTT5-1.5.5-1]
		return c, 0
	}
	flags = src[0] & flagsMask
	if !flagsAllowed(t, flags, v) {
		c.fail(MalformedPacket, "reserved flags of the fixed header are wrong") // [MQTT-2.2.2-1], [MQTT-2.2.2-2]
		return c, 0
	}
	c.src = src[1+n:]
	return c, flags
}

func flagsAllowed(t Type, flags byte, v Version) bool {
	switch t {
	case TypePublish:
		return true
	case TypePubrel, TypeSubscribe, TypeUnsubscribe:
		// [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1]; version 3.1 may set DUP when it sends one again.
		return flags == reservedFlags || v == V31 && flags == reservedFlags|flagDup
	}
	return flags == 0 // [MQTT-3.14.1-1], [MQTT5-3.15.1-1]
}

// begin writes a fixed header with room for a remaining length of one byte; finish puts the right one in.
func begin(dst []byte, t Type, flags byte) (_ []byte, at int) {
	return append(dst, byte(t)<<4|flags, 0), len(dst)
}

// finish writes the remaining length of the packet that begin began at at.
func finish(dst []byte, at int) []byte {
	length := len(dst) - at - 2
	if length < more {
		dst[at+1] = byte(length)
		return dst
	}
	if length > maxVarint {
		panic("packet: remaining length over the protocol's maximum")
	}
	n := varintLen(length)
	dst = append(dst, make([]byte, n-1)...)
	copy(dst[at+1+n:], dst[at+2:at+2+length])
	appendVarint(dst[at+1:at+1], length)
	return dst
}
