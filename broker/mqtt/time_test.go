package mqtt_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// TestServerKeepAlive: the shorter of the client's keep alive and the broker's counts. CONNACK says so when it is the
// broker's, and DISCONNECT when it has passed. [MQTT-3.1.2-24], [MQTT5-3.2.2-22]
func TestServerKeepAlive(t *testing.T) {
	for _, c := range []struct {
		keepAlive uint16
		connack   string
		after     time.Duration
	}{
		{0, "connack 00 keep-alive=20", 30 * time.Second},
		{100, "connack 00 keep-alive=20", 30 * time.Second},
		{20, "connack 00", 30 * time.Second},
		{10, "connack 00", 15 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBroker(t)
			b.stop()
			b.config.MQTT.MaxKeepAliveSeconds = 20
			b.start()
			p := b.pipe("a")
			defer p.Close() //nolint:errcheck // done with it
			p.version = packet.V5
			p.send(&packet.Connect{Version: packet.V5, ClientID: "a", KeepAlive: c.keepAlive})
			p.expect(c.connack)
			start := time.Now()
			p.patience = time.Hour
			p.expect("disconnect 8d")
			const slack = 3 * time.Second
			if took := time.Since(start); took < c.after || took > c.after+slack {
				t.Errorf("with a keep alive of %d, the connection ends after %v, want %v", c.keepAlive, took, c.after)
			}
			p.expect("closed")
		})
	}
}

// TestSessionExpiry: a session outlives its connection for as long as it says, and no longer. What it has is there as
// long as the connection is. [MQTT5-3.1.2-23], [MQTT5-4.1.0-1], [MQTT5-4.1.0-2]
func TestSessionExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		connect := func() *peer {
			p := b.pipe("a")
			p.version = packet.V5
			p.send(&packet.Connect{Version: packet.V5, ClientID: "a", Properties: packet.Properties(nil).AppendNumber(packet.SessionExpiry, 100)})
			return p
		}
		p := connect()
		p.expect("connack 00")
		<-time.After(1000 * time.Second)
		p.Close() //nolint:errcheck // that is the point
		<-time.After(99 * time.Second)
		p = connect()
		p.expect("connack 00 present")
		p.Close() //nolint:errcheck // that is the point
		<-time.After(101 * time.Second)
		p = connect()
		p.expect("connack 00")
		p.Close() //nolint:errcheck // done with it
	})
}

// TestMessageExpiry: a message whose time is over is not sent, the others say what is left of it. One of QoS 2 that was
// sent does not expire any more, and the exchange with its publisher goes on whatever became of it.
// [MQTT5-3.3.2-5], [MQTT5-3.3.2-6], [MQTT5-4.3.3-7], [MQTT5-4.3.3-13]
func TestMessageExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		connect := func(name, connack string) *peer {
			p := b.pipe(name)
			p.version = packet.V5
			properties := packet.Properties(nil).AppendNumber(packet.SessionExpiry, 1000).AppendNumber(packet.ReceiveMaximum, 1)
			p.send(&packet.Connect{Version: packet.V5, ClientID: name, Properties: properties})
			p.expect(connack)
			return p
		}
		s, p := connect("s", "connack 00"), connect("p", "connack 00")
		defer p.Close() //nolint:errcheck // done with it
		s.subscribe("t", 2)
		for id, seconds := range []uint32{10, 10, 100} {
			p.send(&packet.Publish{
				Topic: []byte("t"), QoS: 2, PacketID: uint16(id + 1), Payload: []byte{byte('1' + id)},
				Properties: packet.Properties(nil).AppendNumber(packet.MessageExpiry, seconds),
			})
			p.expect([]string{"pubrec 1", "pubrec 2", "pubrec 3"}[id])
		}
		s.expect(`publish t "1" qos=2 id=1 message-expiry=10`)
		s.Close() //nolint:errcheck // the message was sent
		<-time.After(20 * time.Second)
		p.send(&packet.Pubrel{PacketID: 2})
		p.expect("pubcomp 2")
		s = connect("s", "connack 00 present")
		s.expect(`publish t "1" qos=2 id=1 dup message-expiry=1`)
		s.send(&packet.Pubrec{PacketID: 1})
		s.expect("pubrel 1")
		s.send(&packet.Pubcomp{PacketID: 1})
		s.expect(`publish t "3" qos=2 id=3 message-expiry=80`)
		s.Close() //nolint:errcheck // done with it
	})
}
