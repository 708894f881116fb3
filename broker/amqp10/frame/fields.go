package frame

import (
	"encoding/binary"
	"unicode/utf8"
)

// Optional is a field whose absence differs from any value.
type Optional[T any] struct {
	Value   T
	Present bool
}

// Some is a field that is there.
func Some[T any](v T) Optional[T] { return Optional[T]{Value: v, Present: true} }

// fields is a cursor over the list of a composite type: the fields in their order. Null and left out are the same. 1 §1.4
type fields struct {
	cursor
	of    Descriptor
	count uint32 // fields that the list still has
}

// open reads a composite up to its first field. What follows it is answered.
func (f *fields) open(src []byte, d Descriptor, l Limits) (rest []byte) {
	f.cursor = cursor{src: src, left: l, scope: d.scope()}
	f.of = d
	if len(src) >= 3 && src[0] == encDescribed && src[1] == encSmallUlong && Descriptor(src[2]) == d {
		f.src = src[3:]
	} else {
		f.described(d)
	}
	return f.list()
}

// described reads a descriptor in any of its encodings.
func (f *fields) described(d Descriptor) {
	if code := f.octet(); f.err == nil && code != encDescribed {
		f.fail(DecodeError, "%s is not described", d)
	}
	if f.err != nil {
		return
	}
	if got := number(f.descriptor()); f.err == nil && got != d {
		f.fail(DecodeError, "%s is described as %s", d, got)
	}
}

// list reads the header of the list, and leaves the cursor on its fields. What follows the list is answered.
func (f *fields) list() (rest []byte) {
	if b := f.src; len(b) >= compound8Header && b[0] == encList8 && b[1] > 0 {
		if end := 2 + int(b[1]); end <= len(b) { // as nearly all are
			f.count, f.src = uint32(b[2]), b[compound8Header:end:end]
			return b[end:]
		}
	}
	code := f.octet()
	if f.err != nil {
		return nil
	}
	if kinds[code] != KindList {
		f.fail(DecodeError, "%s is no list", f.of)
		return nil
	}
	body := f.skip(code)
	if f.err != nil {
		return nil
	}
	count, content, ok := counted(code, body)
	if !ok {
		f.short(KindList)
		return nil
	}
	rest = f.src
	f.count, f.src = count, content
	return rest
}

// end says whether the list had no more fields than were read.
func (f *fields) end() error {
	if f.err == nil && f.count > 0 {
		f.fail(DecodeError, "%s has %d fields too many", f.of, f.count)
	}
	return f.cursor.end()
}

// last is end for a performative that fills the body of a frame.
func (f *fields) last(rest []byte) error {
	if err := f.end(); err != nil {
		return err
	}
	if len(rest) > 0 {
		f.fail(DecodeError, "%d bytes follow %s", len(rest), f.of)
		return f.err
	}
	return nil
}

// next says whether the next field is there and not null.
func (f *fields) next() bool {
	if f.count == 0 || f.err != nil {
		return false
	}
	f.count--
	if len(f.src) > 0 && f.src[0] == encNull {
		f.src = f.src[1:]
		return false
	}
	return true
}

func (f *fields) missing(name string) {
	if f.err == nil {
		f.fail(InvalidField, "%s lacks %s", f.of, name)
	}
}

// notKind notes that a field is of another type.
func (f *fields) notKind(name string, code byte, want Kind) {
	if f.err == nil {
		f.fail(DecodeError, "%s of %s is no %s, but encoded as %#02x", name, f.of, want, code)
	}
}

// isNot notes that a field that composite opened is of another type.
func (g *fields) isNot(name, want string) {
	if g.err == nil {
		g.fail(DecodeError, "%s is no %s, but described as %s", name, want, g.of)
	}
}

// invalid notes that a field has a value that its type has not.
func (f *fields) invalid(name string, v any) {
	if f.err == nil {
		f.fail(InvalidField, "%s of %s is %v, which is not one of its values", name, f.of, v)
	}
}

