package mqtt

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	connectPacket = "10 0d 0004 4d515454 04 02 003c 0001 61" // version 3.1.1, clean session, client "a"
	connackPacket = "20 02 00 00"
)

// TestBytes sends bytes and expects bytes, and then the end of the connection, or none with "open".
func TestBytes(t *testing.T) {
	b := start(t)
	for _, c := range []struct {
		clause     string // that the broker obeys
		send, want string
		open       bool
	}{
		{"[MQTT-3.1.0-1] first packet is CONNECT", "c0 00", "", false},
		{"[MQTT-3.1.0-2] a second CONNECT", connectPacket + connectPacket, connackPacket, false},
		{"[MQTT-3.1.2-1] protocol name", "10 0d 0004 4d515458 04 02 003c 0001 61", "", false},
		{"[MQTT-3.1.2-2] protocol level", "10 0d 0004 4d515454 07 02 003c 0001 61", "20 03 00 84 00", false},
		{"[MQTT-3.1.2-3] reserved connect flag", "10 0d 0004 4d515454 04 03 003c 0001 61", "", false},
		{"[MQTT-3.1.2-14] will QoS 3", "10 12 0004 4d515454 04 1e 003c 0001 61 0001 77 0000", "", false},
		{"[MQTT-3.1.2-22] password without user", "10 0f 0004 4d515454 04 42 003c 0001 61 0000", "", false},
		{"[MQTT-3.1.3-6] empty client id", "10 0c 0004 4d515454 04 02 003c 0000", connackPacket, true},
		{"[MQTT-3.1.3-8] empty client id without clean session", "10 0c 0004 4d515454 04 00 003c 0000", "20 02 00 02", false},
		{"[MQTT-2.2.2-2] reserved flags", connectPacket + "c1 00", connackPacket, false},
		{"[MQTT-3.8.1-1] flags of SUBSCRIBE", connectPacket + "80 06 0001 0001 61 00", connackPacket, false},
		{"[MQTT-3.8.3-3] SUBSCRIBE without filter", connectPacket + "82 02 0001", connackPacket, false},
		{"[MQTT-3.8.3-4] SUBSCRIBE with QoS 3", connectPacket + "82 06 0001 0001 61 03", connackPacket, false},
		{"[MQTT-3.8.4-1] SUBACK", connectPacket + "82 0a 0001 0001 61 00 0001 62 01", connackPacket + "90 04 0001 00 01", true},
		{"[MQTT-2.3.1-1] packet identifier 0", connectPacket + "82 06 0000 0001 61 00", connackPacket, false},
		{"[MQTT-3.10.3-2] UNSUBSCRIBE without filter", connectPacket + "a2 02 0001", connackPacket, false},
		{"[MQTT-3.10.4-5] UNSUBACK without a subscription", connectPacket + "a2 05 0007 0001 61", connackPacket + "b0 02 0007", true},
		{"[MQTT-3.3.1-4] QoS 3", connectPacket + "36 05 0001 61 0001", connackPacket, false},
		{"[MQTT-3.3.2-2] wildcard in a topic name", connectPacket + "30 03 0001 23", connackPacket, false},
		{"[MQTT-4.7.3-1] empty topic name", connectPacket + "30 02 0000", connackPacket, false},
		{"[MQTT-4.7.3-2] U+0000 in a topic name", connectPacket + "30 03 0001 00", connackPacket, false},
		{"[MQTT-1.5.3-1] surrogates", connectPacket + "30 05 0003 eda080", connackPacket, false},
		{"[MQTT-1.5.3-3] U+FEFF is a character", connectPacket + "32 07 0003 efbbbf 0001", connackPacket + "40 02 0001", true},
		{"[MQTT-3.3.4-1] PUBACK", connectPacket + "32 05 0001 61 0009", connackPacket + "40 02 0009", true},
		{"[MQTT-4.6.0-2] PUBACKs in order", connectPacket + "32 05 0001 61 0009 32 05 0001 62 0008", connackPacket + "40 02 0009 40 02 0008", true},
		{"[MQTT-3.12.4-1] PINGRESP", connectPacket + "c0 00", connackPacket + "d0 00", true},
		{"[MQTT-3.14.4-2] DISCONNECT", connectPacket + "e0 00", connackPacket, false},
		{"[MQTT-3.14.1-1] flags of DISCONNECT", connectPacket + "e1 00", connackPacket, false},
		{"[MQTT-2.3.1-5] PUBLISH with QoS 0", connectPacket + "82 06 0001 0001 61 01 30 04 0001 61 78", connackPacket + "90 03 0001 01 30 04 0001 61 78", true},
		{"[MQTT-4.3.3-2] PUBREC and PUBCOMP", connectPacket + "34 05 0001 61 0001 62 02 0001", connackPacket + "50 02 0001 70 02 0001", true},
		{"a packet of a server", connectPacket + "20 02 00 00", connackPacket, false},
		{"a packet of type 0", connectPacket + "00 00", connackPacket, false},
		{"a packet larger than allowed", connectPacket + "30 ff ff ff 7f", connackPacket, false},
		{"a large packet before CONNECT", "10 ff ff ff 7f", "", false},
		{"a remaining length of five bytes", connectPacket + "30 ff ff ff ff 01", connackPacket, false},
	} {
		t.Run(c.clause, func(t *testing.T) {
			conn := b.dial(t)
			if _, err := conn.Write(bytesOf(t, c.send)); err != nil {
				t.Fatal(err)
			}
			want := bytesOf(t, c.want)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != string(want) {
				t.Fatalf("got % x, %v; want % x", got, err, want)
			}
			if c.open {
				ping(t, conn)
				return
			}
			if rest, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) || len(rest) > 0 {
				t.Errorf("got % x, %v; want the end", rest, err)
			}
		})
	}
	conn := b.dial(t)
	if _, err := conn.Write(bytesOf(t, connectPacket)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		t.Errorf("the broker no longer serves: %v", err)
	}
	b.stop()
}

