// Package catalog is the durable metadata of a broker as a state machine: which objects (package object) exist, who owns
// them, and at which revision each was written.
//
// Plan decides what becomes of a list of wishes and encodes the difference as a command; Apply changes the state by a
// command, the same way on every node and at every replay: no clock, no randomness, no I/O. Whoever owns the state (the
// hub) writes the command to its log between the two. The package knows nothing of how an object is served.
package catalog

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// Anyone is the owner in whose name clients declare and delete: what it creates has no owner, what it changes keeps its
// owner, and it may delete what others own, since permissions have decided already.
const Anyone = "*"

// State is the metadata at one revision. Its methods may run concurrently with one another, but for Apply and Restore,
// which need the state for themselves: the hub guards it with an RWMutex.
//
// Objects are immutable once they are stored: a change puts another in their place.
type State struct {
	revision uint64
	objects  map[object.Key]*object.Object
	// children are the objects that refer to an object and go with it: everything in a virtual host, the permissions of a
	// user, the bindings of an exchange or a queue.
	children map[object.Key]map[object.Key]struct{}
	queues   map[string]int // count by virtual host
	admins   map[string]struct{}

	digests digests
}

// New is the metadata of a new broker: nothing, at revision zero.
func New() *State {
	return &State{
		objects:  make(map[object.Key]*object.Object),
		children: make(map[object.Key]map[object.Key]struct{}),
		queues:   make(map[string]int),
		admins:   make(map[string]struct{}),
	}
}

// Change is one object that was created (Before is nil), changed, or deleted (After is nil).
type Change struct {
	Revision      uint64
	Before, After *object.Object // not to be written to
}

// Revision counts the changes since the data directory was made.
func (s *State) Revision() uint64 { return s.revision }

// Get finds an object.
func (s *State) Get(k object.Key) (object.Object, bool) {
	o, ok := s.objects[k]
	if !ok {
		return object.Object{}, false
	}
	return *o, true
}

// List answers objects in dependency order; an empty owner or kind means all.
func (s *State) List(owner string, kind object.Kind) []object.Object {
	return s.Select(owner, kind, func(object.Key) bool { return true })
}

// Select is List of those objects whose key is wanted.
func (s *State) Select(owner string, kind object.Kind, wanted func(object.Key) bool) []object.Object {
	var out []object.Object
	for _, o := range s.objects {
		if (owner == "" || o.Owner == owner) && (kind == "" || o.Kind == kind) && wanted(o.Key) {
			out = append(out, *o)
		}
	}
	slices.SortFunc(out, func(a, b object.Object) int { return a.Key.Compare(b.Key) })
	return out
}

// command is what Apply obeys: steps in order. A step without an object deletes.
type command struct {
	Steps []step `json:"steps"`
}

type step struct {
	Put    *object.Object `json:"put,omitempty"`
	Delete *object.Key    `json:"delete,omitempty"`
}

// Apply changes the state by a command of Plan and answers what changed, each with its revision. A command that cannot
// be read changes nothing.
func (s *State) Apply(encoded []byte) ([]Change, error) {
	var c command
	if err := json.Unmarshal(encoded, &c); err != nil {
		return nil, fmt.Errorf("decode catalogue command: %w", err)
	}
	for i, st := range c.Steps {
		if (st.Put == nil) == (st.Delete == nil) {
			return nil, fmt.Errorf("catalogue command: step %d neither puts nor deletes", i)
		}
	}
	changes := make([]Change, 0, len(c.Steps))
	for _, st := range c.Steps {
		if st.Put != nil {
			changes = append(changes, s.put(*st.Put))
		} else if s.objects[*st.Delete] != nil {
			changes = append(changes, s.delete(*st.Delete))
		}
	}
	return changes, nil
}

func (s *State) put(o object.Object) Change {
	s.revision++
	before := s.objects[o.Key]
	o.Revision, o.ID = s.revision, s.revision
	if before != nil {
		o.ID = before.ID
		s.unlink(before)
	}
	s.objects[o.Key] = &o
	s.link(&o)
	s.digests.change(before, &o)
	return Change{Revision: s.revision, Before: before, After: &o}
}

