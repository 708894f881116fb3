package hub_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
)

// alive is how many bytes of the heap are in use.
func alive() uint64 {
	var m runtime.MemStats
	for range 2 { // what pools hold goes with the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func sensor(c, i int) string { return fmt.Sprintf("plant/%03d/line/%02d/sensor/%07d", c, i%100, i) }

// BenchmarkSubscriptionMemory is what a subscription of a clean session keeps, a tenth of them with wildcards.
func BenchmarkSubscriptionMemory(b *testing.B) {
	const sessions, each = 200, 5000
	for b.Loop() {
		h, v, a := benchHubOn(b, vfs.OS, b.TempDir())
		before := alive()
		for c := range sessions {
			s, _, err := v.OpenSession(context.Background(), hub.SessionOptions{ClientID: fmt.Sprint(c), Clean: true, Access: a, Sink: newSink(), Limit: 1})
			if err != nil {
				b.Fatal(err)
			}
			for i := c * each; i < (c+1)*each; i++ {
				filter := sensor(c, i)
				switch i % 20 {
				case 0:
					filter = fmt.Sprintf("plant/%03d/+/%02d/sensor/%07d", c, i%100, i)
				case 10:
					filter += "/#"
				}
				if _, err := s.Subscribe(context.Background(), []hub.Subscription{{Filter: filter}}); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(alive()-before)/(sessions*each), "B/subscription")
		runtime.KeepAlive(h)
	}
}

// BenchmarkRetainedMemory is what a retained message keeps beyond its topic and payload.
func BenchmarkRetainedMemory(b *testing.B) {
	const count = 1_000_000
	for b.Loop() {
		h, v, a := benchHubOn(b, vfs.OS, b.TempDir())
		before := alive()
		p := v.NewPublisher(hub.PublisherOptions{Access: a, Encoding: message.MQTT})
		own, payload := 0, make([]byte, 16)
		for i := range count {
			topic := sensor(i%200, i)
			own += len(topic) + 16
			r, err := p.Route([]byte("amq.topic"), []byte(topic))
			if err != nil {
				b.Fatal(err)
			}
			m := message.Message{Exchange: r.Exchange, Key: r.Key, Encoding: message.MQTT, Retain: true, Payload: payload}
			if _, err := p.Publish(r, &m, nil, 0); err != nil {
				b.Fatal(err)
			}
			if i%100 == 99 {
				p.Flush()
			}
		}
		for h.RetainedCount() < count { // the shards are behind
			time.Sleep(time.Millisecond)
		}
		b.ReportMetric(float64(int(alive()-before)-own)/count, "B/message")
		runtime.KeepAlive(h)
	}
}
