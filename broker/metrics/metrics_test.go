package metrics

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func scrape(t *testing.T, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// TestScrape: values are read when they are asked for.
func TestScrape(t *testing.T) {
	r := New("1.2.3", "abc")
	var c Counter
	level := 1.5
	r.Counter("turnstone_things_total", "Things.", c.Load, Label{"kind", "good"})
	r.Gauge("turnstone_level", "Level.", func() float64 { return level })
	g := Group{
		Metrics: []Metric{{Name: "turnstone_a", Help: "A."}, {Name: "turnstone_b_total", Help: "B.", Counts: true}},
		Labels:  []string{"x"},
		Read: func(emit func(Sample)) {
			emit(Sample{Metric: 0, Value: 7, Labels: []string{`quo"ted`}})
			emit(Sample{Metric: 1, Value: 8, Labels: []string{"y"}})
		},
	}
	r.Group(g)
	c.Add(40)
	c.Add(2)
	level = 2.5
	got := scrape(t, r.Handler())
	for _, want := range []string{
		`turnstone_build_info{commit="abc",goversion="go`, `version="1.2.3"} 1`,
		`turnstone_things_total{kind="good"} 42`, "turnstone_level 2.5", "# TYPE turnstone_things_total counter", "# TYPE turnstone_level gauge",
		`turnstone_a{x="quo\"ted"} 7`, `turnstone_b_total{x="y"} 8`, "# TYPE turnstone_a gauge", "# TYPE turnstone_b_total counter",
		"go_goroutines ", "process_start_time_seconds ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the answer lacks %q", want)
		}
	}
	alone := scrape(t, GroupHandler(g))
	if !strings.Contains(alone, "turnstone_a{") || strings.Contains(alone, "turnstone_level") {
		t.Errorf("a group by itself is %s", alone)
	}
}
