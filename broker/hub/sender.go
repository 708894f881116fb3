package hub

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/router"
	"github.com/turnstone-mq/turnstone/broker/session"
)

// Sender is who publishes messages that have tags, each of them once, over its connections and over restarts: the log has
// which of them were taken until the sender says that it knows (Settle). It belongs to one goroutine at a time, that of its
// publisher.
type Sender struct{ state *senderState }

// senderState is a sender's record. Like a session it belongs to a shard, which gives its id and has it in its log.
type senderState struct {
	ledger
	host    *VirtualHost
	name    string
	id      uint64
	shard   *shard
	written uint32 // what the log has as expiry; belongs to the shard

	timing sync.Mutex
	expiry uint32      // guarded by timing; seconds that it outlives its connection; session.Never is for ever
	used   bool        // guarded by timing; a connection has it
	ended  bool        // guarded by timing
	ending *time.Timer // guarded by timing; ends it after a restart, unless a connection comes
}

// OpenSender is the sender of a name, which is made if there is none. Expiry is for how many seconds it is kept after a
// restart if it is not opened; session.Never is for ever. Whoever opened it ends it, or leaves it.
func (v *VirtualHost) OpenSender(ctx context.Context, name string, expiry uint32) (*Sender, error) {
	v.opening.Lock(senderKey + name)
	defer v.opening.Unlock(senderKey + name)
	v.mu.RLock()
	st := v.senders[name]
	v.mu.RUnlock()
	if st != nil && st.use(expiry) {
		if err := st.shard.propose(ctx, &senderOp{state: st, expiry: expiry}); err != nil {
			return nil, err
		}
		return &Sender{state: st}, nil
	}
	if limit := v.hub.Limits().SuspendedLinks; v.senderCount() >= limit {
		return nil, errorf(TooMany, "vhost '%s' has %d senders whose deliveries are in the log, as many as limits.suspendedLinks allows: close links that are not used any more", v.name, limit)
	}
	st = &senderState{host: v, name: name, shard: v.hub.shardFor(v.name, name), expiry: expiry, used: true}
	if err := st.shard.propose(ctx, &senderOp{state: st, expiry: expiry}); err != nil {
		return nil, err
	}
	v.mu.Lock()
	v.senders[name] = st
	v.mu.Unlock()
	if v.deleted.Load() { // before its end listed the senders, or after
		return nil, errors.Join(errorf(NotFound, "vhost '%s' was deleted", v.name), st.end(ctx))
	}
	return &Sender{state: st}, nil
}

func (v *VirtualHost) senderCount() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return len(v.senders)
}

// senderKey tells names of senders from client ids, none of which has a zero.
const senderKey = "sender\x00"

// use notes that a connection has the sender; false: it has ended.
func (st *senderState) use(expiry uint32) bool {
	st.timing.Lock()
	defer st.timing.Unlock()
	if st.ended {
		return false
	}
	st.stopLocked()
	st.used, st.expiry = true, expiry
	return true
}

// Tags calls fn for each message that was taken and not settled since. Whole says that it is everywhere where it was to go.
func (s *Sender) Tags(fn func(tag string, whole bool)) {
	st := s.state
	in := make(map[*shard][]label)
	st.mu.Lock()
	for o, shards := range st.taken {
		for _, sh := range shards {
			in[sh] = append(in[sh], o)
		}
	}
	st.mu.Unlock()
	missing := make(map[string]int) // shards that do not have the message, though they should
	for sh, list := range in {
		sh.ask(func(sh *shard) {
			for _, o := range list {
				if t := sh.receipts[receipt{st.id, o}]; t.written {
					if _, ok := missing[o.tag]; !ok {
						missing[o.tag] = int(t.parts)
					}
					missing[o.tag]--
				}
			}
		})
	}
	for tag, n := range missing {
		fn(tag, n <= 0)
	}
}

