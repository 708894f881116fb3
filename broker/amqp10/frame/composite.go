package frame

// composite writes the list of a composite type, field after field. Nulls at the end are left out. 1 §1.4
type composite struct {
	dst   []byte
	at    int // where the list begins
	count int // fields so far
	kept  int // fields up to the last that is not null
	end   int // and where that ends
}

func begin(dst []byte, d Descriptor) composite {
	dst, at := beginCompound(AppendDescriptor(dst, d))
	return composite{dst: dst, at: at, end: len(dst)}
}

func (w *composite) done() []byte { return endCompound(w.dst[:w.end], w.at, encList8, w.kept) }

func (w *composite) null() {
	w.dst = append(w.dst, encNull)
	w.count++
}

// field takes dst with one more field written to it.
func (w *composite) field(dst []byte) {
	w.dst = dst
	w.count++
	w.kept, w.end = w.count, len(dst)
}

func (w *composite) flag(v bool) {
	if !v {
		w.null()
		return
	}
	w.field(append(w.dst, encTrue))
}

func (w *composite) ubyte(v, otherwise uint8) {
	if v == otherwise {
		w.null()
		return
	}
	w.field(AppendUbyte(w.dst, v))
}

func (w *composite) ushort(v, otherwise uint16) {
	if v == otherwise {
		w.null()
		return
	}
	w.field(AppendUshort(w.dst, v))
}

func (w *composite) optUshort(v Optional[uint16]) {
	if !v.Present {
		w.null()
		return
	}
	w.field(AppendUshort(w.dst, v.Value))
}

func (w *composite) mustUint(v uint32) { w.field(AppendUint(w.dst, v)) }

func (w *composite) uint(v, otherwise uint32) {
	if v == otherwise {
		w.null()
		return
	}
	w.mustUint(v)
}

func (w *composite) optUint(v Optional[uint32]) {
	if !v.Present {
		w.null()
		return
	}
	w.mustUint(v.Value)
}

func (w *composite) ulong(v, otherwise uint64) {
	if v == otherwise {
		w.null()
		return
	}
	w.field(AppendUlong(w.dst, v))
}

func (w *composite) optTimestamp(v Optional[int64]) {
	if !v.Present {
		w.null()
		return
	}
	w.field(AppendTimestamp(w.dst, v.Value))
}

func (w *composite) binary(v []byte) {
	if v == nil {
		w.null()
		return
	}
	w.field(AppendBinary(w.dst, v))
}

func (w *composite) str(v []byte) {
	if v == nil {
		w.null()
		return
	}
	w.field(AppendString(w.dst, v))
}

func (w *composite) symbol(v []byte) {
	if v == nil {
		w.null()
		return
	}
	w.field(AppendSymbol(w.dst, v))
}

func (w *composite) text(v string) {
	if v == "" {
		w.null()
		return
	}
	w.field(AppendString(w.dst, v))
}

func (w *composite) mustSymbol(v string) { w.field(AppendSymbol(w.dst, v)) }

func (w *composite) textSymbol(v, otherwise string) {
	if v == otherwise {
		w.null()
		return
	}
	w.mustSymbol(v)
}

func (w *composite) symbols(all []string) {
	switch len(all) {
	case 0:
		w.null()
	case 1:
		w.mustSymbol(all[0])
	default:
		w.field(AppendSymbols(w.dst, all))
	}
}

func (w *composite) any(v Value) {
	if v.IsNull() {
		w.null()
		return
	}
	w.field(v.Append(w.dst))
}

func (w *composite) mapping(m Map) {
	if m == nil {
		w.null()
		return
	}
	w.field(AppendMap(w.dst, m))
}

func (w *composite) state(s State) {
	if s.Code == 0 {
		w.null()
		return
	}
	w.field(s.Append(w.dst))
}

func (w *composite) error(e *Error) {
	if e == nil {
		w.null()
		return
	}
	w.field(e.append(w.dst))
}
