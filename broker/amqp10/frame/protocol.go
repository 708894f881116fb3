package frame

import "fmt"

// ProtocolID is the layer that a protocol header announces. 2 §2.2, 5 §5.2, 5 §5.3.2
type ProtocolID uint8

// The layers.
const (
	ProtocolAMQP ProtocolID = 0
	ProtocolTLS  ProtocolID = 2
	ProtocolSASL ProtocolID = 3
)

func (p ProtocolID) String() string {
	switch p {
	case ProtocolAMQP:
		return "AMQP"
	case ProtocolTLS:
		return "TLS"
	case ProtocolSASL:
		return "SASL"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// ProtocolHeaderSize is how many bytes a protocol header has.
const ProtocolHeaderSize = 8

const protocolMagic = "AMQP"

// ProtocolHeader is what each peer sends first, for each layer. 2 §2.2
//
//	0        4    5       6       7          8
//	+--------+----+-------+-------+----------+
//	| "AMQP" | id | major | minor | revision |
//	+--------+----+-------+-------+----------+
type ProtocolHeader struct {
	ID                     ProtocolID
	Major, Minor, Revision uint8
}

// Version10 is the header of a layer in the only version that there is.
func Version10(id ProtocolID) ProtocolHeader { return ProtocolHeader{ID: id, Major: 1} }

// Supported says whether the layer and the version are known. A server answers others with a header of its own and
// closes. 2 §2.2
func (h ProtocolHeader) Supported() bool {
	return h == Version10(ProtocolAMQP) || h == Version10(ProtocolTLS) || h == Version10(ProtocolSASL)
}

// ReadProtocolHeader reads the header that src begins with, of any layer and version, and answers its length; zero when
// src holds only a part of it. The error is a *Fault with FramingError.
func ReadProtocolHeader(src []byte) (h ProtocolHeader, n int, err error) {
	for i := range min(len(src), len(protocolMagic)) {
		if src[i] != protocolMagic[i] {
			return h, 0, framingError("protocol header does not begin with %q", protocolMagic)
		}
	}
	if len(src) < ProtocolHeaderSize {
		return h, 0, nil
	}
	return ProtocolHeader{ID: ProtocolID(src[4]), Major: src[5], Minor: src[6], Revision: src[7]}, ProtocolHeaderSize, nil
}

// Append writes the header.
func (h ProtocolHeader) Append(dst []byte) []byte {
	return append(append(dst, protocolMagic...), byte(h.ID), h.Major, h.Minor, h.Revision)
}
