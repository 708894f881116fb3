package controllers_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

// exposed are metrics by the names of their series, each with the labels that it has.
type exposed map[string]map[string]bool

// targetLabels are those that Prometheus itself and the chart's PodMonitors add.
var targetLabels = []string{"namespace", "pod", "container", "endpoint", "job", "instance", "broker"}

func (e exposed) add(families ...*dto.MetricFamily) {
	for _, f := range families {
		names := []string{f.GetName()}
		if f.GetType() == dto.MetricType_HISTOGRAM {
			names = []string{f.GetName() + "_bucket", f.GetName() + "_sum", f.GetName() + "_count"}
		}
		for _, name := range names {
			if e[name] == nil {
				e[name] = map[string]bool{}
			}
			if strings.HasSuffix(name, "_bucket") {
				e[name]["le"] = true
			}
			for _, l := range targetLabels {
				e[name][l] = true
			}
			for _, m := range f.Metric {
				for _, l := range m.Label {
					e[name][l.GetName()] = true
				}
			}
		}
	}
}

// wrong says what of a PromQL expression nobody exposes.
func (e exposed) wrong(expr string) []string {
	GinkgoHelper()
	tree, err := parser.ParseExpr(strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h").Replace(expr))
	Expect(err).NotTo(HaveOccurred(), expr)
	var problems []string
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			if e[n.Name] == nil {
				problems = append(problems, "no metric "+n.Name)
				return nil
			}
			for _, m := range n.LabelMatchers {
				if m.Name != model.MetricNameLabel && !e[n.Name][m.Name] {
					problems = append(problems, n.Name+" has no label "+m.Name)
				}
			}
		case *parser.AggregateExpr:
			for _, l := range n.Grouping {
				if !e.anyHas(n.Expr, l) {
					problems = append(problems, fmt.Sprintf("nothing in %s has the label %s", n.Expr, l))
				}
			}
		}
		return nil
	})
	return problems
}

func (e exposed) anyHas(within parser.Node, label string) bool {
	found := false
	parser.Inspect(within, func(node parser.Node, _ []parser.Node) error {
		if v, ok := node.(*parser.VectorSelector); ok {
			found = found || e[v.Name][label]
		}
		return nil
	})
	return found
}

// scrape reads metrics of a broker as Prometheus does because of a PodMonitor: with the Secrets and the name that it names.
func scrape(ctx context.Context, namespace string, p *pod, e monitoringv1.PodMetricsEndpoint) []*dto.MetricFamily {
	GinkgoHelper()
	from := func(s corev1.SecretKeySelector) string {
		secret := &corev1.Secret{}
		Expect(api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: s.Name}, secret)).To(Succeed())
		Expect(secret.Data).To(HaveKey(s.Key))
		return string(secret.Data[s.Key])
	}
	roots := x509.NewCertPool()
	Expect(roots.AppendCertsFromPEM([]byte(from(*e.TLSConfig.CA.Secret)))).To(BeTrue())
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: *e.TLSConfig.ServerName}}
	defer t.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+p.admin+e.Path, nil)
	Expect(err).NotTo(HaveOccurred())
	r.SetBasicAuth(from(e.BasicAuth.Username), from(e.BasicAuth.Password))
	response, err := t.RoundTrip(r)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	Expect(response.StatusCode).To(Equal(http.StatusOK))
	var out []*dto.MetricFamily
	for d := expfmt.NewDecoder(response.Body, expfmt.NewFormat(expfmt.TypeTextPlain)); ; {
		f := &dto.MetricFamily{}
		err := d.Decode(f)
		if err == io.EOF {
			return out
		}
		Expect(err).NotTo(HaveOccurred())
		out = append(out, f)
	}
}

// podMonitor is the one of a tree.
func podMonitor(all []*unstructured.Unstructured) monitoringv1.PodMonitor {
	GinkgoHelper()
	i := slices.IndexFunc(all, func(u *unstructured.Unstructured) bool { return u.GetKind() == "PodMonitor" })
	text, err := json.Marshal(all[i].Object)
	Expect(err).NotTo(HaveOccurred())
	var m monitoringv1.PodMonitor
	Expect(yaml.UnmarshalStrict(text, &m)).To(Succeed())
	return m
}

