package hub

import (
	"sync"

	"github.com/turnstone-mq/turnstone/broker/queue"
)

// deliveryPool lends slices of deliveries for the length of one call of a sink.
type deliveryPool struct{ pool sync.Pool }

func (p *deliveryPool) get() *[]queue.Delivery {
	if ds, ok := p.pool.Get().(*[]queue.Delivery); ok {
		return ds
	}
	return new([]queue.Delivery)
}

func (p *deliveryPool) put(ds *[]queue.Delivery) {
	clear(*ds)
	*ds = (*ds)[:0]
	p.pool.Put(ds)
}

// keyedLock is a lock for each key that is in use.
type keyedLock struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	sync.Mutex
	users int // guarded by keyedLock.mu
}

// Lock waits until nobody else holds the key.
func (l *keyedLock) Lock(key string) {
	l.mu.Lock()
	if l.held == nil {
		l.held = make(map[string]*keyLock)
	}
	k := l.held[key]
	if k == nil {
		k = &keyLock{}
		l.held[key] = k
	}
	k.users++
	l.mu.Unlock()
	k.Lock()
}

// Unlock lets the next one have the key.
func (l *keyedLock) Unlock(key string) {
	l.mu.Lock()
	k := l.held[key]
	if k.users--; k.users == 0 {
		delete(l.held, key)
	}
	l.mu.Unlock()
	k.Unlock()
}
