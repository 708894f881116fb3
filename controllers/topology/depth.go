package topology

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// figures are what the status of a Queue says of what happens in it.
type figures struct {
	messages, consumers, in, out int64
}

// depth is what is known of a queue that holds or held something; there is none of the others.
type depth struct {
	shown, now           figures // in the status, and in the broker
	published, delivered uint64  // totals, as of at
	at                   time.Time
}

func shownBy(o v1alpha1.Topology) figures {
	q, ok := o.(*v1alpha1.Queue)
	if !ok {
		return figures{}
	}
	st := q.Status
	return figures{st.Messages, st.Consumers, st.PublishRate, st.DeliverRate}
}

// depths reads what happens in queues when it is time, and writes the statuses that changed most, as far as the budget goes;
// the others have their turn a second later.
func (r *Reconciler) depths(ctx context.Context, s *scope) error {
	m, now := s.realm, time.Now()
	if s.admin == nil || m.err != nil {
		return nil
	}
	if now.Before(m.depthsAt) {
		return nil
	}
	if len(m.changing) == 0 && r.index.queues(m) {
		if err := r.measure(ctx, s); err != nil {
			return err
		}
	}
	for len(m.changing) > 0 && r.budget.Allow() {
		q := m.changing[0]
		m.changing = m.changing[1:]
		if err := r.writeDepth(ctx, q); err != nil {
			return err
		}
	}
	m.depthsAt = now.Add(r.options.Refresh)
	if len(m.changing) > 0 {
		m.depthsAt = now.Add(time.Second)
	}
	return nil
}

// queues says whether there are any.
func (x *index) queues(m *realm) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return m.records[kindIndex(object.KindQueue)] > 0
}

// measure reads the queues of a broker and finds those whose status is to be written.
func (r *Reconciler) measure(ctx context.Context, s *scope) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	now := time.Now()
	if err := s.admin.EachQueue(ctx, "", func(q admin.QueueState) { r.index.measured(s.realm, q, now) }); err != nil {
		return fmt.Errorf("read queues: %w", err)
	}
	r.index.mu.Lock()
	defer r.index.mu.Unlock()
	m := s.realm
	change := func(q *record) float64 { d := m.depths[q]; return share(d.shown, d.now) }
	for q, d := range m.depths {
		switch {
		case change(q) >= worthWriting:
			m.changing = append(m.changing, q)
		case d.now == figures{} && d.shown == figures{} && d.published == 0 && d.delivered == 0:
			delete(m.depths, q)
		}
	}
	slices.SortFunc(m.changing, func(a, b *record) int { return cmp.Compare(change(b), change(a)) })
	return nil
}

// measured takes what a broker says of a queue.
func (x *index) measured(m *realm, q admin.QueueState, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	first := m.byKey[object.Key{Kind: object.KindQueue, VirtualHost: q.VirtualHost, Name: q.Name}.Sum()]
	for r := first; r != nil; r = r.next {
		if r == first && r.next == nil || r.settled { // of several, those that are in conflict show nothing
			m.measured(r, q, now)
		}
	}
}

func (m *realm) measured(r *record, q admin.QueueState, now time.Time) {
	d := m.depths[r]
	if d == nil {
		if q.Ready+q.Unacked+q.Consumers == 0 && q.Published == 0 && q.Delivered == 0 {
			return
		}
		d = &depth{}
		m.depths[r] = d
	}
	n := figures{messages: int64(q.Ready + q.Unacked), consumers: int64(q.Consumers)}
	if !d.at.IsZero() && q.Published >= d.published && q.Delivered >= d.delivered { // else the queue was opened again
		seconds := now.Sub(d.at).Seconds()
		n.in, n.out = perSecond(q.Published-d.published, seconds), perSecond(q.Delivered-d.delivered, seconds)
	}
	d.now, d.published, d.delivered, d.at = n, q.Published, q.Delivered, now
}

func perSecond(n uint64, seconds float64) int64 {
	if seconds <= 0 {
		return 0
	}
	return int64(float64(n)/seconds + 0.5)
}

// worthWriting is the share by which a figure has to change before a status is written for it.
const worthWriting = 0.1

// share is by how much figures changed, at most 1: from or to nothing is 1.
func share(a, b figures) float64 {
	of := func(x, y int64) float64 {
		if x == y {
			return 0
		}
		return float64(max(x, y)-min(x, y)) / float64(max(x, y))
	}
	return max(of(a.messages, b.messages), of(a.consumers, b.consumers), of(a.in, b.in), of(a.out, b.out))
}

// writeDepth writes the figures of one queue.
func (r *Reconciler) writeDepth(ctx context.Context, q *record) error {
	r.index.mu.Lock()
	d, current := q.realm.depths[q], r.index.records[q.id] == q
	if d == nil || !current {
		r.index.mu.Unlock()
		return nil
	}
	n := d.now
	r.index.mu.Unlock()
	o, err := r.index.object(q)
	if err != nil {
		return err
	}
	before := o.DeepCopyObject().(client.Object)
	st := &o.(*v1alpha1.Queue).Status
	st.Messages, st.Consumers, st.PublishRate, st.DeliverRate = n.messages, n.consumers, n.in, n.out
	err = r.calling(func() error { return r.Status().Patch(ctx, o, client.MergeFrom(before)) })
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("status of Queue %s/%s: %w", o.GetNamespace(), o.GetName(), err)
	}
	r.index.mu.Lock()
	d.shown = n
	r.index.mu.Unlock()
	return r.index.wrote(q, o)
}
