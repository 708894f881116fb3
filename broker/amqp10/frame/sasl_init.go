package frame

// SASLInit chooses a mechanism. 5 §5.3.3.2 InitialResponse aliases what was decoded.
type SASLInit struct {
	Mechanism       string
	InitialResponse []byte // nil when absent, which differs from empty
	Hostname        string // empty when absent
}

// Descriptor is CodeSASLInit.
func (*SASLInit) Descriptor() Descriptor { return CodeSASLInit }

// Decode reads the performative.
func (p *SASLInit) Decode(body []byte, l Limits) error {
	var f fields
	rest := f.open(body, CodeSASLInit, l)
	p.Mechanism = f.mustSymbol("mechanism")
	p.InitialResponse = f.binary("initial-response")
	p.Hostname = f.text("hostname")
	return f.last(rest)
}

// Append writes the performative.
func (p *SASLInit) Append(dst []byte) []byte {
	w := begin(dst, CodeSASLInit)
	w.mustSymbol(p.Mechanism)
	w.binary(p.InitialResponse)
	w.text(p.Hostname)
	return w.done()
}
