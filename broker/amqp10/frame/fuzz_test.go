package frame_test

import (
	"bytes"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

func FuzzFrame(f *testing.F) {
	for _, x := range examples {
		b, err := frame.AppendFrame(nil, 1, x.want, frame.MinMax)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(frame.AppendHeartbeat(nil))
	f.Add(frame.Version10(frame.ProtocolSASL).Append(nil))
	f.Fuzz(func(t *testing.T, src []byte) {
		if h, n, err := frame.ReadProtocolHeader(src); err == nil && n > 0 && !bytes.Equal(h.Append(nil), src[:n]) {
			t.Fatalf("%x is the header %+v", src, h)
		}
		fr, n, err := frame.Read(src, frame.MinMax)
		if err != nil || n == 0 {
			return
		}
		if n > len(src) || n > frame.MinMax || frame.Size(src) != n {
			t.Fatalf("%d bytes were read of %d, size is %d", n, len(src), frame.Size(src))
		}
		again, _, err := frame.Read(fr.Append(nil), frame.MinMax)
		if err != nil || again.Type != fr.Type || again.Channel != fr.Channel || !bytes.Equal(again.Body, fr.Body) {
			t.Fatalf("%+v became %+v, %v", fr, again, err)
		}
		if d, err := fr.Performative(); err == nil && frame.New(d) == nil {
			t.Fatalf("there is no %s", d)
		}
	})
}

// FuzzPerformative holds for every decoder: it does not panic, and what it read comes back from what it writes.
func FuzzPerformative(f *testing.F) {
	for _, x := range examples {
		f.Add(unhex(f, x.bytes))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, d := range performatives {
			p := frame.New(d)
			if p.Decode(src, generous) != nil {
				continue
			}
			once := p.Append(nil)
			again := frame.New(d)
			if err := again.Decode(once, generous); err != nil {
				t.Fatalf("%s: %v of its own %x", d, err, once)
			}
			if twice := again.Append(nil); !bytes.Equal(once, twice) {
				t.Fatalf("%s: %x became %x", d, once, twice)
			}
			if p, ok := p.(*frame.Disposition); ok {
				decodeState(t, p.State)
			}
		}
	})
}

// decodeState reads a state as what it is.
func decodeState(t *testing.T, s frame.State) {
	var received frame.Received
	var rejected frame.Rejected
	var modified frame.Modified
	var declared frame.Declared
	var transactional frame.TransactionalState
	var err error
	again := s
	switch s.Code {
	case frame.CodeReceived:
		err = received.Decode(s)
		again = received.State()
	case frame.CodeRejected:
		err = rejected.Decode(s)
		again = rejected.State()
	case frame.CodeModified:
		err = modified.Decode(s)
		again = modified.State()
	case frame.CodeDeclared:
		err = declared.Decode(s)
		again = declared.State()
	case frame.CodeTransactionalState:
		err = transactional.Decode(s)
		again = transactional.State()
	}
	if v, _, e := frame.ReadValue(again.Append(nil), generous); err == nil && (e != nil || v.Type() != s.Code) {
		t.Fatalf("%+v became %+v, %v", s, again, e)
	}
}

func FuzzValue(f *testing.F) {
	for _, x := range encodings {
		f.Add(unhex(f, x.bytes))
	}
	f.Add(nested(9))
	f.Add(keys(50, 3))
	f.Add([]byte("\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40"))
	f.Add(frame.AppendString(frame.AppendDescriptor(nil, 0x468c00000004), "a = 1"))
	f.Fuzz(func(t *testing.T, src []byte) {
		for range frame.List(src).All() { // unchecked, and yet must end
		}
		for range frame.Map(src).All() {
		}
		v, n, err := frame.ReadValue(src, generous)
		if err != nil {
			return
		}
		if got := v.Append(nil); !bytes.Equal(got, src[:n]) {
			t.Fatalf("%x became %x", src[:n], got)
		}
		plain(t, v)
		if v.Described() {
			plain(t, v.Descriptor())
			plain(t, v.Plain())
		}
		if m, ok := v.Map(); ok {
			again := readValue(t, frame.AppendMap(nil, m))
			if got, _ := again.Map(); !bytes.Equal(got, m) || again.Len() != v.Len() {
				t.Fatalf("map %x became %x", m, got)
			}
		}
	})
}

func FuzzMessage(f *testing.F) {
	f.Add(whole(f))
	for _, s := range sections(f) {
		f.Add([]byte(s))
	}
	f.Add(frame.AppendSequence(nil, frame.List{0x40}))
	f.Fuzz(func(t *testing.T, src []byte) {
		var m frame.Message
		if m.Scan(src, generous) != nil {
			return
		}
		s := &m.Sections
		if got := bytes.Join([][]byte{s.Header, s.DeliveryAnnotations, s.MessageAnnotations, s.Bare, s.Footer}, nil); !bytes.Equal(got, src) {
			t.Fatalf("%x is taken apart as %x", src, got)
		}
		if got := bytes.Join([][]byte{s.Properties, s.ApplicationProperties, s.Body}, nil); !bytes.Equal(got, s.Bare) {
			t.Fatalf("bare message %x is taken apart as %x", s.Bare, got)
		}
		count := 0
		for v := range m.Body() {
			plain(t, v)
			count++
		}
		if count != m.BodyCount {
			t.Fatalf("%d sections of the body, found %d", m.BodyCount, count)
		}
		var h frame.Header
		if err := h.Decode(m.Header.Append(nil)); err != nil || h != m.Header {
			t.Fatalf("header %+v became %+v, %v", m.Header, h, err)
		}
		var p frame.Properties
		once := m.Properties.Append(nil)
		if err := p.Decode(once); err != nil || !bytes.Equal(p.Append(nil), once) {
			t.Fatalf("properties %+v became %+v, %v", m.Properties, p, err)
		}
	})
}
