package frame

// MaxDeliveryTag is how many bytes a delivery-tag has at most. 2 §2.8.7
const MaxDeliveryTag = 32

// Transfer carries a message or a part of one. 2 §2.7.5 DeliveryTag, State and Payload alias what was decoded. Decode and
// Append allocate nothing.
type Transfer struct {
	Handle             uint32
	DeliveryID         Optional[uint32] // in the first transfer of a delivery
	DeliveryTag        []byte           // likewise; nil when absent
	MessageFormat      Optional[uint32] // likewise; zero is the format of part 3
	Settled            bool             // in any transfer of a delivery
	More               bool
	ReceiverSettleMode Optional[ReceiverSettleMode]
	State              State
	Resume             bool
	Aborted            bool
	Batchable          bool
	Payload            []byte // what follows the performative
}

// Descriptor is CodeTransfer.
func (*Transfer) Descriptor() Descriptor { return CodeTransfer }

// Decode reads the performative and the payload.
func (t *Transfer) Decode(body []byte, l Limits) error {
	var f fields
	t.Payload = f.open(body, CodeTransfer, l)
	t.Handle = f.mustUint("handle")
	t.DeliveryID = f.optUint("delivery-id")
	t.DeliveryTag = f.deliveryTag("delivery-tag")
	t.MessageFormat = f.optUint("message-format")
	t.Settled = f.flag("settled")
	t.More = f.flag("more")
	t.ReceiverSettleMode = f.optReceiverSettleMode("rcv-settle-mode")
	t.State = f.state("state")
	t.Resume = f.flag("resume")
	t.Aborted = f.flag("aborted")
	t.Batchable = f.flag("batchable")
	return f.end()
}

func (f *fields) deliveryTag(name string) []byte {
	b := f.binary(name)
	if len(b) > MaxDeliveryTag {
		f.fail(InvalidField, "%s of %s has %d bytes, the maximum is %d", name, f.of, len(b), MaxDeliveryTag)
	}
	return b
}

func (f *fields) optReceiverSettleMode(name string) (m Optional[ReceiverSettleMode]) {
	v := f.optUbyte(name)
	if v.Value > uint8(ReceiverSecond) {
		f.invalid(name, v.Value)
	}
	return Optional[ReceiverSettleMode]{Value: ReceiverSettleMode(v.Value), Present: v.Present}
}

// Append writes the performative and the payload.
func (t *Transfer) Append(dst []byte) []byte {
	return append(t.appendFields(dst, t.More), t.Payload...)
}

func (t *Transfer) appendFields(dst []byte, more bool) []byte {
	w := begin(dst, CodeTransfer)
	w.mustUint(t.Handle)
	w.optUint(t.DeliveryID)
	w.binary(t.DeliveryTag)
	w.optUint(t.MessageFormat)
	w.flag(t.Settled)
	w.flag(more)
	if t.ReceiverSettleMode.Present {
		w.field(AppendUbyte(w.dst, uint8(t.ReceiverSettleMode.Value)))
	} else {
		w.null()
	}
	w.state(t.State)
	w.flag(t.Resume)
	w.flag(t.Aborted)
	w.flag(t.Batchable)
	return w.done()
}
