package topology

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
)

// streams follows the change streams of brokers, one goroutine each, and brings what changed into the index. It is a
// Runnable of the manager: the goroutines end with it.
type streams struct {
	index *index

	mu      sync.Mutex
	ctx     context.Context //nolint:containedctx // of the manager: its end ends the streams
	follows map[types.NamespacedName]*stream
	running sync.WaitGroup
}

// stream is one broker's.
type stream struct {
	client *admin.Client
	cancel context.CancelFunc
}

func newStreams(x *index) *streams {
	return &streams{index: x, follows: make(map[types.NamespacedName]*stream)}
}

// Start keeps the streams until ctx ends.
func (s *streams) Start(ctx context.Context) error {
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	<-ctx.Done()
	s.running.Wait()
	return nil
}

// follow makes sure that the stream of a look's broker is followed. If it is not, or if changes were missed, that begins where the
// look has compared everything.
func (s *streams) follow(sc *scope) {
	m := sc.realm
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || s.ctx.Err() != nil {
		return
	}
	if f := s.follows[m.key]; f != nil {
		if f.client == sc.admin {
			return
		}
		f.cancel()
	}
	if sc.revision == 0 { // nothing was compared in this look: it is in the next one
		delete(s.follows, m.key)
		s.index.gap(m)
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	f := &stream{client: sc.admin, cancel: cancel}
	s.follows[m.key] = f
	s.running.Go(func() { s.run(ctx, f, m, sc.revision) }) // ends with the manager, when it breaks, or when the broker is gone or has another client
}

// end ends the stream of a broker that is gone.
func (s *streams) end(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.follows[key]; f != nil {
		f.cancel()
		delete(s.follows, key)
	}
}

// reconnectAfter is how long nothing is done about a stream that did not last.
const reconnectAfter = 2 * time.Second

// silence is how long a stream may say nothing: the broker says something every ten seconds.
const silence = 30 * time.Second

// run brings changes until the stream breaks. Then a look compares everything, and begins another one: whether the broker is
// there, and when to try again, is the look's matter alone.
func (s *streams) run(ctx context.Context, f *stream, m *realm, since uint64) {
	defer f.cancel()
	began := time.Now()
	watchdog := time.AfterFunc(silence, f.cancel)
	defer watchdog.Stop()
	f.client.Watch(ctx, since, func(e admin.Event) error { //nolint:errcheck // however it ended, the look finds out
		watchdog.Reset(silence)
		if e.Object != nil {
			s.index.observe(m, e)
		}
		return nil
	})
	if time.Since(began) < silence { // it may well break again
		select {
		case <-time.After(reconnectAfter):
		case <-s.ctx.Done():
		}
	}
	s.mu.Lock()
	stopped := s.ctx.Err() != nil || s.follows[m.key] != f
	if !stopped {
		delete(s.follows, m.key)
	}
	s.mu.Unlock()
	if !stopped {
		s.index.gap(m)
	}
}
