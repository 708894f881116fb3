package cluster

import "sync"

// Loop is the owner of a group that has no other: a goroutine that does what it is given, one thing after the other.
type Loop struct {
	mu     sync.Mutex
	filled sync.Cond
	todo   []func(*Group) // guarded by mu
	closed bool           // guarded by mu
}

// NewLoop makes a loop. Notify is for the options of its group; Run begins to work.
func NewLoop() *Loop {
	l := &Loop{}
	l.filled.L = &l.mu
	return l
}

// Notify is GroupOptions.Notify.
func (l *Loop) Notify(w *Write) { l.put(func(g *Group) { g.Written(w) }) }

// Do lets the owner do something; false says that the loop is closed and did not take it.
func (l *Loop) Do(f func(*Group)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.todo = append(l.todo, f)
	l.filled.Signal()
	return true
}

func (l *Loop) put(f func(*Group)) {
	l.mu.Lock()
	l.todo = append(l.todo, f)
	l.mu.Unlock()
	l.filled.Signal()
}

// Run is the owner's goroutine for a group that was started; it ends when the loop is closed and no write is under way.
func (l *Loop) Run(g *Group) {
	for g.Advance(); ; g.Advance() {
		todo, ok := l.take(g.Pending())
		if !ok {
			return
		}
		for _, f := range todo {
			f(g)
		}
	}
}

func (l *Loop) take(expecting bool) ([]func(*Group), bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.todo) == 0 {
		if l.closed && !expecting {
			return nil, false
		}
		l.filled.Wait()
	}
	todo := l.todo
	l.todo = nil
	return todo, true
}

// Close lets Run end.
func (l *Loop) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.filled.Broadcast()
}
