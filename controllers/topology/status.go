package topology

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// hold puts the finalizer on objects that the broker will be asked to have.
func (r *Reconciler) hold(ctx context.Context, s *scope) error {
	if s.broker == nil {
		return nil
	}
	return r.each(ctx, s, func(ctx context.Context, e *entry) error {
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
func (r *Reconciler) release(ctx context.Context, s *scope) error {
	return r.each(ctx, s, func(ctx context.Context, e *entry) error {
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
	if err := r.Patch(ctx, o, patch); err != nil {
		return fmt.Errorf("finalizer of %s %s: %w", e.kind.name, e.ref(), err)
	}
	e.object, e.before = o, o.DeepCopyObject().(client.Object)
	return nil
}

// report writes the statuses that changed.
func (r *Reconciler) report(ctx context.Context, s *scope) error {
	return r.each(ctx, s, func(ctx context.Context, e *entry) error {
		if e.released && e.deleting {
			return nil // it is gone, or about to be
		}
		return r.writeStatus(ctx, e)
	})
}

func (r *Reconciler) writeStatus(ctx context.Context, e *entry) error {
	o := e.object.DeepCopyObject().(v1alpha1.Topology)
	was := condition.IsReady(o.Common().Conditions)
	o.Common().ObservedGeneration = o.GetGeneration()
	condition.Set(&o.Common().Conditions, o.GetGeneration(), e.state)
	e.details(o)
	if equality.Semantic.DeepEqual(o, e.object) {
		return nil
	}
	err := r.Status().Patch(ctx, o, client.MergeFrom(e.before))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("status of %s %s: %w", e.kind.name, e.ref(), err)
	}
	switch {
	case !was && e.state.Ready:
		r.event(e, corev1.EventTypeNormal, condition.Synced, "the broker has it")
	case e.state.Stalled:
		r.event(e, corev1.EventTypeWarning, e.state.Reason, e.state.Message)
	}
	return nil
}

// details writes the fields of a status that one kind has.
func (e *entry) details(o v1alpha1.Topology) {
	o.Common().Plan = e.plan
	switch o := o.(type) {
	case *v1alpha1.Queue:
		if e.state.Ready {
			o.Status.Messages, o.Status.Consumers = e.messages, e.consumers
		}
	case *v1alpha1.User:
		if !e.state.Ready {
			return
		}
		o.Status.Username = o.NameInBroker()
		o.Status.PasswordVersion = e.secret.version
		o.Status.Binding = &v1alpha1.LocalReference{Name: CredentialsSecret(o.Name)}
	}
}

// each runs fn for every entry, some at a time.
func (r *Reconciler) each(ctx context.Context, s *scope, fn func(context.Context, *entry) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * r.options.Concurrency)
	for _, e := range s.entries {
		g.Go(func() error { return fn(ctx, e) }) // ends with its call of the API
	}
	return g.Wait()
}
