package frame

// SASLResponse answers a challenge. 5 §5.3.3.4 Response aliases what was decoded.
type SASLResponse struct {
	Response []byte
}

// Descriptor is CodeSASLResponse.
func (*SASLResponse) Descriptor() Descriptor { return CodeSASLResponse }

// Decode reads the performative.
func (p *SASLResponse) Decode(body []byte, l Limits) error {
	var f fields
	rest := f.open(body, CodeSASLResponse, l)
	p.Response = f.mustBinary("response")
	return f.last(rest)
}

// Append writes the performative.
func (p *SASLResponse) Append(dst []byte) []byte {
	w := begin(dst, CodeSASLResponse)
	w.field(AppendBinary(w.dst, p.Response))
	return w.done()
}
