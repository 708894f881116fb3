// Package metrics is what the operator counts, beside what controller-runtime counts of every operator: calls of the
// Kubernetes API and of brokers, changes and what became of them, and how objects are. They are served with those of
// controller-runtime. docs/operations.md lists the names.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	kubernetesRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "turnstone_operator_kubernetes_requests_total",
		Help: "Calls of the Kubernetes API, by resource, verb and status code; error is no answer.",
	}, []string{"resource", "verb", "code"})
	adminRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "turnstone_operator_admin_requests_total",
		Help: "Calls of the admin APIs of brokers, by path and status code; error is no answer.",
	}, []string{"path", "code"})
	adminSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "turnstone_operator_admin_request_seconds",
		Help:    "How long admin APIs took to begin their answer.",
		Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 20},
	}, []string{"path"})
	batches = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "turnstone_operator_batch_changes",
		Help:    "How many changes went to a broker in one call.",
		Buckets: []float64{1, 10, 50, 100, 250, 500, 1000},
	})
	results = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "turnstone_operator_changes_total",
		Help: "Changes that brokers were asked for, by kind and what became of them.",
	}, []string{"kind", "outcome"})
	build = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "turnstone_operator_build_info",
		Help: "The version of the operator that runs; always 1.",
	}, []string{"version", "commit"})
)

func init() {
	ctrlmetrics.Registry.MustRegister(kubernetesRequests, adminRequests, adminSeconds, batches, results, build, objects)
}

// Build says which operator runs.
func Build(version, commit string) { build.WithLabelValues(version, commit).Set(1) }

// Batch counts a call that asked a broker for so many changes.
func Batch(changes int) { batches.Observe(float64(changes)) }

// Changed counts what became of a change of an object.
func Changed(kind, outcome string) { results.WithLabelValues(kind, outcome).Inc() }
