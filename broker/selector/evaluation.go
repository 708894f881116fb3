package selector

// Properties are a message as selectors see it. What the message lacks is the zero Value.
type Properties interface {
	Header(Header) Value
	Property(name string) Value
}

// Evaluation holds what was read of the message that a selector is asked about. Its owner keeps it for the next message
// and for other selectors; it is not safe for concurrent use. Between two calls of Matches it refers to no message.
type Evaluation struct {
	properties Properties
	names      []Name // of the selector
	slots      []slot // at least one for each name
	read       []int  // the slots that are known
}

// slot is the value of one name.
type slot struct {
	value Value
	known bool
}

func (e *Evaluation) begin(p Properties, names []Name) {
	e.forget() // only when Properties panicked
	if len(e.slots) < len(names) {
		e.slots = make([]slot, len(names))
		e.read = make([]int, 0, len(names))
	}
	e.properties, e.names = p, names
}

func (e *Evaluation) end() {
	e.forget()
	e.properties, e.names = nil, nil
}

// forget costs what was read, not what the selector names.
func (e *Evaluation) forget() {
	for _, i := range e.read {
		e.slots[i] = slot{}
	}
	e.read = e.read[:0]
}

func (e *Evaluation) load(i int) Value {
	n := &e.names[i]
	var v Value
	if n.Header != 0 {
		v = e.properties.Header(n.Header)
	} else {
		v = e.properties.Property(n.Property)
	}
	e.slots[i] = slot{v, true}
	e.read = append(e.read, i)
	return v
}
