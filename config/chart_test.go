package config_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

// withPrometheus says that the cluster has the CRDs of prometheus-operator.
const withPrometheus = "--api-versions=monitoring.coreos.com/v1/PodMonitor,monitoring.coreos.com/v1/PrometheusRule"

const digest = "sha256:00000000000000000000000000000000000000000000000000000000000000ab"

// golden are the settings whose result is kept in testdata: what a change of the chart does to users shows there.
var golden = map[string][]string{
	"chart-default":   nil,
	"chart-namespace": {"--set", "namespaces={messaging}"},
	"chart-all": {
		withPrometheus, "--set", "replicas=2,networkPolicy.enabled=true,image.digest=" + digest + ",brokerImage.digest=" + digest,
		"--set", "monitoring.labels.release=prometheus,monitoring.brokers[0].namespace=messaging,monitoring.brokers[0].name=broker",
		"--set", "monitoring.brokers[0].userSecret=prometheus-user-credentials,monitoring.brokers[0].perQueue=true",
		"--set-json", `networkPolicy.metricsFrom=[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"monitoring"}}}]`,
		"--set", "logLevel=debug,workers=4,deletionPatience=1m,priorityClassName=high,podAnnotations.a=b,imagePullSecrets[0].name=registry,nodeSelector.disk=ssd",
	},
}

func TestGoldenChart(t *testing.T) {
	for name, args := range golden {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			for _, m := range helm(t, args...) {
				got.WriteString("---\n" + show(t, m))
			}
			path := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s differs (run with -update and look at the difference); got\n%s", path, got.Bytes())
			}
		})
	}
}

// ofKind are the objects of a kind, read strictly as the type that its controller reads.
func ofKind[T any](t *testing.T, all []manifest, kind string) []T {
	t.Helper()
	var out []T
	for _, m := range all {
		if m["kind"] != kind {
			continue
		}
		var o T
		if err := yaml.UnmarshalStrict([]byte(show(t, m)), &o); err != nil {
			t.Fatalf("%s: %v", m.id(), err)
		}
		out = append(out, o)
	}
	return out
}

func TestMonitoringNeedsTheCRDs(t *testing.T) {
	for _, m := range helm(t, "--set", "monitoring.brokers[0].namespace=a,monitoring.brokers[0].name=b,monitoring.brokers[0].userSecret=c") {
		if strings.HasPrefix(m["apiVersion"].(string), "monitoring.coreos.com/") {
			t.Errorf("%s in a cluster that does not know it", m.id())
		}
	}
	for _, m := range helm(t, withPrometheus, "--set", "monitoring.enabled=false") {
		if strings.HasPrefix(m["apiVersion"].(string), "monitoring.coreos.com/") {
			t.Errorf("%s although monitoring is off", m.id())
		}
	}
}

func TestMonitorsFindTheirPods(t *testing.T) {
	all := helm(t, golden["chart-all"]...)
	monitors := ofKind[monitoringv1.PodMonitor](t, all, "PodMonitor")
	if len(monitors) != 2 {
		t.Fatalf("%d PodMonitors", len(monitors))
	}
	var template map[string]any
	for _, m := range all {
		if m["kind"] == "Deployment" {
			template = m.field("spec", "template", "metadata", "labels").(map[string]any)
		}
	}
	for key, value := range monitors[0].Spec.Selector.MatchLabels {
		if template[key] != value {
			t.Errorf("the operator's pods have %s=%v, its monitor wants %s", key, template[key], value)
		}
	}
	broker := monitors[1]
	if broker.Namespace != "messaging" || broker.Labels["release"] != "prometheus" || len(broker.Spec.PodMetricsEndpoints) != 2 {
		t.Errorf("monitor of the broker: %s", show(t, broker))
	}
	for i, path := range []string{"/metrics", "/metrics/queues"} {
		e := broker.Spec.PodMetricsEndpoints[i]
		if e.Path != path || e.BasicAuth.Password.Name != "prometheus-user-credentials" || e.TLSConfig.CA.Secret.Name != "broker-ca" || *e.TLSConfig.ServerName != "broker" {
			t.Errorf("endpoint %d: %s", i, show(t, e))
		}
	}
}

