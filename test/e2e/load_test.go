package e2e_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// What clients of a load do when a publish fails.
type onFailure int

const (
	note   onFailure = iota // it is in the ledger, and they go on
	insist                  // they connect anew and publish it again, as who must not lose anything does
)

// load publishes steadily until it is stopped. Over each protocol there is a client that stays connected, and when failures
// are noted another one that connects for each message.
type load struct {
	*ledger
	to       listener
	who      atomic.Pointer[account] // of those who connect
	name     string
	on       onFailure
	ways     int
	cancel   context.CancelFunc
	clients  sync.WaitGroup
	sequence atomic.Int64
}

// How often a client publishes, and how long a publish may take.
const (
	steadyEvery     = 10 * time.Millisecond
	newcomerEvery   = 100 * time.Millisecond
	publishPatience = 20 * time.Second
)

func startLoad(name string, to listener, who account, on onFailure) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{ledger: newLedger(), to: to, name: name, on: on, cancel: cancel}
	l.who.Store(&who)
	for protocol := range protocols {
		l.start(ctx, protocol+", connected", steadyEvery, &steady{load: l, protocol: protocol})
		if on == note {
			l.start(ctx, protocol+", connecting", newcomerEvery, newcomer{l, protocol})
		}
	}
	DeferCleanup(l.stop)
	return l
}

// start lets a client publish on a clock.
func (l *load) start(ctx context.Context, way string, every time.Duration, c publisher) {
	l.ways++
	l.clients.Go(func() { // ends with ctx
		defer c.close()
		clock := time.NewTicker(every)
		defer clock.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-clock.C:
			}
			l.publish(ctx, way, c, clock)
		}
	})
}

// publish publishes one message, again if need be. A load that is stopped finishes what it has begun.
func (l *load) publish(ctx context.Context, way string, c publisher, clock *time.Ticker) {
	body := fmt.Sprintf("%s %s %d", l.name, way, l.sequence.Add(1))
	for {
		patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishPatience)
		err := c.publish(patient, body)
		cancel()
		switch {
		case err == nil:
			l.confirm(way, body)
			return
		case l.on == note:
			l.fail(way, err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
		}
	}
}

// stop ends the clients, and returns when they have ended. It may be called again.
func (l *load) stop() {
	l.cancel()
	l.clients.Wait()
}

// goOn waits until each client had so many more messages confirmed.
func (l *load) goOn(ctx SpecContext, more int) {
	GinkgoHelper()
	before := l.count(l.ways)
	Eventually(ctx, func() int { return l.count(l.ways) }).Should(BeNumerically(">=", before+more), "failures: %v", l.failures())
}

// steady is a client that stays connected, and connects again after a failure.
type steady struct {
	load     *load
	protocol string
	now      publisher
}

func (s *steady) publish(ctx context.Context, body string) (err error) {
	if s.now == nil {
		if s.now, err = protocols[s.protocol](s.load.to, *s.load.who.Load()); err != nil {
			s.now = nil
			return fmt.Errorf("connect: %w", err)
		}
	}
	if err = s.now.publish(ctx, body); err != nil {
		s.close()
	}
	return err
}

func (s *steady) close() {
	if s.now != nil {
		s.now.close()
		s.now = nil
	}
}

// newcomer connects for each message, as whom the load says at that time.
type newcomer struct {
	load     *load
	protocol string
}

func (n newcomer) publish(ctx context.Context, body string) error {
	p, err := protocols[n.protocol](n.load.to, *n.load.who.Load())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer p.close()
	return p.publish(ctx, body)
}

func (newcomer) close() {}
