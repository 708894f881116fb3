package amqp10_test

import "github.com/turnstone-mq/turnstone/broker/journal/vfs"

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
