package frame

// Flow tells the windows of a session, and the credit of a link if Handle is there. 2 §2.7.4 Decode and Append allocate
// nothing.
type Flow struct {
	NextIncomingID Optional[uint32] // absent before the peer's begin came
	IncomingWindow uint32
	NextOutgoingID uint32
	OutgoingWindow uint32
	Handle         Optional[uint32] // absent in a flow of the session alone
	DeliveryCount  Optional[uint32]
	LinkCredit     Optional[uint32]
	Available      Optional[uint32]
	Drain          bool
	Echo           bool
	Properties     Map // keys are symbols; nil when absent
}

// Descriptor is CodeFlow.
func (*Flow) Descriptor() Descriptor { return CodeFlow }

// Decode reads the performative.
func (p *Flow) Decode(body []byte, l Limits) error {
	var f fields
	rest := f.open(body, CodeFlow, l)
	p.NextIncomingID = f.optUint("next-incoming-id")
	p.IncomingWindow = f.mustUint("incoming-window")
	p.NextOutgoingID = f.mustUint("next-outgoing-id")
	p.OutgoingWindow = f.mustUint("outgoing-window")
	p.Handle = f.optUint("handle")
	p.DeliveryCount = f.optUint("delivery-count")
	p.LinkCredit = f.optUint("link-credit")
	p.Available = f.optUint("available")
	p.Drain = f.flag("drain")
	p.Echo = f.flag("echo")
	p.Properties = f.symbolMap("properties")
	return f.last(rest)
}

// Append writes the performative.
func (p *Flow) Append(dst []byte) []byte {
	w := begin(dst, CodeFlow)
	w.optUint(p.NextIncomingID)
	w.mustUint(p.IncomingWindow)
	w.mustUint(p.NextOutgoingID)
	w.mustUint(p.OutgoingWindow)
	w.optUint(p.Handle)
	w.optUint(p.DeliveryCount)
	w.optUint(p.LinkCredit)
	w.optUint(p.Available)
	w.flag(p.Drain)
	w.flag(p.Echo)
	w.mapping(p.Properties)
	return w.done()
}
