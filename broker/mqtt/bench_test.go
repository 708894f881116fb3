package mqtt_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// BenchmarkPairs moves messages of 64 bytes from four publishers to a subscriber each, with a window of 1000 messages.
func BenchmarkPairs(b *testing.B) {
	for _, qos := range []uint8{0, 1} {
		b.Run(fmt.Sprintf("QoS %d", qos), func(b *testing.B) {
			br := newBroker(b)
			br.config.Limits.InFlight = 1000
			br.stop()
			br.start()
			const pairs, window, burst = 4, 1000, 100
			var all sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for i := range pairs {
				topic := fmt.Sprintf("bench/%d", i)
				s, p := br.connected("s"+topic, true), br.connected("p"+topic, true)
				s.subscribe(topic, qos)
				free := make(chan struct{}, window/burst)
				for range cap(free) {
					free <- struct{}{}
				}
				n := (b.N/pairs/burst + 1) * burst
				all.Go(func() { // ends when everything is sent
					var out []byte
					q := packet.Publish{Topic: []byte(topic), QoS: qos, Payload: make([]byte, 64)}
					for k := 0; k < n; k += burst {
						out = out[:0]
						for j := range burst {
							if qos > 0 {
								q.PacketID = uint16((k+j)%60000) + 1
							}
							out = q.Append(out, packet.V311)
						}
						<-free
						p.write(out)
					}
				})
				all.Go(func() { drain(p, 0, nil) }) // ends with the connection
				all.Go(func() {                     // ends when everything has come
					drain(s, n, func(k int) {
						if k%burst == 0 {
							free <- struct{}{}
						}
					})
					p.Close() //nolint:errcheck // done with it
				})
			}
			all.Wait()
		})
	}
}

// drain receives n messages, or everything with 0, and acknowledges them.
func drain(p *peer, n int, each func(k int)) {
	buf := make([]byte, 256<<10)
	var acks []byte
	end := 0
	for k := 0; n == 0 || k < n; {
		got, err := p.Conn.Read(buf[end:])
		if err != nil {
			return
		}
		end += got
		at := 0
		acks = acks[:0]
		for {
			size, _ := packet.Next(buf[at:end], len(buf))
			if size == 0 || size > end-at {
				break
			}
			if frame := buf[at : at+size]; packet.TypeOf(frame) == packet.TypePublish {
				k++
				if frame[0]&6 != 0 {
					topic := int(frame[2])<<8 | int(frame[3])
					acks = append(acks, 0x40, 2, frame[4+topic], frame[5+topic])
				}
				each(k)
			}
			at += size
		}
		end = copy(buf, buf[at:end])
		if len(acks) > 0 {
			p.write(acks)
		}
	}
}
