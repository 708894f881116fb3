package frame

import (
	"encoding/binary"
	"iter"
	"math"
)

// Section is one section of a message with its descriptor, as it is on the wire. Nil when absent. 3 §3.2
type Section []byte

// Value is the value of a section that was scanned.
func (s Section) Value() Value {
	if len(s) == 0 {
		return Value{}
	}
	c := cursor{src: s}
	return c.unchecked().Plain()
}

// Map is the map of a section that was scanned; nil when it is absent or none of a map.
func (s Section) Map() Map {
	m, _ := s.Value().Map()
	return m
}

// Sections says where in a message everything is, so that it can be passed on untouched. All alias what was scanned.
//
//	+--------+----------------------+---------------------+------------+------------------------+------+--------+
//	| header | delivery-annotations | message-annotations | properties | application-properties | body | footer |
//	+--------+----------------------+---------------------+------------+------------------------+------+--------+
//	                                                      |<-------------- bare message ------------->|
type Sections struct {
	Header                Section
	DeliveryAnnotations   Section // 3 §3.2.2; keys are symbols or ulongs, as in all annotations and in the footer
	MessageAnnotations    Section // 3 §3.2.3
	Properties            Section
	ApplicationProperties Section // keys are strings, values of simple types
	Body                  Section // all sections of the body. 3 §3.2.6 to 3 §3.2.8
	Footer                Section // 3 §3.2.9
	Bare                  []byte  // never changed on its way. 3 §3.2
}

// Message is what is known of a message after a look over it.
type Message struct {
	Header     Header     // NoHeader when there is none
	Properties Properties // empty when there are none
	Sections   Sections
	BodyType   Descriptor // CodeData, CodeSequence or CodeValue; zero when there is no body
	BodyCount  int        // sections of the body: one or more of data or sequences, or one value
}

// Scan reads a message, and checks all of it: the order and number of its sections, their types, and every value within
// limits. A section counts as an element. A message without a body passes, although 3 §3.2 wants one: some clients send it
// when there is nothing to say. Scan allocates nothing, except for maps of more than 16 keys, and unless it fails. The
// error is a *Fault with the scope of a link.
func (m *Message) Scan(src []byte, l Limits) error {
	*m = Message{}
	m.Header = NoHeader
	c := cursor{src: src, left: l, scope: ScopeLink}
	bare, bareEnd := -1, -1
	for last := Descriptor(0); len(c.src) > 0; {
		at := len(src) - len(c.src)
		d := c.sectionType(last)
		c.section(d, m)
		if c.err != nil {
			return c.err
		}
		end := len(src) - len(c.src)
		m.Sections.add(d, src[at:end:end])
		if d >= CodeProperties && d <= CodeValue {
			if bare < 0 {
				bare = at
			}
			bareEnd = end
		}
		if isBody(d) {
			m.BodyType = d
			m.BodyCount++
			m.Sections.Body = src[at-len(m.Sections.Body) : end : end]
		}
		last = d
	}
	if bare >= 0 {
		m.Sections.Bare = src[bare:bareEnd:bareEnd]
	}
	return nil
}

// Locate finds the sections before the body of a message that was scanned, and reads none of them.
func (s *Sections) Locate(src []byte) {
	*s = Sections{}
	for c := (cursor{src: src}); len(c.src) > 0; {
		at := len(src) - len(c.src)
		v := c.unchecked()
		if c.err != nil {
			return
		}
		end := len(src) - len(c.src)
		s.add(v.Type(), src[at:end:end])
	}
}

func isBody(d Descriptor) bool { return d >= CodeData && d <= CodeValue }

// add notes a section; those of the body are noted together.
func (s *Sections) add(d Descriptor, section Section) {
	switch d {
	case CodeHeader:
		s.Header = section
	case CodeDeliveryAnnotations:
		s.DeliveryAnnotations = section
	case CodeMessageAnnotations:
		s.MessageAnnotations = section
	case CodeProperties:
		s.Properties = section
	case CodeApplicationProperties:
		s.ApplicationProperties = section
	case CodeFooter:
		s.Footer = section
	}
}

// sectionType says which section src begins with, and whether it may follow the last one. 3 §3.2
func (c *cursor) sectionType(last Descriptor) (d Descriptor) {
	if b := c.src; len(b) >= 3 && b[0] == encDescribed && b[1] == encSmallUlong {
		d = Descriptor(b[2])
	} else {
		peek := *c
		if code := peek.octet(); code != encDescribed {
			c.fail(DecodeError, "a section of the message is not described")
			return 0
		}
		v := peek.descriptor()
		if peek.err != nil {
			c.fail(peek.err.Condition, "%s", peek.err.Text)
			return 0
		}
		if d = number(v); d == 0 {
			c.fail(DecodeError, "message has a section of the unknown type %s", v.spelled())
			return 0
		}
	}
	switch again := d == last && (d == CodeData || d == CodeSequence); {
	case d < CodeHeader || d > CodeFooter:
		c.fail(DecodeError, "message has a section of the unknown %s", d)
	case d == last && !again:
		c.fail(DecodeError, "message has more than one section %s", d)
	case d < last, d != last && isBody(d) && isBody(last):
		c.fail(DecodeError, "message has a section %s after %s", d, last)
	}
	c.elements(1)
	return d
}

// section reads a section of a type.
func (c *cursor) section(d Descriptor, m *Message) {
	switch {
	case c.err != nil:
	case d == CodeHeader:
		f := c.openSection(d)
		m.Header.decode(&f)
		c.closeSection(&f)
	case d == CodeProperties:
		f := c.openSection(d)
		m.Properties.decode(&f)
		c.closeSection(&f)
	default:
		c.skipDescriptor()
		c.sectionValue(d)
	}
}

