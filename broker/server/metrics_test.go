package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/metrics"
)

const operations = "../../docs/operations.md"

// TestMetricsAreDocumented compares the tables of docs/operations.md with what is exposed.
func TestMetricsAreDocumented(t *testing.T) {
	s, _ := withHub(t, 10)
	if err := s.loadCertificates(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.makeEndpoints(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.drain() //nolint:errcheck // it has no connection
	s.metrics = metrics.New("1", "c")
	s.expose()
	if _, err := s.hub.VirtualHost("/"); err != nil {
		t.Fatal(err)
	}
	rows := append(exposed(t, s.metrics.Handler()), groupRows(s.byQueue())...)
	raw, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.SplitSeq(string(raw), "\n") {
		if strings.HasPrefix(line, "| `turnstone_") && !strings.HasPrefix(line, "| `turnstone_operator_") {
			documented = append(documented, line)
		}
	}
	slices.Sort(rows)
	slices.Sort(documented)
	if !slices.Equal(rows, documented) {
		t.Errorf("docs/operations.md should have\n%s\nand has\n%s", strings.Join(rows, "\n"), strings.Join(documented, "\n"))
	}
}

var help = regexp.MustCompile(`(?m)^# HELP (turnstone_\w+) (.*)\n# TYPE \w+ (\w+)$`)

func exposed(t *testing.T, h http.Handler) (rows []string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("metrics: %d %s", w.Code, w.Body)
	}
	for _, m := range help.FindAllStringSubmatch(w.Body.String(), -1) {
		rows = append(rows, row(m[1], m[3], m[2]))
	}
	return rows
}

func groupRows(g metrics.Group) (rows []string) {
	for _, m := range g.Metrics {
		kind := "gauge"
		if m.Counts {
			kind = "counter"
		}
		rows = append(rows, row(m.Name, kind, m.Help))
	}
	return rows
}

func row(name, kind, what string) string { return fmt.Sprintf("| `%s` | %s | %s |", name, kind, what) }
