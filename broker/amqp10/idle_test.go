package amqp10_test

import (
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// TestIdleTimeout: the broker says something within the peer's patience, and gives up on a peer that says nothing for twice
// what it was told. 2 §2.4.5
func TestIdleTimeout(t *testing.T) {
	c := defaults()
	c.AMQP.HeartbeatSeconds = 1
	b := start(t, c)
	p := b.dial()
	p.header(frame.ProtocolAMQP)
	p.expectHeader(frame.ProtocolAMQP)
	p.send(0, &frame.Open{ContainerID: "c", MaxFrameSize: 512, IdleTimeout: 1000})
	if o := expect[*frame.Open](p); o.IdleTimeout != 1000 {
		t.Errorf("idle-time-out %d", o.IdleTimeout)
	}
	heartbeats := 0
	for {
		f, n, err := frame.Read(p.buf, 512)
		check(t, err)
		if n == 0 {
			check(t, p.fill())
			continue
		}
		if p.buf = p.buf[n:]; len(f.Body) == 0 {
			heartbeats++
			continue
		}
		var end frame.Close
		check(t, end.Decode(f.Body, frame.Limits{Depth: 10, Elements: 10}))
		if end.Error == nil || end.Error.Condition != frame.ResourceLimitExceeded || heartbeats == 0 {
			t.Errorf("close %+v after %d empty frames", end.Error, heartbeats)
		}
		break
	}
	p.gone()
	if n := b.endpoint.Stats().TimedOut.Load(); n != 1 {
		t.Errorf("%d timeouts", n)
	}
}
