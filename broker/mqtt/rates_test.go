package mqtt_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// A client that is slowed down is not read from for longer than its keep alive, and does not end by that; its messages are
// acknowledged at once.
func TestSlowDownIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		b.config.Limits.Rates.Client.MessagesPerSecond = 1
		b.hub.Reconfigure(b.config)
		b.hub.Authority().Refresh()
		p := b.pipe("a")
		defer p.Close() //nolint:errcheck // done with it
		p.send(&packet.Connect{Version: packet.V311, ClientID: "a", CleanStart: true, KeepAlive: 2})
		p.expect("connack 00")
		began := time.Now()
		var all []byte
		for id := uint16(1); id <= 11; id++ {
			all = (&packet.Publish{Topic: []byte("t"), QoS: 1, PacketID: id}).Append(all, packet.V311)
		}
		p.write(all)
		for _, want := range []string{"puback 1", "puback 2", "puback 3", "puback 4", "puback 5", "puback 6", "puback 7", "puback 8", "puback 9", "puback 10", "puback 11"} {
			p.expect(want)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("acknowledged after %v", took)
		}
		p.send(&packet.Pingreq{}) // the pipe has no room: it is taken when the broker reads again
		p.expect("pingresp")
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("read again after %v, want 10 seconds", took)
		}
	})
}
