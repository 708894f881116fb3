package frame

// SASLMechanisms names the mechanisms of a server. 5 §5.3.3.1
type SASLMechanisms struct {
	Mechanisms []string // at least one
}

// Descriptor is CodeSASLMechanisms.
func (*SASLMechanisms) Descriptor() Descriptor { return CodeSASLMechanisms }

// Decode reads the performative.
func (p *SASLMechanisms) Decode(body []byte, l Limits) error {
	var f fields
	rest := f.open(body, CodeSASLMechanisms, l)
	p.Mechanisms = f.symbols("sasl-server-mechanisms")
	if len(p.Mechanisms) == 0 {
		f.missing("sasl-server-mechanisms")
	}
	return f.last(rest)
}

// Append writes the performative.
func (p *SASLMechanisms) Append(dst []byte) []byte {
	w := begin(dst, CodeSASLMechanisms)
	w.symbols(p.Mechanisms)
	return w.done()
}
