package topology

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
)

// streams follows the change streams of brokers, one goroutine each, and asks for a look at a broker when something
// changed in it. It is a Runnable of the manager: the goroutines end with it.
type streams struct {
	changed chan event.GenericEvent

	mu      sync.Mutex
	ctx     context.Context //nolint:containedctx // of the manager: its end ends the streams
	follows map[types.NamespacedName]*stream
	running sync.WaitGroup
}

// stream is one broker's.
type stream struct {
	client *admin.Client
	cancel context.CancelFunc

	mu    sync.Mutex
	known uint64 // revisions up to this one were seen or made by a look
}

func newStreams() *streams {
	return &streams{changed: make(chan event.GenericEvent), follows: make(map[types.NamespacedName]*stream)}
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

// follow makes sure that a broker's stream is followed from a revision that a look has seen.
func (s *streams) follow(b *v1alpha1.MessageBroker, c *admin.Client, revision uint64) {
	key := client.ObjectKeyFromObject(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || s.ctx.Err() != nil {
		return
	}
	if f := s.follows[key]; f != nil {
		if f.client == c && revision >= f.seen() {
			f.saw(revision)
			return
		}
		// Another client, or a broker that began anew and counts from the start again.
		f.cancel()
	}
	ctx, cancel := context.WithCancel(s.ctx)
	f := &stream{client: c, cancel: cancel, known: revision}
	s.follows[key] = f
	broker := &v1alpha1.MessageBroker{}
	broker.Namespace, broker.Name = b.Namespace, b.Name
	s.running.Go(func() { f.run(ctx, broker, s.changed) }) // ends with the manager, or when the broker is gone or has another client
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

func (f *stream) saw(revision uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known = max(f.known, revision)
}

func (f *stream) seen() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known
}

// reconnectAfter is how long a broken stream waits; the look that it asks for then finds whether the broker is there.
const reconnectAfter = time.Second

func (f *stream) run(ctx context.Context, b *v1alpha1.MessageBroker, changed chan<- event.GenericEvent) {
	for {
		since := f.seen()
		err := f.client.Watch(ctx, since, func(e admin.Event) error {
			if e.Object != nil && e.Revision > f.seen() {
				f.saw(e.Revision)
				return tell(ctx, b, changed)
			}
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, admin.ErrGone) { // it changed too much, or began anew: the next look compares everything
			f.mu.Lock()
			f.known = 0
			f.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(reconnectAfter):
		}
		if tell(ctx, b, changed) != nil {
			return
		}
	}
}

func tell(ctx context.Context, b *v1alpha1.MessageBroker, changed chan<- event.GenericEvent) error {
	select {
	case changed <- event.GenericEvent{Object: b}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
