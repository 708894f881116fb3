package topology

import (
	"bytes"
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

// sync asks the broker what it has, sends what differs, and decides about every object that is not decided yet.
func (r *Reconciler) sync(ctx context.Context, s *scope) {
	if s.broker == nil {
		s.withoutBroker()
		return
	}
	s.keepInhabited()
	if err := r.exchange(ctx, s); err != nil {
		r.unavailable(s, err)
		return
	}
	r.streams.follow(s.broker, s.admin, s.revision)
}

// keepInhabited holds back the deletion of virtual hosts in which other objects live: the broker would delete those too,
// with the messages that their own policies keep.
func (s *scope) keepInhabited() {
	living := make(map[string]int)
	for _, e := range s.entries {
		if e.wanted.VirtualHost != "" && !e.released {
			living[e.wanted.VirtualHost]++
		}
	}
	for _, e := range s.entries {
		n := living[e.wanted.Name]
		if e.wanted.Kind != object.KindVirtualHost || !e.deleting || e.decided || n == 0 || e.object.Deletion() == v1alpha1.DeletionRetain {
			continue
		}
		s.pending = true
		e.decide(condition.Waiting(condition.DeletionBlocked, fmt.Sprintf("%d objects live in it: delete them first", n)))
	}
}

// withoutBroker decides about objects whose broker does not exist: their deletion has nothing to do.
func (s *scope) withoutBroker() {
	for _, e := range s.entries {
		e.released = e.released || e.deleting
		if !e.decided {
			e.decide(condition.Waiting(condition.BrokerNotFound, fmt.Sprintf("%s does not exist in namespace %q", brokerText(brokerOf(e.object)), brokerOf(e.object).Namespace)))
		}
	}
}

// unavailable decides about objects whose broker does not answer. Deletions wait for it, but not for ever.
func (r *Reconciler) unavailable(s *scope, err error) {
	asleep := errors.Is(err, connection.ErrHibernated)
	s.pending = !asleep // it wakes up by a change of the MessageBroker, which is seen
	for _, e := range s.entries {
		if e.decided {
			continue
		}
		if asleep && e.deleting && !e.planned { // nobody knows for how long, and what it holds is kept
			e.released = true
			r.event(e, corev1.EventTypeWarning, "Abandoned", fmt.Sprintf("deleted while its broker is Hibernated: it still has the %s", e.kind.name))
		}
		e.decide(condition.Waiting(refusal(err), fmt.Sprintf("%s does not answer: %v", brokerText(brokerOf(e.object)), reasonOf(err))))
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

// exchange talks to the broker: one call when nothing differs.
func (r *Reconciler) exchange(ctx context.Context, s *scope) error {
	if err := r.connect(ctx, s); err != nil {
		return err
	}
	differing, err := s.compare(ctx)
	if err != nil {
		return err
	}
	differing, planned := apart(differing)
	if err := s.apply(ctx, differing); err != nil {
		return err
	}
	if err := s.plan(ctx, planned); err != nil {
		return err
	}
	return s.depths(ctx)
}

// compare answers the entries of which the broker has something else, or nothing.
func (s *scope) compare(ctx context.Context) ([]*entry, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	digests, err := s.admin.Digest(ctx, s.owner)
	if err != nil {
		return nil, err
	}
	s.incarnation, s.revision = digests.Incarnation, digests.Revision
	byKind := make(map[object.Kind][]*entry)
	for _, e := range s.entries {
		if !e.decided && !e.released {
			byKind[e.kind.name] = append(byKind[e.kind.name], e)
		}
	}
	var differing []*entry
	for k, entries := range byKind {
		there, same, err := s.what(ctx, k, entries, digests.Kinds[k])
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if (same || there.holds(e)) && !e.deleting && !e.newPassword() {
				e.decide(condition.OK(condition.Synced, ""))
			} else {
				differing = append(differing, e)
			}
		}
	}
	return differing, nil
}

// held are the objects that a broker has, by key.
type held map[object.Key]object.Object

// what asks for the objects of a kind, unless the digest says that they are all as wanted.
func (s *scope) what(ctx context.Context, k object.Kind, entries []*entry, d admin.Digest) (there held, same bool, err error) {
	wanted := make([]object.Object, len(entries))
	for i, e := range entries {
		wanted[i] = e.wanted
	}
	sum, err := object.Digest(wanted)
	if err != nil {
		return nil, false, fmt.Errorf("digest of %s objects: %w", k, err)
	}
	if d.Count == len(entries) && d.Digest == sum {
		return nil, true, nil
	}
	list, err := s.admin.Objects(ctx, s.owner, k)
	if err != nil {
		return nil, false, err
	}
	there = make(held, len(list.Objects))
	for _, o := range list.Objects {
		there[o.Key] = o
	}
	return there, false, nil
}

// holds says whether the broker has what an entry wants.
func (h held) holds(e *entry) bool {
	o, ok := h[e.wanted.Key]
	if !ok || o.Ref != e.wanted.Ref {
		return false
	}
	have, err := o.Canonical()
	if err != nil {
		return false
	}
	want, err := e.wanted.Canonical()
	return err == nil && bytes.Equal(have, want)
}

// newPassword says whether a user's password has to be sent: digests know nothing of it.
func (e *entry) newPassword() bool {
	u, ok := e.object.(*v1alpha1.User)
	return ok && u.Status.PasswordVersion != e.secret.version
}

// apply sends what differs, in batches, and decides by the results.
func (s *scope) apply(ctx context.Context, differing []*entry) error {
	slices.SortFunc(differing, inOrder)
	for len(differing) > 0 {
		n := min(len(differing), batchSize)
		if err := s.send(ctx, differing[:n]); err != nil {
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

func (s *scope) send(ctx context.Context, batch []*entry) error {
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
	s.revision = response.Revision
	for i, e := range asked {
		e.result(s, response.Results[i])
	}
	return nil
}

// change is what the broker is asked to do for an entry; ask is false when that is nothing.
func (e *entry) change() (c object.Change, ask bool, err error) {
	c.Object = e.wanted
	if e.deleting {
		policies := map[v1alpha1.DeletionPolicy]object.Deletion{
			v1alpha1.DeletionDelete: object.DeleteAlways, v1alpha1.DeletionDeleteIfEmpty: object.DeleteIfEmpty, v1alpha1.DeletionDeleteIfUnused: object.DeleteIfUnused,
		}
		c.Delete, ask = policies[e.object.Deletion()]
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
func (e *entry) result(s *scope, r object.Result) {
	metrics.Changed(string(e.kind.name), string(r.Outcome))
	switch r.Outcome {
	case object.Created, object.Updated, object.Unchanged:
		if e.deleting { // the broker does not have it
			e.released = true
		}
		e.asked = true
		e.decide(condition.OK(condition.Synced, ""))
	case object.Deleted:
		e.released = true
		e.decide(condition.Waiting(condition.Pending, "deleted in the broker"))
	case object.Conflict:
		e.released = e.deleting
		e.conflicted(r)
	default:
		e.refused(s, r)
	}
}

func (e *entry) refused(s *scope, r object.Result) {
	if e.deleting {
		s.pending = true
		e.decide(condition.Waiting(condition.DeletionBlocked, r.Message+remedy(r.Reason)))
		return
	}
	switch r.Reason {
	case object.ReasonMissing:
		s.pending = true
		e.decide(condition.Waiting(condition.Missing, r.Message))
	case object.ReasonUnavailable:
		s.pending = true
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

// depths reads how much queues hold.
func (s *scope) depths(ctx context.Context) error {
	byName := make(map[[2]string]*entry)
	for _, e := range s.entries {
		if q, ok := e.object.(*v1alpha1.Queue); ok && e.state.Ready {
			byName[[2]string{q.Spec.VHost, q.NameInBroker()}] = e
		}
	}
	if len(byName) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	queues, err := s.admin.Queues(ctx, "")
	if err != nil {
		return err
	}
	for _, q := range queues {
		if e := byName[[2]string{q.VirtualHost, q.Name}]; e != nil {
			e.messages, e.consumers = int64(q.Ready+q.Unacked), int64(q.Consumers)
		}
	}
	return nil
}