// raw reads a field of one of two encodings, which differ in the width of their length.
func (f *fields) raw(name string, code8 byte) []byte {
	if b := f.src; len(b) >= 2 && b[0] == code8 {
		if end := 2 + int(b[1]); end <= len(b) { // as nearly all are
			f.src = b[end:]
			return b[2:end:end]
		}
	}
	code := f.octet()
	if code&^encLong32 != code8 {
		f.notKind(name, code, kinds[code8])
		return nil
	}
	b := f.skip(code)
	if f.err != nil {
		return nil
	}
	return b[lengthSize(code):]
}

func (f *fields) flag(name string) bool {
	v, _ := f.optFlag(name)
	return v
}

func (f *fields) optFlag(name string) (v, ok bool) {
	if !f.next() {
		return false, false
	}
	switch code := f.octet(); code {
	case encTrue:
		v = true
	case encFalse:
	case encBoolean:
		b := f.octet()
		if b > 1 {
			f.fail(DecodeError, "%s of %s is the boolean %#02x", name, f.of, b)
		}
		v = b == 1
	default:
		f.notKind(name, code, KindBoolean)
	}
	return v, true
}

func (f *fields) mustFlag(name string) bool {
	v, ok := f.optFlag(name)
	if !ok {
		f.missing(name)
	}
	return v
}

func (f *fields) optUbyte(name string) (v Optional[uint8]) {
	if !f.next() {
		return v
	}
	if code := f.octet(); code != encUbyte {
		f.notKind(name, code, KindUbyte)
		return v
	}
	return Some(f.octet())
}

func (f *fields) ubyte(name string, otherwise uint8) uint8 {
	if v := f.optUbyte(name); v.Present {
		return v.Value
	}
	return otherwise
}

func (f *fields) optUshort(name string) (v Optional[uint16]) {
	if !f.next() {
		return v
	}
	if code := f.octet(); code != encUshort {
		f.notKind(name, code, KindUshort)
		return v
	}
	b := f.skip(encUshort)
	if f.err != nil {
		return v
	}
	return Some(binary.BigEndian.Uint16(b))
}

func (f *fields) optUint(name string) (v Optional[uint32]) {
	if !f.next() {
		return v
	}
	v.Present = true
	switch code := f.octet(); code {
	case encUint0:
	case encSmallUint:
		v.Value = uint32(f.octet())
	case encUint:
		if len(f.src) < 4 {
			f.short(KindUint)
			break
		}
		v.Value = binary.BigEndian.Uint32(f.src)
		f.src = f.src[4:]
	default:
		f.notKind(name, code, KindUint)
	}
	return v
}

func (f *fields) uint(name string, otherwise uint32) uint32 {
	if v := f.optUint(name); v.Present {
		return v.Value
	}
	return otherwise
}

func (f *fields) mustUint(name string) uint32 {
	v := f.optUint(name)
	if !v.Present {
		f.missing(name)
	}
	return v.Value
}

func (f *fields) optUlong(name string) (v Optional[uint64]) {
	if !f.next() {
		return v
	}
	v.Present = true
	switch code := f.octet(); code {
	case encUlong0:
	case encSmallUlong:
		v.Value = uint64(f.octet())
	case encUlong:
		if b := f.skip(encUlong); f.err == nil {
			v.Value = binary.BigEndian.Uint64(b)
		}
	default:
		f.notKind(name, code, KindUlong)
	}
	return v
}

func (f *fields) optTimestamp(name string) (v Optional[int64]) {
	if !f.next() {
		return v
	}
	if code := f.octet(); code != encTimestamp {
		f.notKind(name, code, KindTimestamp)
		return v
	}
	b := f.skip(encTimestamp)
	if f.err != nil {
		return v
	}
	return Some(int64(binary.BigEndian.Uint64(b)))
}

// binary reads a binary; nil when absent.
func (f *fields) binary(name string) []byte {
	if !f.next() {
		return nil
	}
	return f.raw(name, encBinary8)
}

func (f *fields) mustBinary(name string) []byte {
	b := f.binary(name)
	if b == nil {
		f.missing(name)
	}
	return b
}

// str reads a string; nil when absent.
func (f *fields) str(name string) []byte {
	if !f.next() {
		return nil
	}
	b := f.raw(name, encString8)
	if !utf8.Valid(b) {
		f.fail(DecodeError, "%s of %s is not UTF-8", name, f.of)
	}
	return b
}