// TestReasonStrings: packets are as short as the client takes them, and the reason says why without words when it does not
// want to have problems explained. [MQTT5-3.1.2-29], [MQTT5-3.2.2-19], [MQTT5-3.4.2-2], [MQTT5-3.5.2-2], [MQTT5-3.9.2-1],
// [MQTT5-3.14.2-3]
func TestReasonStrings(t *testing.T) {
	b := start(t)
	const (
		small    = "27 00000014"
		reticent = "17 00"
	)
	for _, c := range []struct {
		name, send, want string
		always           bool // whatever the client wants to have explained
	}{
		{"PUBACK", "32 09 0006 24 5359532f78 0001 00", "40 03 0001 87", false},
		{"PUBREC", "34 0b 0006 24 5359532f78 0002 00", "50 03 0002 87", false},
		{"SUBACK", "82 0d 0003 00 0007 24 73686172652f 00", "90 04 0003 00 8f", false},
		{"DISCONNECT", "c1 00", "e0 01 81", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := bytesOf(t, c.want)
			for _, properties := range []string{"", small, reticent} {
				conn := b.dial(t)
				send := connect5(t, properties)
				if _, err := conn.Write(append(send, packetOf(t, c.send)...)); err != nil {
					t.Fatal(err)
				}
				if ack := readPacket(t, conn); ack[0] != 0x20 || ack[3] != 0 {
					t.Fatalf("CONNACK is % x", ack)
				}
				got := readPacket(t, conn)
				explained := properties == "" || properties == reticent && c.always
				switch {
				case explained && (got[0] != want[0] || len(got) < len(want)+10):
					t.Errorf("with properties %q: got % x, want one with a reason string", properties, got)
				case !explained && string(got) != string(want):
					t.Errorf("with properties %q: got % x, want % x", properties, got, want)
				}
			}
		})
	}
	conn := b.dial(t)
	refused := connect5(t, small)
	refused[9] |= 0xc0
	refused = append(refused, 0, 6, 'n', 'o', 'b', 'o', 'd', 'y', 0, 1, 'x')
	refused[1] = byte(len(refused) - 2)
	if _, err := conn.Write(refused); err != nil {
		t.Fatal(err)
	}
	if got := readPacket(t, conn); string(got) != "\x20\x03\x00\x86\x00" {
		t.Errorf("CONNACK is % x", got)
	}
}

// TestPacketsThatAreTooLarge: also SUBACK and UNSUBACK count as sent when the client does not take them.
// [MQTT5-3.1.2-24], [MQTT5-3.1.2-25]
func TestPacketsThatAreTooLarge(t *testing.T) {
	b := start(t)
	conn := b.dial(t)
	send := append(connect5(t, "27 00000014"), packetOf(t, "82 00 0001 00"+strings.Repeat("0001 61 00", 20))...)
	send = append(send, packetOf(t, "a2 00 0002 00"+strings.Repeat("0001 61", 20))...)
	if _, err := conn.Write(send); err != nil {
		t.Fatal(err)
	}
	if ack := readPacket(t, conn); ack[0] != 0x20 || ack[3] != 0 {
		t.Fatalf("CONNACK is % x", ack)
	}
	ping(t, conn)
}

// connect5 is a CONNECT of version 5 with properties.
func connect5(t *testing.T, properties string) []byte {
	t.Helper()
	p := bytesOf(t, properties)
	return packetOf(t, fmt.Sprintf("10 00 0004 4d515454 05 02 003c %02x %x 0001 61", len(p), p))
}

// packetOf is bytesOf for a packet of less than 128 bytes, whose remaining length it puts right.
func packetOf(t *testing.T, text string) []byte {
	t.Helper()
	b := bytesOf(t, text)
	b[1] = byte(len(b) - 2)
	return b
}

// readPacket reads a packet of less than 128 bytes.
func readPacket(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	b := make([]byte, 2, 130)
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatal(err)
	}
	b = b[:2+int(b[1])]
	if _, err := io.ReadFull(conn, b[2:]); err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	return b
}

func (b *broker) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", b.addresses["mqtt"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // done with it
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func ping(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Write([]byte{0xc0, 0}); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	a, errA := r.ReadByte()
	z, errZ := r.ReadByte()
	if errA != nil || errZ != nil || a != 0xd0 || z != 0 {
		t.Errorf("got %x %x, %v, want PINGRESP", a, z, errors.Join(errA, errZ))
	}
}

func bytesOf(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