// PublishTagged is Publish for a message of a sender. One whose tag was taken before and not settled since is the same
// message again: it goes only where it has not been.
func (p *Publisher) PublishTagged(r *Route, m *message.Message, a router.Attributes, token uint64, s *Sender, tag string) (routed int, err error) {
	st := s.state
	o := label{tag: tag}
	return p.publishOnce(r, m, a, token, &st.ledger, st.shard, exactly{receipt: receipt{st.id, o}, again: st.has(o)})
}

// Settle forgets messages: their sender knows what became of them. Nobody waits for it.
func (s *Sender) Settle(tags []string) {
	list := make([]label, len(tags))
	for i, t := range tags {
		list[i] = label{tag: t}
	}
	s.state.complete(s.state.id, list, func(error) {})
}

// End forgets the sender.
func (s *Sender) End(ctx context.Context) error { return s.state.end(ctx) }

func (st *senderState) end(ctx context.Context) error {
	st.timing.Lock()
	again := st.ended
	st.ended = true
	st.stopLocked()
	st.timing.Unlock()
	if again {
		return nil
	}
	v := st.host
	v.mu.Lock()
	if v.senders[st.name] == st {
		delete(v.senders, st.name)
	}
	v.mu.Unlock()
	st.complete(st.id, st.all(), func(error) {}) // a sender without a record has none at the next start
	return st.shard.propose(ctx, &leaveOp{state: st})
}

// awaitEnd ends the sender when its time is over. After a restart it begins anew.
func (st *senderState) awaitEnd() {
	st.timing.Lock()
	defer st.timing.Unlock()
	if st.used || st.ended || st.expiry == session.Never {
		return
	}
	st.ending = time.AfterFunc(time.Duration(st.expiry)*time.Second, st.expire)
}

// expire ends the sender unless a connection came. It is called by its timer.
func (st *senderState) expire() {
	v := st.host
	v.opening.Lock(senderKey + st.name) // nobody opens it meanwhile
	defer v.opening.Unlock(senderKey + st.name)
	st.timing.Lock()
	due := !st.used && !st.ended && st.ending != nil
	st.timing.Unlock()
	if !due {
		return
	}
	if err := st.end(context.Background()); err != nil {
		v.hub.logger.Warn("expired sender was not forgotten", "vhost", v.name, "sender", st.name, "error", err)
	}
}

func (st *senderState) stopEnd() {
	st.timing.Lock()
	defer st.timing.Unlock()
	st.stopLocked()
}

func (st *senderState) stopLocked() {
	if st.ending != nil {
		st.ending.Stop()
		st.ending = nil
	}
}

// senderOp writes a sender's record. The shard gives one that is new an id.
type senderOp struct {
	state  *senderState
	expiry uint32
}

func (o *senderOp) append(entry []byte) []byte {
	st := o.state
	if st.id == 0 {
		st.shard.lastID += uint64(len(st.host.hub.shards))
		st.id = st.shard.lastID
	}
	return appendSender(entry, st.host.name, st.id, o.expiry, st.name)
}

func (o *senderOp) apply(s *shard) {
	o.state.written = o.expiry
	s.senders[o.state.id] = o.state
}

// leaveOp forgets a sender.
type leaveOp struct{ state *senderState }

func (o *leaveOp) append(entry []byte) []byte {
	return appendLeave(entry, o.state.host.name, o.state.id)
}

func (o *leaveOp) apply(s *shard) { delete(s.senders, o.state.id) }

// restoreSender makes a sender that the log has, or brings it to what the log has.
func (s *shard) restoreSender(vhost string, id uint64, expiry uint32, name string) {
	s.sawSessionQueue(id)
	v := s.hostOf(vhost)
	if v == nil {
		return
	}
	st := v.senders[name]
	if st != nil && st.id != id {
		s.dropSender(st)
		st = nil
	}
	if st == nil {
		st = &senderState{host: v, name: name, id: id, shard: s}
		s.senders[id], v.senders[name] = st, st
	}
	st.expiry, st.written = expiry, expiry
}

// dropSender forgets a sender while the log is read.
func (s *shard) dropSender(st *senderState) {
	delete(s.senders, st.id)
	if st.host.senders[st.name] == st {
		delete(st.host.senders, st.name)
	}
}
