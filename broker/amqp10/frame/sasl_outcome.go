package frame

// SASLCode says how authentication ended. 5 §5.3.3.6
type SASLCode uint8

// The codes.
const (
	SASLOk                 SASLCode = 0
	SASLAuthenticationFail SASLCode = 1 // wrong credentials
	SASLSystemError        SASLCode = 2
	SASLPermanentError     SASLCode = 3 // of the system: trying again does not help
	SASLTemporaryError     SASLCode = 4 // of the system: trying again may help
)

func (c SASLCode) String() string {
	return nameOf(uint8(c), "ok", "auth", "sys", "sys-perm", "sys-temp")
}

// SASLOutcome ends authentication. 5 §5.3.3.5 AdditionalData aliases what was decoded.
type SASLOutcome struct {
	Code           SASLCode
	AdditionalData []byte // nil when absent
}

// Descriptor is CodeSASLOutcome.
func (*SASLOutcome) Descriptor() Descriptor { return CodeSASLOutcome }

// Decode reads the performative.
func (p *SASLOutcome) Decode(body []byte, l Limits) error {
	var f fields
	rest := f.open(body, CodeSASLOutcome, l)
	code := f.optUbyte("code")
	p.Code = SASLCode(code.Value)
	switch {
	case !code.Present:
		f.missing("code")
	case p.Code > SASLTemporaryError:
		f.invalid("code", code.Value)
	}
	p.AdditionalData = f.binary("additional-data")
	return f.last(rest)
}

// Append writes the performative.
func (p *SASLOutcome) Append(dst []byte) []byte {
	w := begin(dst, CodeSASLOutcome)
	w.field(AppendUbyte(w.dst, uint8(p.Code)))
	w.binary(p.AdditionalData)
	return w.done()
}
