package frame

import "math"

// Open is the first performative of a connection. 2 §2.7.1
type Open struct {
	ContainerID         string
	Hostname            string // empty when absent
	MaxFrameSize        uint32 // at least MinMax
	ChannelMax          uint16
	IdleTimeout         uint32 // milliseconds; zero when there is none
	OutgoingLocales     []string
	IncomingLocales     []string
	OfferedCapabilities []string
	DesiredCapabilities []string
	Properties          Map // keys are symbols; nil when absent
}

// Descriptor is CodeOpen.
func (*Open) Descriptor() Descriptor { return CodeOpen }

// Decode reads the performative.
func (o *Open) Decode(body []byte, l Limits) error {
	var f fields
	rest := f.open(body, CodeOpen, l)
	o.ContainerID = f.mustText("container-id")
	o.Hostname = f.text("hostname")
	o.MaxFrameSize = f.uint("max-frame-size", Unlimited)
	o.ChannelMax = math.MaxUint16
	if v := f.optUshort("channel-max"); v.Present {
		o.ChannelMax = v.Value
	}
	o.IdleTimeout = f.uint("idle-time-out", 0)
	o.OutgoingLocales = f.symbols("outgoing-locales")
	o.IncomingLocales = f.symbols("incoming-locales")
	o.OfferedCapabilities = f.symbols("offered-capabilities")
	o.DesiredCapabilities = f.symbols("desired-capabilities")
	o.Properties = f.symbolMap("properties")
	if o.MaxFrameSize < MinMax {
		f.invalid("max-frame-size", o.MaxFrameSize)
	}
	return f.last(rest)
}

// Append writes the performative.
func (o *Open) Append(dst []byte) []byte {
	w := begin(dst, CodeOpen)
	w.field(AppendString(w.dst, o.ContainerID))
	w.text(o.Hostname)
	w.uint(o.MaxFrameSize, Unlimited)
	w.ushort(o.ChannelMax, math.MaxUint16)
	w.uint(o.IdleTimeout, 0)
	w.symbols(o.OutgoingLocales)
	w.symbols(o.IncomingLocales)
	w.symbols(o.OfferedCapabilities)
	w.symbols(o.DesiredCapabilities)
	w.mapping(o.Properties)
	return w.done()
}
