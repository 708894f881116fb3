package hub

import (
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/cluster"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/session"
)

// load reads the bodies of deliveries that only the log holds.
func (s *shard) load(q *Queue, ds []queue.Delivery) {
	for i := range ds {
		if ds[i].Message != nil {
			continue
		}
		m, err := s.read(ds[i].Ref)
		if err != nil {
			s.hub.damaged(fmt.Errorf("queue %q in vhost %q: item %d: %w", q.name, q.host.name, ds[i].ID, err))
			m = &message.Message{Encoding: message.AMQP091, Owned: true}
		}
		ds[i].Message = m
	}
	s.group.DoneReading()
}

// readBody is an entry that was read from the log: the bodies of a backlog lie side by side.
type readBody struct {
	index uint64
	body  cluster.Body
}

// read answers a message that an enqueue or retain command in the log holds. The message aliases what was read; its names are
// those of the one that was read before, where they are the same.
func (s *shard) read(ref queue.Ref) (*message.Message, error) {
	m := &message.Message{Exchange: s.names.Exchange, Key: s.names.Key, Publisher: s.names.Publisher}
	if err := s.readInto(m, ref); err != nil {
		return nil, err
	}
	s.names = names{m.Exchange, m.Key, m.Publisher}
	return m, nil
}

// names are what messages next to one another in the log mostly have in common.
type names struct{ Exchange, Key, Publisher string }

// readInto is read for a message that is there, without an allocation when the one that it was before is like it.
func (s *shard) readInto(m *message.Message, ref queue.Ref) error {
	command, err := s.stored(ref)
	if err != nil {
		return err
	}
	is, err := decodeEnqueued(command, m)
	if err != nil {
		return err
	}
	if !is {
		one, err := s.command(ref)
		if err != nil {
			return err
		}
		*m = *one.body
	}
	m.Owned = true
	return nil
}

// stored is the bytes of the log from a command on.
func (s *shard) stored(ref queue.Ref) ([]byte, error) {
	body, err := s.entry(ref.Index)
	if err != nil {
		return nil, err
	}
	return body.At(ref.At)
}

// command reads a command that holds a message.
func (s *shard) command(ref queue.Ref) (bodyVisitor, error) {
	command, err := s.stored(ref)
	if err != nil {
		return bodyVisitor{}, err
	}
	var one bodyVisitor
	if _, err := visitCommand(ref.At, command, &one); err != nil {
		return one, err
	}
	if one.body == nil {
		return one, fmt.Errorf("command at %d of entry %d holds no message", ref.At, ref.Index)
	}
	one.body.Owned = true
	return one, nil
}

func (s *shard) entry(index uint64) (cluster.Body, error) {
	for i := range s.bodies {
		if s.bodies[i].index == index {
			return s.bodies[i].body, nil
		}
	}
	body, err := s.group.Read(index)
	if err != nil {
		return body, err
	}
	s.nextBody = (s.nextBody + 1) % len(s.bodies)
	s.bodies[s.nextBody] = readBody{index: index, body: body}
	return body, nil
}

// bodyVisitor takes the message of one command.
type bodyVisitor struct {
	body  *message.Message
	also  []string // further keys of a delayed message
	lasts int64    // milliseconds that a will lives from when it is due; zero is for ever
}

func (v *bodyVisitor) enqueue(_ uint32, _ []itemRef, m *message.Message) { v.body = m }
func (v *bodyVisitor) retain(_ uint32, _ string, m *message.Message)     { v.body = m }
func (v *bodyVisitor) delay(_ uint32, _ string, _ int64, also []string, m *message.Message) {
	v.body, v.also = m, also
}
func (v *bodyVisitor) will(_ uint32, _ string, _ uint64, w *Will) {
	v.body, v.lasts = w.Message, w.Lifetime
}
func (v *bodyVisitor) heir(string, uint64, byte, int64)       {}
func (v *bodyVisitor) disown(string)                          {}
func (v *bodyVisitor) due(string, int64, queue.Ref)           {}
func (v *bodyVisitor) settle(_, _, _ uint64)                  {}
func (v *bodyVisitor) session(uint32, string, session.State)  {}
func (v *bodyVisitor) change(string, session.State, []string) {}
func (v *bodyVisitor) end(string, session.State)              {}
func (v *bodyVisitor) returned(uint64, uint64, uint32)        {}
func (v *bodyVisitor) noted(uint64, uint64, []byte)           {}
func (v *bodyVisitor) received(uint64, uint64, uint64)        {}
func (v *bodyVisitor) receipt(receipt, uint16)                {}
func (v *bodyVisitor) sender(string, uint64, uint32, string)  {}
func (v *bodyVisitor) leave(string, uint64)                   {}
func (v *bodyVisitor) complete(receipt)                       {}
func (v *bodyVisitor) prepare(txID, int)                      {}
func (v *bodyVisitor) prepared()                              {}
func (v *bodyVisitor) decide(txID)                            {}
func (v *bodyVisitor) forget(txID)                            {}
func (v *bodyVisitor) resolve(txID, bool)                     {}
