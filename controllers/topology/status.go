package topology

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// hold puts the finalizer on objects that the broker will be asked to have.
func (r *Reconciler) hold(ctx context.Context, s *scope) {
	if s.broker == nil {
		return
	}
	r.each(ctx, s, func(ctx context.Context, e *entry) error {
		if e.decided && e.follows == nil || e.deleting || e.planned || controllerutil.ContainsFinalizer(e.object, Finalizer) {
			return nil
		}
		err := r.editFinalizer(ctx, e, controllerutil.AddFinalizer)
		if apierrors.IsNotFound(err) {
			e.vanish()
			return nil
		}
		return err
	})
}

// release takes the finalizer from objects whose deletion is done.
func (r *Reconciler) release(ctx context.Context, s *scope) {
	r.each(ctx, s, func(ctx context.Context, e *entry) error {
		if !e.released || !controllerutil.ContainsFinalizer(e.object, Finalizer) {
			return nil
		}
		return client.IgnoreNotFound(r.editFinalizer(ctx, e, controllerutil.RemoveFinalizer))
	})
}

func (r *Reconciler) editFinalizer(ctx context.Context, e *entry, edit func(client.Object, string) bool) error {
	o := e.object.DeepCopyObject().(v1alpha1.Topology)
	edit(o, Finalizer)
	patch := client.MergeFromWithOptions(e.before, client.MergeFromWithOptimisticLock{})
	if err := r.calling(func() error { return r.Patch(ctx, o, patch) }); err != nil {
		return fmt.Errorf("finalizer of %s %s: %w", e.kind.name, e.ref(), err)
	}
	e.object, e.before = o, o.DeepCopyObject().(client.Object)
	if e.released {
		return nil // the API server is about to tell that it is gone
	}
	return r.index.wrote(e.record, o)
}

// calling bounds the writes that are on their way, those for all brokers together.
func (r *Reconciler) calling(write func() error) error {
	r.calls <- struct{}{}
	defer func() { <-r.calls }()
	return write()
}

// report writes the statuses that changed.
func (r *Reconciler) report(ctx context.Context, s *scope) {
	arriving := r.index.arriving(s.realm)
	r.each(ctx, s, func(ctx context.Context, e *entry) error {
		if e.released && e.deleting || e.postponed {
			return nil // it is gone, or about to be; or nothing is known yet
		}
		if e.postponed = e.premature(arriving); e.postponed {
			return nil
		}
		return r.writeStatus(ctx, s, e)
	})
}

// An object that refers to what is not there is told so when nothing more comes, so that many that are created at once, in
// any order, cost one write each.
const (
	missingAfter  = 2 * time.Second
	missingAtLast = 2 * time.Minute
)

// premature says whether it is too early to say that something is missing.
func (e *entry) premature(arriving bool) bool {
	age := time.Since(e.object.GetCreationTimestamp().Time)
	first := len(e.object.Common().Conditions) == 0
	return e.state.Reason == condition.Missing && first && (age < missingAfter || arriving && age < missingAtLast)
}

func (r *Reconciler) writeStatus(ctx context.Context, s *scope, e *entry) error {
	o := e.object.DeepCopyObject().(v1alpha1.Topology)
	st := o.Common()
	var before metav1.Condition
	if c := meta.FindStatusCondition(st.Conditions, condition.Ready); c != nil {
		before = *c
	}
	st.ObservedGeneration = o.GetGeneration()
	condition.Set(&st.Conditions, o.GetGeneration(), e.state)
	e.tellDrift(st, o.GetGeneration())
	switch {
	case e.follows != nil:
		st.Applied = nil // the broker was given another object
	case e.state.Ready && !e.given(s.incarnation):
		st.Applied = &v1alpha1.Applied{Generation: o.GetGeneration(), Incarnation: s.incarnation}
	}
	e.details(o)
	if equality.Semantic.DeepEqual(o, e.object) {
		r.eventOfDrift(e)
		return nil
	}
	err := r.calling(func() error { return r.Status().Patch(ctx, o, client.MergeFrom(e.before)) })
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("status of %s %s: %w", e.kind.name, e.ref(), err)
	}
	r.eventOfDrift(e)
	r.eventOfState(e, before)
	e.object = o
	return r.index.wrote(e.record, o)
}

// passing are the reasons that go by themselves, often for many objects at a time: their end is no event.
var passing = map[string]bool{
	condition.Pending: true, condition.Missing: true, condition.BrokerNotFound: true, condition.BrokerUnavailable: true,
}

// eventOfState tells of a change of the condition Ready, but not of an object that is new and right: that would be a call of
// the API for each.
func (r *Reconciler) eventOfState(e *entry, before metav1.Condition) {
	switch {
	case before.Reason == e.state.Reason && (before.Message == e.state.Message || !e.state.Stalled):
	case e.state.Ready && before.Reason != "" && !passing[before.Reason]:
		r.event(e, corev1.EventTypeNormal, condition.Synced, "the broker has it")
	case e.state.Stalled:
		r.event(e, corev1.EventTypeWarning, e.state.Reason, e.state.Message)
	}
}

// details writes the fields of a status that one kind has.
func (e *entry) details(o v1alpha1.Topology) {
	o.Common().Plan = e.plan
	switch o := o.(type) {
	case *v1alpha1.User:
		if !e.state.Ready {
			return
		}
		o.Status.Username = o.NameInBroker()
		o.Status.PasswordVersion = e.secret.version
		o.Status.Binding = &v1alpha1.LocalReference{Name: CredentialsSecret(o.Name)}
	}
}

// each runs fn for every entry of which no call failed, some at a time, and notes which fail.
func (r *Reconciler) each(ctx context.Context, s *scope, fn func(context.Context, *entry) error) {
	var g errgroup.Group
	g.SetLimit(cap(r.calls))
	for _, e := range s.entries {
		if e.failed == nil {
			g.Go(func() error { // ends with its call of the API
				e.failed = fn(ctx, e)
				return nil
			})
		}
	}
	g.Wait() //nolint:errcheck // errors are the entries'
}
