package mqtt_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// FuzzConnection sends anything over an open connection of any version, whose persistent session has subscriptions of
// every kind, deliveries in flight and a will. The broker must end the connection or go on, and serve the next one either
// way.
func FuzzConnection(f *testing.F) {
	properties := packet.Properties(nil).AppendNumber(packet.TopicAlias, 1).AppendNumber(packet.MessageExpiry, 1).AppendUser("a", "b")
	for version, p := range map[packet.Version]packet.Packet{
		packet.V5:   &packet.Publish{Topic: []byte("t"), QoS: 2, PacketID: 1, Properties: properties, Payload: []byte("x")},
		packet.V311: &packet.Publish{Topic: []byte("t/u"), QoS: 1, PacketID: 2, Dup: true},
		packet.V31:  &packet.Subscribe{PacketID: 3, Subscriptions: []packet.Subscription{{Filter: "+/#", QoS: 2}}},
	} {
		f.Add(byte(version), p.Append(nil, version))
	}
	for _, p := range []packet.Packet{
		&packet.Puback{PacketID: 1}, &packet.Pubrec{PacketID: 1}, &packet.Pubrel{PacketID: 1}, &packet.Pubcomp{PacketID: 1},
		&packet.Subscribe{PacketID: 3, Subscriptions: []packet.Subscription{{Filter: "$share/g/#", QoS: 1}, {Filter: "$exclusive/a", RetainHandling: 1, NoLocal: true}}},
		&packet.Subscribe{PacketID: 3, Subscriptions: []packet.Subscription{{Filter: "$queue/q", QoS: 2}}, Properties: packet.Properties(nil).AppendNumber(packet.SubscriptionID, 5)},
		&packet.Unsubscribe{PacketID: 4, Filters: []string{"t", "$share/g/t"}}, &packet.Pingreq{}, &packet.Auth{Reason: packet.Reauthenticate},
		&packet.Disconnect{Reason: packet.DisconnectWithWill, Properties: packet.Properties(nil).AppendNumber(packet.SessionExpiry, 0)},
	} {
		f.Add(byte(packet.V5), p.Append(nil, packet.V5))
	}
	b := newBroker(f)
	b.queue("q", "q/#")
	b.listen()
	f.Fuzz(func(t *testing.T, version byte, input []byte) {
		b.TB = t
		p := &peer{TB: t, Conn: b.connect(t), name: "fuzz", version: packet.Version(3 + version%3)}
		defer p.Close() //nolint:errcheck // the broker may have ended it
		hello := &packet.Connect{Version: p.version, ClientID: "fuzz", Will: &packet.Will{Topic: "t", QoS: 2, Payload: []byte("gone")}}
		if p.version == packet.V5 {
			hello.Properties = packet.Properties(nil).AppendNumber(packet.SessionExpiry, 60).AppendNumber(packet.TopicAliasMaximum, 2)
		}
		p.send(hello)
		p.send(&packet.Subscribe{PacketID: 9, Subscriptions: []packet.Subscription{{Filter: "t", QoS: 2}, {Filter: "$queue/q", QoS: 1}}})
		p.send(&packet.Publish{Topic: []byte("t"), QoS: 2, PacketID: 9})
		p.write(input)
		p.Conn.(*net.TCPConn).CloseWrite() //nolint:errcheck // the broker may have ended it
		if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, p.Conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection does not end")
		}
	})
}

// connect opens a connection that says nothing yet.
func (b *broker) connect(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", b.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
