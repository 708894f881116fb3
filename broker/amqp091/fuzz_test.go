package amqp091_test

import (
	"io"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
)

// FuzzConnection sends anything over an open connection with a queue, a consumer and a message that is not acknowledged.
// The broker must end the connection or go on, and serve the next one either way.
func FuzzConnection(f *testing.F) {
	for _, m := range []frame.Method{
		&frame.QueueDeclare{Queue: "q"}, &frame.BasicConsume{Queue: "fuzz"}, &frame.BasicAck{Multiple: true}, &frame.BasicGet{Queue: "fuzz"},
		&frame.ExchangeDeclare{Exchange: "x", Type: "topic"}, &frame.QueueBind{Queue: "fuzz", Exchange: "amq.topic", RoutingKey: "#"},
		&frame.BasicRecover{Requeue: true}, &frame.ChannelClose{}, &frame.ConfirmSelect{}, &frame.ChannelFlow{Active: true},
	} {
		f.Add(frame.AppendMethod(nil, 1, m))
	}
	f.Add(frame.AppendContent(frame.AppendPublish(nil, 1, &frame.BasicPublish{RoutingKey: []byte("fuzz")}), 1, nil, []byte("body"), frame.MinMax))
	c := defaults()
	c.Limits.ConnectTimeoutMillis = 60_000
	b := start(f, c)
	f.Fuzz(func(t *testing.T, input []byte) {
		b.TB = t
		p := b.open()
		p.send(1, &frame.QueueDeclare{Queue: "fuzz"})
		p.send(1, &frame.BasicConsume{Queue: "fuzz", ConsumerTag: "fuzz"})
		p.conn.Write(input)                                   //nolint:errcheck // the broker may have ended the connection before it was sent all
		p.conn.(interface{ CloseWrite() error }).CloseWrite() //nolint:errcheck // likewise
		check(t, p.conn.SetReadDeadline(time.Now().Add(patience)))
		if n, err := io.Copy(io.Discard, p.conn); err != nil && n == 0 {
			t.Errorf("the connection ended with %v and without an answer", err)
		}
	})
}
