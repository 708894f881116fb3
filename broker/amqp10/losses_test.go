package amqp10_test

import (
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

// losses is a disk that keeps what a loss of power would leave at each of its operations, while it records.
type losses struct {
	*vfs.Crash
	left      []*vfs.Crash // belongs to whoever holds recording, and to the test when it is off
	recording chan bool
}

func newLosses() *losses {
	d := &losses{Crash: vfs.NewCrash(), recording: make(chan bool, 1)}
	d.recording <- false
	d.Before = func(vfs.Op, string) {
		on := <-d.recording
		if on {
			for range 3 { // of what the disk may hold at this moment
				d.left = append(d.left, d.PowerLoss(uint64(len(d.left))))
			}
		}
		d.recording <- on
	}
	return d
}

func (d *losses) record(on bool) { <-d.recording; d.recording <- on }

// commits discharges a transaction. Whenever the power is lost meanwhile, as many messages wait in the queues as before it or after
// it, and after it once it was accepted: a digit for each queue.
func (d *losses) commits(c *controller, txn []byte, queues []string, before, after string) {
	c.Helper()
	d.record(true)
	c.discharge(txn, false)
	c.accepted()
	d.record(false)
	accepted := d.PowerLoss(1)
	states := map[string]int{}
	for i, left := range append(d.left, accepted) {
		b := startOn(c, defaults(), left)
		state := ""
		for _, q := range queues {
			state += fmt.Sprint(b.ready(q))
		}
		states[state]++
		if state != before && state != after || i == len(d.left) && state != after {
			c.Errorf("power loss %d of %d left %v in %v", i, len(d.left), state, queues)
		}
	}
	if len(d.left) == 0 || states[before] == 0 {
		c.Errorf("after power losses: %v", states)
	}
}
