package topology

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/connection"
	"github.com/turnstone-mq/turnstone/controllers/metrics"
)

// callTimeout bounds one call of the admin API.
const callTimeout = 20 * time.Second

// batchSize is how many changes go to the broker in one call.
const batchSize = 1000

// sync asks the broker for what differs, and decides about every object that is not decided yet.
func (r *Reconciler) sync(ctx context.Context, s *scope) {
	if s.broker == nil {
		s.withoutBroker()
		return
	}
	r.keepInhabited(s)
	if err := r.exchange(ctx, s); err != nil {
		r.deleteByLast(ctx, s, err)
		r.unavailable(s, err)
		return
	}
	r.index.answered(s.realm)
	r.streams.follow(s)
}

// keepInhabited holds back the deletion of virtual hosts in which other objects live: the broker would delete those too,
// with the messages that their own policies keep.
func (r *Reconciler) keepInhabited(s *scope) {
	for _, e := range s.entries {
		if e.wanted.Kind != object.KindVirtualHost {
			continue
		}
		if !e.deleting || e.decided || e.object.Deletion() == v1alpha1.DeletionRetain {
			continue
		}
		n := r.index.living(s.realm, e.wanted.Name)
		if n == 0 {
			continue
		}
		e.decide(condition.Waiting(condition.DeletionBlocked, fmt.Sprintf("%d objects live in it: delete them first", n)))
	}
}

// withoutBroker decides about objects whose broker does not exist: their deletion has nothing to do.
func (s *scope) withoutBroker() {
	for _, e := range s.entries {
		e.released = e.released || e.deleting
		if !e.decided {
			e.decide(condition.Waiting(condition.BrokerNotFound, fmt.Sprintf("%s does not exist in namespace %q", brokerText(s.realm.key), s.realm.key.Namespace)))
		}
	}
}

// unavailable decides about objects whose broker does not answer, once that has lasted: a broker that restarts is not worth
// two writes of every status. Deletions wait for it, but not for ever.
func (r *Reconciler) unavailable(s *scope, err error) {
	lasts, asleep := r.index.silent(s.realm, err), errors.Is(err, connection.ErrHibernated)
	for _, e := range s.entries {
		if e.decided {
			continue
		}
		if e.postponed = !lasts; e.postponed {
			continue
		}
		if asleep && e.deleting && !e.planned { // nobody knows for how long, and what it holds is kept
			e.released = true
			r.event(e, corev1.EventTypeWarning, "Abandoned", fmt.Sprintf("deleted while its broker is Hibernated: it still has the %s", e.kind.name))
		}
		e.unreached = true
		e.decide(condition.Waiting(refusal(err), unreachedText(s.realm.key, err)))
		r.abandonLate(e)
	}
}

// abandonLate ends the deletion of an object that has waited long enough for its broker.
func (r *Reconciler) abandonLate(e *entry) {
	if e.deleting && !e.planned && !e.released && time.Since(e.object.GetDeletionTimestamp().Time) > r.options.ReleaseAfter {
		e.released = true
		r.event(e, corev1.EventTypeWarning, "Abandoned", fmt.Sprintf("deleted without its broker, which could not be reached for %s: the broker may still have the %s", r.options.ReleaseAfter, e.kind.name))
	}
}

