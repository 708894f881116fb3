package metrics

import (
	"context"
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

// collector counts objects in the cache when it is asked. It keeps nothing but where to look, which is set once the
// operator is the leader: other replicas know nothing.
type collector struct {
	reader        atomic.Pointer[client.Reader]
	count, broker *prometheus.Desc
}

var objects = &collector{
	count: prometheus.NewDesc("turnstone_operator_objects",
		"Objects by kind, state (ready, reconciling, stalled, unknown) and reason.", []string{"kind", "state", "reason"}, nil),
	broker: prometheus.NewDesc("turnstone_operator_broker_ready",
		"1 for a MessageBroker that is Ready, else 0.", []string{"broker_namespace", "broker", "reason"}, nil),
}

// Objects counts the objects that a manager has in its cache, as long as it leads.
func Objects(m manager.Manager) error {
	return m.Add(manager.RunnableFunc(func(ctx context.Context) error {
		var reader client.Reader = m.GetClient()
		objects.reader.Store(&reader)
		<-ctx.Done()
		objects.reader.CompareAndSwap(&reader, nil)
		return nil
	}))
}

// kinds are the lists that are counted. Their items are read and never changed.
var kinds = map[string]func() client.ObjectList{
	"MessageBroker":  func() client.ObjectList { return &v1alpha1.MessageBrokerList{} },
	"VirtualHost":    func() client.ObjectList { return &v1alpha1.VirtualHostList{} },
	"Exchange":       func() client.ObjectList { return &v1alpha1.ExchangeList{} },
	"Queue":          func() client.ObjectList { return &v1alpha1.QueueList{} },
	"Binding":        func() client.ObjectList { return &v1alpha1.BindingList{} },
	"TopicPolicy":    func() client.ObjectList { return &v1alpha1.TopicPolicyList{} },
	"Policy":         func() client.ObjectList { return &v1alpha1.PolicyList{} },
	"OperatorPolicy": func() client.ObjectList { return &v1alpha1.OperatorPolicyList{} },
	"User":           func() client.ObjectList { return &v1alpha1.UserList{} },
	"Permission":     func() client.ObjectList { return &v1alpha1.PermissionList{} },
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
	for kind, list := range kinds {
		c.collect(ctx, *reader, kind, list(), to)
	}
}

func (c *collector) collect(ctx context.Context, from client.Reader, kind string, list client.ObjectList, to chan<- prometheus.Metric) {
	if from.List(ctx, list, client.UnsafeDisableDeepCopy) != nil {
		return // what cannot be counted has no number
	}
	type standing struct{ state, reason string }
	counts := map[standing]int{}
	// EachListItem fails for what is no list only.
	_ = meta.EachListItem(list, func(o runtime.Object) error {
		state, reason := stateOf(o)
		counts[standing{state, reason}]++
		if b, ok := o.(*v1alpha1.MessageBroker); ok {
			value := map[bool]float64{true: 1}[state == ready]
			to <- prometheus.MustNewConstMetric(c.broker, prometheus.GaugeValue, value, b.Namespace, b.Name, reason)
		}
		return nil
	})
	for s, n := range counts {
		to <- prometheus.MustNewConstMetric(c.count, prometheus.GaugeValue, float64(n), kind, s.state, s.reason)
	}
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
