package frame

// Declare asks the coordinator for a transaction. It is the body of a message, as Discharge is. 4 §4.5.2
type Declare struct {
	GlobalID Value // null when absent
}

// Decode reads the value of the message. The error is a *Fault.
func (d *Declare) Decode(v Value) error {
	f := openValue(v, CodeDeclare)
	d.GlobalID = f.any()
	return f.end()
}

// Append writes the value of the message, without the section.
func (d *Declare) Append(dst []byte) []byte {
	w := begin(dst, CodeDeclare)
	w.any(d.GlobalID)
	return w.done()
}

// Discharge ends a transaction. 4 §4.5.3 TxnID aliases what was decoded.
type Discharge struct {
	TxnID []byte
	Fail  bool // roll back
}

// Decode reads the value of the message. The error is a *Fault.
func (d *Discharge) Decode(v Value) error {
	f := openValue(v, CodeDischarge)
	d.TxnID = f.mustBinary("txn-id")
	d.Fail = f.flag("fail")
	return f.end()
}

// Append writes the value of the message, without the section.
func (d *Discharge) Append(dst []byte) []byte {
	w := begin(dst, CodeDischarge)
	w.field(AppendBinary(w.dst, d.TxnID))
	w.flag(d.Fail)
	return w.done()
}

// openValue is a cursor over the fields of a value that has to be a composite of a type.
func openValue(v Value, d Descriptor) fields {
	l, ok := v.List()
	f := openList(l, d)
	if got := v.Type(); !ok || got != d || v.Plain().Described() {
		f.fail(DecodeError, "value is not a %s", d)
	}
	return f
}

// Declared is the outcome of a declare. 4 §4.5.5 TxnID aliases what was decoded.
type Declared struct {
	TxnID []byte
}

// Decode reads a state. The error is a *Fault.
func (d *Declared) Decode(s State) error {
	f := s.open(CodeDeclared)
	d.TxnID = f.mustBinary("txn-id")
	return f.end()
}

// State is the state as a performative carries it.
func (d *Declared) State() State {
	w := begin(nil, CodeDeclared)
	w.field(AppendBinary(w.dst, d.TxnID))
	return w.asState(CodeDeclared)
}

// TransactionalState puts a delivery or its outcome into a transaction. 4 §4.5.6 TxnID aliases what was decoded.
type TransactionalState struct {
	TxnID   []byte
	Outcome State // zero when absent
}

// Decode reads a state. The error is a *Fault.
func (t *TransactionalState) Decode(s State) error {
	f := s.open(CodeTransactionalState)
	t.TxnID = f.mustBinary("txn-id")
	t.Outcome = f.outcome("outcome")
	return f.end()
}

// State is the state as a performative carries it.
func (t *TransactionalState) State() State {
	w := begin(nil, CodeTransactionalState)
	w.field(AppendBinary(w.dst, t.TxnID))
	w.state(t.Outcome)
	return w.asState(CodeTransactionalState)
}
