package frame

import "fmt"

// Role says at which end of a link a peer is. 2 §2.8.1
type Role bool

// The roles.
const (
	Sender   Role = false
	Receiver Role = true
)

func (r Role) String() string {
	if r == Receiver {
		return "receiver"
	}
	return "sender"
}

// SenderSettleMode says when the sender settles. 2 §2.8.2
type SenderSettleMode uint8

// The modes of senders.
const (
	SenderUnsettled SenderSettleMode = 0
	SenderSettled   SenderSettleMode = 1
	SenderMixed     SenderSettleMode = 2 // the default
)

func (m SenderSettleMode) String() string {
	return nameOf(uint8(m), "unsettled", "settled", "mixed")
}

// ReceiverSettleMode says when the receiver settles. 2 §2.8.3
type ReceiverSettleMode uint8

// The modes of receivers.
const (
	ReceiverFirst  ReceiverSettleMode = 0 // the default: before the sender
	ReceiverSecond ReceiverSettleMode = 1 // after the sender
)

func (m ReceiverSettleMode) String() string { return nameOf(uint8(m), "first", "second") }

// nameOf is the name of one of the values of a restricted type.
func nameOf(v uint8, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprint(v)
}

// Attach attaches a link to a session. 2 §2.7.3
type Attach struct {
	Name                 string
	Handle               uint32
	Role                 Role
	SenderSettleMode     SenderSettleMode
	ReceiverSettleMode   ReceiverSettleMode
	Source               *Source
	Target               *Target
	Coordinator          *Coordinator     // instead of Target
	Unsettled            Map              // delivery-tags to states, see StateOf; nil differs from empty
	IncompleteUnsettled  bool             // there are more than fit in the frame
	InitialDeliveryCount Optional[uint32] // of a sender, always
	MaxMessageSize       uint64           // zero when there is none
	OfferedCapabilities  []string
	DesiredCapabilities  []string
	Properties           Map // keys are symbols; nil when absent
}

// Descriptor is CodeAttach.
func (*Attach) Descriptor() Descriptor { return CodeAttach }

// Decode reads the performative.
func (a *Attach) Decode(body []byte, l Limits) error {
	var f fields
	rest := f.open(body, CodeAttach, l)
	a.Name = f.mustText("name")
	a.Handle = f.mustUint("handle")
	a.Role = Role(f.mustFlag("role"))
	a.SenderSettleMode = SenderSettleMode(f.ubyte("snd-settle-mode", uint8(SenderMixed)))
	if a.SenderSettleMode > SenderMixed {
		f.invalid("snd-settle-mode", a.SenderSettleMode)
	}
	a.ReceiverSettleMode = f.optReceiverSettleMode("rcv-settle-mode").Value
	a.Source = f.source("source")
	a.Target, a.Coordinator = f.target("target")
	a.Unsettled = f.unsettled("unsettled")
	a.IncompleteUnsettled = f.flag("incomplete-unsettled")
	a.InitialDeliveryCount = f.optUint("initial-delivery-count")
	a.MaxMessageSize = f.optUlong("max-message-size").Value
	a.OfferedCapabilities = f.symbols("offered-capabilities")
	a.DesiredCapabilities = f.symbols("desired-capabilities")
	a.Properties = f.symbolMap("properties")
	if a.Role == Sender && !a.InitialDeliveryCount.Present {
		f.missing("initial-delivery-count of a sender")
	}
	return f.last(rest)
}

// unsettled reads a map of delivery-tags, whose values are states or null.
func (f *fields) unsettled(name string) Map {
	m := f.mapping(name)
	for k, v := range m.All() {
		if k.Kind() != KindBinary || k.Described() {
			f.fail(DecodeError, "%s of %s has a key that is no delivery-tag", name, f.of)
		}
		if _, err := StateOf(v); err != nil && f.err == nil {
			f.fail(InvalidField, "%s of %s: %s", name, f.of, err)
		}
	}
	return m
}

// Append writes the performative.
func (a *Attach) Append(dst []byte) []byte {
	w := begin(dst, CodeAttach)
	w.field(AppendString(w.dst, a.Name))
	w.mustUint(a.Handle)
	w.field(AppendBool(w.dst, bool(a.Role)))
	w.ubyte(uint8(a.SenderSettleMode), uint8(SenderMixed))
	w.ubyte(uint8(a.ReceiverSettleMode), uint8(ReceiverFirst))
	if a.Source != nil {
		w.field(a.Source.append(w.dst))
	} else {
		w.null()
	}
	switch {
	case a.Coordinator != nil:
		w.field(a.Coordinator.append(w.dst))
	case a.Target != nil:
		w.field(a.Target.append(w.dst))
	default:
		w.null()
	}
	w.mapping(a.Unsettled)
	w.flag(a.IncompleteUnsettled)
	w.optUint(a.InitialDeliveryCount)
	w.ulong(a.MaxMessageSize, 0)
	w.symbols(a.OfferedCapabilities)
	w.symbols(a.DesiredCapabilities)
	w.mapping(a.Properties)
	return w.done()
}
