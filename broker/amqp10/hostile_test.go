package amqp10_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// composite writes a composite of a descriptor by hand; fields are encoded values.
func composite(code byte, fields ...[]byte) []byte {
	all := bytes.Join(fields, nil)
	b := binary.BigEndian.AppendUint32([]byte{0, 0x53, code, 0xd0}, uint32(len(all)+4))
	return append(binary.BigEndian.AppendUint32(b, uint32(len(fields))), all...)
}

// raw writes a frame with a body by hand.
func (p *peer) raw(channel uint16, body []byte) {
	p.Helper()
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	p.write(append(binary.BigEndian.AppendUint16(append(b, 2, 0), channel), body...))
}

// Encoded values of performatives that are written by hand.
var (
	null     = []byte{0x40}
	yes      = []byte{0x41}
	no       = []byte{0x42}
	nameL    = []byte{0xa1, 1, 'l'}
	handle5  = []byte{0x52, 5}
	longSize = []byte{0xff, 0xff, 0xff, 0xff}
)

// recursive is n maps, each the value of the one around it.
func recursive(n int) []byte {
	m := []byte{0xc1, 1, 0}
	for range n {
		inner := append([]byte{0xa3, 1, 'k'}, m...)
		m = append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte{0xd1}, uint32(len(inner)+4)), 2), inner...)
	}
	return m
}

// selecting is an attach of a receiver with a selector.
func selecting(selector string) *frame.Attach {
	filter := frame.AppendString(frame.AppendSymbolDescriptor(frame.AppendSymbol(nil, "s"), "apache.org:selector-filter:string"), selector)
	return &frame.Attach{Name: "l", Handle: 5, Role: frame.Receiver, Source: &frame.Source{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd, Filter: filter}}
}

