// Package metrics is what the broker counts, as Prometheus reads it.
//
// Hot paths count in a Counter, or keep counters of their own; a Registry reads them when it is asked and at no other
// time. Every name begins with turnstone_, and no label grows with what clients do. docs/operations.md lists the names.
package metrics

import (
	"net/http"
	"runtime"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Counter is a total that only grows. It fills a cache line, so that counters do not slow one another down.
type Counter struct {
	n atomic.Uint64
	_ [56]byte
}

// Add adds n, Load is the total so far.
func (c *Counter) Add(n uint64) { c.n.Add(n) }
func (c *Counter) Load() uint64 { return c.n.Load() }

// Registry holds what is exposed.
type Registry struct{ prometheus *prometheus.Registry }

// New makes a registry with the facts of the process and of the build.
func New(version, commit string) *Registry {
	r := &Registry{prometheus.NewRegistry()}
	r.prometheus.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	build := prometheus.Labels{"version": version, "commit": commit, "goversion": runtime.Version()}
	r.prometheus.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "turnstone_build_info", Help: "The version of the broker that runs; always 1.", ConstLabels: build,
	}, func() float64 { return 1 }))
	return r
}

// Label is one name and value, the same for the life of a metric.
type Label struct{ Name, Value string }

func labels(list []Label) prometheus.Labels {
	out := make(prometheus.Labels, len(list))
	for _, l := range list {
		out[l.Name] = l.Value
	}
	return out
}

// Counter exposes a total that read answers.
func (r *Registry) Counter(name, help string, read func() uint64, by ...Label) {
	r.prometheus.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: name, Help: help, ConstLabels: labels(by),
	}, func() float64 { return float64(read()) }))
}

// Gauge exposes a value that read answers.
func (r *Registry) Gauge(name, help string, read func() float64, by ...Label) {
	r.prometheus.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: name, Help: help, ConstLabels: labels(by),
	}, read))
}

// Histogram is how often something took how long: Counts[i] are those that took less than Bounds[i] seconds and not less
// than the bound before, the last count all others.
type Histogram struct {
	Bounds []float64
	Counts []uint64
	Sum    float64 // seconds
}

// Histogram exposes what read answers.
func (r *Registry) Histogram(name, help string, read func() Histogram) {
	r.prometheus.MustRegister(&histogram{prometheus.NewDesc(name, help, nil, nil), read})
}

type histogram struct {
	desc *prometheus.Desc
	read func() Histogram
}

func (h *histogram) Describe(to chan<- *prometheus.Desc) { to <- h.desc }

func (h *histogram) Collect(to chan<- prometheus.Metric) {
	v := h.read()
	buckets, total := make(map[float64]uint64, len(v.Bounds)), uint64(0)
	for i, n := range v.Counts {
		if total += n; i < len(v.Bounds) {
			buckets[v.Bounds[i]] = total
		}
	}
	to <- prometheus.MustNewConstHistogram(h.desc, total, v.Sum, buckets)
}

// Sample is one value of a Group, for the metric at its place in Group.Metrics.
type Sample struct {
	Metric int
	Value  float64
	Labels []string // values for Group.Labels
}

// Metric is one name of a Group.
type Metric struct {
	Name, Help string
	Counts     bool // a total, not a gauge
}

// Group is metrics that are read together, such as those of all queues from one walk.
type Group struct {
	Metrics []Metric
	Labels  []string // names
	Read    func(emit func(Sample))
}

// Group exposes a group.
func (r *Registry) Group(g Group) { r.prometheus.MustRegister(newCollector(g)) }

type collector struct {
	Group
	descriptions []*prometheus.Desc
}

func newCollector(g Group) *collector {
	c := &collector{Group: g}
	for _, m := range g.Metrics {
		c.descriptions = append(c.descriptions, prometheus.NewDesc(m.Name, m.Help, g.Labels, nil))
	}
	return c
}

// Describe is for prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descriptions {
		out <- d
	}
}

// Collect is for prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	c.Read(func(s Sample) {
		kind := prometheus.GaugeValue
		if c.Metrics[s.Metric].Counts {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(c.descriptions[s.Metric], kind, s.Value, s.Labels...)
	})
}

// Handler serves the registry.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prometheus, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// GroupHandler serves one group by itself: what is too much to be scraped by default.
func GroupHandler(g Group) http.Handler {
	alone := prometheus.NewRegistry()
	alone.MustRegister(newCollector(g))
	return promhttp.HandlerFor(alone, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}