func (s *State) delete(k object.Key) Change {
	s.revision++
	before := s.objects[k]
	delete(s.objects, k)
	s.unlink(before)
	s.digests.change(before, nil)
	return Change{Revision: s.revision, Before: before}
}

// link brings an object into the indexes, unlink takes it out.
func (s *State) link(o *object.Object) {
	for _, p := range parents(o) {
		if s.children[p] == nil {
			s.children[p] = make(map[object.Key]struct{})
		}
		s.children[p][o.Key] = struct{}{}
	}
	if o.Kind == object.KindQueue {
		s.queues[o.VirtualHost]++
	}
	if administrates(o) {
		s.admins[o.Name] = struct{}{}
	}
}

func (s *State) unlink(o *object.Object) {
	for _, p := range parents(o) {
		delete(s.children[p], o.Key)
		if len(s.children[p]) == 0 {
			delete(s.children, p)
		}
	}
	if o.Kind == object.KindQueue {
		s.queues[o.VirtualHost]--
		if s.queues[o.VirtualHost] == 0 {
			delete(s.queues, o.VirtualHost)
		}
	}
	if o.Kind == object.KindUser {
		delete(s.admins, o.Name)
	}
}

// parents are the objects that o refers to and without which it cannot be. Built-in exchanges are no objects.
func parents(o *object.Object) []object.Key {
	if o.VirtualHost == "" {
		return nil
	}
	up := []object.Key{{Kind: object.KindVirtualHost, Name: o.VirtualHost}}
	switch o.Kind {
	case object.KindPermission:
		up = append(up, object.Key{Kind: object.KindUser, Name: o.Name})
	case object.KindBinding:
		b := stored[object.BindingSpec](o)
		if !BuiltIn(b.Source) {
			up = append(up, object.Key{Kind: object.KindExchange, VirtualHost: o.VirtualHost, Name: b.Source})
		}
		if b.DestinationType == object.DestinationQueue {
			up = append(up, object.Key{Kind: object.KindQueue, VirtualHost: o.VirtualHost, Name: b.Destination})
		} else if !BuiltIn(b.Destination) {
			up = append(up, object.Key{Kind: object.KindExchange, VirtualHost: o.VirtualHost, Name: b.Destination})
		}
	}
	return up
}

// stored decodes the spec of an object that Plan has checked.
func stored[T any](o *object.Object) T {
	spec, err := object.Decode[T](*o)
	if err != nil {
		panic(fmt.Sprintf("catalogue holds what it would refuse: %v", err))
	}
	return spec
}

func administrates(o *object.Object) bool {
	return o.Kind == object.KindUser && slices.Contains(stored[object.UserSpec](o).Tags, TagAdministrator)
}

// snapshot is the whole state. Format is raised when an older version could not read it.
type snapshot struct {
	Format   int             `json:"format"`
	Revision uint64          `json:"revision"`
	Objects  []object.Object `json:"objects"`
}

const snapshotFormat = 1

// Snapshot encodes the state; Restore of it gives the same state.
func (s *State) Snapshot() []byte {
	b, err := json.Marshal(snapshot{snapshotFormat, s.revision, s.List("", "")})
	if err != nil {
		panic(fmt.Sprintf("catalogue holds what is no JSON: %v", err))
	}
	return b
}

// Restore replaces the state by a snapshot. A snapshot that cannot be read changes nothing.
func (s *State) Restore(encoded []byte) error {
	var n snapshot
	if err := json.Unmarshal(encoded, &n); err != nil {
		return fmt.Errorf("decode catalogue snapshot: %w", err)
	}
	if n.Format != snapshotFormat {
		return fmt.Errorf("catalogue snapshot has format %d, this version reads %d", n.Format, snapshotFormat)
	}
	fresh := New()
	fresh.revision = n.Revision
	for i := range n.Objects {
		o := &n.Objects[i]
		fresh.objects[o.Key] = o
		fresh.link(o)
	}
	s.revision, s.objects, s.children, s.queues, s.admins = fresh.revision, fresh.objects, fresh.children, fresh.queues, fresh.admins
	s.digests.forget()
	return nil
}
