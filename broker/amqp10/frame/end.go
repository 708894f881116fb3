package frame

// End ends a session. 2 §2.7.8
type End struct {
	Error *Error
}

// Descriptor is CodeEnd.
func (*End) Descriptor() Descriptor { return CodeEnd }

// Decode reads the performative.
func (p *End) Decode(body []byte, l Limits) error {
	var f fields
	rest := f.open(body, CodeEnd, l)
	p.Error = f.error("error")
	return f.last(rest)
}

// Append writes the performative.
func (p *End) Append(dst []byte) []byte {
	w := begin(dst, CodeEnd)
	w.error(p.Error)
	return w.done()
}