// text is str for those who keep it.
func (f *fields) text(name string) string { return string(f.str(name)) }

func (f *fields) mustText(name string) string {
	b := f.str(name)
	if b == nil {
		f.missing(name)
	}
	return string(b)
}

// symbol reads a symbol; nil when absent.
func (f *fields) symbol(name string) []byte {
	if !f.next() {
		return nil
	}
	b := f.raw(name, encSymbol8)
	if !ascii(b) {
		f.fail(DecodeError, "%s of %s is not ASCII", name, f.of)
	}
	return b
}

func (f *fields) mustSymbol(name string) string {
	b := f.symbol(name)
	if b == nil {
		f.missing(name)
	}
	return string(b)
}

// symbols reads a field of several symbols: an array of them, or one alone. 1 §1.4
func (f *fields) symbols(name string) (all []string) {
	if !f.next() {
		return nil
	}
	if len(f.src) > 0 && kinds[f.src[0]] != KindArray {
		b := f.raw(name, encSymbol8)
		if !ascii(b) {
			f.fail(DecodeError, "%s of %s is not ASCII", name, f.of)
		}
		if f.err != nil {
			return nil
		}
		return []string{string(b)}
	}
	v := f.value()
	for s := range v.Elements() {
		b, _ := s.Bytes()
		if s.Kind() != KindSymbol || s.Described() {
			f.notKind(name, s.code(), KindSymbol)
			return nil
		}
		all = append(all, string(b))
	}
	return all
}

// any reads a field of any type; null when absent.
func (f *fields) any() Value {
	if !f.next() {
		return Value{}
	}
	return f.value()
}

// mapping reads a map; nil when absent.
func (f *fields) mapping(name string) Map {
	if !f.next() {
		return nil
	}
	v := f.value()
	m, ok := v.Map()
	if !ok || v.Described() {
		f.notKind(name, v.code(), KindMap)
		return nil
	}
	return m
}

// symbolMap reads a map whose keys are symbols. 2 §2.8.13
func (f *fields) symbolMap(name string) Map {
	m := f.mapping(name)
	for c := (cursor{src: m}); len(c.src) > 0; {
		if k := c.unchecked(); k.Kind() != KindSymbol || k.Described() {
			f.fail(DecodeError, "%s of %s has a key that is no symbol", name, f.of)
		}
		c.unchecked()
	}
	return m
}

// error reads an error; nil when absent.
func (f *fields) error(name string) *Error {
	d, g := f.composite(name)
	if d == 0 {
		return nil
	}
	e := new(Error)
	if d == CodeError {
		e.decode(&g)
	} else {
		g.isNot(name, "error")
	}
	f.join(&g)
	return e
}

// composite opens a field of a composite type and says which it is; zero if it is absent. After its fields were read, join
// goes back.
func (f *fields) composite(name string) (d Descriptor, g fields) {
	if !f.next() || !f.enter(2) { // the descriptor and the list
		return 0, g
	}
	if code := f.octet(); code != encDescribed && f.err == nil {
		f.fail(DecodeError, "%s of %s is not described, but encoded as %#02x", name, f.of, code)
	}
	if f.err != nil {
		return 0, g
	}
	v := f.descriptor()
	if d = number(v); d == 0 && f.err == nil {
		f.fail(NotImplemented, "%s of %s is described as %s, which is unknown", name, f.of, v.spelled())
	}
	if f.err != nil {
		return 0, g
	}
	g = fields{cursor: f.cursor, of: d}
	f.src = g.list()
	return d, g
}

// join goes back from a field that composite opened. Whoever opened it read its fields, or knows none of its type.
func (f *fields) join(g *fields) {
	g.end()
	f.left = g.left
	f.left.Depth += 2
	if f.err = g.err; f.err != nil {
		f.src = nil
	}
}

// openList is a cursor over the fields of a composite whose list was read before.
func openList(l List, d Descriptor) fields {
	f := fields{cursor: cursor{src: l, left: unlimited, scope: d.scope()}, of: d}
	for c := f.cursor; len(c.src) > 0; f.count++ {
		c.unchecked()
	}
	return f
}
