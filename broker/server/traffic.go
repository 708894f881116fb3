package server

import (
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/metrics"
)

// traffic counts connections over all listeners.
type traffic struct {
	limit             atomic.Int64 // on open; follows limits.connections
	open              atomic.Int64
	accepted          metrics.Counter
	refused           metrics.Counter // over the limit
	handshakeFailures metrics.Counter
	reloadFailures    metrics.Counter
}

// enter takes a place; false says that there are as many connections as may be.
func (t *traffic) enter() bool {
	if t.open.Add(1) > t.limit.Load() {
		t.open.Add(-1)
		t.refused.Add(1)
		return false
	}
	t.accepted.Add(1)
	return true
}

func (t *traffic) leave() { t.open.Add(-1) }
