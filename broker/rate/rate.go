// Package rate holds senders to so much a second. It counts; what becomes of a sender that is over its rate is decided by
// who asks.
//
// An Account is what one sender, or all those who share it, has sent. It has no rates of its own: they come with each
// call, so that they may change at any time.
package rate

import (
	"sync/atomic"
	"time"
)

// Limit is what may be sent in a second; zero and less is as much as one likes.
type Limit struct {
	Messages, Bytes float64
}

// Limits says whether anything is limited.
func (l Limit) Limits() bool { return l.Messages > 0 || l.Bytes > 0 }

// Account is what was sent. Its methods are safe for concurrent use and take no lock.
type Account struct {
	began       time.Time
	messages    bucket
	bytes       bucket
	connects    bucket
	connections atomic.Int64
}

// NewAccount makes one of a sender that has sent nothing.
func NewAccount() *Account { return &Account{began: time.Now()} }

// now is in nanoseconds; it begins late enough for the zero bucket to be full.
func (a *Account) now() int64 { return int64(time.Since(a.began) + longest) }

// Spend takes messages of so many bytes altogether into account and answers how long the sender should wait.
func (a *Account) Spend(l Limit, messages, bytes int) (wait time.Duration) {
	now := a.now()
	if l.Messages > 0 {
		wait = a.messages.spend(now, l.Messages, messages)
	}
	if l.Bytes > 0 {
		wait = max(wait, a.bytes.spend(now, l.Bytes, bytes))
	}
	return wait
}

// Take takes one message into account, unless it is too much.
func (a *Account) Take(l Limit, bytes int) bool {
	now := a.now()
	if l.Messages > 0 && !a.messages.take(now, l.Messages, 1) {
		return false
	}
	if l.Bytes > 0 && !a.bytes.take(now, l.Bytes, bytes) {
		a.messages.giveBack(l.Messages, 1)
		return false
	}
	return true
}

// GiveBack undoes a Take that came true.
func (a *Account) GiveBack(l Limit, bytes int) {
	a.messages.giveBack(l.Messages, 1)
	a.bytes.giveBack(l.Bytes, bytes)
}

// Forgive says that nothing is owed any more: what was sent came under another limit.
func (a *Account) Forgive() {
	now := a.now()
	a.messages.forgive(now)
	a.bytes.forgive(now)
}

// Connect takes a connection that begins into account, unless there were too many lately.
func (a *Account) Connect(perSecond float64) bool {
	return perSecond <= 0 || a.connects.take(a.now(), perSecond, 1)
}

// Enter takes a place for a connection, of which there may be most; zero and less is any number. Whoever got one gives it
// back with Leave.
func (a *Account) Enter(most int) bool {
	if n := a.connections.Add(1); most > 0 && n > int64(most) {
		a.connections.Add(-1)
		return false
	}
	return true
}

// Connections is how many have entered and not left.
func (a *Account) Connections() int { return int(a.connections.Load()) }

// Leave gives back what Enter took.
func (a *Account) Leave() { a.connections.Add(-1) }

// Idle says that nothing was sent for a minute: a new account is as good, but for rates below one a minute.
func (a *Account) Idle() bool {
	before := a.now() - int64(time.Minute)
	return a.connections.Load() == 0 && a.messages.paid.Load() <= before && a.bytes.paid.Load() <= before && a.connects.paid.Load() <= before
}
