package amqp10

import (
	"errors"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/endpoint"
)

// Whoever wants something of a connection that only its reader may do asks for it: the reader does it when it is woken.

// errands are what others have asked the reader of a connection for.
type errands struct {
	mu     sync.Mutex
	list   []func()        // guarded by mu
	closed bool            // guarded by mu; the reader has ended
	wake   endpoint.Signal // of a reader that waits for something else than its peer
}

// ask lets the reader do something soon; false: it has ended. It does not wait.
func (c *connection) ask(errand func()) bool {
	c.errands.mu.Lock()
	if c.errands.closed {
		c.errands.mu.Unlock()
		return false
	}
	c.errands.list = append(c.errands.list, errand)
	c.errands.mu.Unlock()
	c.errands.wake.Raise()
	c.interrupt()
	c.Wake()
	return true
}

// asked gives the reader what to wait for. What was asked before is to be run first, if only by who waits.
func (e *errands) asked() <-chan struct{} {
	c := e.wake.Channel()
	if e.waiting() {
		e.wake.Raise()
	}
	return c
}

// waiting says that there is something to run.
func (e *errands) waiting() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.list) > 0
}

// run does what was asked for; with last, nothing is taken any more.
func (e *errands) run(last bool) {
	for {
		e.mu.Lock()
		list := e.list
		e.list = nil
		e.closed = e.closed || last
		e.mu.Unlock()
		if len(list) == 0 {
			return
		}
		for _, errand := range list {
			errand()
		}
	}
}

const (
	// stealPatience is how long a connection has to hand over a link before it is ended: it waits for its peer, or for room
	// that its own publishes need.
	stealPatience = time.Second
	// stealEnd is how long it has altogether.
	stealEnd = 5 * time.Second
)

var errStolen = errors.New("another connection took over a link of this one, which did not answer")

// steal waits until another connection has given up a terminus. It does what is asked of this one meanwhile, which may be
// the same.
func (c *connection) steal(name linkName, other *connection) error {
	done := make(chan struct{})
	if !other.ask(func() {
		other.hand(name)
		close(done)
	}) {
		<-other.left.Done() // its reader has ended, and gives up all it has
		return nil
	}
	end, slow := time.NewTimer(stealEnd), time.NewTimer(stealPatience)
	defer end.Stop()
	defer slow.Stop()
	asked, stopping := c.errands.asked(), c.end.Done()
	for {
		select {
		case <-done:
			return nil
		case <-asked:
			c.errands.run(false)
		case <-slow.C:
			other.Stop(errStolen)
		case <-stopping:
			return linkError(frame.ResourceLocked, "link %q is attached by another connection", name.name)
		case <-end.C:
			return linkError(frame.ResourceLocked, "link %q is attached by another connection, which did not give it up within %v", name.name, stealEnd)
		}
	}
}