// openSection opens a section that is a list; the cursor goes behind it.
func (c *cursor) openSection(d Descriptor) (f fields) {
	c.src = f.open(c.src, d, c.left)
	return f
}

func (c *cursor) closeSection(f *fields) {
	if f.end() != nil {
		c.err, c.src = f.err, nil
		return
	}
	c.left = f.left
}

func (c *cursor) skipDescriptor() {
	c.octet()
	c.descriptor()
}

// sectionValue reads what is described as a section, other than a composite.
func (c *cursor) sectionValue(d Descriptor) {
	v := c.value()
	if c.err != nil {
		return
	}
	switch want := sectionKind(d); {
	case want != KindNone && (v.Kind() != want || v.Described()):
		c.fail(DecodeError, "%s is no %s", d, want)
	case d == CodeApplicationProperties:
		c.applicationProperties(v)
	case want == KindMap:
		c.annotations(d, v)
	}
}

// sectionKind is the type of what is in a section; KindNone where any is.
func sectionKind(d Descriptor) Kind {
	switch d {
	case CodeData:
		return KindBinary
	case CodeSequence:
		return KindList
	case CodeValue:
		return KindNone
	}
	return KindMap
}

// annotations checks the keys. 3 §3.2.10
func (c *cursor) annotations(d Descriptor, v Value) {
	m, _ := v.Map()
	for e := (cursor{src: m}); len(e.src) > 0; e.unchecked() {
		if k := e.unchecked(); k.Kind() != KindSymbol && k.Kind() != KindUlong || k.Described() {
			c.fail(DecodeError, "%s has a key that is neither symbol nor ulong", d)
			return
		}
	}
}

// applicationProperties checks keys and values. 3 §3.2.5
func (c *cursor) applicationProperties(v Value) {
	m, _ := v.Map()
	for e := (cursor{src: m}); len(e.src) > 0; {
		k, w := e.unchecked(), e.unchecked()
		if k.Kind() != KindString || k.Described() {
			c.fail(DecodeError, "application-properties has a key that is no string")
			return
		}
		if kind := w.Kind(); kind == KindList || kind == KindMap || kind == KindArray || w.Described() {
			c.fail(DecodeError, "application-properties has a value of no simple type")
			return
		}
	}
}

// Body yields what is in the sections of the body: the binaries of data, the lists of sequences, or the value.
func (m *Message) Body() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		for c := (cursor{src: m.Sections.Body}); len(c.src) > 0; {
			if v := c.unchecked().Plain(); c.err != nil || !yield(v) {
				return
			}
		}
	}
}

// AppendMapSection writes a section of annotations, application properties, or the footer.
func AppendMapSection(dst []byte, d Descriptor, m Map) []byte {
	return AppendMap(AppendDescriptor(dst, d), m)
}

// CutAnnotations takes the message-annotations off the sections of a message that was scanned, if those begin with them.
func CutAnnotations(sections []byte) (m Map, rest []byte) {
	if len(sections) == 0 {
		return nil, nil
	}
	c := cursor{src: sections}
	if v := c.unchecked(); c.err == nil && v.Type() == CodeMessageAnnotations {
		m, _ = v.Map()
		return m, c.src
	}
	return nil, sections
}

// AppendAnnotated writes a section of message-annotations: texts, by turns a name and a string, and those of a map that have
// none of the names. Strings have to be UTF-8.
func AppendAnnotated(dst []byte, m Map, texts ...string) []byte {
	dst, at := beginCompound(AppendDescriptor(dst, CodeMessageAnnotations))
	count := len(texts)
	for i := 0; i < len(texts); i += 2 {
		dst = AppendString(AppendSymbol(dst, texts[i]), texts[i+1])
	}
	for c := (cursor{src: m}); len(c.src) > 0; {
		k, v := c.unchecked(), c.unchecked()
		if c.err != nil {
			break
		}
		if !isNamed(k, texts) {
			dst = v.Append(k.Append(dst))
			count += 2
		}
	}
	return endCompound(dst, at, encMap8, count)
}

func isNamed(k Value, texts []string) bool {
	b, _ := k.Bytes()
	for i := 0; i < len(texts); i += 2 {
		if string(b) == texts[i] {
			return true
		}
	}
	return false
}

// AppendTextHeader writes a section with a value that is a string, up to its bytes, of which there have to be size.
func AppendTextHeader(dst []byte, size int) []byte {
	dst = AppendDescriptor(dst, CodeValue)
	if size <= math.MaxUint8 {
		return append(dst, encString8, byte(size))
	}
	return binary.BigEndian.AppendUint32(append(dst, encString32), uint32(size))
}

// AppendDataHeader writes a section of data up to its bytes, of which there have to be size.
func AppendDataHeader(dst []byte, size int) []byte {
	dst = AppendDescriptor(dst, CodeData)
	if size <= math.MaxUint8 {
		return append(dst, encBinary8, byte(size))
	}
	return binary.BigEndian.AppendUint32(append(dst, encBinary32), uint32(size))
}

// AppendData writes a section of data.
func AppendData(dst, data []byte) []byte {
	return append(AppendDataHeader(dst, len(data)), data...)
}

// AppendSequence writes a section with a sequence.
func AppendSequence(dst []byte, l List) []byte {
	return AppendList(AppendDescriptor(dst, CodeSequence), l)
}

// AppendValue writes a section with a value.
func AppendValue(dst []byte, v Value) []byte {
	return v.Append(AppendDescriptor(dst, CodeValue))
}
