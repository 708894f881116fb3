package metrics

import (
	"context"
	"maps"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// The states of an object. Each has exactly one.
const (
	ready       = "ready"
	reconciling = "reconciling" // or waiting for something
	stalled     = "stalled"     // somebody has to change something
	unknown     = "unknown"     // nobody has looked at this generation
)

// Standing is how an object of a kind stands.
type Standing struct{ Kind, State, Reason string }

// collector counts objects when it is asked: MessageBrokers in the cache, and those that live in brokers by who holds them. It
// keeps nothing but where to look, which is set once the operator is the leader: other replicas know nothing.
type collector struct {
	reader        atomic.Pointer[client.Reader]
	lives         atomic.Pointer[func() map[Standing]int]
	count, broker *prometheus.Desc
}

var objects = &collector{
	count: prometheus.NewDesc("turnstone_operator_objects",
		"Objects by kind, state (ready, reconciling, stalled, unknown) and reason.", []string{"kind", "state", "reason"}, nil),
	broker: prometheus.NewDesc("turnstone_operator_broker_ready",
		"1 for a MessageBroker that is Ready, else 0.", []string{"broker_namespace", "broker", "reason"}, nil),
}

// Objects counts the MessageBrokers that a manager has in its cache and what lives in brokers, as long as it leads.
func Objects(m manager.Manager) error {
	return m.Add(manager.RunnableFunc(func(ctx context.Context) error {
		var reader client.Reader = m.GetClient()
		objects.reader.Store(&reader)
		<-ctx.Done()
		objects.reader.CompareAndSwap(&reader, nil)
		return nil
	}))
}

// Lives says who counts the objects that live in brokers; the last one who says so does. They are not in the cache.
func Lives(count func() map[Standing]int) { objects.lives.Store(&count) }

// StandingOf is how an object of a kind stands.
func StandingOf(kind string, o runtime.Object) Standing {
	state, reason := stateOf(o)
	return Standing{kind, state, reason}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) { to <- c.count; to <- c.broker }

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	reader := c.reader.Load()
	if reader == nil {
		return
	}
	const patience = 2 * time.Second // a cache that is not filled yet is not waited for
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	counts := c.brokers(ctx, *reader, to)
	if lives := c.lives.Load(); lives != nil {
		maps.Copy(counts, (*lives)())
	}
	for s, n := range counts {
		to <- prometheus.MustNewConstMetric(c.count, prometheus.GaugeValue, float64(n), s.Kind, s.State, s.Reason)
	}
}

// brokers counts the MessageBrokers, and tells of each. What cannot be counted has no number.
func (c *collector) brokers(ctx context.Context, from client.Reader, to chan<- prometheus.Metric) map[Standing]int {
	counts := map[Standing]int{}
	list := &v1alpha1.MessageBrokerList{}
	if from.List(ctx, list, client.UnsafeDisableDeepCopy) != nil {
		return counts
	}
	for i := range list.Items {
		b := &list.Items[i]
		s := StandingOf("MessageBroker", b)
		counts[s]++
		value := map[bool]float64{true: 1}[s.State == ready]
		to <- prometheus.MustNewConstMetric(c.broker, prometheus.GaugeValue, value, b.Namespace, b.Name, s.Reason)
	}
	return counts
}

// stateOf reads the conditions of an object.
func stateOf(o runtime.Object) (state, reason string) {
	conditions := conditionsOf(o)
	c := meta.FindStatusCondition(conditions, condition.Ready)
	switch {
	case c == nil || c.ObservedGeneration < o.(metav1.Object).GetGeneration():
		return unknown, ""
	case c.Status == metav1.ConditionTrue:
		return ready, c.Reason
	case meta.IsStatusConditionTrue(conditions, condition.Stalled):
		return stalled, c.Reason
	}
	return reconciling, c.Reason
}

func conditionsOf(o runtime.Object) []metav1.Condition {
	switch o := o.(type) {
	case *v1alpha1.MessageBroker:
		return o.Status.Conditions
	case v1alpha1.Topology:
		return o.Common().Conditions
	}
	return nil
}
