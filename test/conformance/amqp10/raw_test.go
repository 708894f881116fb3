package amqp10_test

import (
	"bytes"
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"
)

// bytesOf reads hexadecimal digits, and text in quotes.
func bytesOf(t *testing.T, text string) (raw []byte) {
	t.Helper()
	for i, part := range strings.Split(text, "'") {
		if i%2 == 1 {
			raw = append(raw, part...)
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		check(t, err)
		raw = append(raw, b...)
	}
	return raw
}

// framed writes frames on channel 0: the size goes in front.
func framed(kind byte, bodies ...[]byte) (raw []byte) {
	for _, b := range bodies {
		raw = append(append(raw, 0, 0, byte((8+len(b))>>8), byte(8+len(b)), 2, kind, 0, 0), b...)
	}
	return raw
}

// TestBytes: what comes back for bytes that are written by hand. 2 §2.2, 2 §2.3.1, 2 §2.4.1, 2 §2.4.3, 2 §2.5.1, 2 §2.5.4,
// 2 §2.6.3, 2 §2.6.5, 2 §2.7.1 to 2 §2.7.9, 2 §2.8.15/not-implemented, 2 §2.8.15/decode-error, 2 §2.8.16/framing-error,
// 2 §2.8.17/unattached-handle, 2 §2.8.17/handle-in-use, 5 §5.3.2, 5 §5.3.3
func TestBytes(t *testing.T) {
	p := start(t)
	login := append(bytesOf(t, "'AMQP' 03 01 00 00"), framed(1, bytesOf(t, "00 53 41 c0 16 02 a3 05 'PLAIN' a0 0c 00'guest'00'guest'"))...)
	opened := append(append(login, bytesOf(t, "'AMQP' 00 01 00 00")...), framed(0, bytesOf(t, "00 53 10 c0 04 01 a1 01 'c'"), bytesOf(t, "00 53 11 c0 07 04 40 43 52 7f 52 7f"))...)
	for _, x := range []struct{ name, kind, frame, want string }{
		{"a layer that is not here", "header", "'AMQP' 02 01 00 00", "'AMQP' 03 01 00 00"},
		{"SASL is answered", "login", "", "00 53 44"},
		{"open and begin are answered", "open", "", "00 53 11"},
		{"close is answered", "open", "00 53 18 45", "00 53 18"},
		{"end is answered", "open", "00 53 17 45", "00 53 17"},
		{"an unknown performative", "open", "00 53 99 45", "'amqp:not-implemented'"},
		{"a performative that is a map", "open", "00 53 12 c1 01 00", "'amqp:decode-error'"},
		{"flow without a link", "open", "00 53 13 c0 09 05 43 52 7f 43 52 7f 52 05", "'amqp:session:unattached-handle'"},
		{"transfer without a link", "open", "00 53 14 c0 06 03 52 05 43 a0 00", "'amqp:session:unattached-handle'"},
		{"detach without a link", "open", "00 53 16 c0 04 02 52 05 41", "'amqp:session:unattached-handle'"},
		{"disposition of nothing is passed over, and close answered", "open", "00 53 15 c0 06 05 41 43 40 41 40 | 00 53 18 45", "00 53 18"},
		{"attach to what is not there", "open", "00 53 12 c0 18 06 a1 01 'l' 43 41 40 40 00 53 28 c0 0b 01 a1 08 '/queues/'", "00 53 16"},
		{"a second link on a handle", "open", "00 53 12 c0 06 03 a1 01 'l' 43 41 | 00 53 12 c0 06 03 a1 01 'm' 43 41", "'amqp:session:handle-in-use'"},
	} {
		t.Run(x.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", p.address("amqp"))
			check(t, err)
			defer conn.Close() //nolint:errcheck // at the end
			check(t, conn.SetDeadline(time.Now().Add(patience)))
			raw := map[string][]byte{"header": nil, "login": login, "open": opened}[x.kind]
			raw = append([]byte(nil), raw...)
			for f := range strings.SplitSeq(x.frame, "|") {
				if b := bytesOf(t, f); x.kind == "header" {
					raw = append(raw, b...)
				} else if len(b) > 0 {
					raw = append(raw, framed(0, b)...)
				}
			}
			_, err = conn.Write(raw)
			check(t, err)
			want, got := bytesOf(t, x.want), []byte{}
			for chunk := make([]byte, 4096); !bytes.Contains(got, want); {
				n, err := conn.Read(chunk)
				if got = append(got, chunk[:n]...); err != nil {
					t.Fatalf("%v; got\n%swant\n%s", err, hex.Dump(got), hex.Dump(want))
				}
			}
		})
	}
}
