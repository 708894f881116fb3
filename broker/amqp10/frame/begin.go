package frame

import "math"

// Begin begins a session. 2 §2.7.2
type Begin struct {
	RemoteChannel       Optional[uint16] // the channel of the begin that this one answers
	NextOutgoingID      uint32
	IncomingWindow      uint32
	OutgoingWindow      uint32
	HandleMax           uint32
	OfferedCapabilities []string
	DesiredCapabilities []string
	Properties          Map // keys are symbols; nil when absent
}

// Descriptor is CodeBegin.
func (*Begin) Descriptor() Descriptor { return CodeBegin }

// Decode reads the performative.
func (b *Begin) Decode(body []byte, l Limits) error {
	var f fields
	rest := f.open(body, CodeBegin, l)
	b.RemoteChannel = f.optUshort("remote-channel")
	b.NextOutgoingID = f.mustUint("next-outgoing-id")
	b.IncomingWindow = f.mustUint("incoming-window")
	b.OutgoingWindow = f.mustUint("outgoing-window")
	b.HandleMax = f.uint("handle-max", math.MaxUint32)
	b.OfferedCapabilities = f.symbols("offered-capabilities")
	b.DesiredCapabilities = f.symbols("desired-capabilities")
	b.Properties = f.symbolMap("properties")
	return f.last(rest)
}

// Append writes the performative.
func (b *Begin) Append(dst []byte) []byte {
	w := begin(dst, CodeBegin)
	w.optUshort(b.RemoteChannel)
	w.mustUint(b.NextOutgoingID)
	w.mustUint(b.IncomingWindow)
	w.mustUint(b.OutgoingWindow)
	w.uint(b.HandleMax, math.MaxUint32)
	w.symbols(b.OfferedCapabilities)
	w.symbols(b.DesiredCapabilities)
	w.mapping(b.Properties)
	return w.done()
}
