package metrics

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

type answer struct {
	code   int
	err    error
	closed *bool
}

func (a answer) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.code}, a.err
}

func (a answer) CloseIdleConnections() { *a.closed = true }

func TestKubernetesRequestsAreCountedByResource(t *testing.T) {
	for path, resource := range map[string]string{
		"/api/v1/namespaces/n/secrets/s":                                      "secrets",
		"/api/v1/secrets":                                                     "secrets",
		"/api/v1/namespaces/n":                                                "namespaces",
		"/apis/apps/v1/namespaces/n/statefulsets":                             "statefulsets",
		"/apis/messaging.turnstone.dev/v1alpha1/namespaces/n/queues/q":        "queues",
		"/apis/messaging.turnstone.dev/v1alpha1/namespaces/n/queues/q/status": "queues/status",
		"/apis/messaging.turnstone.dev/v1alpha1/queues":                       "queues",
		"/healthz": "other",
		"/apis":    "other",
	} {
		if got := resourceOf(path); got != resource {
			t.Errorf("%s is %s, want %s", path, got, resource)
		}
	}
}

func TestRequestsAreCounted(t *testing.T) {
	send := func(through http.RoundTripper, method, path string) {
		t.Helper()
		u, err := url.Parse("https://example.com" + path)
		if err != nil {
			t.Fatal(err)
		}
		through.RoundTrip(&http.Request{Method: method, URL: u}) //nolint:errcheck,bodyclose // what is counted is looked at
	}
	closed := false
	kubernetes, admin := Kubernetes(answer{code: 409, closed: &closed}), Admin(answer{err: errors.New("down")})
	send(kubernetes, http.MethodPatch, "/apis/messaging.turnstone.dev/v1alpha1/namespaces/n/queues/q/status")
	send(kubernetes, http.MethodGet, "/api/v1/secrets?watch=true")
	send(admin, http.MethodGet, "/v1/queues/a/b")
	for _, c := range []struct {
		of     *prometheus.CounterVec
		labels []string
	}{
		{kubernetesRequests, []string{"queues/status", "patch", "409"}},
		{kubernetesRequests, []string{"secrets", "watch", "409"}},
		{adminRequests, []string{"/v1/queues", "error"}},
	} {
		if n := testutil.ToFloat64(c.of.WithLabelValues(c.labels...)); n != 1 {
			t.Errorf("%v were counted %v times", c.labels, n)
		}
	}
	if (&http.Client{Transport: kubernetes}).CloseIdleConnections(); !closed {
		t.Error("idle connections stay open")
	}
}

// cache answers lists that a test has made.
type cache struct {
	client.Reader
	brokers []v1alpha1.MessageBroker
}

func (c cache) List(_ context.Context, to client.ObjectList, _ ...client.ListOption) error {
	switch to := to.(type) {
	case *v1alpha1.MessageBrokerList:
		to.Items = c.brokers
	}
	return nil
}

func TestObjectsHaveExactlyOneState(t *testing.T) {
	conditions := func(generation int64, s condition.State) (out []metav1.Condition) {
		condition.Set(&out, generation, s)
		return out
	}
	queue := func(c []metav1.Condition) (q v1alpha1.Queue) {
		q.Generation, q.Status.Conditions = 2, c
		return q
	}
	counts := map[Standing]int{}
	for _, q := range []v1alpha1.Queue{
		queue(nil),
		queue(conditions(1, condition.OK("Synced", ""))),
		queue(conditions(2, condition.OK("Synced", ""))), queue(conditions(2, condition.OK("Synced", ""))),
		queue(conditions(2, condition.Waiting("Missing", "no exchange"))),
		queue(conditions(2, condition.Stuck("Invalid", "no"))),
	} {
		counts[StandingOf("Queue", &q)]++
	}
	c := cache{}
	broker := v1alpha1.MessageBroker{}
	broker.Namespace, broker.Name, broker.Status.Conditions = "n", "b", conditions(0, condition.Waiting("Pending", ""))
	c.brokers = []v1alpha1.MessageBroker{broker}

	collected := &collector{count: objects.count, broker: objects.broker}
	if n := testutil.CollectAndCount(collected); n != 0 {
		t.Errorf("%d values before the operator leads", n)
	}
	var reader client.Reader = c
	collected.reader.Store(&reader)
	count := func() map[Standing]int { return counts }
	collected.lives.Store(&count)
	if err := testutil.CollectAndCompare(collected, strings.NewReader(`
# HELP turnstone_operator_broker_ready 1 for a MessageBroker that is Ready, else 0.
# TYPE turnstone_operator_broker_ready gauge
turnstone_operator_broker_ready{broker="b",broker_namespace="n",reason="Pending"} 0
# HELP turnstone_operator_objects Objects by kind, state (ready, reconciling, stalled, unknown) and reason.
# TYPE turnstone_operator_objects gauge
turnstone_operator_objects{kind="MessageBroker",reason="Pending",state="reconciling"} 1
turnstone_operator_objects{kind="Queue",reason="",state="unknown"} 2
turnstone_operator_objects{kind="Queue",reason="Synced",state="ready"} 2
turnstone_operator_objects{kind="Queue",reason="Missing",state="reconciling"} 1
turnstone_operator_objects{kind="Queue",reason="Invalid",state="stalled"} 1
`)); err != nil {
		t.Error(err)
	}
}