func TestMonitorOfABrokerWithAnotherCertificate(t *testing.T) {
	const b = "monitoring.brokers[0]."
	m := ofKind[monitoringv1.PodMonitor](t, helm(t, withPrometheus, "--set", b+"namespace=m,"+b+"name=b,"+b+"userSecret=u,"+b+"caSecret=public-ca,"+b+"serverName=mq.example.com"), "PodMonitor")[1]
	if c := m.Spec.PodMetricsEndpoints[0].TLSConfig; c.CA.Secret.Name != "public-ca" || *c.ServerName != "mq.example.com" {
		t.Errorf("TLS %s", show(t, c))
	}
}

func TestAlertsLeadToTheirRunbooks(t *testing.T) {
	rules := ofKind[monitoringv1.PrometheusRule](t, helm(t, withPrometheus, "--set", "monitoring.rules.disabled={TurnstoneLoginsFail}"), "PrometheusRule")
	tests, err := os.ReadFile("testdata/alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]bool{"TurnstoneLoginsFail.md": true, "README.md": true}
	for _, g := range rules[0].Spec.Groups {
		for _, r := range g.Rules {
			page := r.Alert + ".md"
			pages[page] = true
			if r.Alert == "TurnstoneLoginsFail" {
				t.Error("an alert is there that is disabled")
			}
			if url := r.Annotations["runbook_url"]; url != "https://github.com/turnstone-mq/turnstone/blob/main/docs/runbooks/"+page {
				t.Errorf("%s leads to %s", r.Alert, url)
			}
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s has no severity, summary or description", r.Alert)
			}
			if !strings.Contains(string(tests), "alertname: "+r.Alert+"\n    exp_alerts:\n    - exp_labels:") || !strings.Contains(string(tests), "alertname: "+r.Alert+", exp_alerts: []") {
				t.Errorf("alerts_test.yaml does not say when %s fires and when it does not", r.Alert)
			}
			text, err := os.ReadFile(filepath.Join(root, "docs/runbooks", page))
			if err != nil || !strings.HasPrefix(string(text), "# "+r.Alert+"\n") {
				t.Errorf("%s has no page in docs/runbooks: %v", r.Alert, err)
			}
		}
	}
	there, err := filepath.Glob(filepath.Join(root, "docs/runbooks/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if !pages[filepath.Base(path)] {
			t.Errorf("%s is the page of no alert", path)
		}
	}
}

// promtool is Prometheus's own judge of rules.
func TestAlertsFireWhenTheyShould(t *testing.T) {
	for _, args := range [][]string{
		{"check", "rules", "--lint-fatal", "charts/turnstone-operator/files/alerts.yaml"},
		{"test", "rules", "config/testdata/alerts_test.yaml"},
	} {
		c := exec.Command("hack/tool", append([]string{"promtool"}, args...)...)
		c.Dir = root
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", c, err, out)
		}
	}
}

func TestDashboardsAreFoundBySidecars(t *testing.T) {
	if maps := ofKind[corev1.ConfigMap](t, helm(t), "ConfigMap"); len(maps) != 0 {
		t.Errorf("%d ConfigMaps that nobody asked for", len(maps))
	}
	uids := map[string]bool{}
	maps := ofKind[corev1.ConfigMap](t, helm(t, "--set", "dashboards.enabled=true,dashboards.annotations.grafana_folder=Messaging"), "ConfigMap")
	for _, m := range maps {
		if m.Labels["grafana_dashboard"] != "1" || m.Annotations["grafana_folder"] != "Messaging" || len(m.Data) != 1 {
			t.Errorf("%s: labels %v, annotations %v, %d files", m.Name, m.Labels, m.Annotations, len(m.Data))
		}
		for file, text := range m.Data {
			var d struct{ UID, Title string }
			if err := json.Unmarshal([]byte(text), &d); err != nil || d.UID == "" || uids[d.UID] {
				t.Errorf("%s: %v, uid %q", file, err, d.UID)
			}
			uids[d.UID] = true
		}
	}
	if len(uids) != 5 {
		t.Errorf("%d dashboards: %v", len(uids), uids)
	}
}

