package hub

import (
	"errors"
	"fmt"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/retain"
)

// A virtual host that is deleted leaves retained and delayed messages, sessions, senders and wills in the logs of the shards. Each shard
// writes that they are nobody's before the deletion is answered: a virtual host that gets the name later finds nothing of them
// after a restart. Where the process ended in between, recovery meets the name of a virtual host that the catalogue does not
// have, and the shards write it before anybody is let in.

// disownOp writes that what the shard has of a virtual host is nobody's, behind the due commands of what waits there.
type disownOp struct {
	name    string
	host    *VirtualHost // nil when the log alone knows it
	dropped []delayedEntry
	done    chan<- error // holds the answer of each shard
}

func (o *disownOp) size() int64 { return 0 }
func (o *disownOp) abandon()    { o.done <- ErrClosed }

func (o *disownOp) run(s *shard, now int64) {
	if o.host != nil {
		o.dropped = s.delays.Drop(func(d delayed) bool { return d.host == o.host })
	}
	entry, _ := s.write(now, journal.Always)
	for chunk := range slices.Chunk(o.dropped, 10_000) {
		*entry = appendDue(*entry, o.name, chunk)
	}
	*entry = appendDisown(*entry, o.name)
	for _, e := range o.dropped {
		s.disinherit(e.Value)
		s.leaving[e.Value] = e.Due
	}
	s.act(o)
	s.wrote(now)
	s.announceDue()
}

func (o *disownOp) commit(s *shard, _ int64, _ uint64) {
	for _, e := range o.dropped {
		delete(s.leaving, e.Value)
		s.undelay(e.Value)
	}
	if o.host != nil {
		s.dropRetained(o.host)
	}
	o.done <- nil
}

// fail leaves all in hand: the virtual host is gone, and recovery meets it as a stranger.
func (o *disownOp) fail(_ *shard, err error) { o.done <- unavailable(err) }

func appendDisown(dst []byte, vhost string) []byte {
	return appendText(append(dst, commandDisown), vhost)
}

// disown lets every shard write that it has nothing of a virtual host any more. It answers how to wait until that is durable.
// What is posted to a shard after disown has returned comes behind it.
func (v *VirtualHost) disown() (wait func() error) {
	v.deleted.Store(true)
	done := make(chan error, len(v.hub.shards))
	for _, s := range v.hub.shards {
		s.post(&disownOp{name: v.name, host: v, done: done})
	}
	return func() (err error) {
		for range v.hub.shards {
			err = errors.Join(err, <-done)
		}
		return err
	}
}

// disownStrangers does the same for the names that recovery met and the catalogue does not have.
func (h *Hub) disownStrangers() error {
	var wait []<-chan error
	for _, s := range h.shards {
		for name := range s.strangers {
			done := make(chan error, 1)
			s.post(&disownOp{name: name, done: done})
			wait = append(wait, done)
		}
	}
	for _, done := range wait {
		if err := <-done; err != nil {
			return fmt.Errorf("remains of a deleted virtual host: %w", err)
		}
	}
	return nil
}

// hostOf is the virtual host that the log brings something to; nil when it was deleted since.
func (s *shard) hostOf(name string) *VirtualHost {
	v, err := s.hub.VirtualHost(name)
	if err != nil {
		s.strangers[name] = true
		return nil
	}
	return v
}

func (r *replay) disown(vhost string) {
	s := r.shard
	delete(s.strangers, vhost)
	v, err := s.hub.VirtualHost(vhost)
	if err != nil {
		return
	}
	s.dropRetained(v) // of the one that had the name before
	for st := range s.sessions {
		if st.host == v {
			s.dropSession(st)
		}
	}
	for _, st := range s.senders {
		if st.host == v {
			s.dropSender(st)
		}
	}
	for _, p := range s.prepared {
		p.waits = slices.DeleteFunc(p.waits, func(e delayedEntry) bool {
			if e.Value.host != v {
				return false
			}
			s.undelay(e.Value)
			return true
		})
	}
	for _, e := range s.delays.Drop(func(d delayed) bool { return d.host == v }) {
		s.disinherit(e.Value)
		s.undelay(e.Value)
		s.void[e.Value] = true // it was on its way, and its due command may follow
	}
}

// dropRetained forgets the retained messages that the shard has of a virtual host.
func (s *shard) dropRetained(v *VirtualHost) {
	var topics []string
	v.retained.Each(func(topic string, _ retain.Place) {
		if s.hub.shardFor(v.name, topic) == s {
			topics = append(topics, topic)
		}
	})
	for _, t := range topics {
		previous, _ := v.retained.Clear(t)
		s.unretain(v, previous)
	}
}
