package frame

// Performative is what the body of a frame begins with. 2 §2.7, 5 §5.3.3
type Performative interface {
	Descriptor() Descriptor
	// Decode reads a performative that fills body; that of Transfer has a payload behind it. Limits are those of each field.
	// The error is a *Fault. After one, the fields are those of before or not, as it comes.
	Decode(body []byte, l Limits) error
	// Append writes the performative. Fields have to be of their type: strings UTF-8, symbols ASCII.
	Append(dst []byte) []byte
}

// New makes an empty performative; nil if there is none of a descriptor.
func New(d Descriptor) Performative {
	switch d {
	case CodeOpen:
		return new(Open)
	case CodeBegin:
		return new(Begin)
	case CodeAttach:
		return new(Attach)
	case CodeFlow:
		return new(Flow)
	case CodeTransfer:
		return new(Transfer)
	case CodeDisposition:
		return new(Disposition)
	case CodeDetach:
		return new(Detach)
	case CodeEnd:
		return new(End)
	case CodeClose:
		return new(Close)
	case CodeSASLMechanisms:
		return new(SASLMechanisms)
	case CodeSASLInit:
		return new(SASLInit)
	case CodeSASLChallenge:
		return new(SASLChallenge)
	case CodeSASLResponse:
		return new(SASLResponse)
	case CodeSASLOutcome:
		return new(SASLOutcome)
	}
	return nil
}

// isPerformative says whether New knows it.
func (d Descriptor) isPerformative() bool {
	return d >= CodeOpen && d <= CodeClose || d >= CodeSASLMechanisms && d <= CodeSASLOutcome
}

// Performative says which performative a frame carries. What is none is an error, a *Fault, and so is one that belongs
// into frames of the other type; the body of a heartbeat is not looked at.
func (f *Frame) Performative() (Descriptor, error) {
	c := cursor{src: f.Body}
	if len(c.src) >= 3 && c.src[0] == encDescribed && c.src[1] == encSmallUlong {
		if d := Descriptor(c.src[2]); d.isPerformative() && d.frameType() == f.Type {
			return d, nil
		}
	}
	if code := c.octet(); c.err == nil && code != encDescribed {
		c.fail(DecodeError, "frame does not begin with a performative")
	}
	if c.err != nil {
		return 0, c.err
	}
	v := c.descriptor()
	switch d := number(v); {
	case c.err != nil:
		return 0, c.err
	case !d.isPerformative():
		return 0, faultf(ScopeConnection, NotImplemented, "there is no performative with the descriptor %s", v.spelled())
	case d.frameType() != f.Type:
		return 0, faultf(ScopeConnection, NotAllowed, "%s came in a frame for %s", d, f.Type)
	default:
		return d, nil
	}
}