// reasonOf shortens an error to what stays the same from look to look, so that a status is written once.
func reasonOf(err error) string {
	var api *admin.Error
	if errors.As(err, &api) {
		return api.Message
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}

// exchange talks to the broker: not at all when nothing differs and it was compared not long ago. A broker that did not
// answer is asked again only when it is time.
func (r *Reconciler) exchange(ctx context.Context, s *scope) error {
	m := s.realm
	if m.err != nil && time.Now().Before(m.next) {
		return m.err
	}
	var err error
	if s.admin, err = r.options.Connections.To(ctx, s.broker); err != nil {
		return err
	}
	s.incarnation = m.incarnation
	if err := r.verify(ctx, s); err != nil {
		return err
	}
	doing, planned := apart(r.compare(s))
	if err := r.apply(ctx, s, doing); err != nil {
		return err
	}
	return r.propose(ctx, s, planned)
}

// compare answers the entries that the broker is to be asked for.
func (r *Reconciler) compare(s *scope) []*entry {
	var asked []*entry
	for _, e := range s.entries {
		if e.decided || e.released || e.failed != nil {
			continue
		}
		have := r.index.has(s.realm, e)
		switch {
		case e.deleting, e.newPassword(), have == e.sum && e.resend:
			asked = append(asked, e)
		case have == e.sum:
			e.decide(condition.OK(condition.Synced, ""))
		case e.differs(s):
			asked = append(asked, e)
		}
	}
	return asked
}

// newPassword says whether a user's password has to be sent: digests know nothing of it.
func (e *entry) newPassword() bool {
	u, ok := e.object.(*v1alpha1.User)
	return ok && u.Status.PasswordVersion != e.secret.version
}

// apply sends what differs, in batches, and decides by the results.
func (r *Reconciler) apply(ctx context.Context, s *scope, differing []*entry) error {
	slices.SortFunc(differing, inOrder)
	for len(differing) > 0 {
		n := min(len(differing), batchSize)
		if err := r.send(ctx, s, differing[:n]); err != nil {
			return err
		}
		differing = differing[n:]
	}
	return nil
}

// inOrder puts what is wanted before what is to go, and each in its order of dependency, so that batches follow it too.
func inOrder(a, b *entry) int {
	switch {
	case a.deleting && b.deleting:
		return b.wanted.Compare(a.wanted.Key)
	case a.deleting:
		return 1
	case b.deleting:
		return -1
	}
	return a.wanted.Compare(b.wanted.Key)
}

func (r *Reconciler) send(ctx context.Context, s *scope, batch []*entry) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, asked, err := s.request(batch)
	if err != nil || len(asked) == 0 {
		return err
	}
	metrics.Batch(len(asked))
	response, err := s.admin.Apply(ctx, request)
	if err != nil {
		return err
	}
	if len(response.Results) != len(asked) {
		return fmt.Errorf("broker answered %d results for %d changes", len(response.Results), len(asked))
	}
	if response.Incarnation != s.incarnation {
		return fmt.Errorf("it began anew with other data")
	}
	var heirs []*entry
	for i, e := range asked {
		r.index.result(s.realm, e, response.Results[i], response.Revision)
		if r.inherit(s, e, response.Results[i]) {
			heirs = append(heirs, e)
			continue
		}
		e.result(response.Results[i])
	}
	if len(heirs) > 0 {
		return r.send(ctx, s, heirs) // each of them once: see inherit
	}
	return nil
}

// Deletion is how the broker is asked to delete what an object stands for; deletes is false when its deletionPolicy leaves that there.
func Deletion(o v1alpha1.Topology) (how object.Deletion, deletes bool) {
	how, deletes = deletions[o.Deletion()]
	return how, deletes
}

var deletions = map[v1alpha1.DeletionPolicy]object.Deletion{
	v1alpha1.DeletionDelete: object.DeleteAlways, v1alpha1.DeletionDeleteIfEmpty: object.DeleteIfEmpty, v1alpha1.DeletionDeleteIfUnused: object.DeleteIfUnused,
}

// change is what the broker is asked to do for an entry; ask is false when that is nothing.
func (e *entry) change() (c object.Change, ask bool, err error) {
	c.Object = e.wanted
	if e.deleting {
		c.Delete, ask = Deletion(e.object)
		switch {
		case e.instead != "":
			c.Ref = e.instead
		case e.shared(): // the last of those that shared it may not be the one that the broker knows
			c.Ref = ""
		}
		if !ask {
			e.released = true
			e.decide(condition.Waiting(condition.Pending, "left in the broker, as spec.deletionPolicy says"))
		}
		return c, ask, nil
	}
	c.Adopt = e.adoption()
	if e.secret != (secret{}) {
		c.Spec, err = e.withPassword()
	}
	return c, err == nil, err
}

// result decides by what became of a change.
func (e *entry) result(r object.Result) {
	metrics.Changed(string(e.kind.name), string(r.Outcome))
	e.outcome(r)
}

// outcome decides by what became, or would become, of a change.
func (e *entry) outcome(r object.Result) {
	switch r.Outcome {
	case object.Created, object.Updated, object.Unchanged:
		if e.deleting { // the broker does not have it
			e.released = true
		}
		e.decide(condition.OK(condition.Synced, ""))
	case object.Deleted:
		e.released = true
		e.decide(condition.Waiting(condition.Pending, "deleted in the broker"))
	case object.Conflict:
		e.released = e.deleting
		e.conflicted(r)
	default:
		e.refused(r)
	}
}

func (e *entry) refused(r object.Result) {
	if e.deleting {
		e.decide(condition.Waiting(condition.DeletionBlocked, r.Message+remedy(r.Reason)))
		return
	}
	switch r.Reason {
	case object.ReasonMissing:
		e.decide(condition.Waiting(condition.Missing, r.Message))
	case object.ReasonUnavailable:
		e.decide(condition.Waiting(condition.BrokerUnavailable, r.Message))
	case object.ReasonInequivalent:
		e.decide(condition.Stuck(condition.Inequivalent, r.Message))
	default:
		e.decide(condition.Stuck(condition.Invalid, r.Message))
	}
}

// remedy says what to do about a deletion that the broker refuses.
func remedy(r object.Reason) string {
	switch r {
	case object.ReasonNotEmpty:
		return "; consume or purge them, or set spec.deletionPolicy to Delete to lose them or to Retain to leave all in the broker"
	case object.ReasonInUse:
		return "; end what uses it, or set spec.deletionPolicy to Delete, or to Retain to leave it in the broker"
	}
	return "; set spec.deletionPolicy to Retain to leave it in the broker"
}
