package frame

// Close ends a connection. 2 §2.7.9
type Close struct {
	Error *Error
}

// Descriptor is CodeClose.
func (*Close) Descriptor() Descriptor { return CodeClose }

// Decode reads the performative.
func (p *Close) Decode(body []byte, l Limits) error {
	var f fields
	rest := f.open(body, CodeClose, l)
	p.Error = f.error("error")
	return f.last(rest)
}

// Append writes the performative.
func (p *Close) Append(dst []byte) []byte {
	w := begin(dst, CodeClose)
	w.error(p.Error)
	return w.done()
}
