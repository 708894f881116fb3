package topology

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// claim decides which of the objects that stand for the same thing in the broker has it. Entries are sorted by age.
//
// One has it: the oldest. Younger ones are in conflict, unless they and the oldest are Shared and want the same. Then they
// follow the one that has it, and when that goes, the next one has it: what is in the broker goes with the last.
func (s *scope) claim() {
	groups := make(map[object.Key][]*entry, len(s.entries))
	for _, e := range s.entries {
		if !e.decided {
			groups[e.wanted.Key] = append(groups[e.wanted.Key], e)
		}
	}
	for _, group := range groups {
		if len(group) > 1 {
			settleClaims(group)
		}
	}
}

func settleClaims(group []*entry) {
	has := holder(group)
	for _, e := range group {
		if e != has {
			e.yield(has)
		}
	}
}

// holder is the one that has what a group stands for.
func holder(group []*entry) *entry {
	oldest := group[0]
	for _, e := range group {
		if !e.foreign { // those that are not allowed claim nothing
			oldest = e
			break
		}
	}
	has := oldest
	for _, e := range group {
		if e != oldest && !(e.shared() && oldest.shared() && e.same(oldest)) {
			continue
		}
		if e.claims() > has.claims() {
			has = e
		}
	}
	return has
}

// claims is how good a reason an object is to have something in the broker, the higher the better.
func (e *entry) claims() int {
	switch {
	case e.foreign:
		return 0
	case e.deleting:
		return 1
	case e.planned:
		return 2
	}
	return 3
}

func (e *entry) shared() bool {
	return e.object.Managed().OwnershipPolicy == v1alpha1.OwnershipShared && !e.foreign
}

