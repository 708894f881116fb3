package frame

// DefaultPriority is that of messages that name none. 3 §3.2.1
const DefaultPriority = 4

// Header says how a message is transferred. 3 §3.2.1
type Header struct {
	Durable       bool
	Priority      uint8
	TTL           Optional[uint32] // milliseconds
	FirstAcquirer bool
	DeliveryCount uint32 // deliveries that failed
}

// NoHeader is what holds for a message that has none.
var NoHeader = Header{Priority: DefaultPriority}

// Decode reads a section. The error is a *Fault.
func (h *Header) Decode(s Section) error {
	var f fields
	rest := f.open(s, CodeHeader, unlimited)
	h.decode(&f)
	return f.last(rest)
}

func (h *Header) decode(f *fields) {
	h.Durable = f.flag("durable")
	h.Priority = f.ubyte("priority", DefaultPriority)
	h.TTL = f.optUint("ttl")
	h.FirstAcquirer = f.flag("first-acquirer")
	h.DeliveryCount = f.uint("delivery-count", 0)
}

// Append writes the section.
func (h *Header) Append(dst []byte) []byte {
	w := begin(dst, CodeHeader)
	w.flag(h.Durable)
	w.ubyte(h.Priority, DefaultPriority)
	w.optUint(h.TTL)
	w.flag(h.FirstAcquirer)
	w.uint(h.DeliveryCount, 0)
	return w.done()
}
