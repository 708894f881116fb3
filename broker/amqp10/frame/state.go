package frame

// State is the state of a delivery, and its outcome if it is terminal: still encoded, and known to be of a type that is a
// state. Typed states have Decode and State. Fields aliases what was decoded. 3 §3.4
type State struct {
	Code   Descriptor // zero when there is no state
	Fields List       // nil when there is none
}

// The outcomes without fields. 3 §3.4.2, 3 §3.4.4
var (
	Accepted = State{Code: CodeAccepted}
	Released = State{Code: CodeReleased}
)

// IsOutcome says whether the state is terminal. 3 §3.4
func (s State) IsOutcome() bool {
	return s.Code >= CodeAccepted && s.Code <= CodeModified || s.Code == CodeDeclared
}

// Append writes the state; null if there is none.
func (s State) Append(dst []byte) []byte {
	if s.Code == 0 {
		return append(dst, encNull)
	}
	return AppendList(AppendDescriptor(dst, s.Code), s.Fields)
}

// StateOf reads a value as a state; null is none. The error is a *Fault with the scope of a session.
func StateOf(v Value) (s State, err error) {
	if v.IsNull() && !v.Described() {
		return s, nil
	}
	s.Code = v.Type()
	switch {
	case !v.Described():
		return State{}, faultf(ScopeSession, DecodeError, "delivery state is not described")
	case s.Code >= CodeReceived && s.Code <= CodeModified, s.Code == CodeDeclared, s.Code == CodeTransactionalState:
	default:
		return State{}, faultf(ScopeSession, NotImplemented, "there is no delivery state with the descriptor %s", v.Descriptor().spelled())
	}
	if s.Fields, _ = v.List(); v.Kind() != KindList || v.Plain().Described() {
		return State{}, faultf(ScopeSession, DecodeError, "%s is no list", s.Code)
	}
	if len(s.Fields) == 0 {
		s.Fields = nil
	} else if s.Code == CodeAccepted || s.Code == CodeReleased {
		return State{}, faultf(ScopeSession, DecodeError, "%s has no fields", s.Code)
	}
	return s, nil
}

// state reads a delivery state; zero when absent.
func (f *fields) state(name string) State {
	if !f.next() {
		return State{}
	}
	if b := f.src; len(b) >= 4 && b[0] == encDescribed && b[1] == encSmallUlong && b[3] == encList0 {
		if d := Descriptor(b[2]); d == CodeAccepted || d == CodeReleased {
			f.src = b[4:]
			return State{Code: d}
		}
	}
	v := f.value()
	if f.err != nil {
		return State{}
	}
	s, err := StateOf(v)
	if err != nil {
		fault := err.(*Fault)
		f.fail(fault.Condition, "%s of %s: %s", name, f.of, fault.Text)
	}
	return s
}

// outcome reads a state that is terminal; zero when absent. 3 §3.4
func (f *fields) outcome(name string) State {
	s := f.state(name)
	if s.Code != 0 && !s.IsOutcome() {
		f.fail(InvalidField, "%s of %s is %s, which is no outcome", name, f.of, s.Code)
	}
	return s
}

// open is a cursor over the fields of a state that has to be of a type.
func (s State) open(d Descriptor) fields {
	f := openList(s.Fields, d)
	f.scope = ScopeSession
	if s.Code != d {
		f.fail(DecodeError, "state is %s, not %s", s.Code, d)
	}
	return f
}

// asState makes a state of what was written with begin(nil, …).
func (w *composite) asState(d Descriptor) State {
	if w.kept == 0 {
		return State{Code: d}
	}
	return State{Code: d, Fields: List(w.dst[w.at+compound8Header : w.end : w.end])}
}

// Received says how much of a message has come. 3 §3.4.1
type Received struct {
	SectionNumber uint32
	SectionOffset uint64
}

// Decode reads a state. The error is a *Fault.
func (r *Received) Decode(s State) error {
	f := s.open(CodeReceived)
	r.SectionNumber = f.mustUint("section-number")
	offset := f.optUlong("section-offset")
	if r.SectionOffset = offset.Value; !offset.Present {
		f.missing("section-offset")
	}
	return f.end()
}

// State is the state as a performative carries it.
func (r *Received) State() State {
	w := begin(nil, CodeReceived)
	w.mustUint(r.SectionNumber)
	w.field(AppendUlong(w.dst, r.SectionOffset))
	return w.asState(CodeReceived)
}

// Rejected says that a message cannot be processed. 3 §3.4.3
type Rejected struct {
	Error *Error
}

// Decode reads a state. The error is a *Fault.
func (r *Rejected) Decode(s State) error {
	f := s.open(CodeRejected)
	r.Error = f.error("error")
	return f.end()
}

// State is the state as a performative carries it.
func (r *Rejected) State() State {
	w := begin(nil, CodeRejected)
	w.error(r.Error)
	return w.asState(CodeRejected)
}

// Modified gives a message back, changed. 3 §3.4.5
type Modified struct {
	DeliveryFailed     bool // counts as a delivery
	UndeliverableHere  bool // not to the same link again
	MessageAnnotations Map  // to be put into those of the message; nil when absent
}

// Decode reads a state. The error is a *Fault.
func (m *Modified) Decode(s State) error {
	f := s.open(CodeModified)
	m.DeliveryFailed = f.flag("delivery-failed")
	m.UndeliverableHere = f.flag("undeliverable-here")
	m.MessageAnnotations = f.symbolMap("message-annotations")
	return f.end()
}

// State is the state as a performative carries it.
func (m *Modified) State() State {
	w := begin(nil, CodeModified)
	w.flag(m.DeliveryFailed)
	w.flag(m.UndeliverableHere)
	w.mapping(m.MessageAnnotations)
	return w.asState(CodeModified)
}