// same says whether two objects want the same.
func (e *entry) same(o *entry) bool {
	a, errA := e.wanted.Canonical()
	b, errB := o.wanted.Canonical()
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// yield leaves what e stands for to another object, which e follows, or with which it is in conflict.
func (e *entry) yield(has *entry) {
	if e.released = e.deleting; e.released {
		e.left = has
	}
	if e.shared() && has.shared() && e.same(has) {
		e.follows = has
		e.decide(condition.Waiting(condition.Pending, "left to those that share it"))
		return
	}
	e.decide(condition.Stuck(condition.ResourceConflict, e.conflict(has)))
}

// conflict says why two objects cannot have the same thing, and what to change.
func (e *entry) conflict(has *entry) string {
	other := fmt.Sprintf("%s %s", has.kind.name, has.ref())
	switch {
	case e.shared() && has.shared():
		return fmt.Sprintf("%s shares the same %s and is older, but wants something else: %s: make the two equal, or delete one", other, e.wanted.Key, e.difference(has))
	case has.shared():
		return fmt.Sprintf("%s stands for the same %s, is older and Shared: set spec.ownershipPolicy: Shared here too, or delete one of the two", other, e.wanted.Key)
	case e.shared():
		return fmt.Sprintf("%s stands for the same %s, is older and Exclusive: set spec.ownershipPolicy: Shared there too, or delete one of the two", other, e.wanted.Key)
	}
	return fmt.Sprintf("%s stands for the same %s and is older: delete one of the two", other, e.wanted.Key)
}

// difference says in which fields e wants something else than another one.
func (e *entry) difference(has *entry) string {
	differences, err := object.Differences(has.wanted, e.wanted)
	if err != nil {
		return err.Error()
	}
	const most = 3
	var texts []string
	for i, d := range differences {
		if i == most {
			texts = append(texts, fmt.Sprintf("%d more", len(differences)-most))
			break
		}
		texts = append(texts, fmt.Sprintf("%s is %s there and %s here", d.Field, orUnset(d.Old), orUnset(d.New)))
	}
	return strings.Join(texts, ", ")
}

func orUnset(v string) string {
	if v == "" {
		return "unset"
	}
	return v
}

// vanish decides about an object that went before it was held: nothing is made for it.
func (e *entry) vanish() {
	e.vanished, e.follows = true, nil
	e.decide(condition.Waiting(condition.Pending, "deleted before the broker was asked"))
}

// keepLeft holds those that left what they stand for to an object which does not hold it: that may go at any time, and would take
// nothing along. Where that one could not be asked yet, or has gone, the next look finds somebody else. Where it is not going to
// hold anything for now, what is deleted takes away what is its own.
func (s *scope) keepLeft() {
	for _, e := range s.entries {
		has := e.left
		if has == nil || has.holds() {
			continue
		}
		switch {
		case has.vanished:
			e.released, e.postponed = false, true
			if e.follows == nil { // else it has the state of what is gone
				e.decide(condition.Waiting(condition.Pending, "what it was left to is gone"))
			}
		case has.failed != nil:
			e.released, e.failed = false, has.failed
		case !e.shared() || !s.sharing(e):
			e.released, e.decided, e.follows = false, false, nil
		}
	}
}

// holds says whether an object cannot go without a look.
func (e *entry) holds() bool { return controllerutil.ContainsFinalizer(e.object, Finalizer) }

// sharing says whether somebody who stays has a share in what e stands for, and holds it.
func (s *scope) sharing(e *entry) bool {
	return slices.ContainsFunc(s.entries, func(o *entry) bool {
		return o != e && o.wanted.Key == e.wanted.Key && !o.deleting && o.shared() && o.holds() && o.same(e)
	})
}

// inherit finds out whether what the broker has in place of what is deleted is e's to delete: when it was given in our name for an
// object that is no more, or that is being deleted as well and left it to e. That is so when calls failed since it changed hands.
func (r *Reconciler) inherit(s *scope, e *entry, result object.Result) bool {
	if !e.deleting || e.instead != "" || result.Outcome != object.Conflict || result.Owner != s.owner {
		return false
	}
	namespace, name, ok := strings.Cut(result.Ref, "/")
	if !ok || !r.everywhere() && !slices.Contains(r.options.Namespaces, namespace) {
		return false // of another operator, or of a person
	}
	going := slices.ContainsFunc(s.entries, func(o *entry) bool {
		return o.left == e && o.ref() == result.Ref && o.object.Deletion() != v1alpha1.DeletionRetain
	})
	if !going && r.index.speaks(s.realm, idOf(int(e.record.id.kind), namespace, name), e.wanted.Key.Sum()) {
		return false
	}
	e.instead = result.Ref
	return true
}

// comparePasswords: those that share a user must mean the same password by it.
func (s *scope) comparePasswords() {
	for _, e := range s.entries {
		has := e.follows
		if has == nil || e.deleting || e.wanted.Kind != object.KindUser || !has.secret.given() || e.secret.same(has.secret) {
			continue
		}
		e.follows = nil
		if e.secret.given() { // else it was decided why
			e.decide(condition.Stuck(condition.ResourceConflict, fmt.Sprintf("%s %s shares the same %s and is older, but has another password: name Secrets with the same password", has.kind.name, has.ref(), e.wanted.Key)))
		}
	}
}

// follow gives those that share something the state of the one that has it.
func (s *scope) follow() {
	for _, e := range s.entries {
		has := e.follows
		if has == nil {
			continue
		}
		if !has.decided || has.failed != nil { // nothing is known yet
			e.decided, e.postponed, e.failed = false, has.postponed, has.failed
			continue
		}
		e.state, e.unreached, e.plan = has.state, has.unreached, nil
		if e.state.Ready {
			e.state.Message = fmt.Sprintf("shared with %s %s", has.kind.name, has.ref())
		}
	}
}

// adoption is what an object takes over in the broker. What it had once it takes back from nobody, but never from
// another owner: two operators that both adopt would take it from one another for ever.
func (e *entry) adoption() object.Adoption {
	standing := e.standing()
	lost := standing > 0 && e.object.Common().ObservedGeneration == e.object.GetGeneration()
	switch {
	case standing < 0:
		return object.AdoptUnowned
	case e.object.Managed().Adopt && !lost:
		return object.AdoptAny
	}
	return ""
}

// conflicted decides by an answer of the broker that somebody else has it.
func (e *entry) conflicted(r object.Result) {
	message := r.Message
	if !e.deleting {
		message += "; spec.adopt: true takes it over"
		if e.object.Managed().Adopt {
			message = r.Message + "; it was taken over from this object: change the object, or make it anew, to take it back"
		}
	}
	e.decide(condition.Stuck(condition.ResourceConflict, message))
}
