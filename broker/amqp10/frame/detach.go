package frame

// Detach detaches a link from its session, and ends it if Closed. 2 §2.7.7
type Detach struct {
	Handle uint32
	Closed bool
	Error  *Error
}

// Descriptor is CodeDetach.
func (*Detach) Descriptor() Descriptor { return CodeDetach }

// Decode reads the performative.
func (d *Detach) Decode(body []byte, l Limits) error {
	var f fields
	rest := f.open(body, CodeDetach, l)
	d.Handle = f.mustUint("handle")
	d.Closed = f.flag("closed")
	d.Error = f.error("error")
	return f.last(rest)
}

// Append writes the performative.
func (d *Detach) Append(dst []byte) []byte {
	w := begin(dst, CodeDetach)
	w.mustUint(d.Handle)
	w.flag(d.Closed)
	w.error(d.Error)
	return w.done()
}