// TestHostile: what no client sends is told on the narrowest scope, takes no memory to speak of, and what is beside it goes on.
// 1 §1.2, 1 §1.4, 1 §1.5, 2 §2.7, 2 §2.8.13, 2 §2.8.14, 2 §2.8.15/frame-size-too-small, 2 §2.8.15/resource-limit-exceeded
func TestHostile(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	transfer := func(p *peer, payload []byte) {
		p.raw(0, append(composite(0x14, handle5, []byte{0x43}, []byte{0xa0, 1, 't'}), payload...))
	}
	message := func(bytes ...[]byte) func(*peer) {
		return func(p *peer) {
			p.sender(5, "/queues/q")
			var all []byte
			for _, b := range bytes {
				all = append(all, b...)
			}
			transfer(p, all)
		}
	}
	attach := func(fields ...[]byte) func(*peer) {
		return func(p *peer) { p.raw(0, composite(0x12, fields...)) }
	}
	const link, session, connection = frame.ScopeLink, frame.ScopeSession, frame.ScopeConnection
	for name, x := range map[string]struct {
		send      func(*peer)
		scope     frame.Scope
		condition frame.Condition
	}{
		"recursive maps in a message":             {message([]byte{0, 0x53, 0x78}, recursive(1000)), link, frame.ResourceLimitExceeded},
		"a body of recursive lists":               {message([]byte{0, 0x53, 0x77}, nestedLists(2000)), link, frame.ResourceLimitExceeded},
		"four billion elements without bytes":     {message([]byte{0, 0x53, 0x77, 0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40}), link, frame.ResourceLimitExceeded},
		"a list longer than its bytes":            {message([]byte{0, 0x53, 0x76, 0xd0, 0, 0, 0, 4, 0, 0, 0, 9}), link, frame.DecodeError},
		"binary longer than its bytes":            {message([]byte{0, 0x53, 0x75, 0xb0}, longSize), link, frame.DecodeError},
		"a section of an unknown descriptor":      {message([]byte{0, 0x53, 0x7f, 0x45}), link, frame.DecodeError},
		"a section of a descriptor that is text":  {message([]byte{0, 0xa1, 1, 'x', 0x45}), link, frame.DecodeError},
		"sections in another order":               {message(data("x"), []byte{0, 0x53, 0x70, 0x45}), link, frame.DecodeError},
		"a header twice":                          {message([]byte{0, 0x53, 0x70, 0x45, 0, 0x53, 0x70, 0x45}), link, frame.DecodeError},
		"properties with a field of another type": {message(composite(0x73, null, null, []byte{0x44})), link, frame.DecodeError},
		"a property that is a list":               {message([]byte{0, 0x53, 0x74, 0xc1, 6, 2, 0xa1, 1, 'k', 0x45, 0x40}), link, frame.DecodeError},
		"a key twice":                             {message([]byte{0, 0x53, 0x74, 0xc1, 9, 4, 0xa1, 1, 'k', 0x41, 0xa1, 1, 'k', 0x41}), link, frame.DecodeError},
		"text that is not UTF-8":                  {message([]byte{0, 0x53, 0x77, 0xa1, 1, 0xff}), link, frame.DecodeError},
		"a symbol that is not ASCII":              {message([]byte{0, 0x53, 0x77, 0xa3, 1, 0xff}), link, frame.DecodeError},
		"a char that is a surrogate":              {message([]byte{0, 0x53, 0x77, 0x73, 0, 0, 0xd8, 0}), link, frame.DecodeError},
		"a selector of 60 KB":                     {func(p *peer) { p.send(0, selecting("a = "+strings.Repeat("(", 60<<10))) }, link, frame.InvalidField},
		"a selector of 100 KB":                    {func(p *peer) { p.send(0, selecting("a = '"+strings.Repeat("x", 100<<10)+"'")) }, link, frame.InvalidField},
		"a selector of very many names":           {func(p *peer) { p.send(0, selecting(strings.Repeat("a=1 OR ", 8000)+"b=2")) }, link, frame.InvalidField},
		"an address without end": {func(p *peer) {
			p.send(0, &frame.Attach{Name: "l", Handle: 5, Role: frame.Receiver, Source: &frame.Source{Address: "/queues/" + strings.Repeat("x", 100_000), ExpiryPolicy: frame.ExpireSessionEnd}})
		}, link, frame.NotFound},
		"a source of an unknown descriptor":             {attach(nameL, handle5, yes, null, null, composite(0x99)), session, frame.DecodeError},
		"a target as the source":                        {attach(nameL, handle5, yes, null, null, composite(0x29)), session, frame.DecodeError},
		"a symbol longer than the frame":                {attach(nameL, handle5, yes, null, null, append([]byte{0, 0xb3}, longSize...)), session, frame.DecodeError},
		"a map as a name":                               {attach(recursive(3), handle5, yes), session, frame.DecodeError},
		"properties of an attach without end":           {attach(nameL, handle5, no, null, null, null, null, null, null, []byte{0x43}, null, null, null, recursive(500)), session, frame.ResourceLimitExceeded},
		"fields behind the last":                        {func(p *peer) { p.raw(0, composite(0x16, handle5, yes, null, null)) }, session, frame.DecodeError},
		"properties of an attach with a string for key": {attach(nameL, handle5, no, null, null, null, null, null, null, []byte{0x43}, null, null, null, []byte{0xc1, 5, 2, 0xa1, 1, 'k', 0x40}), session, frame.DecodeError},
		"a role that is a number":                       {attach(nameL, handle5, []byte{0x43}), session, frame.DecodeError},
		"a settle mode that there is not":               {attach(nameL, handle5, yes, []byte{0x50, 9}), session, frame.InvalidField},
		"a delivery-tag of 33 bytes": {func(p *peer) {
			p.sender(5, "/queues/q")
			p.raw(0, composite(0x14, handle5, []byte{0x43}, append([]byte{0xa0, 33}, make([]byte, 33)...)))
		}, session, frame.InvalidField},
		"an unknown delivery-state": {func(p *peer) { p.raw(0, composite(0x15, yes, []byte{0x43}, null, yes, composite(0x99))) }, session, frame.NotImplemented},
		"a name that does not fit": {func(p *peer) {
			p.send(0, &frame.Attach{Name: strings.Repeat("n", 5000), Handle: 5, Role: frame.Receiver})
		}, session, frame.FrameSizeTooSmall},
		"an unknown performative":           {func(p *peer) { p.raw(0, composite(0x99)) }, connection, frame.NotImplemented},
		"a performative that is text":       {func(p *peer) { p.raw(0, []byte{0xa1, 1, 'x'}) }, connection, frame.DecodeError},
		"a type of frame that there is not": {func(p *peer) { p.write([]byte{0, 0, 0, 8, 2, 7, 0, 0}) }, connection, frame.FramingError},
		"a data offset behind the frame":    {func(p *peer) { p.write([]byte{0, 0, 0, 8, 200, 0, 0, 0}) }, connection, frame.FramingError},
		"a data offset inside the header":   {func(p *peer) { p.write([]byte{0, 0, 0, 8, 1, 0, 0, 0}) }, connection, frame.FramingError},
		"a frame smaller than its header":   {func(p *peer) { p.write([]byte{0, 0, 0, 7, 2, 0, 0, 0}) }, connection, frame.FramingError},
		"a frame of 4 GB":                   {func(p *peer) { p.write(append(longSize, 2, 0, 0, 0)) }, connection, frame.FramingError},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.open()
			p.TB = t
			p.send(1, &frame.Begin{IncomingWindow: 100, OutgoingWindow: 100, HandleMax: 10})
			expect[*frame.Begin](p)
			p.send(1, &frame.Attach{Name: "beside", Role: frame.Sender, InitialDeliveryCount: frame.Some[uint32](0), Target: &frame.Target{Address: "/queues/q", ExpiryPolicy: frame.ExpireSessionEnd}})
			expect[*frame.Attach](p)
			expect[*frame.Flow](p)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			x.send(p)
			scope, e := p.blamed()
			runtime.ReadMemStats(&after)
			if scope != x.scope || e == nil || e.Condition != x.condition || e.Description == "" {
				t.Fatalf("scope %d, %+v; want %d, %s", scope, e, x.scope, x.condition)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
				t.Errorf("%d bytes were allocated", took)
			}
			if scope == connection {
				check(t, p.conn.Close())
				return
			}
			if scope == link {
				p.send(0, &frame.Detach{Handle: 5, Closed: true})
				p.sender(6, "/queues/q")
			}
			p.send(1, &frame.Transfer{DeliveryID: frame.Some[uint32](0), DeliveryTag: []byte("t"), Payload: data("x")})
			if d := expect[*frame.Disposition](p); d.State.Code != frame.CodeAccepted {
				t.Errorf("disposition %+v", d)
			}
		})
	}
}

// blamed reads up to the error that ends something, and answers what it ends.
func (p *peer) blamed() (frame.Scope, *frame.Error) {
	p.Helper()
	for {
		_, perf, err := p.next()
		check(p, err)
		switch x := perf.(type) {
		case *frame.Detach:
			return frame.ScopeLink, x.Error
		case *frame.End:
			return frame.ScopeSession, x.Error
		case *frame.Close:
			return frame.ScopeConnection, x.Error
		}
	}
}
