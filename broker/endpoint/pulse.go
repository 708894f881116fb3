package endpoint

import "time"

// Pulse is the signs of life of one connection, as who looks at it in equal intervals sees them. Times are in intervals.
type Pulse struct {
	written uint64 // bytes that had been written at the last look
	silent  int64  // intervals without a byte from the peer
	idle    int64  // intervals without a byte to the peer
}

// Silence is how long nothing has come from the peer, after a look at which something had come or had not.
func (p *Pulse) Silence(heard bool) int64 {
	if p.silent++; heard {
		p.silent = 0
	}
	return p.silent
}

// Due says that the peer is to have a sign of life, since it has had nothing for so long: written is how many bytes it ever had.
func (p *Pulse) Due(written uint64, after int64) bool {
	if written != p.written {
		p.written, p.idle = written, 0
		return false
	}
	if p.idle++; p.idle < after {
		return false
	}
	p.idle = 0
	return true
}

// EverySecond calls look once a second until Stopping is closed, with the count of calls, and with whether the generation is another
// one than at the call before.
func (s *Connections[C]) EverySecond(generation func() uint64, look func(second uint32, changed bool)) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	before := generation()
	for second := uint32(1); ; second++ {
		select {
		case <-s.Stopping():
			return
		case <-t.C:
		}
		now := generation()
		look(second, now != before)
		before = now
	}
}
