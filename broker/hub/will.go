package hub

import (
	"context"
	"time"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// The will of a persistent session is in the log from CONNECT on. When the connection ends otherwise than by a DISCONNECT
// that takes it back, it becomes a delayed message (see delay.go) that is due after the will's delay, and that the session can take
// back as long as the delay lasts. What a crash leaves in the log without a time is the will of a client that was
// connected: its delay begins with the next start.

// Will is a client's last word. Times are in milliseconds.
type Will struct {
	Message  *message.Message
	Delay    int64 // after the end of the connection; a client that comes back before takes the will back
	Wait     int64 // between then and the time when it goes to its topic
	Lifetime int64 // from then on; zero is for ever
}

// NewWill makes a will of a message as the topic policies of its route allow. The message must stay valid.
func (p *Publisher) NewWill(r *Route, m *message.Message, delay, wait, lifetime time.Duration) (*Will, error) {
	now := p.host.hub.now()
	if lifetime > 0 {
		m.Expiry = now + lifetime.Milliseconds()
	}
	if err := p.limit(r, m); err != nil {
		return nil, err
	}
	w := &Will{Message: m, Delay: delay.Milliseconds(), Wait: wait.Milliseconds()}
	if m.Expiry > 0 {
		w.Lifetime = max(m.Expiry-now, 1)
		m.Expiry = 0
	}
	return w, nil
}

// testament is a will as the log has it.
type testament struct {
	delayed
	delay, wait, lifetime int64
	due                   int64 // when it goes to its topic; never while the connection lives
	claimed               bool  // it waits, but its session is about to decide otherwise
}

func newTestament(d delayed, w *Will) *testament {
	return &testament{delayed: d, delay: w.Delay, wait: w.Wait, lifetime: w.Lifetime}
}

// What becomes of a will. The numbers are written to disk.
const (
	heirNone   byte = 0 // it is taken back
	heirWaits  byte = 1 // it waits, and the session can take it back
	heirLeaves byte = 2 // it waits, whatever becomes of the session
)

// HasWill says that the session keeps the will of this connection: Bequeath or TakeBackWill says what becomes of it.
func (s *Session) HasWill() bool { return s.will != nil }

// makeWill replaces what the session has of a will. That of a connection that this one displaces is published unless it has
// a delay: nobody died. One that waits is taken back.
func (s *Session) makeWill(ctx context.Context, w *Will) error {
	st := s.state
	if !st.durable || w == nil && !st.testate.Load() {
		return nil
	}
	st.willing.Lock()
	defer st.willing.Unlock()
	o := &willOp{session: st, will: w, decide: func(old *testament, now int64) (byte, int64) {
		switch {
		case old.due == never && old.delay > 0, old.due != never && now < old.due-old.wait:
			return heirNone, never
		case old.due == never:
			return heirLeaves, now + old.wait
		}
		return heirLeaves, old.due
	}}
	if err := st.queue.shard.change(ctx, o); err != nil {
		return err
	}
	s.will = o.made
	return nil
}

// TakeBackWill says that the client ends its connection as it should: there is no will. When it returns that is durable.
// [MQTT-3.14.4-3]
func (s *Session) TakeBackWill(ctx context.Context) error {
	return s.resolveWill(ctx, func(*testament, int64) (byte, int64) { return heirNone, never })
}

// Bequeath says that the connection has ended and did not take the will back: it is published after its delay, or when
// the session ends, unless the client comes back before. [MQTT-3.1.2-8], [MQTT5-3.1.3-9]
func (s *Session) Bequeath(ctx context.Context) error {
	return s.resolveWill(ctx, bequeathed)
}

// bequeathed is what becomes of a will when its connection has ended.
func bequeathed(w *testament, now int64) (what byte, due int64) {
	if w.delay == 0 {
		return heirLeaves, now + w.wait
	}
	return heirWaits, now + w.delay + w.wait
}

// resolveWill decides about the will of this connection, if the session still has it.
func (s *Session) resolveWill(ctx context.Context, decide func(*testament, int64) (byte, int64)) error {
	if s.will == nil {
		return nil
	}
	st := s.state
	st.willing.Lock()
	defer st.willing.Unlock()
	return st.queue.shard.change(ctx, &willOp{session: st, only: s.will, decide: decide})
}

// executeWill lets the will go to its topic as the session ends. [MQTT5-3.1.2-8]
func (s *mqttSession) executeWill(ctx context.Context) error {
	if !s.durable || !s.testate.Load() {
		return nil
	}
	s.willing.Lock()
	defer s.willing.Unlock()
	return s.queue.shard.change(ctx, &willOp{session: s, decide: func(w *testament, now int64) (byte, int64) {
		if w.due == never {
			return heirLeaves, now + w.wait
		}
		return heirLeaves, min(w.due, now+w.wait)
	}})
}

// change runs an operation and waits until it is committed, failed, or ctx ends.
func (s *shard) change(ctx context.Context, o *willOp) error {
	o.done = make(chan error, 1)
	if !s.post(o) {
		return ErrClosed
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// willOp decides about the will that a session has, and gives it another one. Who runs it holds the session's willing, so
// that what the shard has is what the log has.
type willOp struct {
	session *mqttSession
	only    *testament // if it is still this one; nil for any
	decide  func(old *testament, now int64) (what byte, due int64)
	will    *Will // the next one; nil for none
	done    chan error

	decided bool // about the old one
	what    byte
	due     int64
	made    *testament
}

func (o *willOp) size() int64 { return 0 }
func (o *willOp) abandon()    { o.done <- ErrClosed }

func (o *willOp) run(s *shard, now int64) {
	st := o.session
	if old := s.wills[st]; old != nil && (o.only == nil || o.only == old) {
		o.decided = true
		o.what, o.due = o.decide(old, now)
		if old.due != never && !old.claimed { // it is not to go in the meantime
			old.claimed = true
			s.delays.Remove(old.due, old.delayed)
		}
	}
	if !o.decided && o.will == nil {
		o.done <- nil
		return
	}
	if o.decided {
		entry, _ := s.write(now, journal.Always)
		*entry = appendHeir(*entry, st.host.name, st.queue.id, o.what, o.due)
	}
	if o.will != nil {
		entry, at := s.write(now, journal.Always)
		*entry = appendWill(*entry, st.host.name, st.queue.id, o.will)
		o.made = newTestament(delayed{host: st.host, ref: queue.Ref{At: at, Share: max(1, uint32(o.will.Message.Size()))}}, o.will)
	}
	s.act(o)
	s.wrote(now)
}

func (o *willOp) commit(s *shard, _ int64, index uint64) {
	if o.decided && s.wills[o.session] != nil { // else an orphan has just left
		s.inherit(o.session, o.what, o.due)
	}
	if o.made != nil {
		o.made.ref.Index = index
		s.keepWill(o.session, o.made)
	}
	s.announceDue()
	o.done <- nil
}

func (o *willOp) fail(s *shard, err error) {
	if w := s.wills[o.session]; w != nil && w.claimed {
		w.claimed = false
		s.delays.Add(w.due, w.delayed)
		s.announceDue()
	}
	o.done <- unavailable(err)
}

// keepWill gives a session a will.
func (s *shard) keepWill(st *mqttSession, w *testament) {
	s.dropWill(st)
	s.use(w.ref)
	s.wills[st] = w
	st.testate.Store(true)
}

// dropWill forgets the will of a session about which nothing was decided. One that waits was on its way to its topic, of
// which the log says nothing before it is there.
func (s *shard) dropWill(st *mqttSession) {
	switch w := s.wills[st]; {
	case w == nil:
	case w.due != never:
		s.disinherit(w.delayed)
	default:
		s.inherit(st, heirNone, never)
	}
}

// inherit says what becomes of the will of a session.
func (s *shard) inherit(st *mqttSession, what byte, due int64) {
	w := s.wills[st]
	if w.due != never { // it waited
		delete(s.heirs, w.delayed)
		if !w.claimed {
			s.delays.Remove(w.due, w.delayed)
		}
		w.host.delayed.Add(-1)
	}
	w.due, w.claimed = due, false
	if what == heirNone {
		s.unuse(w.ref)
	} else {
		w.host.delayed.Add(1)
		s.delays.Add(due, w.delayed)
	}
	if what == heirWaits {
		s.heirs[w.delayed] = st
		return
	}
	delete(s.wills, st)
	st.testate.Store(false)
}

// disinherit takes a will that waits from its session, which cannot take it back any more.
func (s *shard) disinherit(d delayed) {
	if st := s.heirs[d]; st != nil {
		delete(s.heirs, d)
		delete(s.wills, st)
		st.testate.Store(false)
	}
}

// orphansOp begins the delay of the wills of clients that were connected when the broker was killed.
type orphansOp struct{}

func (o *orphansOp) size() int64 { return 0 }
func (o *orphansOp) abandon()    {}

func (o *orphansOp) run(s *shard, now int64) {
	for st, w := range s.wills {
		if w.due != never {
			continue
		}
		what, due := bequeathed(w, now)
		entry, _ := s.write(now, journal.Always)
		*entry = appendHeir(*entry, st.host.name, st.queue.id, what, due)
		s.act(&orphanAct{session: st, what: what, due: due})
		s.wrote(now)
	}
}

type orphanAct struct {
	session *mqttSession
	what    byte
	due     int64
}

func (a *orphanAct) commit(s *shard, _ int64, _ uint64) {
	s.inherit(a.session, a.what, a.due)
	s.announceDue()
}

// fail leaves the will as it is: that of a client that is connected, as far as the next start knows.
func (a *orphanAct) fail(*shard, error) {}
