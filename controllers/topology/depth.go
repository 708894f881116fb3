package topology

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

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

// depths has what happens in queues read when it is time, and writes the statuses that changed most, as far as the budget goes;
// the others have their turn a second later. Reading is not the look's: a broker may have very many queues, and a change waits
// for the look to end.
func (r *Reconciler) depths(ctx context.Context, s *scope) error {
	m, now := s.realm, time.Now()
	if s.admin == nil || m.err != nil {
		return nil
	}
	changed, done := r.index.measured(m)
	switch {
	case done:
		m.changing = changed
	case now.Before(m.depthsAt):
		return nil
	case len(m.changing) == 0 && r.index.measures(m):
		r.streams.measure(ctx, m, s.admin)
	}
	m.depthsAt = now.Add(r.options.Refresh)
	for len(m.changing) > 0 && r.budget.Allow() {
		q := m.changing[0]
		m.changing = m.changing[1:]
		if err := r.writeDepth(ctx, q); err != nil {
			return err
		}
	}
	if len(m.changing) > 0 {
		m.depthsAt = now.Add(time.Second)
	}
	return nil
}

// measure reads the queues of a broker, and then asks for a look that writes what changed.
func (s *streams) measure(ctx context.Context, m *realm, from *admin.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || s.ctx.Err() != nil {
		s.index.readQueues(m, nil)
		return
	}
	logger := log.FromContext(ctx)
	s.running.Go(func() { // ends with its call, or with the manager
		ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
		defer cancel()
		now := time.Now()
		err := from.EachQueue(ctx, "", func(q admin.QueueState) { s.index.measure(m, q, now) })
		if err != nil && s.ctx.Err() == nil {
			logger.Error(err, "figures of queues are not read")
		}
		s.index.readQueues(m, err)
	})
}

// measures says whether the queues of a broker are to be read, and notes that they are.
func (x *index) measures(m *realm) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if m.measuring || m.records[kindIndex(object.KindQueue)] == 0 {
		return false
	}
	m.measuring = true
	return true
}

// readQueues notes that the queues of a broker were read, or why not.
func (x *index) readQueues(m *realm, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	m.measuring, m.figures = false, err == nil
	if err == nil && len(m.depths) > 0 {
		x.wakeNow(m)
	}
}

// measured answers the queues whose status is to be written, those that changed most first. Done is false when no figures have
// come since it was asked last.
func (x *index) measured(m *realm) (changed []*record, done bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !m.figures {
		return nil, false
	}
	m.figures = false
	change := func(q *record) float64 { d := m.depths[q]; return share(d.shown, d.now) }
	for q, d := range m.depths {
		switch {
		case change(q) >= worthWriting:
			changed = append(changed, q)
		case d.now == figures{} && d.shown == figures{} && d.published == 0 && d.delivered == 0:
			delete(m.depths, q)
		}
	}
	slices.SortFunc(changed, func(a, b *record) int { return cmp.Compare(change(b), change(a)) })
	return changed, true
}

// measure takes what a broker says of a queue.
func (x *index) measure(m *realm, q admin.QueueState, now time.Time) {
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
	d, current := q.realm.depths[q], r.index.records.get(q.id) == q
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
