package amqp091_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
)

// BenchmarkRelay moves transient messages of 64 bytes from one connection to another over loopback, with a window of
// 1,000. The CPU it reports is that of the whole process, the minimal client included.
func BenchmarkRelay(b *testing.B) {
	br := start(b, defaults())
	consumer, publisher := br.open(), br.open()
	consumer.send(1, &frame.QueueDeclare{Queue: "q"})
	expect[*frame.QueueDeclareOk](consumer)
	consumer.send(1, &frame.BasicConsume{Queue: "q", NoAck: true})
	expect[*frame.BasicConsumeOk](consumer)
	const batch = 500
	var raw []byte
	for range batch {
		raw = frame.AppendPublish(raw, 1, &frame.BasicPublish{RoutingKey: []byte("q")})
		raw = frame.AppendContent(raw, 1, nil, make([]byte, 64), frame.MinMax)
	}
	window := make(chan struct{}, 2)
	go func() { // ends when the connection does
		buf := make([]byte, 256<<10)
		one := len(frame.AppendContent(frame.AppendDeliver(nil, 1, &frame.BasicDeliver{ConsumerTag: "amq.ctag-1.1.1", RoutingKey: "q"}), 1, nil, make([]byte, 64), frame.MinMax))
		got := 0
		for {
			n, err := consumer.conn.Read(buf)
			if err != nil {
				return
			}
			for got += n; got >= one*batch; got -= one * batch {
				<-window
			}
		}
	}()
	before := cpu()
	b.ResetTimer()
	sent := 0
	for b.Loop() {
		if sent%batch == 0 {
			window <- struct{}{}
			publisher.write(raw)
		}
		sent++
	}
	b.StopTimer()
	b.ReportMetric(float64(cpu()-before)/float64(time.Second)/float64(sent)*1e6, "cpu-s/million")
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "msgs/s")
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
