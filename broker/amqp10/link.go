package amqp10

import (
	"context"
	"log/slog"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// link is what links of both directions have.
type link struct {
	session  *session
	handle   uint32
	name     string
	detached bool      // our detach was sent: everything but the peer's is passed over; owned by the reader
	owned    string    // a queue that goes with the link: that of a dynamic node; empty for none
	terminus *terminus // nil for a link that was refused

	joined *dynamicNode // that the link stands at, until its terminus does; nil for none
	made   bool         // the node was made for the link
}

// links are those of a connection by name, one of a name in each direction. 2 §2.6.1 The reader owns them.
type links struct {
	incoming few[string, *incoming]
	outgoing few[string, *outgoing]
}

// handleAttach attaches a link. 2 §2.6.3
func (s *session) handleAttach(f *frame.Frame) error {
	var a frame.Attach
	if err := a.Decode(f.Body, s.conn.limits()); err != nil {
		return err
	}
	switch {
	case a.Handle >= s.mostHandles():
		return connectionError(frame.FramingError, "handle %d is above the handle-max of %d", a.Handle, s.mostHandles()-1) // 2 §2.7.2
	case s.incoming.get(a.Handle) != nil || s.outgoing.get(a.Handle) != nil:
		return sessionError(frame.HandleInUse, "handle %d is in use", a.Handle)
	}
	var err error
	if a.Role == frame.Sender {
		err = s.attachIncoming(&a)
	} else {
		err = s.attachOutgoing(&a)
	}
	if err == nil {
		return nil
	}
	if e := toError(err); e.Scope == frame.ScopeLink {
		return s.refuse(&a, e)
	}
	return err
}

// refuse answers an attach with one that has no terminus of ours, and detaches it at once. 2 §2.6.3
func (s *session) refuse(a *frame.Attach, e *Error) error {
	s.conn.endpoint.stats.LinkErrors.Add(1)
	s.conn.log(slog.LevelDebug, "link refused", "channel", s.channel, "link", a.Name, "error", e)
	reply := frame.Attach{Name: a.Name, Handle: a.Handle, Role: !a.Role, SenderSettleMode: a.SenderSettleMode, ReceiverSettleMode: a.ReceiverSettleMode}
	l := link{session: s, handle: a.Handle, name: a.Name, detached: true}
	if a.Role == frame.Sender {
		s.incoming.set(a.Handle, &incoming{link: l})
	} else {
		reply.InitialDeliveryCount = frame.Some[uint32](0)
		s.outgoing.set(a.Handle, &outgoing{link: l, gone: true})
	}
	if !s.send(&reply) {
		return sessionError(frame.FrameSizeTooSmall, "the name of a link does not fit into a frame of %d bytes", s.conn.mostSent)
	}
	s.send(&frame.Detach{Handle: a.Handle, Closed: true, Error: s.conn.fitting(e)})
	return nil
}

// handleDetach ends a link, or what remains of one that was detached by us. 2 §2.6.5, 2 §2.6.6
func (s *session) handleDetach(f *frame.Frame) error {
	var p frame.Detach
	if err := p.Decode(f.Body, s.conn.limits()); err != nil {
		return err
	}
	if l := s.incoming.get(p.Handle); l != nil {
		s.incoming.remove(p.Handle)
		if !l.detached {
			l.leave(leaving(&p))
			s.send(&frame.Detach{Handle: p.Handle, Closed: p.Closed})
		}
		return nil
	}
	if l := s.outgoing.get(p.Handle); l != nil {
		s.outgoing.remove(p.Handle)
		told := l.detached || l.isGone()
		if l.leave(leaving(&p)); !told {
			s.send(&frame.Detach{Handle: p.Handle, Closed: p.Closed})
		}
		return nil
	}
	return sessionError(frame.UnattachedHandle, "detach of handle %d, which is not attached", p.Handle)
}

// leaving is how a link ends that its peer detaches.
func leaving(p *frame.Detach) departure {
	if p.Closed {
		return closedLink
	}
	return detachedLink
}

// failed tells the peer that a link ends, and counts it.
func (l *link) failed(e *Error) {
	l.session.conn.endpoint.stats.LinkErrors.Add(1)
	l.session.conn.log(slog.LevelDebug, "link detached", "channel", l.session.channel, "link", l.name, "error", e)
	l.detached = true
	l.session.send(&frame.Detach{Handle: l.handle, Closed: true, Error: l.session.conn.fitting(e)})
}

// disown deletes the queue that goes with the link, and leaves its dynamic node.
func (l *link) disown() {
	l.unjoin()
	if l.owned == "" {
		return
	}
	c := l.session.conn
	if _, err := c.host.DeleteQueue(context.Background(), c.access, l.owned, c.origin, false, false); err != nil {
		c.log(slog.LevelDebug, "queue of a link was not deleted", "queue", l.owned, "error", err)
	}
	l.owned = ""
}

// stolen is why a link ends whose name is attached again. 2 §2.6.1
func stolen(name string) *Error {
	return linkError(frame.Stolen, "link %q was attached again", name)
}
