package mqtt

import (
	"bufio"
	"encoding/hex"
	"errors"
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
