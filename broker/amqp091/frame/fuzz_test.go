package frame_test

import (
	"bytes"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
)

func FuzzRead(f *testing.F) {
	for _, x := range examples {
		f.Add(unhex(f, x.bytes))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		fr, n, err := frame.Read(src, frame.MinMax)
		if err != nil || n == 0 {
			return
		}
		if got := fr.Append(nil); !bytes.Equal(got, src[:n]) {
			t.Fatalf("read and written: %x\nwas:              %x", got, src[:n])
		}
	})
}

// FuzzMethod holds for every decoder: it does not panic, and what it read comes back from what it writes.
func FuzzMethod(f *testing.F) {
	for _, x := range examples {
		f.Add(uint32(x.method.ID()), x.method.Append(nil))
	}
	f.Fuzz(func(t *testing.T, id uint32, src []byte) {
		m := frame.ID(id).New()
		if m == nil || m.Decode(src) != nil {
			return
		}
		once := m.Append(nil)
		again := frame.ID(id).New()
		if err := again.Decode(once); err != nil {
			t.Fatalf("%v: %v of its own %x", frame.ID(id), err, once)
		}
		if twice := again.Append(nil); !bytes.Equal(once, twice) {
			t.Fatalf("%v: %x became %x", frame.ID(id), once, twice)
		}
	})
}

func FuzzTable(f *testing.F) {
	for _, k := range kinds {
		f.Add(append([]byte("\x01k"), unhex(f, k.bytes)...))
	}
	f.Add([]byte(nested(9)))
	f.Fuzz(func(t *testing.T, src []byte) {
		table := frame.Table(src)
		if table.Check(generous) != nil {
			for range table.All() { // malformed, and yet must end
			}
			return
		}
		var again frame.Table
		for name, v := range table.All() {
			v.Any()
			again = again.With(string(name), v)
		}
		if !bytes.Equal(again, table) {
			t.Fatalf("%x became %x", table, again)
		}
		frame.NewTable(table.Map()) // plain data can always be written
	})
}

func FuzzProperties(f *testing.F) {
	b := full()
	f.Add(b.Append(nil))
	f.Add([]byte(frame.NoProperties))
	f.Fuzz(func(t *testing.T, src []byte) {
		p := frame.Properties(src)
		var s frame.Summary
		err := p.Scan(generous, &s)
		var b frame.Basic
		if err != nil {
			return
		}
		if err := b.Decode(p); err != nil {
			t.Fatalf("scanned but not decoded: %v", err)
		}
		if s.DeliveryMode != b.DeliveryMode || s.Priority != b.Priority || !bytes.Equal(s.Expiration, b.Expiration) || !bytes.Equal(s.UserID, b.UserID) || !bytes.Equal(s.Headers, b.Headers) {
			t.Fatalf("scanned %+v, decoded %+v", s, b)
		}
		var again frame.Basic
		if err := again.Decode(b.Append(nil)); err != nil || !bytes.Equal(again.Append(nil), b.Append(nil)) {
			t.Fatalf("%+v became %+v, %v", b, again, err)
		}
	})
}

func FuzzContentHeader(f *testing.F) {
	f.Add((&frame.ContentHeader{Class: frame.ClassBasic, BodySize: 5, Properties: frame.NoProperties}).Append(nil))
	f.Fuzz(func(t *testing.T, src []byte) {
		var h frame.ContentHeader
		if h.Decode(src) != nil {
			return
		}
		if got := h.Append(nil); !bytes.Equal(got, src) {
			t.Fatalf("%x became %x", src, got)
		}
	})
}
