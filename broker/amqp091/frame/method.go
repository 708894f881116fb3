package frame

import (
	"encoding/binary"
	"fmt"
)

// ID names a method: its class in the upper 16 bits, the method in the lower ones.
type ID uint32

// Class and Method are the two numbers.
func (id ID) Class() uint16  { return uint16(id >> 16) }
func (id ID) Method() uint16 { return uint16(id) }

// Method is the arguments of one method.
type Method interface {
	ID() ID
	// Decode reads arguments that fill src. Slices and tables alias src. The error is a *Error of the code SyntaxError.
	Decode(src []byte) error
	// Append writes the arguments. Strings longer than their length field are cut: whoever fills them in knows better.
	Append(dst []byte) []byte
}

// properties are what methods.txt says of a method.
type properties struct {
	name       string
	fromClient bool
	fromServer bool
	content    bool
	make       func() Method
}

func (id ID) String() string {
	if p, ok := methods[id]; ok {
		return p.name
	}
	return fmt.Sprintf("method %d.%d", id.Class(), id.Method())
}

// Known says whether there is such a method; FromClient and FromServer, who may send it; HasContent, whether content
// follows it.
func (id ID) Known() bool      { return methods[id].make != nil }
func (id ID) FromClient() bool { return methods[id].fromClient }
func (id ID) FromServer() bool { return methods[id].fromServer }
func (id ID) HasContent() bool { return methods[id].content }

// New makes an empty method; nil if there is no such method.
func (id ID) New() Method {
	if p, ok := methods[id]; ok {
		return p.make()
	}
	return nil
}

// IDSize is how many bytes of a method frame's payload name the method.
const IDSize = 4

// CutID splits the payload of a method frame into the method and its arguments.
func CutID(payload []byte) (ID, []byte, error) {
	if len(payload) < IDSize {
		return 0, nil, errorf(FrameError, "method frame of %d bytes names no method", len(payload))
	}
	return ID(binary.BigEndian.Uint32(payload)), payload[IDSize:], nil
}
