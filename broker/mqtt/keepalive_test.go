package mqtt_test

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// pipe connects a client through net.Pipe, so that a test can own the time.
func (b *broker) pipe(name string) *peer {
	client, server := net.Pipe()
	b.accepted.Go(func() { b.endpoint.Serve(addressed{server}, func() {}) }) // ends with the connection
	return &peer{TB: b, Conn: client, name: name, version: packet.V311}
}

// addressed is a pipe with the address of this machine.
type addressed struct{ net.Conn }

func (addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// TestKeepAlive: the connection ends after one and a half keep alives without a packet. [MQTT-3.1.2-24]
func TestKeepAlive(t *testing.T) {
	for _, c := range []struct {
		name      string
		keepAlive uint16
		ping      time.Duration // between two packets of the client; zero is none
		after     time.Duration // of the last packet the connection ends; zero is never
	}{
		{"silent", 10, 0, 15 * time.Second},
		{"silent for long", 1000, 0, 1500 * time.Second},
		{"shortest", 1, 0, 2 * time.Second},
		{"pings", 10, 9 * time.Second, 0},
		{"no keep alive", 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t)
				p := b.pipe("a")
				defer p.Close() //nolint:errcheck // done with it
				ended := make(chan time.Time, 1)
				p.send(&packet.Connect{Version: packet.V311, ClientID: "a", CleanStart: true, KeepAlive: c.keepAlive})
				p.expect("connack 00")
				start := time.Now()
				go func() { // ends when the broker closes the connection, or the test does
					buf := make([]byte, 64)
					for {
						if _, err := p.Conn.Read(buf); err != nil {
							ended <- time.Now()
							return
						}
					}
				}()
				if err := p.SetReadDeadline(time.Time{}); err != nil {
					t.Fatal(err)
				}
				const watched = time.Hour
				for passed := time.Duration(0); c.ping > 0 && passed < watched; passed += c.ping {
					<-time.After(c.ping)
					p.send(&packet.Pingreq{})
				}
				if c.keepAlive == 0 {
					<-time.After(watched)
				}
				if c.after == 0 {
					select {
					case at := <-ended:
						t.Errorf("ended after %v", at.Sub(start))
					default:
					}
					return
				}
				const slack = 3 * time.Second
				if took := (<-ended).Sub(start); took < c.after || took > c.after+slack {
					t.Errorf("ended after %v, want %v", took, c.after)
				}
				synctest.Wait() // the peer may see the end before it is counted
				if n := b.endpoint.Stats().TimedOut.Load(); n != 1 {
					t.Errorf("%d connections timed out", n)
				}
			})
		})
	}
}

// TestPartOfAPacketIsNoSignOfLife: bytes that never make a packet do not keep a connection.
func TestPartOfAPacketIsNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		p := b.pipe("a")
		defer p.Close() //nolint:errcheck // done with it
		p.send(&packet.Connect{Version: packet.V311, ClientID: "a", CleanStart: true, KeepAlive: 10})
		p.expect("connack 00")
		start := time.Now()
		long := (&packet.Publish{Topic: []byte("t"), Payload: make([]byte, 1000)}).Append(nil, packet.V311)
		for i := range long {
			if _, err := p.Conn.Write(long[i : i+1]); err != nil {
				break
			}
			<-time.After(time.Second)
		}
		if took := time.Since(start); took < 15*time.Second || took > 20*time.Second {
			t.Errorf("ended after %v", took)
		}
	})
}

func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		p := b.pipe("a")
		defer p.Close() //nolint:errcheck // done with it
		p.write([]byte{0x10, 12, 0, 4})
		start := time.Now()
		if err := p.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if n, err := p.Conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%d bytes came", n)
		}
		if took := time.Since(start); took != b.config.Limits.ConnectTimeout() {
			t.Errorf("ended after %v", took)
		}
	})
}
