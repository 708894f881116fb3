package frame

// SASLChallenge is a question of the server. 5 §5.3.3.3 Challenge aliases what was decoded.
type SASLChallenge struct {
	Challenge []byte
}

// Descriptor is CodeSASLChallenge.
func (*SASLChallenge) Descriptor() Descriptor { return CodeSASLChallenge }

// Decode reads the performative.
func (p *SASLChallenge) Decode(body []byte, l Limits) error {
	var f fields
	rest := f.open(body, CodeSASLChallenge, l)
	p.Challenge = f.mustBinary("challenge")
	return f.last(rest)
}

// Append writes the performative.
func (p *SASLChallenge) Append(dst []byte) []byte {
	w := begin(dst, CodeSASLChallenge)
	w.field(AppendBinary(w.dst, p.Challenge))
	return w.done()
}
