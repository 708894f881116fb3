package packet

import (
	"bytes"
	"testing"
)

// fuzzPacket is one fuzz target: Decode never panics, and what it reads is written and read again as the same bytes.
func fuzzPacket(f *testing.F, types ...Type) {
	for _, r := range rawPackets(f) {
		for _, t := range types {
			if TypeOf(r.bytes) == t {
				f.Add(r.bytes, byte(r.version))
			}
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, version byte) {
		v := Version(3 + version%3)
		for _, kind := range types {
			p := New(kind)
			if p.Decode(src, v) != nil {
				continue
			}
			first := p.Append(nil, v)
			again := New(kind)
			if err := again.Decode(first, v); err != nil {
				t.Fatalf("%s % x is written as % x, which is not one: %v", kind, src, first, err)
			}
			if second := again.Append(nil, v); !bytes.Equal(first, second) {
				t.Fatalf("%s is written as % x and then as % x", kind, first, second)
			}
		}
	})
}

func FuzzConnect(f *testing.F)     { fuzzPacket(f, TypeConnect) }
func FuzzConnack(f *testing.F)     { fuzzPacket(f, TypeConnack) }
func FuzzPublish(f *testing.F)     { fuzzPacket(f, TypePublish) }
func FuzzAck(f *testing.F)         { fuzzPacket(f, TypePuback, TypePubrec, TypePubrel, TypePubcomp) }
func FuzzSubscribe(f *testing.F)   { fuzzPacket(f, TypeSubscribe) }
func FuzzSuback(f *testing.F)      { fuzzPacket(f, TypeSuback) }
func FuzzUnsubscribe(f *testing.F) { fuzzPacket(f, TypeUnsubscribe) }
func FuzzUnsuback(f *testing.F)    { fuzzPacket(f, TypeUnsuback) }
func FuzzPing(f *testing.F)        { fuzzPacket(f, TypePingreq, TypePingresp) }
func FuzzDisconnect(f *testing.F)  { fuzzPacket(f, TypeDisconnect, TypeAuth) }

// FuzzNext: the packets that Next finds in a buffer lie one behind the other.
func FuzzNext(f *testing.F) {
	f.Add([]byte("\xc0\x00\x30\x03\x00\x01a"), 1000)
	f.Fuzz(func(t *testing.T, src []byte, most int) {
		for len(src) > 0 {
			n, err := Next(src, most)
			if err != nil || n == 0 || n > len(src) {
				return
			}
			if n < 2 || n > most {
				t.Fatalf("packet of %d bytes, at most %d", n, most)
			}
			src = src[n:]
		}
	})
}