// queriesOf are all queries of a dashboard, and the selectors of its variables.
func queriesOf(file string) []string {
	GinkgoHelper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Definition string } }
	}
	Expect(json.Unmarshal([]byte(readFile(file)), &d)).To(Succeed())
	var out []string
	for _, p := range d.Panels {
		Expect(p.Targets).NotTo(BeEmpty(), p.Title)
		for _, t := range p.Targets {
			out = append(out, t.Expr)
		}
	}
	values := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	for _, v := range d.Templating.List {
		if v.Definition != "" {
			found := values.FindStringSubmatch(v.Definition)
			Expect(found).NotTo(BeNil(), v.Definition)
			out = append(out, fmt.Sprintf("count by (%s) (%s)", found[2], found[1]))
		}
	}
	return out
}

var _ = Describe("Monitoring", func() {
	It("asks only for metrics that are there, and everything of the operator is told", func(ctx SpecContext) {
		n := newNamespace(ctx)
		o := startOperator(n, &pods{}, time.Minute)
		tree := kustomized(filepath.Join(gitopsTree, "overlays/production"))
		all := ofOurs(tree, n)
		for _, u := range all {
			serverSideApply(ctx, u)
		}
		b := &v1alpha1.MessageBroker{}
		b.Namespace, b.Name = n, "messages"
		p := o.serve(ctx, b)
		Eventually(allReady(ctx, all)).Should(BeEmpty())

		there := exposed{}
		monitor := podMonitor(tree)
		Expect(monitor.Spec.Selector.MatchLabels).To(Equal(map[string]string{"app.kubernetes.io/name": "turnstone", "app.kubernetes.io/instance": "messages"}))
		endpoint := monitor.Spec.PodMetricsEndpoints[0]
		there.add(scrape(ctx, n, p, endpoint)...)
		endpoint.Path = "/metrics/queues"
		there.add(scrape(ctx, n, p, endpoint)...)
		ofOperator, err := ctrlmetrics.Registry.Gather()
		Expect(err).NotTo(HaveOccurred())
		there.add(ofOperator...)

		Expect(there.wrong(`sum by (nothing) (turnstone_no_such{a="b"}) + turnstone_connections{color="red"}`)).To(HaveLen(3), "mistakes are found")
		files, err := filepath.Glob("../charts/turnstone-operator/dashboards/*.json")
		Expect(err).NotTo(HaveOccurred())
		Expect(files).To(HaveLen(5))
		for _, file := range files {
			for _, q := range queriesOf(file) {
				Expect(there.wrong(q)).To(BeEmpty(), "%s: %s", file, q)
			}
		}
		var rules struct {
			Groups []struct {
				Rules []struct{ Alert, Expr string }
			}
		}
		Expect(yaml.Unmarshal([]byte(readFile("../charts/turnstone-operator/files/alerts.yaml")), &rules)).To(Succeed())
		for _, g := range rules.Groups {
			Expect(g.Rules).NotTo(BeEmpty())
			for _, r := range g.Rules {
				Expect(there.wrong(r.Expr)).To(BeEmpty(), r.Alert)
			}
		}

		kinds := map[string]bool{}
		told := readFile("../docs/operations.md")
		for _, f := range ofOperator {
			if !strings.HasPrefix(f.GetName(), "turnstone_operator_") {
				continue
			}
			row := fmt.Sprintf("| `%s` | %s | %s |", f.GetName(), strings.ToLower(f.GetType().String()), f.GetHelp())
			Expect(told).To(ContainSubstring(row), "docs/operations.md lists every metric of the operator")
			for _, m := range f.Metric {
				for _, l := range m.Label {
					if f.GetName() == "turnstone_operator_objects" && l.GetName() == "kind" {
						kinds[l.GetValue()] = true
					}
				}
			}
		}
		Expect(slices.Collect(maps.Keys(kinds))).To(ConsistOf(kindsOfAPI()), "every kind is counted")
	}, NodeTimeout(time.Minute))
})
