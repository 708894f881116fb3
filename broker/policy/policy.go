// Package policy knows which policies apply to the queues and exchanges of one virtual host, and what they make of a
// queue's own arguments. It is a state machine without I/O: the hub tells it what the catalogue holds and asks it by name.
//
// One policy applies to a name, and one operator policy beside it: of those that match, the one of the highest priority,
// and of several of that priority the one whose name comes first.
package policy

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"sync"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// Set is the policies of one virtual host. Its methods are safe for concurrent use.
type Set struct {
	mu        sync.RWMutex
	users     []policy // guarded by mu; the one that wins comes first
	operators []policy // likewise
}

type policy struct {
	name       string
	priority   int
	pattern    *regexp.Regexp
	applyTo    object.ApplyTo
	definition object.Arguments
}

func (p *policy) compare(o *policy) int {
	return cmp.Or(cmp.Compare(o.priority, p.priority), cmp.Compare(p.name, o.name))
}

// Update takes in an object of kind Policy or OperatorPolicy that was created, changed or, unless there, deleted.
func (s *Set) Update(o object.Object, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := &s.users
	if o.Kind == object.KindOperatorPolicy {
		list = &s.operators
	}
	kept := slices.DeleteFunc(slices.Clone(*list), func(p policy) bool { return p.name == o.Name })
	if there {
		p := newPolicy(o)
		at, _ := slices.BinarySearchFunc(kept, p, func(a, b policy) int { return a.compare(&b) })
		kept = slices.Insert(kept, at, p)
	}
	*list = kept
}

func newPolicy(o object.Object) policy {
	spec, err := object.Decode[object.PolicySpec](o)
	if err != nil {
		panic("catalogue holds what it would refuse: " + err.Error())
	}
	return policy{name: o.Name, priority: spec.Priority, pattern: regexp.MustCompile(spec.Pattern), applyTo: spec.ApplyTo, definition: spec.Definition}
}

// find is the policy of a list that applies to a name; nil if none does.
func find(list []policy, name string, kinds ...object.ApplyTo) *policy {
	for i := range list {
		if p := &list[i]; slices.Contains(kinds, p.applyTo) && p.pattern.MatchString(name) {
			return p
		}
	}
	return nil
}

// queueKinds are the policies that can apply to a queue.
func queueKinds(own object.Arguments) []object.ApplyTo {
	kind := object.ApplyToClassicQueues
	if own[object.QueueType] == "quorum" {
		kind = object.ApplyToQuorumQueues
	}
	return []object.ApplyTo{object.ApplyToAll, object.ApplyToQueues, kind}
}

// Applied is what applies to a queue or an exchange.
type Applied struct {
	Policy, Operator string           // their names; empty for none
	Arguments        object.Arguments // with those of the object itself; not to be changed
}

// Queue is what applies to a queue with arguments of its own, and with defaults. Of a number that limits, the lowest of
// the queue's own, its policy's and its operator policy's counts; of everything else the queue's own, or else its policy's.
// A default is for what neither of the two says.
func (s *Set) Queue(name string, own, defaults object.Arguments) Applied {
	s.mu.RLock()
	defer s.mu.RUnlock()
	kinds := queueKinds(own)
	user, operator := find(s.users, name, kinds...), find(s.operators, name, kinds...)
	if user == nil && operator == nil && len(defaults) == 0 {
		return Applied{Arguments: own}
	}
	a := Applied{Arguments: make(object.Arguments)}
	maps.Copy(a.Arguments, own)
	if user != nil {
		a.Policy = user.name
		user.apply(a.Arguments)
	}
	for k, v := range defaults {
		if _, said := a.Arguments[k]; !said {
			a.Arguments[k] = v
		}
	}
	if operator != nil {
		a.Operator = operator.name
		operator.apply(a.Arguments)
	}
	return a
}

// apply adds what the policy says of queues to what was said before it.
func (p *policy) apply(to object.Arguments) {
	for key, v := range p.definition {
		name, limit := object.PolicyArgument(key)
		if name == "" {
			continue // it says nothing of queues
		}
		before, said := to[name]
		switch {
		case !said:
			to[name] = v
		case limit:
			to[name] = lower(before, v)
		}
	}
}

// lower is the lower of two limits; a negative one is none.
func lower(a, b any) any {
	x, isX := a.(int64)
	y, isY := b.(int64)
	switch {
	case !isY, isX && y < 0:
		return a
	case !isX, x < 0:
		return b
	}
	return min(x, y)
}

// Exchange is what applies to an exchange with arguments of its own.
func (s *Set) Exchange(name string, own object.Arguments) Applied {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := find(s.users, name, object.ApplyToAll, object.ApplyToExchanges)
	if p == nil {
		return Applied{Arguments: own}
	}
	a := Applied{Policy: p.name, Arguments: own}
	if alternate, ok := p.definition[object.AlternateExchange]; ok && own[object.AlternateExchange] == nil {
		a.Arguments = make(object.Arguments, len(own)+1)
		maps.Copy(a.Arguments, own)
		a.Arguments[object.AlternateExchange] = alternate
	}
	return a
}
