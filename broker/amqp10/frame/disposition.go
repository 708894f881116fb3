package frame

// Disposition tells the state of deliveries, and that they are settled. 2 §2.7.6 Decode and Append allocate nothing.
type Disposition struct {
	Role      Role // of the one who sends it
	First     uint32
	Last      Optional[uint32] // First when absent
	Settled   bool
	State     State
	Batchable bool
}

// Descriptor is CodeDisposition.
func (*Disposition) Descriptor() Descriptor { return CodeDisposition }

// Decode reads the performative.
func (d *Disposition) Decode(body []byte, l Limits) error {
	var f fields
	rest := f.open(body, CodeDisposition, l)
	d.Role = Role(f.mustFlag("role"))
	d.First = f.mustUint("first")
	d.Last = f.optUint("last")
	d.Settled = f.flag("settled")
	d.State = f.state("state")
	d.Batchable = f.flag("batchable")
	return f.last(rest)
}

// Append writes the performative.
func (d *Disposition) Append(dst []byte) []byte {
	w := begin(dst, CodeDisposition)
	w.field(AppendBool(w.dst, bool(d.Role)))
	w.mustUint(d.First)
	w.optUint(d.Last)
	w.flag(d.Settled)
	w.state(d.State)
	w.flag(d.Batchable)
	return w.done()
}