func TestOnlyReplicasAreBudgeted(t *testing.T) {
	if budgets := ofKind[policyv1.PodDisruptionBudget](t, helm(t), "PodDisruptionBudget"); len(budgets) != 0 {
		t.Error("a single pod has a budget: its node could not be drained")
	}
	budgets := ofKind[policyv1.PodDisruptionBudget](t, helm(t, "--set", "replicas=3"), "PodDisruptionBudget")
	if len(budgets) != 1 || budgets[0].Spec.MaxUnavailable.IntValue() != 1 {
		t.Errorf("budgets %s", show(t, budgets))
	}
}

func TestNetworkPolicyNamesPortsOfTheOperator(t *testing.T) {
	all := helm(t, golden["chart-all"]...)
	policies := ofKind[networkingv1.NetworkPolicy](t, all, "NetworkPolicy")
	if len(policies) != 1 || len(policies[0].Spec.PolicyTypes) != 2 {
		t.Fatalf("policies %s", show(t, policies))
	}
	var deployment string
	for _, m := range all {
		if m["kind"] == "Deployment" {
			deployment = show(t, m)
		}
	}
	for _, rule := range policies[0].Spec.Ingress {
		for _, p := range rule.Ports {
			if !strings.Contains(deployment, "name: "+p.Port.String()+"\n") {
				t.Errorf("the operator has no port %s", p.Port)
			}
		}
	}
	var to []string
	for _, rule := range policies[0].Spec.Egress {
		for _, p := range rule.Ports {
			to = append(to, p.Port.String())
		}
	}
	if strings.Join(to, " ") != "53 53 443 6443 15671" {
		t.Errorf("the operator may connect to %v", to)
	}
	if from := policies[0].Spec.Ingress[1].From; len(from) != 1 {
		t.Errorf("metrics may be read from %s", show(t, from))
	}
}

func TestDigestsPinImages(t *testing.T) {
	for set, want := range map[string]string{
		"image.repository=r/op,image.tag=v1,image.digest=" + digest: "image: r/op:v1@" + digest + "\n",
		"image.repository=r/op,image.tag=,image.digest=" + digest:   "image: r/op@" + digest + "\n",
		"brokerImage.tag=,brokerImage.digest=" + digest:             "--broker-image=turnstone-broker@" + digest + "\n",
	} {
		for _, m := range helm(t, "--set", set) {
			if text := show(t, m["spec"]); m["kind"] == "Deployment" && !strings.Contains(text, want) {
				t.Errorf("--set %s: %q is not in\n%s", set, want, text)
			}
		}
	}
}

// What Pod Security's level restricted asks for, of the operator's pod.
func TestOperatorIsRestricted(t *testing.T) {
	for _, m := range helm(t) {
		if m["kind"] != "Deployment" {
			continue
		}
		pod := m.field("spec", "template", "spec").(map[string]any)
		for _, key := range []string{"hostNetwork", "hostPID", "hostIPC", "volumes"} {
			if pod[key] != nil {
				t.Errorf("the pod has %s", key)
			}
		}
		security := manifest(pod).field("securityContext").(map[string]any)
		container := manifest(pod["containers"].([]any)[0].(map[string]any))
		if security["runAsNonRoot"] != true || manifest(security).field("seccompProfile", "type") != "RuntimeDefault" ||
			container.field("securityContext", "allowPrivilegeEscalation") != false || container.field("securityContext", "readOnlyRootFilesystem") != true ||
			show(t, container.field("securityContext", "capabilities")) != "drop:\n- ALL\n" {
			t.Errorf("the pod is not restricted:\n%s", show(t, pod))
		}
	}
}

func TestNotesSayWhatIsMissing(t *testing.T) {
	notes := func(args ...string) string {
		t.Helper()
		c := exec.Command("hack/tool", append([]string{"helm", "install", "turnstone-operator", "charts/turnstone-operator", "--namespace", namespace, "--dry-run=client"}, args...)...)
		c.Dir = root
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
		_, after, _ := strings.Cut(string(out), "NOTES:")
		return after
	}
	for _, want := range []string{"every namespace", "no PodMonitors and no alerts", "named by tag alone"} {
		if text := notes(); !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	text := notes("--set", "dashboards.enabled=true,image.digest="+digest+",namespaces={a}")
	if !strings.Contains(text, "grafana_dashboard=1") || !strings.Contains(text, "the namespaces a") || strings.Contains(text, "by tag alone") {
		t.Error(text)
	}
}
