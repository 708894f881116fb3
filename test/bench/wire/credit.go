package wire

import "sync"

// Credit is a count that one side takes from and others give to. Closed, it gives nothing more.
type Credit struct {
	mu     sync.Mutex
	more   sync.Cond
	n      int
	closed bool
}

// NewCredit makes a credit of n.
func NewCredit(n int) *Credit {
	c := &Credit{n: n}
	c.more.L = &c.mu
	return c
}

// Take waits for at least one and takes at most most; false when it was closed.
func (c *Credit) Take(most int) (n int, open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.n == 0 && !c.closed {
		c.more.Wait()
	}
	n = min(c.n, most)
	c.n -= n
	return n, !c.closed
}

// Give gives n back.
func (c *Credit) Give(n int) {
	c.mu.Lock()
	c.n += n
	c.mu.Unlock()
	c.more.Signal()
}

// Close wakes whoever waits.
func (c *Credit) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.more.Broadcast()
}
